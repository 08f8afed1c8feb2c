"""EsViT's golden numbers: head, losses with their gradients, centres and matches."""

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
from mmtlalign.methods.esvit.hook import clip_each_, teacher_momentum
from mmtlalign.methods.esvit.loss import (
    Views,
    match_regions,
    region_loss,
    teacher_probabilities,
    view_loss,
)
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


def build_head(weights, **options):
    """A head of the weights' sizes, and with them; one that has no batch norm."""
    linear = [w for k, w in weights.items() if k.startswith('mlp') and w.ndim == 2]
    head = EsViTHead(
        in_channels=linear[0].shape[1],
        out_channels=len(weights['last_layer.weight_v']),
        hidden_channels=len(linear[0]),
        bottleneck_channels=len(linear[-1]),
        num_layers=len(linear),
        **options,
    )
    missing, unexpected = head.load_state_dict(weights, strict=False)
    assert not unexpected
    # Batch norm is as fresh as in the official code.
    assert all('running' in k or 'num_batches' in k for k in missing)
    return head


def check_esvit_head(path):
    golden = Arrays(path)
    for case in dict.fromkeys(k.split('/')[0] for k in golden.arrays.files):
        weights = golden.under(f'{case}/w/')
        # Every linear layer has a bias, and so has a batch norm.
        norms = sum(k.endswith('.weight') and w.ndim == 1 for k, w in weights.items())
        learns = golden[f'{case}/requires_grad/last_layer.weight_g'].item()
        head = build_head(weights, use_bn=norms > 0, norm_last_layer=not learns)
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
        return self['teacher_temp_schedule'][self[f'{step}/epoch']].item()

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
    settings, eps = stage_settings(golden)
    kinds, hidden, bottleneck = golden['cfg/head'].tolist()
    width = size['embed_dim'] * 2 ** (len(settings) - 1)
    head = dict(
        type='mmtlalign.EsViTHead',
        in_channels=width,
        out_channels=kinds,
        hidden_channels=hidden,
        bottleneck_channels=bottleneck,
    )
    for stage in settings:
        stage['block_cfgs']['ffn_ratio'] = size['mlp_ratio']
    model = MODELS.build(
        dict(
            type='mmtlalign.EsViT',
            backbone=dict(
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
                stage_cfgs=settings,
            ),
            head=head,
            region_head=head,
        )
    )
    official = golden.under('w/')
    weights = convert(official, 'esvit')
    for ours, theirs in HEADS.items():
        for name, value in official.items():
            if name.startswith(f'{theirs}.'):
                weights[ours + name[len(theirs) :]] = value
    teacher = {f'teacher.{name}': value for name, value in weights.items()}
    missing, unexpected = model.load_state_dict(weights | teacher, strict=False)
    assert sorted(missing) == ['centers.region.value', 'centers.view.value']
    assert not unexpected
    return model


def check_esvit_swin(path):
    golden = Arrays(path)
    model = build_esvit(golden).eval()
    crops = [golden[f'in/crop{i}'] for i in range(len(golden.under('in/')))]
    runs = [images for _, images in group_views(crops, 2)]
    with torch.no_grad():
        for parts in (model.student(), model.teacher):
            out = model._run(parts, runs)
            close(out.view, golden['out/cls'], 1e-4)
            close(out.region, golden['out/region'], 1e-4)
            close(out.features, golden['out/fea'], 2e-5)
            assert list(out.tokens) == golden['out/npatch'].tolist()
        close(model.extract_feat(crops[0]), golden['global0/pooled'], 2e-5)
        close(model.extract_feat(crops[-2]), golden['local0/pooled'], 2e-5)
        check_swin_inside(golden, model.backbone, crops[0])


def check_swin_inside(golden, backbone, images):
    """Means of the last blocks, and the attention of the last one."""
    blocks, seen, attention = [], [], []
    for number, stage in enumerate(backbone.stages):
        last = number == len(backbone.stages) - 1
        blocks += [(block, last) for block in stage.blocks]
    norm = getattr(backbone, f'norm{number}')
    hooks = [
        block.register_forward_hook(
            lambda module, args, out, last=last: seen.append(
                (norm(out) if last else out).mean(dim=1)
            )
        )
        for block, last in blocks
    ]
    softmax = blocks[-1][0].attn.w_msa.softmax
    hooks.append(softmax.register_forward_hook(lambda m, a, o: attention.append(o)))
    backbone(images)
    for hook in hooks:
        hook.remove()
    for count in (3, 4):
        close(torch.cat(seen[-count:], dim=1), golden[f'global0/last{count}'], 2e-5)
    close(attention[-1], golden['global0/last_attn'], 2e-5)


def shipped_schedule(epochs, warmup_epochs):
    """The shipped settings, for a training of another length."""
    cfg = Config.fromfile(SCHEDULE)
    warmup, cosine, decay = cfg.param_scheduler
    whole = cosine.end
    assert [warmup.get('begin', 0), warmup.end, decay.end] == [0, cosine.begin, whole]
    warmup.end = cosine.begin = warmup_epochs
    cosine.end = decay.end = epochs
    return cfg


def check_esvit_schedule(path):
    golden = Arrays(path)
    value = {k: golden[k].item() for k in ('epochs', 'iters_per_epoch', 'base_lr')}
    cfg = shipped_schedule(value['epochs'], golden['warmup_epochs'].item())
    model = nn.Linear(2, 2)
    optim = cfg.optim_wrapper
    # Kept in double precision, unlike the file's copy.
    optim.optimizer.lr = round(value['base_lr'], 9)
    low, high = golden['wd_range'].tolist()
    assert optim.optimizer.weight_decay == round(low, 7)
    assert cfg.param_scheduler[-1].eta_min == round(high, 7)
    assert cfg.param_scheduler[1].eta_min == round(golden['min_lr'].item(), 12)
    init_default_scope('mmpretrain')
    wrapper = build_optim_wrapper(model, optim)
    schedulers = []
    for setting in cfg.param_scheduler:
        setting = dict(setting)
        setting.pop('convert_to_iter_based')
        kind = PARAM_SCHEDULERS.get(setting.pop('type'))
        schedulers.append(
            kind.build_iter_from_epoch(
                wrapper, epoch_length=value['iters_per_epoch'], **setting
            )
        )
    group, flat = wrapper.optimizer.param_groups
    steps = len(golden['lr'])
    rates, decays = [], []
    for _ in range(steps):
        rates.append(group['lr'])
        decays.append(group['weight_decay'])
        assert flat['weight_decay'] == 0
        wrapper.step()
        for scheduler in schedulers:
            scheduler.step()
    close(torch.tensor(rates).double(), golden['lr'], 1e-9)
    close(torch.tensor(decays).double(), golden['wd'], 1e-6)
    base = round(golden['momentum_base'].item(), 7)
    assert cfg.custom_hooks[0].momentum == base
    momenta = [teacher_momentum(step, steps, base) for step in range(steps)]
    close(torch.tensor(momenta), golden['momentum'], 1e-6)
    check_groups(golden, optim)

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
    for k, (top1, top5) in zip(ks, golden['knn/top1_top5'].tolist()):
        right = ranked[k] == golden['knn/test_y'][:, None]
        close(100 * right[:, 0].double().mean(), top1, 1e-5)
        # Few neighbours are of few classes, and the rest of five are ties.
        close(100 * right.any(dim=1).double().mean(), top5, 1e-5 if k == max(ks) else 3)

    for index, wanted in enumerate(golden['corr/acc_dist_sim']):
        pairs = golden['corr/topk'].item()
        found = flip_correspondence(
            golden[f'corr/{index}/f1'],
            golden[f'corr/{index}/f2'],
            golden['corr/grid'].item(),
            golden['corr/cell'].item(),
            pairs,
        )
        close(found.accuracy, wanted[0], 1e-6)
        close(found.distance, wanted[1], 1e-3)
        # The official code returns that of the pair after the last one.
        close(found.similarities[pairs], wanted[2], 1e-5)

    # Of the first window.
    entropy = attention_entropy(golden['entropy/attn'])[0]
    close(entropy, golden['entropy/value'], 1e-5)
    certain = torch.eye(4).expand(2, -1, -1)
    close(attention_entropy(certain), torch.zeros(2), 0)
