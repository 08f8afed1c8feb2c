"""DHVT's golden numbers: every intermediate of the official code, and gradients.

In float64 against numbers that were made in float32, which separates a wrong
epsilon of a norm (1e-5 to 4e-5 in the logits) from noise (below 4e-6). Every setting is
read from the files.
"""

import numpy as np
import torch
import torch.nn.functional as F
from golden_files import close
from mmengine.registry import MODELS, init_default_scope

from mmtlalign.checkpoint.convert import convert
from mmtlalign.mixing.mix import Mix
from mmtlalign.tracing.trace import MixTracer
from mmtlalign.tracing.tracer import Tracer

# Of logits and losses; of intermediates and running statistics; of gradients.
OUTPUT = dict(tolerance=5e-6)
INSIDE = dict(tolerance=2e-5)
GRADIENT = dict(tolerance=1e-5, relative=1e-4)


class GoldenDHVT:
    """One file: its arrays, and the classifier of its sizes with its weights.

    Args:
        path: The file.
        **head: Type and options of the head. Defaults to mmpretrain's of a ViT.
    """

    def __init__(self, path, **head):
        self.arrays = np.load(path, allow_pickle=False)
        init_default_scope('mmpretrain')
        meta = {
            key[5:]: value.item()
            for key, value in self.arrays.items()
            if key.startswith('meta/')
        }
        width = meta['embed_dim']
        self.official = {
            name[3:]: torch.from_numpy(array)
            for name, array in self.arrays.items()
            if name.startswith('sd/')
        }
        self.model = MODELS.build(
            dict(
                type='mmtlalign.MixClassifier',
                backbone=dict(
                    type='mmtlalign.DHVT',
                    arch=dict(
                        embed_dims=width,
                        num_layers=meta['depth'],
                        num_heads=meta['num_heads'],
                        feedforward_channels=len(
                            self.official['blocks.0.mlp.conv1.weight']
                        ),
                    ),
                    patch_size=meta['patch_size'],
                    qkv_bias='blocks.0.attn.qkv.bias' in self.official,
                ),
                head=dict(
                    num_classes=meta['num_classes'],
                    in_channels=width,
                    **(head or dict(type='VisionTransformerClsHead')),
                ),
            )
        )
        self.model.load_state_dict(convert(self.official, 'dhvt'), strict=True)
        self.model.double()

    def __getitem__(self, key):
        return self.arrays[key]

    def keys(self, beginning):
        """Return the ends of the names that begin so; there must be some."""
        found = [k[len(beginning) :] for k in self.arrays if k.startswith(beginning)]
        assert found
        return found

    def logits(self, images):
        dtype = next(self.model.parameters()).dtype
        images = torch.from_numpy(images).to(dtype)
        return self.model.head(self.model.extract_feat(images))


def record(backbone):
    """Return a dict that a forward fills with intermediates, by the files' names."""
    values = {}

    def keep(key, pick=lambda out: out):
        def hook(module, args, out):
            values[key] = pick(out)

        return hook

    def keep_input(key, pick=lambda x: x):
        def hook(module, args):
            values[key] = pick(args[0])

        return hook

    def attention(key):
        def attend(query, key_, value, dropout_p):
            logits = query @ key_.mT / query.shape[-1] ** 0.5
            values[f'{key}attn_probs'] = logits.softmax(dim=-1)
            values[f'{key}attn_probs_cls_row'] = values[f'{key}attn_probs'][:, :, 0]
            return F.scaled_dot_product_attention(query, key_, value, None, dropout_p)

        return attend

    heads = backbone.num_heads
    backbone.patch_embed.register_forward_hook(keep('patch_embed', lambda out: out[0]))
    backbone.layers[0].register_forward_pre_hook(keep_input('tokens_in'))
    for i, layer in enumerate(backbone.layers):
        at = f'blk{i}/'
        layer.attn.qkv.register_forward_pre_hook(
            keep_input(f'{at}head_tokens', lambda x: x[:, -heads:])
        )
        layer.attn.scaled_dot_product_attention = attention(at)
        layer.attn.proj.register_forward_hook(
            keep(
                f'{at}attn_proj_cls_and_heads',
                lambda x: torch.cat([x[:, :1], x[:, -heads:]], dim=1),
            )
        )
        layer.attn.register_forward_hook(keep(f'{at}attn_out'))
        layer.ffn.excite.register_forward_hook(keep(f'{at}cls_gate'))
        layer.ffn.register_forward_hook(keep(f'{at}daff_out'))
        layer.register_forward_hook(keep(f'{at}out'))
    backbone.ln1.register_forward_hook(keep('norm'))
    return values


def check_dhvt(path):
    golden = GoldenDHVT(path)
    model = golden.model.eval()
    with torch.no_grad():
        # Fused attention as it runs, before anything is recorded.
        close(golden.logits(golden['x']), golden['eval/logits'], **OUTPUT)
        close(golden.logits(golden['alt/x']), golden['alt/eval_logits'], **OUTPUT)
        values = record(model.backbone)
        values['logits'] = golden.logits(golden['x'])
    for key in golden.keys('eval/'):
        tolerance = OUTPUT if key == 'logits' else INSIDE
        close(values[key], golden[f'eval/{key}'], **tolerance)

    model.train()
    logits = golden.logits(golden['x'])
    loss = F.cross_entropy(logits, torch.from_numpy(golden['train/target']).double())
    close(logits, golden['train/logits'], **OUTPUT)
    close(loss, golden['train/loss'], **OUTPUT)
    for key in ['patch_embed', 'norm', *('blk' + k for k in golden.keys('train/blk'))]:
        close(values[key], golden[f'train/{key}'], **INSIDE)
    now = convert(model.state_dict(), 'dhvt', reverse=True)
    for key in golden.keys('train/after/'):
        close(now[key], golden[f'train/after/{key}'], **INSIDE)

    loss.backward()
    gradients = convert(
        {k: p.grad for k, p in model.named_parameters()}, 'dhvt', reverse=True
    )
    assert sorted(golden.keys('train/gradnorm/')) == sorted(gradients)
    for key, gradient in gradients.items():
        close(gradient.norm(), golden[f'train/gradnorm/{key}'], **GRADIENT)
    for key in golden.keys('train/grad/'):
        close(gradients[key], golden[f'train/grad/{key}'], **GRADIENT)


def check_dhvt_single_precision(path):
    """The same weights in float32, as they are trained."""
    golden = GoldenDHVT(path)
    golden.model.float().eval()
    with torch.no_grad():
        logits = golden.logits(golden['x'])
    close(logits, golden['eval/logits'], 5e-5, relative=1e-5)


def check_dhvt_tlalign(path):
    """Our rule of label tracing, as the files state it; not an official number."""
    for merge in ('nested', 'flat'):
        golden = GoldenDHVT(
            path,
            type='mmtlalign.TLAlignVisionTransformerClsHead',
            head_token_rule=merge,
        )
        backbone, head = golden.model.backbone, golden.model.head
        layers = [golden[f'{merge}/blk{i}/labels'] for i in range(backbone.num_layers)]
        begin = torch.from_numpy(golden['label_in'])
        grid = 2 * [int(golden['meta/grid'])]

        # From the attention maps of the file.
        tracer = Tracer(begin, (grid, grid), 1, len(layers), head_token_rule=merge)
        for i in range(len(layers)):
            tracer.append_tokens(backbone.num_heads)
            tracer.weigh(torch.from_numpy(golden[f'blk{i}/attn_probs']))
        close(torch.stack(tracer.history), layers, 1e-6)
        close(tracer.share[:, 0], golden[f'{merge}/cls_label'], 1e-6)

        # As the method trains, in float32: one share column.
        golden.model.float().eval()
        mix = mixed(golden, backbone.patch_size)
        start = MixTracer(backbone, mix, head_token_rule=merge).share
        close(torch.lerp(mix.labels[:, None], partners(mix), start), begin, 1e-6)
        with torch.no_grad(), head.trace(backbone, mix) as seen:
            logits = head(golden.model.extract_feat(mix.images))
        close(logits, golden['logits'], 5e-5, relative=1e-5)
        for share, labels in zip(seen.history, layers):
            close(torch.lerp(mix.labels[:, None], partners(mix), share), labels, 1e-5)
        (share,) = head.partner_shares(mix, seen)
        close(mix.target(share), golden[f'{merge}/cls_label'], 1e-5)


def mixed(golden, patch):
    """Return the file's batch: a box, on the token grid, of the batch flipped."""
    images = torch.from_numpy(golden['x_mixed'])
    labels = torch.from_numpy(golden['labels'])
    labels = F.one_hot(labels, int(golden['meta/num_classes'])).float()
    top, bottom, left, right = (patch * int(side) for side in golden['box_yl_yh_xl_xh'])
    mask = torch.zeros(1, 1, *images.shape[-2:])
    mask[..., top:bottom, left:right] = 1
    close(1 - mask.mean(), golden['lam'], 1e-6)
    return Mix(images, labels, torch.arange(len(images)).flip(0), mask)


def partners(mix):
    return mix.labels[mix.partner][:, None]
