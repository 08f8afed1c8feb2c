"""Golden numbers of the token-label losses: the official code's, and gradients.

Every setting is read from the file: sizes, box, weights, and from the names of its
losses which cases there are.
"""

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


class GoldenLosses:
    """One file: scores, and targets in the official layout (B, K, 2 + N)."""

    def __init__(self, path, dtype=torch.float64):
        self.arrays = np.load(path, allow_pickle=False)
        self.dtype = dtype
        # The files' own tolerance; in single precision a large loss is rounded more.
        relative = 0 if dtype == torch.float64 else 1e-6
        self.tolerance = dict(tolerance=1e-5, relative=relative)
        self.read = set()
        target = self.tensor('target_dense')
        self.true, self.map, self.tokens = (
            target[..., 0],
            target[..., 1],
            target[..., 2:].mT,
        )
        top, left, bottom, right = self['box'].tolist()
        self.box = (top, bottom, left, right)
        self.grid = grid_around(self.box, self.tokens.shape[1])

    def __getitem__(self, key):
        self.read.add(key)
        return self.arrays[key]

    def tensor(self, key):
        return torch.from_numpy(self[key]).to(self.dtype)

    def mixed(self, labels, box=None):
        """Class labels mixed by the area of the box, as this package does it."""
        mix = self.mix(labels, self.box if box is None else box)
        return mix.target(mix.area())

    def mix(self, labels, box):
        """The record of a batch whose box of tokens is exchanged."""
        mask = torch.from_numpy(box_mask(box, self.grid))[None, None]
        partner = torch.arange(len(labels)).flip(0)
        return Mix(torch.zeros(len(labels), 3, *self.grid), labels, partner, mask)

    def cases(self, family):
        """Names of the losses of a family, such as ``whalf_box_gt``."""
        names = [k.split('/')[1] for k in self.arrays if k.startswith(f'{family}/')]
        assert names
        return sorted(set(names))

    def check(self, key, loss, **scores):
        """Compare a loss, and its gradients where the file has them."""
        close(loss, self[key], **self.tolerance)
        named = [n for n in scores if f'{key}/grad_{n}' in self.arrays]
        if not named:
            return
        gradients = torch.autograd.grad(
            loss, [scores[n] for n in named], retain_graph=True, allow_unused=True
        )
        for name, gradient in zip(named, gradients):
            if gradient is None:  # of a term without weight
                gradient = torch.zeros_like(scores[name])
            close(gradient, self[f'{key}/grad_{name}'], **self.tolerance)


def grid_around(box, tokens):
    """Rows and columns of so many tokens, the box inside, as square as can be."""
    _, bottom, _, right = box
    grids = [(h, tokens // h) for h in range(1, tokens + 1) if tokens % h == 0]
    grids = [(h, w) for h, w in grids if h >= bottom and w >= right]
    return min(grids, key=lambda grid: abs(grid[0] - grid[1]))


def case_of(name, golden):
    """The settings that the name of a loss of the file stands for."""
    weight, *words = name.split('_')
    dense, cls = {
        'w1': (1.0, 1.0),
        'whalf': (float(golden['dense_weight']), 1.0),
        'clsonly': (0.0, 1.0),
        'auxonly': (1.0, 0.0),
    }[weight]
    assert set(words) <= {'box', 'nobox', 'gt', '2dtarget'}
    box = golden.box if 'box' in words else (0, 0, 0, 0)
    weights = dict(dense_weight=dense, cls_weight=cls)
    return weights, box, 'gt' in words, '2dtarget' in words


def everything_named(labels, tokens):
    """The same labels class by class, in falling order, one for each token."""
    values, indices = labels.expand(-1, tokens, -1).topk(labels.shape[-1], dim=-1)
    return TopKLabels(values, indices, torch.zeros_like(values[..., 0]))


def check_tokenlabel_loss(path):
    for dtype in (torch.float64, torch.float32):
        golden = GoldenLosses(path, dtype)
        cls = golden.tensor('cls_logits').requires_grad_()
        aux = golden.tensor('aux_logits').requires_grad_()
        check_targets(golden, cls)
        for family in ('tl', 'gt'):
            for name in golden.cases(family):
                check_case(golden, family, name, cls, aux)
        check_parts(golden, cls, aux)
        check_class_losses(golden, cls)
        unread = {k for k in golden.arrays if '/' in k} - golden.read
        assert not unread


def check_targets(golden, cls):
    """Class targets: corrected by the true label, and mixed by the box."""
    agree = golden.map.argmax(1) == torch.from_numpy(golden['gt_index'])
    close(agree, golden['agree'], 0)
    close(golden.true.argmax(1), golden['gt_index'], 0)
    close(1 - box_area(golden.box, golden.grid), golden['lam'], 1e-6)
    for key, target in class_targets(golden).items():
        close(golden.mixed(target), golden[f'expected_cls_target/{key}'], 1e-6)
        loss = soft_target_cross_entropy(cls, golden.mixed(target))
        close(loss, golden[f'parts/{key}_cls'], **golden.tolerance)


def class_targets(golden):
    return dict(box=golden.map, box_gt=trust_map(golden.map, golden.true))


def check_case(golden, family, name, cls, aux):
    """One loss: by the loss module, and by the head from maps in samples."""
    weights, box, corrected, hard = case_of(name, golden)
    # VOLO's loss corrects the class target always; plain labels have none.
    corrected = (corrected or family == 'gt') and not hard
    tokens = golden.tokens
    class_target = class_targets(golden)['box_gt' if corrected else 'box']
    if hard:
        class_target = golden.tensor('target_2d')
        tokens = class_target[:, None]
    key = f'{family}/{name}'
    loss = TokenLabelLoss(**weights)
    share = torch.from_numpy(box_mask(box, golden.grid)).flatten()
    partner = torch.arange(len(cls)).flip(0)
    raw = exchanged(aux, golden.grid, box)
    for target in (tokens, everything_named(tokens, aux.shape[1])):
        losses = loss(cls, golden.mixed(class_target, box), aux, target)
        assert ('loss_cls' in losses) == bool(weights['cls_weight'])
        assert ('loss_dense' in losses) == bool(weights['dense_weight'])
        golden.check(key, sum(losses.values()), cls=cls, aux=aux)
        # Scores as the network gives them, the box not put back: the same loss.
        losses = loss(cls, golden.mixed(class_target, box), raw, target, partner, share)
        golden.check(key, sum(losses.values()), cls=cls, aux=aux)

    head = TokenLabelClsHead(
        cls.shape[1],
        1,
        loss=dict(type='mmtlalign.TokenLabelLoss', **weights),
        class_target='both' if corrected else 'map',
        map_values='probabilities',
        missing='hard label',
    )
    head.scores = lambda feats: (cls, raw)
    mix = golden.mix(golden.tensor('target_2d') if hard else golden.true, box)
    maps = official_samples(golden.tensor('target_dense'), golden.grid)
    trace = MixedTokens(golden.grid, mix.token_share(golden.grid)[..., 0])
    losses = head.loss(None, len(maps) * [{}] if hard else maps, mix, trace)
    golden.check(key, sum(losses.values()), cls=cls, aux=aux)


def exchanged(tokens, grid, box):
    """The box of each image from the batch flipped."""
    top, bottom, left, right = box
    maps = tokens.unflatten(1, grid).clone()
    maps[:, top:bottom, left:right] = maps[:, top:bottom, left:right].flip(0)
    return maps.flatten(1, 2)


def check_parts(golden, cls, aux):
    losses = TokenLabelLoss(1, 0)(cls, None, aux, golden.tokens)
    close(losses['loss_dense'], golden['parts/aux'], **golden.tolerance)


def check_class_losses(golden, cls):
    """Losses of the class token alone, on maps of one cell and on plain labels."""
    pooled = golden.tensor('soft/target_B_C_2')[..., 1]
    golden.check('soft/loss_B_C_2', soft_target_cross_entropy(cls, pooled), cls=cls)
    hard = golden.tensor('target_2d')
    for key in ('soft/loss_2d', 'ste/loss_2d'):
        golden.check(key, soft_target_cross_entropy(cls, hard), cls=cls)
    repeated = golden.tensor('ste/logits_rep2')
    golden.check('ste/loss_rep2', soft_target_cross_entropy(repeated, hard))
