"""EsViT's golden numbers: head, losses, network, schedules and evaluation.

Every setting is read from the file; tests/methods/test_esvit_golden.py makes files of
other settings. Tolerances are those of the files' own description.
"""

import numpy as np
import torch
from golden_files import close
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.registry import PARAM_SCHEDULERS
from repository import ROOT
from torch import nn

from mmtlalign.checkpoint.convert import convert
from mmtlalign.evaluation.regions import attention_entropy, flip_correspondence
from mmtlalign.methods.esvit.crops import group_views
from mmtlalign.methods.esvit.head import EsViTHead
from mmtlalign.methods.esvit.hook import (
    clip_each_,
    teacher_momentum,
    teacher_temperature,
)
from mmtlalign.methods.esvit.loss import (
    Views,
    match_regions,
    region_loss,
    teacher_probabilities,
    view_loss,
)
from mmtlalign.methods.features import block_features
from mmtlalign.methods.knn import top_classes

SCHEDULE = ROOT / 'configs' / '_base_' / 'schedules' / 'esvit_300e.py'

OUTPUT = dict(tolerance=1e-5)
GRADIENT = dict(tolerance=1e-4)
# Our name and the official one.
HEADS = {'head': 'head', 'region_head': 'head_dense'}
EXACT = dict(tolerance=1e-6)


class Arrays:
    """The arrays of one file as tensors, and those under a beginning as a dict."""

    def __init__(self, path):
        self.arrays = np.load(path, allow_pickle=False)

    def __getitem__(self, key):
        return torch.from_numpy(self.arrays[key])

    def under(self, beginning):
        """Tensors whose names begin so, by the rest; there must be some."""
        names = [k for k in self.arrays.files if k.startswith(beginning)]
        assert names
        return {name[len(beginning) :]: self[name] for name in names}


def head_settings(weights):
    """Sizes of a head with these weights."""
    mlp = [weights[k] for k in weights if k.startswith('mlp') and k.endswith('weight')]
    linear = [weight for weight in mlp if weight.ndim == 2]
    return dict(
        in_channels=linear[0].shape[1],
        out_channels=len(weights['last_layer.weight_v']),
        hidden_channels=len(linear[0]),
        bottleneck_channels=len(linear[-1]),
        num_layers=len(linear),
        use_bn=len(mlp) > len(linear),
    )


def assert_all_loaded(missing, unexpected):
    """Batch norm is as fresh as in the official code, and so are centres."""
    assert not unexpected
    fresh = ('running', 'num_batches', 'centers.')
    assert all(any(part in name for part in fresh) for name in missing)


def check_esvit_head(path):
    golden = Arrays(path)
    for case in dict.fromkeys(k.split('/')[0] for k in golden.arrays.files):
        weights = golden.under(f'{case}/w/')
        learns = golden[f'{case}/requires_grad/last_layer.weight_g'].item()
        head = EsViTHead(**head_settings(weights), norm_last_layer=not learns)
        assert_all_loaded(*head.load_state_dict(weights, strict=False))
        trained = {k: int(p.requires_grad) for k, p in head.named_parameters()}
        wanted = golden.under(f'{case}/requires_grad/')
        assert trained == {k: v.item() for k, v in wanted.items()}

        inputs = golden[f'{case}/x'].requires_grad_()
        out = head(inputs)
        close(out, golden[f'{case}/y'], **OUTPUT)
        (out * golden[f'{case}/probe']).sum().backward()
        close(inputs.grad, golden[f'{case}/grad_x'], **GRADIENT)
        named = dict(head.named_parameters())
        for name, gradient in golden.under(f'{case}/grad/').items():
            close(named[name].grad, gradient, **GRADIENT)


class LossFile(Arrays):
    """Settings of a file of losses, and what its steps share."""

    def __init__(self, path):
        super().__init__(path)
        self.student_temp = self['student_temp'].item()
        self.momentum = self['center_momentum'].item()

    def views(self):
        """All views of one run, without regions: how they are grouped is the same."""
        return Views(self['batch'].item(), (self['ncrops'].item(),), (1,))

    def temperature(self, step):
        """The product's, of the settings; checked against the file's."""
        names = ('warmup_teacher_temp', 'teacher_temp', 'warmup_teacher_temp_epochs')
        settings = [self[name].item() for name in names]
        temperatures = [
            teacher_temperature(epoch, *settings) for epoch in range(self['nepochs'])
        ]
        close(temperatures, self['teacher_temp_schedule'], 1e-6)
        return temperatures[self[f'{step}/epoch']]

    def steps(self):
        return [f'step{i}' for i in range(self['n_steps'].item())]


def moved(center, logits, momentum):
    return center * momentum + logits.mean(dim=0, keepdim=True) * (1 - momentum)


def check_esvit_viewloss(path):
    golden = LossFile(path)
    views, center = golden.views(), golden['center_init']

    def check(step, mixing=None):
        student = golden[f'{step}/student'].requires_grad_()
        targets = teacher_probabilities(
            golden[f'{step}/teacher'], center, golden.temperature(step)
        )
        loss = view_loss(student, targets, views, golden.student_temp, mixing)
        close(loss, golden[f'{step}/loss'], **OUTPUT)
        (gradient,) = torch.autograd.grad(loss, student)
        close(gradient, golden[f'{step}/grad_student'], **EXACT)

    check('mix', golden['mix/targets'])
    for step in golden.steps():
        check(step)
        center = moved(center, golden[f'{step}/teacher'], golden.momentum)
        close(center, golden[f'{step}/center_after'], **EXACT)


def check_esvit_regionloss(path):
    golden = LossFile(path)
    batch, count = golden['batch'].item(), golden['ncrops'].item()
    views = Views(batch, (2, count - 2), tuple(golden['step0/s_npatch'].tolist()))
    centers = [golden['center_init'], golden['center_grid_init']]
    for step in golden.steps():
        student = [golden[f'{step}/s_{k}'].requires_grad_() for k in ('cls', 'region')]
        teacher = [golden[f'{step}/t_{k}'] for k in ('cls', 'region')]
        features = golden[f'{step}/s_fea'], golden[f'{step}/t_fea']
        targets = [
            teacher_probabilities(logits, center, golden.temperature(step))
            for logits, center in zip(teacher, centers)
        ]
        view = view_loss(student[0], targets[0], views, golden.student_temp)
        region = region_loss(
            student[1], targets[1], *features, views, golden.student_temp
        )
        close(view, golden[f'{step}/view_term'], 2e-5)
        close(region, golden[f'{step}/region_term'], 2e-5)
        total = 0.5 * view + 0.5 * region
        close(total, golden[f'{step}/loss'], **OUTPUT)
        for kind, gradient in zip(
            ('cls', 'region'), torch.autograd.grad(total, student)
        ):
            close(gradient, golden[f'{step}/grad_s_{kind}'], **EXACT)

        matches = match_regions(*features, views)
        of_view = [v for part in views.split(matches) for v in part]
        for name, wanted in golden.under(f'{step}/match/').items():
            teacher_view, view = (int(part[1:]) for part in name.split('_'))
            assert torch.equal(of_view[view][..., teacher_view], wanted)
        centers = [moved(c, t, golden.momentum) for c, t in zip(centers, teacher)]
        close(centers[0], golden[f'{step}/center_after'], **EXACT)
        close(centers[1], golden[f'{step}/center_grid_after'], **EXACT)


def stage_settings(golden):
    """mmpretrain's settings of each stage: what the official constructor chose."""
    eps = dict(norm_cfg=dict(type='LN', eps=golden['cfg/ln_eps'].item()))
    depths = golden['cfg/depths'].tolist()
    windows = golden['cfg/window_per_block'].split(depths)
    shifts = golden['cfg/shift_per_block'].split(depths)
    settings = []
    for window, shift in zip(windows, shifts):
        assert len(window.unique()) == 1
        stage = dict(block_cfgs=dict(eps), downsample_cfg=eps)
        stage['window_size'] = window[0].item()
        if not shift.any():
            stage['block_cfgs']['shift'] = False
        settings.append(stage)
    settings[-1].pop('downsample_cfg')
    return settings, eps


def build_esvit(golden):
    """EsViT of a file's sizes and weights; student and teacher are alike."""
    init_default_scope('mmpretrain')
    size = {k: v.item() for k, v in golden.under('cfg/').items() if v.ndim == 0}
    stages, eps = stage_settings(golden)
    for stage in stages:
        stage['block_cfgs']['ffn_ratio'] = size['mlp_ratio']
    backbone = dict(
        type='SwinTransformer',
        arch=dict(
            embed_dims=size['embed_dim'],
            depths=golden['cfg/depths'].tolist(),
            num_heads=golden['cfg/num_heads'].tolist(),
        ),
        img_size=size['img_size'],
        patch_size=size['patch_size'],
        window_size=size['window_size'],
        pad_small_map=True,
        norm_cfg=eps['norm_cfg'],
        patch_cfg=eps,
        stage_cfgs=stages,
        out_indices=(len(stages) - 1,),
    )
    heads = {
        ours: dict(
            type='mmtlalign.EsViTHead',
            **head_settings(golden.under(f'w/{theirs}.')),
        )
        for ours, theirs in HEADS.items()
    }
    model = MODELS.build(dict(type='mmtlalign.EsViT', backbone=backbone, **heads))
    official = golden.under('w/')
    weights = convert(official, 'esvit')
    for ours, theirs in HEADS.items():
        for name, value in official.items():
            if name.startswith(f'{theirs}.'):
                weights[ours + name[len(theirs) :]] = value
    teacher = {f'teacher.{name}': value for name, value in weights.items()}
    assert_all_loaded(*model.load_state_dict(weights | teacher, strict=False))
    return model


def check_esvit_swin(path):
    golden = Arrays(path)
    model = build_esvit(golden).eval()
    crops = [golden[f'in/crop{i}'] for i in range(len(golden.under('in/')))]
    first = dict(global0=crops[0])
    if len(crops) > 2:
        first['local0'] = crops[2]
    with torch.no_grad():
        runs = [images for _, images in group_views(crops, 2)]
        for parts in (model.student(), model.teacher):
            out = model._run(parts, runs)
            close(out.view, golden['out/cls'], 1e-4)
            close(out.region, golden['out/region'], 1e-4)
            close(out.features, golden['out/fea'], 2e-5)
            assert list(out.tokens) == golden['out/npatch'].tolist()
        for name, images in first.items():
            close(model.extract_feat(images), golden[f'{name}/pooled'], 2e-5)
        for name, features in golden.under('global0/last').items():
            if name.isdigit():
                ours = block_features(model.backbone, crops[0], int(name))
                close(ours, features, 2e-5)
        attention = []
        softmax = model.backbone.stages[-1].blocks[-1].attn.w_msa.softmax
        softmax.register_forward_hook(lambda m, args, out: attention.append(out))
        model.backbone(crops[0])
        close(attention[0], golden['global0/last_attn'], 2e-5)


def schedule(golden):
    """The shipped recipe with the settings of a file."""
    epochs, warmup_epochs = golden['epochs'].item(), golden['warmup_epochs'].item()
    low, high = golden['wd_range'].tolist()
    cfg = Config.fromfile(SCHEDULE)
    warmup, cosine, decay = cfg.param_scheduler
    whole = cosine.end
    assert [warmup.get('begin', 0), warmup.end, decay.end] == [0, cosine.begin, whole]
    warmup.end = cosine.begin = warmup_epochs
    cosine.end = decay.end = epochs
    cosine.eta_min, decay.eta_min = golden['min_lr'].item(), high
    cfg.optim_wrapper.optimizer.lr = golden['base_lr'].item()
    # 0 would stay 0, as a rate would.
    cfg.optim_wrapper.optimizer.weight_decay = max(low, 1e-12)
    if not warmup_epochs:
        cfg.param_scheduler = [cosine, decay]
    return cfg


def check_esvit_schedule(path):
    golden = Arrays(path)
    cfg = schedule(golden)
    init_default_scope('mmpretrain')
    wrapper = build_optim_wrapper(nn.Linear(2, 2), cfg.optim_wrapper)
    schedulers = []
    for setting in cfg.param_scheduler:
        setting = dict(setting, epoch_length=golden['iters_per_epoch'].item())
        assert setting.pop('convert_to_iter_based')
        kind = PARAM_SCHEDULERS.get(setting.pop('type'))
        schedulers.append(kind.build_iter_from_epoch(wrapper, **setting))
    group, flat = wrapper.optimizer.param_groups
    steps = len(golden['lr'])
    assert steps == golden['epochs'] * golden['iters_per_epoch']
    rates, decays = [], []
    for _ in range(steps):
        rates.append(group['lr'])
        decays.append(group['weight_decay'])
        assert flat['weight_decay'] == 0
        wrapper.step()
        for scheduler in schedulers:
            scheduler.step()
    # Relative: the file's rates, and the one it names, are of single precision.
    close(torch.tensor(rates).double(), golden['lr'], 1e-9, relative=2e-7)
    close(torch.tensor(decays).double(), golden['wd'], 1e-6)
    base = golden['momentum_base'].item()
    momenta = [teacher_momentum(step, steps, base) for step in range(steps)]
    close(torch.tensor(momenta), golden['momentum'], 1e-6)
    check_groups(golden, cfg.optim_wrapper)

    before, after = golden.under('clip/before/'), golden.under('clip/after/')
    norms = clip_each_(list(before.values()), golden['clip/max_norm'].item())
    close(torch.stack(norms), golden['clip/returned_norms'], 1e-6, relative=1e-6)
    for name, gradient in before.items():
        close(gradient, after[name], 1e-6)


def check_groups(golden, optim):
    """Which parameters decay, and which do not learn, by their official names."""
    wanted = dict(
        zip(golden.arrays['param_names'].tolist(), golden['param_group'].tolist())
    )
    depths = {}
    for name in wanted:
        if '.blocks.' in name:
            stage, block = (int(part) for part in name.split('.')[1:4:2])
            depths[stage] = max(depths.get(stage, 0), block + 1)
    heads = {
        ours: dict(
            type='mmtlalign.EsViTHead',
            in_channels=2 ** (len(depths) + 1),
            out_channels=4,
            hidden_channels=4,
            bottleneck_channels=4,
            norm_last_layer=wanted[f'{theirs}.last_layer.weight_g'] == -1,
        )
        for ours, theirs in HEADS.items()
        if f'{theirs}.last_layer.weight_g' in wanted
    }
    arch = dict(embed_dims=4, depths=list(depths.values()), num_heads=[1] * len(depths))
    out = (len(depths) - 1,)
    backbone = dict(type='SwinTransformer', arch=arch, out_indices=out)
    model = MODELS.build(dict(type='mmtlalign.EsViT', backbone=backbone, **heads))
    groups = build_optim_wrapper(model, optim).optimizer.param_groups
    decays = {id(p): g['weight_decay'] for g in groups for p in g['params']}
    assert set(decays.values()) == {0, optim.optimizer.weight_decay}
    # Every tensor is filled with the number of its group, then renamed.
    number = dict.fromkeys(model.state_dict(), -1)
    for name, param in model.named_parameters():
        if id(param) in decays:
            number[name] = int(decays[id(param)] == 0)
    filled = {k: v.new_full(v.shape, number[k]) for k, v in model.state_dict().items()}
    backbone = {k: v for k, v in filled.items() if k.startswith('backbone.')}
    found = convert(backbone, 'esvit', reverse=True)
    for ours, theirs in HEADS.items():
        for name, value in filled.items():
            if name.startswith(f'{ours}.'):
                found[theirs + name[len(ours) :]] = value
    assert {name: value.unique().tolist() for name, value in found.items()} == {
        name: [group] for name, group in wanted.items()
    }
    # The teacher never learns.
    assert not any(p.requires_grad for p in model.teacher.parameters())


def check_esvit_eval(path):
    golden = Arrays(path)
    ks = golden['knn/ks'].tolist()
    ranked = top_classes(
        golden['knn/test_x'],
        golden['knn/train_x'],
        golden['knn/train_y'],
        ks,
        golden['knn/num_classes'].item(),
        golden['knn/temperature'].item(),
    )
    for k, accuracies in zip(ks, golden['knn/top1_top5'].tolist()):
        right = (ranked[k] == golden['knn/test_y'][:, None]).double()
        for top, theirs in zip((1, 5), accuracies):
            ours = 100 * right[:, :top].sum(dim=1).mean().item()
            low, high = knn_bounds(golden.arrays, k, top)
            assert low - 1e-4 <= min(ours, theirs) <= max(ours, theirs) <= high + 1e-4

    for index, (accuracy, distance, after) in enumerate(golden['corr/acc_dist_sim']):
        pairs = golden['corr/topk'].item()
        found = flip_correspondence(
            golden[f'corr/{index}/f1'],
            golden[f'corr/{index}/f2'],
            golden['corr/grid'].item(),
            golden['corr/cell'].item(),
            pairs,
        )
        close(found.accuracy, accuracy, 1e-6)
        close(found.distance, distance, 1e-3)
        # The official code returns that of the pair after the last one.
        close(found.similarities[pairs], after, 1e-5)

    # Of the first window.
    entropy = attention_entropy(golden['entropy/attn'])[0]
    close(entropy, golden['entropy/value'], 1e-5)
    certain = torch.eye(4).expand(2, -1, -1)
    close(attention_entropy(certain), torch.zeros(2), 0)


def knn_bounds(arrays, k, top):
    """Least and greatest accuracy in percent, whatever the order of ties.

    Neighbours tie for the last of k places, and classes by equal votes: above all those
    that no neighbour has, where they are of fewer than five classes. Without ties the
    bounds are one number.
    """
    temperature = float(arrays['knn/temperature'])
    cosines = arrays['knn/test_x'].astype(float) @ arrays['knn/train_x'].T.astype(float)
    one_hot = np.eye(int(arrays['knn/num_classes']))[arrays['knn/train_y']]
    last = -np.partition(-cosines, k - 1, axis=1)[:, k - 1 : k]
    sure, tied = cosines > last + 1e-6, np.abs(cosines - last) <= 1e-6
    left = k - sure.sum(axis=1, keepdims=True)
    votes, tied = (np.exp(cosines / temperature) * sure) @ one_hot, tied @ one_hot
    # Of the places that are left, a class has what the others cannot fill.
    least = np.maximum(left - (tied.sum(axis=1, keepdims=True) - tied), 0)
    least, most = (
        votes + count * np.exp(last / temperature)
        for count in (least, np.minimum(tied, left))
    )
    # Votes of single precision.
    slack = 1e-6 / temperature
    truth = arrays['knn/test_y'][:, None]
    mine = [np.take_along_axis(votes, truth, axis=1) for votes in (least, most)]
    # A class with the true one's votes may stand before it; the first counts itself.
    at_worst = (most >= mine[0] * (1 - slack)).sum(axis=1) - 1
    at_best = (least > mine[1] * (1 + slack)).sum(axis=1)
    return [100 * (rank < top).mean() for rank in (at_worst, at_best)]
