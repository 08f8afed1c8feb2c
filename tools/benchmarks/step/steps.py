"""One training step of each variant, to be timed.

Each library runs it as its own training loop does: mmpretrain through
``model.train_step`` and an optimizer wrapper of mmengine, timm through a plain loop.
Images are on the device; labels are where the loader of the library leaves them: for
mmpretrain in the samples on the CPU, for timm on the device.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmpretrain.structures import DataSample
from timm.data import Mixup
from timm.loss import SoftTargetCrossEntropy
from torch import Tensor, nn

from mmtlalign.engine.optim import fuse_if_possible
from mmtlalign.fast.hooks import speed_up
from tools.benchmarks.step.models import Case, Network
from tools.benchmarks.step.variants import CLASSES, OURS, build, build_timm

PRECISIONS = {'fp32': None, 'fp16': torch.float16, 'bf16': torch.bfloat16}
MEASURES = {
    'step': 'mixing, forward, backward',
    'train': 'mixing, forward, backward, AdamW',
}
# 'stock': as the backbone is built; the others are kernels of FastAttentionHook, for
# our variants.
ATTENTIONS = ('stock', 'auto', 'fused', 'explicit')
RATES = dict(lr=1e-4, weight_decay=0.05)


class Batch:
    """Batch of random images and labels.

    Args:
        count: Number of images B.
        size: Their side in pixels.
        device: Device of the images.
    """

    def __init__(self, count: int, size: int, device: str):
        draw = torch.Generator().manual_seed(0)
        images = torch.randn(count, 3, size, size, generator=draw)
        self.images = images.to(device)
        self.labels = torch.arange(count) % CLASSES
        self.samples: list[DataSample] = []

    def renew(self) -> None:
        """Make new samples, because a step changes them."""
        self.samples = [DataSample().set_gt_label(label) for label in self.labels]


class NoStep(torch.optim.AdamW):
    """Optimizer that does not change the parameters."""

    def step(self, closure: Callable | None = None) -> None:
        """Do nothing."""


class Autocast(OptimWrapper):
    """Optimizer wrapper that autocasts the forward pass, without loss scaling."""

    def __init__(self, device: str, dtype: torch.dtype, **kwargs: Any):
        super().__init__(**kwargs)
        self.autocast = device, dtype

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast a forward pass."""
        with super().optim_context(model), torch.autocast(*self.autocast):
            yield


def make_step(
    network: Network, variant: str, batch: Batch, case: Case, compiled: bool = False
) -> Callable[[], Tensor]:
    """Return a call that does one step and returns the loss.

    Args:
        network: Network.
        variant: A name of ``VARIANTS``.
        batch: Renewed before each step.
        case: Its setting.
        compiled: Whether the backbone (in timm the model) is compiled.
    """
    if variant == 'timm':
        return _timm_step(build_timm(network, case.size), batch, case, compiled)
    model = build(network, variant, case.size).to(case.device)
    if case.attention != 'stock' and variant in OURS:
        speed_up(model, case.attention)
    if compiled:
        model.backbone.forward = torch.compile(model.backbone.forward)
    average = ExponentialMovingAverage(model) if variant == 'ema' else None
    return train_step(model, batch, case, variant in OURS, average)


def train_step(
    model: nn.Module,
    batch: Batch,
    case: Case,
    ours: bool = True,
    average: nn.Module | None = None,
) -> Callable[[], Tensor]:
    """Return a call that does one step of a classifier as mmengine does it.

    Args:
        model: Classifier of mmpretrain.
        batch: Renewed before each step.
        case: Its setting.
        ours: Whether the optimizer is built as the runner of this package does.
        average: Averaged copy that follows. Defaults to None.
    """
    optimizer = functools.partial(_optimizer, model, case)
    fused = ours and case.measure == 'train' and not _scales(case)
    wrapper = _wrapper(fuse_if_possible(optimizer) if fused else optimizer(), case)
    # mmpretrain's CutMix pastes into the images that it is given.
    images = batch.images.clone()

    def step():
        data = dict(inputs=images, data_samples=batch.samples)
        loss = model.train_step(data, wrapper)['loss']
        if average is not None:
            average.update_parameters(model)
        return loss

    return step


def _timm_step(model: nn.Module, batch: Batch, case: Case, compiled: bool):
    model = model.to(case.device)
    optimizer = _optimizer(model, case)
    if compiled:
        model = torch.compile(model)
    mixup = Mixup(
        mixup_alpha=0.0, cutmix_alpha=1.0, label_smoothing=0.0, num_classes=CLASSES
    )
    criterion = SoftTargetCrossEntropy()
    images, labels = batch.images.clone(), batch.labels.to(case.device)
    dtype = PRECISIONS[case.precision]
    # Deprecated, but the only one that PyTorch 2.1 has, too.
    scaler = torch.cuda.amp.GradScaler() if _scales(case) else None

    def step():
        inputs, targets = mixup(images, labels)
        with torch.autocast(case.device, dtype, enabled=dtype is not None):
            loss = criterion(model(inputs), targets)
        if scaler is None:
            loss.backward()
            optimizer.step()
        else:
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        optimizer.zero_grad()
        return loss.detach()

    return step


def _optimizer(model: nn.Module, case: Case, **options) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if case.measure == 'train' else NoStep
    return kind(model.parameters(), **RATES, **options)


def _scales(case: Case) -> bool:
    """Return whether losses are scaled, as in training in float16."""
    return case.precision == 'fp16' and case.measure == 'train'


def _wrapper(optimizer: torch.optim.Optimizer, case: Case) -> OptimWrapper:
    if _scales(case):
        return AmpOptimWrapper(dtype='float16', optimizer=optimizer)
    dtype = PRECISIONS[case.precision]
    if dtype is None:
        return OptimWrapper(optimizer=optimizer)
    return Autocast(case.device, dtype, optimizer=optimizer)
