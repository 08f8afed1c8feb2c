"""EsViT's golden numbers: head, losses with their gradients, centres and matches."""

import numpy as np
import torch
from golden_files import close

from mmtlalign.heads import EsViTHead
from mmtlalign.selfsup import (
    Views,
    match_regions,
    region_loss,
    teacher_probabilities,
    view_loss,
)

OUTPUT = dict(tolerance=1e-5)
GRADIENT = dict(tolerance=1e-4)
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
