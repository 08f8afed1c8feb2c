"""LV-ViT by plain formulas in float64, and files in the layout of its golden ones.

Nothing of this package is used; see ``golden_writers.py``.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from golden_writers import save


def draw_weights(size, patch, width, depth, classes, ratio, stem):
    """A state dict of LV-ViT under the official names, in float64."""
    hidden, tokens = int(ratio * width), (size // patch) ** 2
    shapes = {'cls_token': (1, 1, width), 'pos_embed': (1, 1 + tokens, width)}
    for i, kernel in enumerate((7, 3, 3), 1):
        into = stem if i > 1 else 3
        shapes[f'patch_embed.conv{i}.weight'] = (stem, into, kernel, kernel)
        for name in ('weight', 'bias', 'running_mean', 'running_var'):
            shapes[f'patch_embed.bn{i}.{name}'] = (stem,)
    shapes['patch_embed.proj.weight'] = (width, stem, patch // 2, patch // 2)
    shapes['patch_embed.proj.bias'] = (width,)
    for i in range(depth):
        block = f'blocks.{i}'
        shapes[f'{block}.attn.qkv.weight'] = (3 * width, width)
        for name, out, into in (
            ('attn.proj', width, width),
            ('mlp.fc1', hidden, width),
            ('mlp.fc2', width, hidden),
        ):
            shapes[f'{block}.{name}.weight'] = (out, into)
            shapes[f'{block}.{name}.bias'] = (out,)
        for name in ('norm1', 'norm2'):
            shapes[f'{block}.{name}.weight'] = shapes[f'{block}.{name}.bias'] = (width,)
    shapes['norm.weight'] = shapes['norm.bias'] = (width,)
    for name in ('head', 'aux_head'):
        shapes[f'{name}.weight'], shapes[f'{name}.bias'] = (classes, width), (classes,)
    state = {}
    for name, shape in shapes.items():
        values = torch.randn(shape) * 0.2
        if len(shape) == 4:
            values = values / math.prod(shape[1:]) ** 0.5 * 5
        if 'norm' in name and 'weight' in name or '.bn' in name and 'weight' in name:
            values = values + 1
        if 'running_var' in name:
            values = values.abs() + 0.5
        state[name] = values.double()
    return state


def lvvit_forward(state, images, heads, lam, training=False, box=None):
    """All intermediates by name; in training new running statistics beside them."""
    seen, buffers = {}, {}

    def linear(x, name):
        return F.linear(x, state[f'{name}.weight'], state.get(f'{name}.bias'))

    def norm(x, name):
        weight, bias = state[f'{name}.weight'], state[f'{name}.bias']
        return F.layer_norm(x, x.shape[-1:], weight, bias, 1e-5)

    x = images
    for i, (stride, padding) in enumerate(((2, 3), (1, 1), (1, 1)), 1):
        name = f'patch_embed.bn{i}'
        weight = state[f'patch_embed.conv{i}.weight']
        x = F.conv2d(x, weight, None, stride, padding)
        mean, var = (
            state[f'{name}.running_{kind}'].detach().clone() for kind in ('mean', 'var')
        )
        x = F.batch_norm(
            x, mean, var, state[f'{name}.weight'], state[f'{name}.bias'], training
        ).relu()
        buffers |= {f'{name}.running_mean': mean, f'{name}.running_var': var}
    weight = state['patch_embed.proj.weight']
    x = F.conv2d(x, weight, state['patch_embed.proj.bias'], weight.shape[-1])
    seen['patch_embed'] = x
    if box is not None:
        x = x.clone()
        part = (..., slice(box[0], box[2]), slice(box[1], box[3]))
        x[part] = seen['patch_embed'].flip(0)[part]
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([state['cls_token'].expand(len(x), -1, -1), x], dim=1)
    seen['tokens_in'] = x = x + state['pos_embed']
    depth = 1 + max(int(name.split('.')[1]) for name in state if 'blocks' in name)
    for i in range(depth):
        block, at = f'blocks.{i}', f'blk{i}'
        qkv = linear(norm(x, f'{block}.norm1'), f'{block}.attn.qkv')
        query, key, value = qkv.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
        seen[f'{at}/attn_out'] = linear(mixed, f'{block}.attn.proj')
        x = x + seen[f'{at}/attn_out'] / lam
        hidden = F.gelu(linear(norm(x, f'{block}.norm2'), f'{block}.mlp.fc1'))
        seen[f'{at}/mlp_out'] = linear(hidden, f'{block}.mlp.fc2')
        seen[f'{at}/out'] = x = x + seen[f'{at}/mlp_out'] / lam
    seen['norm'] = x = norm(x, 'norm')
    seen['cls_logits'] = linear(x[:, 0], 'head')
    seen['aux_logits_raw'] = linear(x[:, 1:], 'aux_head')
    best = seen['aux_logits_raw'].max(dim=1).values
    seen['combined'] = seen['cls_logits'] + 0.5 * best
    return seen, buffers


def write_lvvit(
    path, seed, dense_weight, boxes=None, batch=2, heads=3, lam=3.0, **size
):
    """``lvvit``, or with ``boxes`` (top, left, bottom, right) ``lvvit_mixtoken``."""
    torch.manual_seed(seed)
    state = {k: v.float().double() for k, v in draw_weights(**size).items()}
    classes = size['classes']
    images = torch.randn(batch, 3, size['size'], size['size']).double()
    names = dict(size='img_size', patch='patch_size', width='embed_dim')
    names |= dict(classes='num_classes', ratio='mlp_ratio', stem='stem_width')
    arrays = {f'meta/{names.get(k, k)}': np.asarray(v) for k, v in size.items()}
    arrays |= {'meta/num_heads': np.int64(heads), 'meta/skip_lam': np.float32(lam)}
    arrays |= {'x': images} | {f'sd/{name}': value for name, value in state.items()}
    for i in (1, 2, 3):
        arrays[f'sd/patch_embed.bn{i}.num_batches_tracked'] = np.int64(0)
    evaluated, _ = lvvit_forward(state, images, heads, lam)
    for name, value in state.items():
        value.requires_grad_('running' not in name)
    if boxes is not None:
        arrays['eval/combined'] = evaluated['combined']
        add_mixed_runs(arrays, state, images, heads, lam, boxes)
        return save(path, {k: plain(v) for k, v in arrays.items()})

    arrays |= {f'eval/{key}': value for key, value in evaluated.items()}
    seen, buffers = lvvit_forward(state, images, heads, lam, training=True)
    tokens = seen['aux_logits_raw'].shape[1]
    target = torch.randn(batch, classes, 2 + tokens).softmax(1).float().double()
    cls = -(target[..., 1] * seen['cls_logits'].log_softmax(-1)).sum(-1).mean()
    labels = target[..., 2:].transpose(1, 2)
    aux = -(labels * seen['aux_logits_raw'].log_softmax(-1)).sum(-1).mean()
    loss = cls + dense_weight * aux
    loss.backward()
    arrays |= {'train/cls': seen['cls_logits'], 'train/aux': seen['aux_logits_raw']}
    for key in ('patch_embed', 'tokens_in', 'norm'):
        arrays[f'train/{key}'] = seen[key]
    arrays |= {f'train/{k}': v for k, v in seen.items() if k.endswith('/out')}
    arrays |= {'train/target': target, f'train/loss_dense{dense_weight}': loss}
    arrays |= {f'train/after/{name}': value for name, value in buffers.items()}
    for name, value in state.items():
        if value.grad is not None:
            arrays[f'train/gradnorm/{name}'] = value.grad.norm()
    for name in ('blocks.0.attn.qkv.weight', 'pos_embed', 'aux_head.bias'):
        arrays[f'train/grad/{name}'] = state[name].grad
    return save(path, {k: plain(v) for k, v in arrays.items()})


def plain(value):
    return value.detach().numpy() if torch.is_tensor(value) else value


def add_mixed_runs(arrays, state, images, heads, lam, boxes):
    """Runs of MixToken, one a box, and the official boxes of centres that are given."""
    arrays['np_seeds'] = np.arange(10, 10 + len(boxes))
    for seed, box in zip(arrays['np_seeds'], boxes):
        seen, _ = lvvit_forward(state, images, heads, lam, training=True, box=box)
        arrays['train/patch_embed'] = seen['patch_embed']
        height, width = seen['patch_embed'].shape[-2:]
        raw = seen['aux_logits_raw']
        maps = raw.unflatten(1, (height, width)).clone()
        part = (slice(None), slice(box[0], box[2]), slice(box[1], box[3]))
        maps[part] = maps[part].flip(0)
        area = (box[2] - box[0]) * (box[3] - box[1])
        arrays |= {
            f's{seed}/box_r1_c1_r2_c2': np.array(box),
            f's{seed}/lam_effective': 1 - area / (height * width),
            f's{seed}/tokens_in': seen['tokens_in'],
            f's{seed}/aux_raw': raw,
            f's{seed}/cls': seen['cls_logits'],
            f's{seed}/aux': maps.flatten(1, 2),
        }
    rng = np.random.default_rng(int(arrays['np_seeds'][0]))
    grids = rng.integers(3, 30, (40, 2))
    centres = (grids * rng.random((40, 2))).astype(np.int64)
    drawn, found = rng.random(40), []
    for grid, centre, share in zip(grids, centres, drawn):
        cuts = (grid * math.sqrt(1 - share)).astype(int) // 2
        low, high = (np.clip(centre + sign * cuts, 0, grid) for sign in (-1, 1))
        found.append([*low, *high])
    arrays |= {
        'bbox/H_W_row_col': np.concatenate([grids, centres], axis=1),
        'bbox/lam': drawn,
        'bbox/box_r1_c1_r2_c2': np.array(found),
    }
