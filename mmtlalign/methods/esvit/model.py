"""EsViT: self-distillation of views and of regions. Without regions it is DINO.

Shapes: ``B`` images with ``V`` views each, ``n`` of them of one size, ``h, w`` pixels,
``R`` regions, ``M`` rows of logits, ``D`` channels, ``K`` prototypes; ``N`` whole
images.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from mmengine.dist import all_reduce
from mmpretrain.models import BaseSelfSupervisor
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmtlalign.errors import InputError
from mmtlalign.methods.esvit.crops import group_views, run_backbone, views_and_regions
from mmtlalign.methods.esvit.loss import (
    Views,
    region_loss,
    teacher_probabilities,
    view_loss,
)
from mmtlalign.registry import MODELS

# Weights of the view loss and the region loss. The paper adds the losses; the official
# code, with which the published weights were trained, takes half of each.
WEIGHTINGS = {'paper': (1.0, 1.0), 'code': (0.5, 0.5)}


class Center(nn.Module):
    """Running mean of the teacher's logits over the rows of all processes.

    DINO (arXiv 2104.14294), §3.1, equation 4. With gradient accumulation all batches of
    a step use the centre from before the step, and it is updated once.

    Args:
        channels: Number of prototypes K.
        momentum: Share of the old centre that is kept.
    """

    def __init__(self, channels: int, momentum: float = 0.9):
        super().__init__()
        self.momentum = momentum
        self.register_buffer('value', torch.zeros(1, channels))
        self.batch_means: list[Tensor] = []  # of this step

    @torch.no_grad()
    def add_batch(self, logits: Tensor) -> None:
        """Store the mean of a batch's logits (M, K), before any softmax."""
        self.batch_means.append(logits.mean(dim=0, keepdim=True, dtype=torch.float32))

    @torch.no_grad()
    def update(self) -> None:
        """Update the centre by the batches of this step; every process must call it."""
        mean = torch.stack(self.batch_means).mean(dim=0)
        self.batch_means.clear()
        all_reduce(mean, op='mean')
        self.value.mul_(self.momentum).add_(mean, alpha=1 - self.momentum)


class Outputs(NamedTuple):
    """Output of a network for a batch, rows as in :class:`Views`."""

    view: Tensor  # logits (V·B, K)
    region: Tensor | None  # logits (R, K)
    features: Tensor  # of the regions (R, D)
    tokens: tuple[int, ...]  # of a view, for each run of views of one size


@MODELS.register_module()
class EsViT(BaseSelfSupervisor):
    """Student trained to predict an EMA teacher's outputs for other views.

    EsViT (arXiv 2106.09785); DINO (arXiv 2104.14294) if ``region_head`` is None. The
    teacher and the centres are part of the model and of its state dict
    (``teacher.backbone`` and so on). The teacher starts as a copy of the student, has
    no dropout of any kind, and its batch norm uses its own batches. :class:`EsViTHook`
    updates it, and training without that hook raises an error.

    It needs the preprocessor ``SelfSupDataPreprocessor`` (the default) and
    ``collate_fn=dict(type='default_collate')``. The recipes of Swin use
    :class:`FastAttentionHook`, which computes the masks of shifted windows only once
    per size.

    Args:
        backbone (dict): Backbone whose last output is a map, tokens with a class token
            (``out_type='raw'``), or, without regions, one vector per image.
        head (dict): :class:`EsViTHead` for views.
        region_head (dict, optional): :class:`EsViTHead` for regions. Defaults to None:
            DINO.
        weighting (str | tuple[float, float]): ``'code'`` halves both losses, as in the
            official code; ``'paper'`` adds them; or two weights. Without regions the
            view loss has weight 1. Defaults to ``'code'``.
        student_temp (float): Temperature of the student. Defaults to 0.1.
        center_momentum (float): Share of the old centre kept. Defaults to 0.9.
        global_views (int): Number of views of each image, counted from the first, that
            the teacher sees. Defaults to 2.
        data_preprocessor (dict, optional): Defaults to None:
            ``SelfSupDataPreprocessor``.
        init_cfg (dict, optional): Initialisation. Defaults to None.

    Raises:
        InputError: A setting is invalid, the views do not fit, or a checkpoint has no
            teacher.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        region_head: dict | None = None,
        weighting: str | tuple[float, float] = 'code',
        student_temp: float = 0.1,
        center_momentum: float = 0.9,
        global_views: int = 2,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(
            backbone=backbone,
            head=head,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        if isinstance(weighting, str) and weighting not in WEIGHTINGS:
            raise InputError(
                f'weighting={weighting!r}: choose one of {sorted(WEIGHTINGS)}, or give '
                'the weights of the view loss and the region loss.'
            )
        if global_views < 2:
            raise InputError(
                f'global_views={global_views}: the teacher compares each of its views '
                'with the others; set 2 or more (the recipes have 2).'
            )
        self.region_head = MODELS.build(region_head) if region_head else None
        self.weights = (
            WEIGHTINGS[weighting] if isinstance(weighting, str) else weighting
        )
        self.student_temp = student_temp
        self.global_views = global_views
        self.teacher_temp: float | None = None  # set by the hook
        self.teacher = nn.ModuleDict(deepcopy(self.student())).requires_grad_(False)
        self.centers = nn.ModuleDict(
            {
                kind: Center(head.out_channels, center_momentum)
                for kind, head in (('view', self.head), ('region', self.region_head))
                if head is not None
            }
        )
        self._register_load_state_dict_pre_hook(self._check_teacher)

    def student(self) -> dict[str, nn.Module]:
        """Return the trained parts; the teacher has the same."""
        parts = dict(
            backbone=self.backbone, head=self.head, region_head=self.region_head
        )
        return {name: part for name, part in parts.items() if part is not None}

    def init_weights(self) -> None:
        """Initialise the student and copy it to the teacher."""
        super().init_weights()
        for name, part in self.student().items():
            self.teacher[name].load_state_dict(part.state_dict())

    def train(self, mode: bool = True) -> 'EsViT':
        """Set the mode; in the teacher only batch norm is put into training mode."""
        super().train(mode)
        self.teacher.eval()
        for module in self.teacher.modules():
            if isinstance(module, _BatchNorm):
                module.train(mode)
        return self

    def extract_feat(self, inputs: Tensor, network: str = 'teacher') -> Tensor:
        """Return view features (N, D), before the head, of whole images.

        Args:
            inputs: Normalised images (N, 3, h, w).
            network: ``'student'``, or ``'teacher'``, which is better.
        """
        parts = dict(teacher=self.teacher, student=self.student())[network]
        backbone = parts['backbone']
        return views_and_regions(backbone, run_backbone(backbone, inputs))[0]

    def loss(
        self, inputs: list[Tensor], data_samples: list | None = None
    ) -> dict[str, Tensor]:
        """Compute the losses of every student view with every other teacher view.

        Args:
            inputs: Normalised views (B, 3, h, w), global ones first; sizes may differ.
            data_samples: Not used.

        Returns:
            The weighted terms ``loss_view`` and ``loss_region``, which are summed, and
            for the log ``view_term`` and ``region_term`` as the paper defines them.
        """
        temperature = self.teacher_temp
        if temperature is None:
            raise InputError(
                'EsViT has no teacher temperature: its hook sets that and updates the '
                "teacher. Add custom_hooks=[dict(type='mmtlalign.EsViTHook')]."
            )
        runs = group_views(inputs, self.global_views)
        batch = len(inputs[0])
        with torch.no_grad():
            global_images = runs[0][1][: self.global_views * batch]
            teacher = self._run(self.teacher, [global_images])
        student = self._run(self.student(), [images for _, images in runs])
        views = Views(
            batch=batch,
            counts=tuple(count for count, _ in runs),
            tokens=student.tokens,
            global_views=self.global_views,
        )
        targets = self._targets('view', teacher.view, temperature)
        terms = dict(view=view_loss(student.view, targets, views, self.student_temp))
        weights: tuple[float, ...] = (1.0,)
        if self.region_head is not None:
            terms['region'] = region_loss(
                student.region,
                self._targets('region', teacher.region, temperature),
                student.features.detach(),
                teacher.features,
                views,
                self.student_temp,
            )
            weights = self.weights
        losses = {
            f'loss_{kind}': weight * term
            for (kind, term), weight in zip(terms.items(), weights)
        }
        return losses | {f'{kind}_term': term.detach() for kind, term in terms.items()}

    @torch.no_grad()
    def after_step(self, momentum: float) -> None:
        """Update centres and teacher after a step of the optimizer.

        Only parameters are averaged: batch norm of the teacher has the statistics of
        its own batches. mmpretrain's ``CosineEMA`` is not used, as it copies buffers
        and adds ``module.`` and ``steps`` to the keys of checkpoints.

        Args:
            momentum: EMA momentum of the teacher.
        """
        for center in self.centers.values():
            center.update()
        for name, part in self.student().items():
            teacher = list(self.teacher[name].parameters())
            student = [param.detach() for param in part.parameters()]
            torch._foreach_mul_(teacher, momentum)
            torch._foreach_add_(teacher, student, alpha=1 - momentum)

    def _run(self, parts: Mapping[str, nn.Module], runs: list[Tensor]) -> Outputs:
        """Run one network on views (n·B, 3, h, w) of each size; each head runs once."""
        backbone = parts['backbone']
        features = [
            views_and_regions(backbone, run_backbone(backbone, images))
            for images in runs
        ]
        tokens = tuple(regions.shape[1] for _, regions in features)
        regions = torch.cat([regions.flatten(0, 1) for _, regions in features])
        logits = None
        if self.region_head is not None:
            if 0 in tokens:
                raise InputError(
                    f'{type(backbone).__name__} gives one vector per image, but a '
                    "region head needs its map or tokens: set backbone.out_type='raw' "
                    '(ViT), or region_head=None for DINO.'
                )
            logits = parts['region_head'](regions)
        views = parts['head'](torch.cat([view for view, _ in features]))
        return Outputs(views, logits, regions, tokens)

    def _targets(self, kind: str, logits: Tensor, temperature: float) -> Tensor:
        """Return probabilities with the centre from before this step."""
        center = self.centers[kind]
        if self.training:  # in evaluation no step follows that updates the centre
            center.add_batch(logits)
        return teacher_probabilities(logits, center.value, temperature)

    @staticmethod
    def _check_teacher(state_dict: dict, prefix: str, *args: Any) -> None:
        names = [name for name in state_dict if name.startswith(prefix)]
        if names and not any(n.startswith(f'{prefix}teacher.') for n in names):
            raise InputError(
                'The checkpoint has no teacher, so it is not a checkpoint of EsViT '
                f'(its tensors: {", ".join(names[:3])}, …). To start student and '
                'teacher from a backbone, set model.backbone.init_cfg=dict('
                "type='Pretrained', checkpoint=…, prefix='backbone.')."
            )
