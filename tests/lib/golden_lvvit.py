"""LV-ViT's golden numbers: every intermediate of the official code, and gradients.

Every setting is read from the file, the weight of the tokens' loss from the key
``train/loss_dense*``. In float64 against numbers that were made in float32, which
separates a wrong epsilon of a norm (1e-5 to 4e-5 in the logits) from noise (below
4e-6).
"""

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from golden_files import close
from label_samples import official_samples
from mmengine.registry import MODELS

from mmtlalign.checkpoint.convert import convert
from mmtlalign.mixing.cutmix import box_area, box_mask, clipped_box
from mmtlalign.mixing.mixtoken import TokenSwap, swap_box

OUTPUT = dict(tolerance=5e-6)
INSIDE = dict(tolerance=2e-5)
GRADIENT = dict(tolerance=1e-5, relative=1e-4)
LOSS = 'train/loss_dense'


def classifier(width, classes, dense_weight, **backbone):
    """The classifier that is trained."""
    head = dict(
        type='mmtlalign.TokenLabelClsHead',
        num_classes=classes,
        in_channels=width,
        map_values='probabilities',
        loss=dict(type='mmtlalign.TokenLabelLoss', dense_weight=dense_weight),
    )
    backbone = dict(type='mmtlalign.LVViT', out_type='raw', **backbone)
    model = dict(type='mmtlalign.MixClassifier', backbone=backbone, head=head)
    return MODELS.build(model)


class GoldenLVViT:
    """One file: its arrays, and the classifier of its sizes with its weights."""

    def __init__(self, path):
        self.arrays = np.load(path, allow_pickle=False)
        meta = {k[5:]: v.item() for k, v in self.arrays.items() if k[:5] == 'meta/'}
        width = meta['embed_dim']
        self.sizes = dict(
            arch=dict(
                embed_dims=width,
                num_layers=meta['depth'],
                num_heads=meta['num_heads'],
                feedforward_channels=round(meta['mlp_ratio'] * width),
                skip_lam=meta['skip_lam'],
                stem_channels=meta['stem_width'],
            ),
            img_size=meta['img_size'],
            patch_size=meta['patch_size'],
        )
        # Files of MixToken have no losses: any weight will do.
        losses = [k for k in self.arrays if k.startswith(LOSS)]
        self.loss_key = losses[0] if losses else f'{LOSS}0.5'
        self.dense_weight = float(self.loss_key.removeprefix(LOSS))
        self.model = classifier(
            width, meta['num_classes'], self.dense_weight, **self.sizes
        )
        self.official = {
            name[3:]: torch.from_numpy(array)
            for name, array in self.arrays.items()
            if name.startswith('sd/')
        }
        self.restore()
        self.images = torch.from_numpy(self.arrays['x']).double()

    def __getitem__(self, key):
        return self.arrays[key]

    def restore(self):
        self.model.load_state_dict(convert(self.official, 'lvvit'), strict=True)
        self.model.double()

    def keys(self, beginning):
        """Names that begin so, without the beginning; there must be some."""
        found = [k[len(beginning) :] for k in self.arrays if k.startswith(beginning)]
        assert found
        return found


def record(model):
    """Dict that a forward fills with all that passes, under the files' names."""
    outputs, backbone, layers = {}, model.backbone, model.head.layers

    def keep(key, pick=lambda out: out):
        return lambda module, args, out: outputs.update({key: pick(out)})

    def as_map(out):
        tokens, grid = out
        return tokens.mT.unflatten(2, grid)

    backbone.patch_embed.register_forward_hook(keep('patch_embed', as_map))
    backbone.layers[0].register_forward_pre_hook(
        lambda module, args: outputs.update(tokens_in=args[0])
    )
    for i, layer in enumerate(backbone.layers):
        layer.attn.register_forward_hook(keep(f'blk{i}/attn_out'))
        layer.ffn.register_forward_hook(keep(f'blk{i}/mlp_out'))
        layer.register_forward_hook(keep(f'blk{i}/out'))
    backbone.ln1.register_forward_hook(keep('norm'))
    layers.head.register_forward_hook(keep('cls_logits'))
    layers.aux_head.register_forward_hook(keep('aux_logits_raw'))
    return outputs


def check_lvvit(path):
    golden = GoldenLVViT(path)
    model = golden.model.eval()
    outputs = record(model)
    with torch.no_grad():
        outputs['combined'] = model(golden.images, mode='tensor')
    for key in golden.keys('eval/'):
        outside = key in ('cls_logits', 'aux_logits_raw', 'combined')
        close(outputs[key], golden[f'eval/{key}'], **(OUTPUT if outside else INSIDE))

    model.train()
    target = torch.from_numpy(golden['train/target'])
    grid = tuple(outputs['patch_embed'].shape[-2:])
    losses = model(golden.images, official_samples(target, grid), mode='loss')
    close(outputs['cls_logits'], golden['train/cls'], **OUTPUT)
    close(outputs['aux_logits_raw'], golden['train/aux'], **OUTPUT)
    for key in [
        *('patch_embed', 'tokens_in', 'norm'),
        *('blk' + k for k in golden.keys('train/blk')),
    ]:
        close(outputs[key], golden[f'train/{key}'], **INSIDE)
    now = convert(model.state_dict(), 'lvvit', reverse=True)
    for key in golden.keys('train/after/'):
        close(now[key], golden[f'train/after/{key}'], **INSIDE)

    loss = sum(losses.values())
    close(loss, golden[golden.loss_key], **OUTPUT)
    loss.backward()
    gradients = convert(
        {k: p.grad for k, p in model.named_parameters()}, 'lvvit', reverse=True
    )
    assert sorted(golden.keys('train/gradnorm/')) == sorted(gradients)
    for key, gradient in gradients.items():
        close(gradient.norm(), golden[f'train/gradnorm/{key}'], **GRADIENT)
    for key in golden.keys('train/grad/'):
        close(gradients[key], golden[f'train/grad/{key}'], **GRADIENT)


def check_lvvit_single_precision(path):
    """The same weights in float32, as they are trained."""
    golden = GoldenLVViT(path)
    model = golden.model.float().eval()
    with torch.no_grad():
        out = model(golden.images.float(), mode='tensor')
    close(out, golden['eval/combined'], 5e-5, relative=1e-5)


def check_lvvit_mixtoken(path):
    golden = GoldenLVViT(path)
    model = golden.model.eval()
    with torch.no_grad():
        out = model(golden.images, mode='tensor')
    close(out, golden['eval/combined'], **OUTPUT)
    outputs = record(model)
    grid = tuple(golden['train/patch_embed'].shape[-2:])
    torch.manual_seed(0)
    batch, classes = out.shape
    target = torch.rand(batch, classes, 2 + grid[0] * grid[1]).softmax(dim=1)
    for seed in golden['np_seeds']:
        at = f's{seed}/'
        golden.restore()
        model.train()
        top, left, bottom, right = map(int, golden[f'{at}box_r1_c1_r2_c2'])
        box = (top, bottom, left, right)
        model.mixer = partial(token_swap, grid=grid, box=box)
        losses = model(golden.images, official_samples(target, grid), mode='loss')
        # The hook that records was there first: what it saw is not mixed yet.
        close(outputs['patch_embed'], golden['train/patch_embed'], **INSIDE)
        close(outputs['tokens_in'], golden[f'{at}tokens_in'], **INSIDE)
        close(outputs['cls_logits'], golden[f'{at}cls'], **OUTPUT)
        close(outputs['aux_logits_raw'], golden[f'{at}aux_raw'], **OUTPUT)
        swapped = swap_box(outputs['aux_logits_raw'], grid, box)
        close(swapped, golden[f'{at}aux'], **OUTPUT)
        close(1 - box_area(box, grid), golden[f'{at}lam_effective'], 1e-6)
        check_mixed_losses(golden, at, target.double(), losses)
    check_boxes(golden)


def token_swap(images, labels, grid, box):
    """The record of MixToken for a box that is given."""
    mask = torch.from_numpy(box_mask(box, grid))[None, None]
    mask = F.interpolate(mask, images.shape[-2:], mode='nearest')
    partner = torch.arange(len(images)).flip(0)
    return TokenSwap(images, labels, partner, mask, grid, box)


def check_mixed_losses(golden, at, target, losses):
    """The official rule on the official scores: tokens put back, class by area."""
    scores, tokens = (torch.from_numpy(golden[at + key]) for key in ('cls', 'aux'))
    lam, whole = float(golden[f'{at}lam_effective']), target[..., 1]
    mixed = lam * whole + (1 - lam) * whole.flip(0)
    close(losses['loss_cls'], F.cross_entropy(scores.double(), mixed), **OUTPUT)
    dense = F.cross_entropy(tokens.double().mT, target[..., 2:])
    close(losses['loss_dense'], golden.dense_weight * dense, **OUTPUT)


def check_boxes(golden):
    """The official box for a centre that is given."""
    draws = []
    randint, np.random.randint = np.random.randint, lambda high: draws.pop(0)
    try:
        for (height, width, row, column), lam, box in zip(
            golden['bbox/H_W_row_col'].tolist(),
            golden['bbox/lam'],
            golden['bbox/box_r1_c1_r2_c2'].tolist(),
        ):
            draws[:] = [row, column]
            top, bottom, left, right = clipped_box((height, width), lam)
            assert [top, left, bottom, right] == box
    finally:
        np.random.randint = randint
