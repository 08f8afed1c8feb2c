"""Numbers made by running the official codes, reproduced by ours.

Files come from ``tests/golden`` and from the folder that the environment
variable ``MMTLALIGN_GOLDEN`` names; the name's beginning chooses the check.
Sizes, class counts and seeds are read from the files. Tolerances are those of
the files' own description.
"""

import json

import numpy as np
import pytest
import torch
from golden_attack import check_attack
from golden_attention import check_attention_quality
from golden_dhvt import check_dhvt, check_dhvt_single_precision, check_dhvt_tlalign
from golden_emptybox import check_emptybox
from golden_esvit import (
    check_esvit_eval,
    check_esvit_head,
    check_esvit_regionloss,
    check_esvit_schedule,
    check_esvit_swin,
    check_esvit_viewloss,
)
from golden_files import FILES, HERE, close
from golden_heads import check_heads
from golden_labelmap import check_labelmap_crop
from golden_labels import check_labels
from golden_lvvit import (
    check_lvvit,
    check_lvvit_mixtoken,
    check_lvvit_single_precision,
)
from golden_mixers import check_timm, check_timm1
from golden_mixers_external import check_external
from golden_mixers_guided import check_attentive, check_saliency, check_smmix
from golden_mixers_maskmix import check_maskmix
from golden_mixers_mlp import check_depthwise, check_mixer, check_resmlp
from golden_mixers_puzzle import check_puzzle
from golden_mixers_tokenmix import check_tokenmix
from golden_mmcv_ops import check_mmcv_ops
from golden_occlusion import check_occlusion
from golden_presence import check_presence
from golden_robust import check_robust
from golden_tokenlabel import check_tokenlabel_loss
from mmengine.registry import MODELS, init_default_scope

from mmtlalign.mixing.augments import Mixup
from mmtlalign.mixing.cutmix import CutMix, clipped_box
from mmtlalign.mixing.mix import Mix
from mmtlalign.mixing.token_mix import TokenCutMix
from mmtlalign.tracing.attach import attach
from mmtlalign.tracing.trace import MixTracer, trace_forward
from mmtlalign.tracing.tracer import Tracer


class Golden:
    """One file: its arrays as tensors, and the classifier it was made with."""

    def __init__(self, path, method):
        self.arrays = np.load(path, allow_pickle=False)
        self.meta = json.loads(str(self.arrays['meta_json']))
        self.images = torch.from_numpy(self.arrays['img'])
        classes = self.meta['num_classes']
        target = torch.from_numpy(self.arrays['target'])
        self.labels = torch.nn.functional.one_hot(target, classes).float()
        self.smooth = lambda y: (
            y * (1 - self.meta['smoothing']) + (self.meta['smoothing'] / classes)
        )
        self.distilled = self.meta.get('num_extra_tokens', 1) == 2
        self.model = self.build(method)

    def __getitem__(self, key):
        return self.arrays[key]

    def build(self, method):
        init_default_scope('mmpretrain')
        meta = self.meta
        dim = meta['embed_dim']
        backbone = 'DistilledVisionTransformer' if self.distilled else None
        head = 'DeiT' if self.distilled else 'VisionTransformer'
        model = MODELS.build(
            dict(
                type='mmtlalign.MixClassifier',
                backbone=dict(
                    type=backbone or 'VisionTransformer',
                    arch=dict(
                        embed_dims=dim,
                        num_layers=meta['depth'],
                        num_heads=meta['num_heads'],
                        feedforward_channels=meta['mlp_ratio'] * dim,
                    ),
                    img_size=tuple(meta['img_size']),
                    patch_size=meta['patch_size'],
                    qkv_bias=meta['qkv_bias'],
                    norm_cfg=dict(type='LN', eps=meta['norm_eps']),
                ),
                head=dict(
                    type=f'mmtlalign.{method}{head}ClsHead',
                    num_classes=meta['num_classes'],
                    in_channels=dim,
                    loss=dict(
                        type='LabelSmoothLoss',
                        label_smooth_val=meta['smoothing'],
                        mode='original',
                    ),
                ),
            )
        )
        state = {
            mmpretrain_name(k[3:]): torch.from_numpy(self.arrays[k])
            for k in self.arrays.files
            if k.startswith('sd/')
        }
        model.load_state_dict(state, strict=True)
        return model.train()

    def check_gradients(self, loss):
        loss.backward()
        named = dict(self.model.named_parameters())
        keys = [k for k in self.arrays.files if k.startswith('grad/')]
        assert keys
        for key in keys:
            close(named[mmpretrain_name(key[5:])].grad, self[key], 1e-4)


def mmpretrain_name(timm):
    if timm.startswith('head'):
        return f'head.layers.{timm}'
    for old, new in (
        ('patch_embed.proj', 'patch_embed.projection'),
        ('blocks.', 'layers.'),
        ('mlp.fc1', 'ffn.layers.0.0'),
        ('mlp.fc2', 'ffn.layers.1'),
        ('norm1', 'ln1'),
        ('norm2', 'ln2'),
    ):
        timm = timm.replace(old, new)
    if timm.startswith('norm.'):
        timm = timm.replace('norm.', 'ln1.')
    return f'backbone.{timm}'


def check_tlalign(path):
    golden = Golden(path, 'TLAlign')
    meta, backbone, head = golden.meta, golden.model.backbone, golden.model.head

    np.random.seed(meta['mix_seed'])
    np.random.rand()
    drawn = np.random.beta(meta['cutmix_alpha'], meta['cutmix_alpha'])
    assert drawn == golden['lam_beta']
    assert clipped_box(tuple(meta['grid']), float(golden['lam_beta'])) == tuple(
        golden['box']
    )

    np.random.seed(meta['mix_seed'])
    augment = TokenCutMix(meta['cutmix_alpha'], patch_size=meta['patch_size'])
    mix = augment.mix(golden.images, golden.labels)
    close(mix.images, golden['mixed'], 0)
    close(mix.token_share(tuple(meta['grid']))[0, :, 0], golden['mask'], 0)
    close(1 - mix.area(), np.full(len(mix.images), golden['lam']), 1e-6)
    close(golden.smooth(mix.target(mix.area())), golden['target_area'], 1e-6)

    # The method as it trains: one share column.
    with head.trace(backbone, mix) as seen:
        feats = golden.model.extract_feat(mix.images)
    ratios = torch.stack([s[..., 0] for s in seen.history])
    close(ratios, golden['derived/ratio_b_layers'][1:], 1e-5)
    shares = head.partner_shares(mix, seen)
    close(golden.smooth(mix.target(shares[0])), golden['target_aligned'], 1e-5)
    scores = head.output_scores(feats)
    close(scores[0], golden['logits'], 1e-4)
    loss_area = head.loss_module(scores[0], mix.target(mix.area()))
    close(loss_area, golden['loss_area'], 1e-4)
    if golden.distilled:
        close(scores[1], golden['logits_dist'], 1e-4)
        loss = head.loss_module(scores[0], mix.target(shares[0]))
    else:
        loss = head.loss(feats, None, mix, seen)['loss']
    close(loss, golden['loss'], 1e-4)
    golden.check_gradients(loss)

    # The textbook form: K label columns from the golden start.
    layers, start = golden['label_layers'], torch.from_numpy(golden['label_in'])
    begin = MixTracer(backbone, mix).share
    smooth = golden.smooth(golden.labels)
    close(torch.lerp(smooth[:, None], smooth[mix.partner][:, None], begin), start, 1e-6)
    full = run_trace(backbone, mix, start)
    close(torch.stack(full.history), layers, 1e-5)
    before = np.concatenate([start[None], layers[:-1]])
    close(
        2 * torch.stack(full.history) - torch.from_numpy(before),
        golden['label_attn'],
        1e-5,
    )

    # The attention of every layer: one layer moves the identity.
    eye = torch.eye(start.shape[1]).expand(len(start), -1, -1)
    for layer, attention in enumerate(golden['attn_mean']):
        alone = run_trace(backbone, mix, eye, layers=[layer], residual=False)
        close(alone.share, attention, 1e-5)


def run_trace(backbone, mix, start, **options):
    context = attach(backbone)
    plain = MixTracer(backbone, mix)
    tracer = Tracer(start, plain.grid, plain.prefix, context.attentions, **options)
    with trace_forward(backbone, tracer):
        backbone(mix.images)
    return tracer


def check_transmix(path):
    golden = Golden(path, 'TransMix')
    meta, head = golden.meta, golden.model.head
    cutmix = bool(golden['use_cutmix'])

    # The official code draws whether to mix, which method, then the ratio.
    np.random.seed(meta['mix_seed'])
    if meta['mixup_alpha'] > 0 and meta['cutmix_alpha'] > 0:
        np.random.rand()
    augment = CutMix(meta['cutmix_alpha']) if cutmix else Mixup(meta['mixup_alpha'])
    mix = augment.mix(golden.images, golden.labels)
    close(mix.images, golden['mixed'], 0 if cutmix else 1e-6)
    close(1 - mix.area(), np.full(len(mix.images), golden['lam']), 1e-6)

    with head.trace(golden.model.backbone, mix) as seen:
        feats = golden.model.extract_feat(mix.images)
    close(seen.rows[:, 0], golden['attn_cls_heads'].mean(axis=1), 1e-5)
    close(seen.rows[:, 0, 1:], golden['attn'], 1e-5)
    (share,) = head.partner_shares(mix, seen)
    if cutmix:
        top, bottom, left, right = golden['box']
        drawn = torch.zeros(mix.mask.shape)
        drawn[..., top:bottom, left:right] = 1
        close(mix.mask, drawn, 0)
        close(seen.mask[0], golden['mask_token'], 0)
        looked = seen.rows[:, 0, 1:] * seen.mask
        close(looked.sum(1), golden['w2'], 1e-5)
        close(mix.area(), np.full(len(mix.images), golden['lam0']), 1e-6)
        close(seen.output_shares()[0], golden['lam1'], 1e-5)
        close(share, golden['lam_b'], 1e-5)
        close(golden.smooth(mix.target(mix.area())), golden['target_area'], 1e-6)
        close(golden.smooth(mix.labels), golden['y1'], 1e-6)
        close(golden.smooth(mix.labels[mix.partner]), golden['y2'], 1e-6)
    close(golden.smooth(mix.target(share)), golden['target_final'], 1e-5)
    close(head(feats), golden['logits'], 1e-4)
    loss = head.loss(feats, None, mix, seen)['loss']
    close(loss, golden['loss'], 1e-4)
    golden.check_gradients(loss)


CHECKS = {
    'tlalign_vit': check_tlalign,
    'transmix_vit': check_transmix,
    'dhvt_cifar': check_dhvt,
    'dhvt_patch': check_dhvt,
    'dhvt_tlalign_proposal': check_dhvt_tlalign,
    'esvit_eval': check_esvit_eval,
    'esvit_head': check_esvit_head,
    'esvit_regionloss': check_esvit_regionloss,
    'esvit_schedule': check_esvit_schedule,
    'esvit_swin': check_esvit_swin,
    'esvit_viewloss': check_esvit_viewloss,
    'labelmap_crop': check_labelmap_crop,
    'tokenlabel_loss': check_tokenlabel_loss,
    'lvvit_mixtoken': check_lvvit_mixtoken,
    'lvvit_': check_lvvit,
    'presence_': check_presence,
    'labels_': check_labels,
    'emptybox_': check_emptybox,
    'attention_quality_': check_attention_quality,
    'heads_': check_heads,
    'attack': check_attack,
    'occlusion': check_occlusion,
    'robust': check_robust,
    'mixers_timm_': check_timm,
    'mixers_timm1_': check_timm1,
    'mixers_maskmix': check_maskmix,
    'mixers_attentive': check_attentive,
    'mixers_smmix': check_smmix,
    'mixers_mlp_mixer': check_mixer,
    'mixers_mlp_resmlp': check_resmlp,
    'mixers_mlp_depthwise': check_depthwise,
    'mixers_saliency': check_saliency,
    'mixers_puzzle': check_puzzle,
    'mixers_external': check_external,
    'mixers_tokenmix': check_tokenmix,
}
DHVT = [n for n in FILES if n.startswith(('dhvt_cifar', 'dhvt_patch'))]
LVVIT = [n for n in FILES if n.startswith('lvvit_')]


@pytest.mark.parametrize('name', sorted(FILES))
def test_golden(name, monkeypatch):
    if name.startswith('mmcv_ops_'):
        return check_mmcv_ops(FILES[name], monkeypatch)
    for prefix, check in CHECKS.items():
        if name.startswith(prefix):
            return check(FILES[name])
    pytest.skip(f'{name}: the package has no such method yet')


def test_golden_files_are_here():
    assert {p for p in CHECKS for f in FILES if f.startswith(p)} == set(CHECKS)


@pytest.mark.parametrize('wrong', ['no residual', 'last layer', 'area'])
def test_golden_separates_wrong_variants(wrong):
    """A tracer that is slightly wrong must miss the golden target."""
    golden = Golden(HERE / 'tlalign_vit_a.npz', 'TLAlign')
    np.random.seed(golden.meta['mix_seed'])
    mix = TokenCutMix(patch_size=golden.meta['patch_size']).mix(
        golden.images, golden.labels
    )
    options = {'no residual': dict(residual=False), 'last layer': dict(layers=[-1])}
    if wrong == 'area':
        share = mix.area()
    else:
        start = MixTracer(golden.model.backbone, mix).share
        tracer = run_trace(golden.model.backbone, mix, start, **options[wrong])
        share = tracer.output_shares('class')[0][:, 0]
    target = golden.smooth(mix.target(share))
    assert (target - torch.from_numpy(golden['target_aligned'])).abs().max() > 1e-3


def test_gradient_would_show_a_leak():
    """The share has no gradient, whatever the input."""
    golden = Golden(HERE / 'tlalign_vit_a.npz', 'TLAlign')
    mix = Mix.unmixed(golden.images.requires_grad_(), golden.labels)
    with golden.model.head.trace(golden.model.backbone, mix) as seen:
        golden.model.extract_feat(mix.images)
    assert not any(s.requires_grad for s in seen.history)


@pytest.mark.parametrize('name', DHVT)
def test_dhvt_in_single_precision(name):
    check_dhvt_single_precision(FILES[name])


@pytest.mark.parametrize('name', LVVIT)
def test_lvvit_in_single_precision(name):
    check_lvvit_single_precision(FILES[name])
