"""DHVT written down from the paper word by word: an oracle, and a rival in speed.

Explicit softmax attention, channels first, no thought for speed, square images
only, official names. Nothing is shared with ``mmtlalign/backbones``. As a script it
compares the training steps of both in one process::

    OMP_NUM_THREADS=1 python tests/lib/dhvt_transcription.py
"""

import math
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn


class Affine(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, dim, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, dim, 1, 1))

    def forward(self, x):
        return x * self.alpha + self.beta


def unit(a, b):
    return nn.Sequential(nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b))


class PatchEmbed(nn.Module):
    def __init__(self, dim, patch):
        super().__init__()
        self.pre_affine, self.post_affine = Affine(3), Affine(dim)
        if patch == 2:
            self.proj = nn.Sequential(unit(3, dim), nn.GELU())
        elif patch == 4:
            self.proj = nn.Sequential(unit(3, dim // 2), nn.GELU(), unit(dim // 2, dim))
        else:
            self.proj = nn.Sequential(
                unit(3, dim // 8),
                nn.GELU(),
                unit(dim // 8, dim // 4),
                nn.GELU(),
                unit(dim // 4, dim // 2),
                nn.GELU(),
                unit(dim // 2, dim),
            )

    def forward(self, x):
        x = self.post_affine(self.proj(self.pre_affine(x)))
        return x.flatten(2).transpose(1, 2)


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.width = heads, dim // heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.ht_proj = nn.Linear(self.width, dim)
        self.ht_norm = nn.LayerNorm(self.width)
        self.pos_embed = nn.Parameter(torch.randn(1, heads, dim) * 0.02)

    def forward(self, x):
        B, n, D = x.shape
        h, d = self.heads, self.width
        m = x.reshape(B, n, h, d).permute(0, 2, 1, 3).mean(dim=2)
        t = self.ht_proj(m).reshape(B, h, h, d)
        t = F.gelu(self.ht_norm(t)).reshape(B, h, D) + self.pos_embed
        x = torch.cat([x, t], dim=1)
        L = n + h
        qkv = self.qkv(x).reshape(B, L, 3, h, d).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        attention = (q @ k.transpose(-2, -1)) * d**-0.5
        x = (attention.softmax(dim=-1) @ v).transpose(1, 2).reshape(B, L, D)
        cls, patch, head = torch.split(self.proj(x), [1, n - 1, h], dim=1)
        cls = cls + head.mean(dim=1, keepdim=True)
        return torch.cat([cls, patch], dim=1)


class FeedForward(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv1 = nn.Conv2d(dim, 4 * dim, 1)
        self.bn1 = nn.BatchNorm2d(4 * dim)
        self.conv2 = nn.Conv2d(4 * dim, 4 * dim, 3, 1, 1, groups=4 * dim)
        self.bn2 = nn.BatchNorm2d(4 * dim)
        self.conv3 = nn.Conv2d(4 * dim, dim, 1)
        self.bn3 = nn.BatchNorm2d(dim)
        self.compress = nn.Linear(dim, dim // 4)
        self.excitation = nn.Linear(dim // 4, dim)

    def forward(self, x):
        B, n, D = x.shape
        cls, patch = torch.split(x, [1, n - 1], dim=1)
        side = math.isqrt(n - 1)
        patch = patch.transpose(1, 2).reshape(B, D, side, side)
        a = F.gelu(self.bn1(self.conv1(patch)))
        b = a + F.gelu(self.bn2(self.conv2(a)))
        z = self.bn3(self.conv3(b))
        w = self.excitation(F.gelu(self.compress(z.mean(dim=(2, 3)))))
        patch = z.flatten(2).transpose(1, 2)
        return torch.cat([cls * w[:, None], patch], dim=1)


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = FeedForward(dim)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Transcription(nn.Module):
    """DHVT with its classifier; arguments by the letters of the paper."""

    def __init__(self, dim, depth, heads, patch, classes):
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.patch_embed = PatchEmbed(dim, patch)
        self.blocks = nn.Sequential(*[Block(dim, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, classes)

    def forward(self, images):
        x = self.patch_embed(images)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        return self.head(self.norm(self.blocks(x))[:, 0])


def compare(arch, patch, size, batch, repeats=9):
    """Measure CPU seconds of forward and backward, the two in turn."""
    from mmtlalign.backbones.dhvt import DHVT

    ours = DHVT(arch, patch)
    rival = Transcription(ours.embed_dims, 12, ours.num_heads, patch, 10)
    head = nn.Linear(ours.embed_dims, 10)
    images = torch.randn(batch, 3, size, size)
    steps = dict(ours=lambda: head(ours(images)[0]), rival=lambda: rival(images))
    seconds = dict(ours=[], rival=[])
    for _ in range(repeats + 1):
        for name, step in steps.items():
            start = time.process_time()
            step().square().mean().backward()
            seconds[name].append(time.process_time() - start)
    ratios = [a / b for a, b in list(zip(*seconds.values()))[1:]]  # first: warm-up
    middle = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    print(
        f'{arch} patch {patch}, {size} px, batch {batch}: '
        f'ours {middle["ours"]:.3f} s, transcription {middle["rival"]:.3f} s, ratio '
        f'{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})'
    )


if __name__ == '__main__':
    torch.manual_seed(0)
    compare('tiny-cifar', 4, 32, 64)
    compare('tiny-cifar', 2, 32, 16)
    compare('small-imagenet', 16, 224, 4)
