"""Golden numbers of the token-label losses: the official code's, and gradients."""

import numpy as np
import torch
from golden_files import close
from label_samples import official_samples

from mmtlalign.methods.token_labeling.head import MixedTokens, TokenLabelClsHead
from mmtlalign.methods.token_labeling.loss import (
    TokenLabelLoss,
    TopKLabels,
    soft_target_cross_entropy,
    trust_map,
)
from mmtlalign.mixing.cutmix import box_area, box_mask
from mmtlalign.mixing.mix import Mix

TOLERANCE = dict(tolerance=1e-5)


class GoldenLosses:
    """One file: scores, and targets in the official layout (B, K, 2 + N)."""

    def __init__(self, path, dtype=torch.float64):
        self.arrays = np.load(path, allow_pickle=False)
        self.dtype = dtype
        self.seen = set()
        target = self.tensor('target_dense')
        self.true, self.map, self.tokens = (
            target[..., 0],
            target[..., 1],
            target[..., 2:].mT,
        )
        side = round(self.tokens.shape[1] ** 0.5)
        self.grid = (side, side)
        top, left, bottom, right = self['box'].tolist()
        self.box = (top, bottom, left, right)

    def __getitem__(self, key):
        self.seen.add(key)
        return self.arrays[key]

    def tensor(self, key):
        return torch.from_numpy(self[key]).to(self.dtype)

    def mixed(self, labels):
        """Class labels mixed by the area of the box, as this package does it."""
        mix = self.mix(labels, self.box)
        return mix.target(mix.area())

    def mix(self, labels, box):
        """The record of a batch whose box of tokens is exchanged."""
        mask = torch.from_numpy(box_mask(box, self.grid))[None, None]
        partner = torch.arange(len(labels)).flip(0)
        return Mix(torch.zeros(len(labels), 3, *self.grid), labels, partner, mask)

    def check(self, key, loss, **scores):
        """Compare a loss, and its gradients where the file has them."""
        close(loss, self[key], **TOLERANCE)
        wanted = [n for n in scores if f'{key}/grad_{n}' in self.arrays]
        if wanted:
            gradients = torch.autograd.grad(loss, [scores[n] for n in wanted])
            for name, gradient in zip(wanted, gradients):
                close(gradient, self[f'{key}/grad_{name}'], **TOLERANCE)


def everything_named(labels, tokens):
    """The same labels class by class, in falling order, one for each token."""
    values, indices = labels.expand(-1, tokens, -1).topk(labels.shape[-1], dim=-1)
    return TopKLabels(values, indices, torch.zeros_like(values[..., 0]))


def check_tokenlabel_loss(path):
    for dtype in (torch.float64, torch.float32):
        check_token_losses(GoldenLosses(path, dtype))


def check_token_losses(golden):
    cls = golden.tensor('cls_logits').requires_grad_()
    aux = golden.tensor('aux_logits').requires_grad_()
    scores = dict(cls=cls, aux=aux)
    half = float(golden['dense_weight'])
    blended = trust_map(golden.map, golden.true)
    agree = golden.map.argmax(1) == torch.from_numpy(golden['gt_index'])
    close(agree, golden['agree'], 0)
    close(golden.true.argmax(1), golden['gt_index'], 0)
    close(1 - box_area(golden.box, golden.grid), golden['lam'], 1e-6)
    close(golden.mixed(golden.map), golden['expected_cls_target/box'], 1e-6)
    close(golden.mixed(blended), golden['expected_cls_target/box_gt'], 1e-6)

    hard = golden.tensor('target_2d')
    cases = {
        'w1_nobox': ('code', 1, golden.map, golden.tokens),
        'w1_box': ('code', 1, golden.mixed(golden.map), golden.tokens),
        'whalf_box': ('paper', 1, golden.mixed(golden.map), golden.tokens),
        'whalf_box_gt': (half, 1, golden.mixed(blended), golden.tokens),
        'whalf_nobox_gt': (half, 1, blended, golden.tokens),
        'clsonly_box': (0, 1, golden.mixed(golden.map), golden.tokens),
        'auxonly_box': (1, 0, golden.mixed(golden.map), golden.tokens),
        'whalf_box_2dtarget': (half, 1, golden.mixed(hard), hard[:, None]),
    }
    assert half == 0.5  # what the file calls half is the paper's
    for name, (dense, weight, class_target, tokens) in cases.items():
        for target in (tokens, everything_named(tokens, aux.shape[1])):
            losses = TokenLabelLoss(dense, weight)(cls, class_target, aux, target)
            assert ('loss_cls' in losses) == bool(weight)
            assert ('loss_dense' in losses) == bool(dense)
            for family in ('tl', 'gt'):
                if f'{family}/{name}' in golden.arrays and (
                    family == 'tl' or 'gt' in name or '2d' in name
                ):
                    golden.check(f'{family}/{name}', sum(losses.values()), **scores)
    # VOLO's loss corrects the class target always.
    loss = TokenLabelLoss('paper')(cls, golden.mixed(blended), aux, golden.tokens)
    golden.check('gt/whalf_box', sum(loss.values()), **scores)
    check_parts(golden, cls, aux, blended)
    check_swapped(golden, cls, aux)
    check_head(golden, cls, aux)
    check_class_losses(golden, cls)
    unread = {k for k in golden.arrays if '/' in k} - golden.seen
    assert not unread


def check_parts(golden, cls, aux, blended):
    for key, target in (('box_cls', golden.map), ('box_gt_cls', blended)):
        loss = soft_target_cross_entropy(cls, golden.mixed(target))
        close(loss, golden[f'parts/{key}'], **TOLERANCE)
    losses = TokenLabelLoss(1, 0)(cls, None, aux, golden.tokens)
    close(losses['loss_dense'], golden['parts/aux'], **TOLERANCE)


def check_swapped(golden, cls, aux):
    """Scores as the network gives them, the box not put back: the same loss."""
    share = torch.from_numpy(box_mask(golden.box, golden.grid)).flatten()
    partner = torch.arange(len(cls)).flip(0)
    for tokens in (golden.tokens, everything_named(golden.tokens, len(share))):
        raw = exchanged(aux, golden.grid, golden.box)
        losses = TokenLabelLoss('code')(
            cls, golden.mixed(golden.map), raw, tokens, partner, share
        )
        golden.check('tl/w1_box', sum(losses.values()), cls=cls, aux=aux)


def check_head(golden, cls, aux):
    """The head, given scores as the network gives them, and maps in samples."""
    none = (0, 0, 0, 0)
    cases = {
        'w1_nobox': (none, 'map', dict(dense_weight='code')),
        'w1_box': (golden.box, 'map', dict(dense_weight='code')),
        'whalf_box': (golden.box, 'map', dict(dense_weight='paper')),
        'whalf_box_gt': (golden.box, 'both', dict(dense_weight='paper')),
        'whalf_nobox_gt': (none, 'both', dict(dense_weight='paper')),
        'clsonly_box': (golden.box, 'map', dict(dense_weight=0)),
        'auxonly_box': (golden.box, 'map', dict(dense_weight=1, cls_weight=0)),
        'whalf_box_2dtarget': (golden.box, 'map', dict(dense_weight='paper')),
    }
    maps = official_samples(golden.tensor('target_dense'), golden.grid)
    for name, (box, class_target, weights) in cases.items():
        head = TokenLabelClsHead(
            cls.shape[1],
            1,
            loss=dict(type='mmtlalign.TokenLabelLoss', **weights),
            class_target=class_target,
            map_values='probabilities',
            missing='hard label',
        )
        raw = exchanged(aux, golden.grid, box)
        head.scores = lambda feats, raw=raw: (cls, raw)
        without = '2dtarget' in name
        labels = golden.tensor('target_2d') if without else golden.true
        mix = golden.mix(labels, box)
        seen = MixedTokens(golden.grid, mix.token_share(golden.grid)[..., 0])
        losses = head.loss(None, len(maps) * [{}] if without else maps, mix, seen)
        golden.check(f'tl/{name}', sum(losses.values()), cls=cls, aux=aux)


def exchanged(tokens, grid, box):
    """The box of each image from the batch flipped."""
    top, bottom, left, right = box
    maps = tokens.unflatten(1, grid).clone()
    maps[:, top:bottom, left:right] = maps[:, top:bottom, left:right].flip(0)
    return maps.flatten(1, 2)


def check_class_losses(golden, cls):
    """Losses of the class token alone, on maps of one cell and on plain labels."""
    pooled = golden.tensor('soft/target_B_C_2')[..., 1]
    golden.check('soft/loss_B_C_2', soft_target_cross_entropy(cls, pooled), cls=cls)
    hard = golden.tensor('target_2d')
    for key in ('soft/loss_2d', 'ste/loss_2d'):
        golden.check(key, soft_target_cross_entropy(cls, hard))
    twice = golden.tensor('ste/logits_rep2')
    golden.check('ste/loss_rep2', soft_target_cross_entropy(twice, hard))
