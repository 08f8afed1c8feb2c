"""Training steps with each mixer: its classifier, its extra passes, its measurement."""

import copy
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import torch
from mmengine.registry import MODELS as BUILDERS
from torch import nn

import mmtlalign.backbones  # noqa: F401  (registers our own)
from mmtlalign.tracing.support import backbone_spec
from tools.benchmarks import timing
from tools.benchmarks.peak_memory import peak_bytes
from tools.benchmarks.step.models import Case, Network
from tools.benchmarks.step.steps import Batch, train_step
from tools.benchmarks.step.variants import CLASSES

CUTMIX = 'cutmix'
NO_TARGET = 'plain'
# Column of the table -> prefix of the head's type.
TARGETS = {
    NO_TARGET: '',
    'tlalign': 'mmtlalign.TLAlign',
    'transmix': 'mmtlalign.TransMix',
}


@dataclass(frozen=True)
class Mixer:
    """A row of the table.

    Attributes:
        title: Its name.
        augment: Config of the augment.
        guide: Config of its guide, where it needs one.
        by_token: Whether its box or blocks are aligned to the grid of tokens.
        head: Part of the head's type after the target.
        head_options: Options of the head.
        tokens: Whether the head needs all tokens.
        targets: Targets that it has.
    """

    title: str
    augment: dict
    guide: dict | None = None
    by_token: bool = False
    head: str = ''
    head_options: dict = field(default_factory=dict)
    tokens: bool = False
    targets: tuple[str, ...] = tuple(TARGETS)


def _mixer(title: str, kind: str, **options: Any) -> Mixer:
    return Mixer(title, dict(type=f'mmtlalign.{kind}'), **options)


OWN = dict(type='mmtlalign.OwnAttention')
MIXERS = {
    CUTMIX: _mixer('CutMix', 'CutMix'),
    'mixup': Mixer('Mixup', dict(type='mmtlalign.Mixup', alpha=0.8)),
    'resizemix': _mixer('ResizeMix', 'ResizeMix'),
    'fmix': _mixer('FMix', 'FMix'),
    'gridmix': _mixer('GridMix', 'GridMix'),
    'tokencutmix': _mixer('TokenCutMix', 'TokenCutMix', by_token=True),
    'tokenmix': _mixer('TokenMix', 'TokenMix', by_token=True),
    'maskmix': _mixer('MaskMix', 'MaskMix'),
    'mixpro': _mixer(
        'MixPro (MaskMix, progressive labels)',
        'MaskMix',
        head_options=dict(ratio='confidence'),
        targets=('transmix',),
    ),
    'attentive': _mixer(
        'Attentive CutMix, own attention', 'AttentiveCutMix', guide=OWN
    ),
    'saliencymix': _mixer(
        'SaliencyMix',
        'SaliencyMix',
        guide=dict(type='mmtlalign.FineGrainedSaliency'),
    ),
    'puzzlemix': _mixer(
        'Puzzle Mix', 'PuzzleMix', guide=dict(type='mmtlalign.InputGradient')
    ),
    'smmix': _mixer(
        'SMMix',
        'SMMix',
        guide=OWN,
        head='SMMix',
        tokens=True,
        targets=(NO_TARGET, 'tlalign'),
    ),
}


@dataclass(frozen=True)
class Variant:
    """One cell of the table: a mixer with a target."""

    mixer: str
    target: str


def cells_of(mixers: Sequence[str], targets: Sequence[str]) -> list[Variant]:
    """Return the cells of a table, starting with the reference, plain CutMix."""
    asked = [Variant(CUTMIX, NO_TARGET)]
    for name in mixers:
        asked += [Variant(name, t) for t in targets if t in MIXERS[name].targets]
    return list(dict.fromkeys(asked))


def build_cell(network: Network, variant: Variant, size: int) -> nn.Module:
    """Build the classifier of a cell for images of ``size`` pixels."""
    mixer = MIXERS[variant.mixer]
    backbone = network.config(size)
    probe = BUILDERS.build(network.config(size))
    spec = backbone_spec(probe)
    has_class = spec.output(probe) == 'class'
    probe.eval()
    with torch.no_grad():
        feature = probe(torch.zeros(1, 3, size, size))[-1]
    augment, guide = dict(mixer.augment), copy.deepcopy(mixer.guide)
    if mixer.by_token:
        augment['patch_size'] = spec.patch(probe)[0]
    head = dict(
        type=f'{TARGETS[variant.target]}{mixer.head}LinearClsHead',
        num_classes=CLASSES,
        in_channels=feature.shape[1],
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        **mixer.head_options,
    )
    if mixer.head and variant.target == NO_TARGET:
        head['type'] = f'mmtlalign.{head["type"]}'
    if variant.target == 'transmix' and not has_class:
        head['attention'] = 'received'
    config = dict(
        type='mmtlalign.MixClassifier',
        backbone=backbone,
        head=head,
        train_cfg=dict(augments=[augment], guide=guide),
    )
    if mixer.tokens and has_class:
        backbone['out_type'] = 'raw'
    elif feature.ndim == 4 and not mixer.tokens:
        config['neck'] = dict(type='mmtlalign.GlobalAveragePooling')
    torch.manual_seed(0)
    model = BUILDERS.build(config)
    model.train()  # returns nothing in some hosts
    return model


@contextmanager
def count_passes(model: nn.Module) -> Iterator[list[int]]:
    """Count the forward passes of a classifier's backbone in a list of one number."""
    passes = [0]

    def count(*_: Any) -> None:
        passes[0] += 1

    handle = model.backbone.register_forward_pre_hook(count)
    try:
        yield passes
    finally:
        handle.remove()


def measure_cells(
    network: Network, case: Case, variants: Sequence[Variant], repeats: int
) -> dict[Variant, dict[str, Any]]:
    """Measure the steps of all cells, which take turns.

    Args:
        network: The network that ``case`` names.
        case: The case to measure.
        variants: The cells, plain CutMix first.
        repeats: Number of rounds.

    Returns:
        By cell: ``seconds`` of each round; ``ratios`` to plain CutMix of the same
        round, their ``median`` and ``range``; ``memory``, the ratio of peaks;
        ``passes``, the number of extra forward passes; ``parameters``, the number of
        extra parameters.
    """
    torch.set_num_threads(case.threads)
    gc.collect()
    batch = Batch(case.batch, case.size, case.device)
    models = {v: build_cell(network, v, case.size).to(case.device) for v in variants}
    steps: dict[Variant, Callable] = {
        v: train_step(model, batch, case) for v, model in models.items()
    }

    def before(round_: int) -> None:
        np.random.seed(round_)
        torch.manual_seed(round_)
        batch.renew()

    work, _ = timing.take_turns(steps, repeats, case.device, before)
    plain, found = variants[0], {}
    for variant, step in steps.items():
        before(0)
        with count_passes(models[variant]) as passes:
            peak = peak_bytes(step, case.device)
        size = sum(p.numel() for p in models[variant].parameters())
        ratios = [a / b for a, b in zip(work[variant], work[plain], strict=True)]
        found[variant] = dict(
            seconds=work[variant],
            median=median(ratios),
            range=(min(ratios), max(ratios)),
            peak=peak,
            passes=passes[0] - 1,
            size=size,
        )
    for row in found.values():
        row['memory'] = row['peak'] / found[plain]['peak']
        row['parameters'] = row['size'] - found[plain]['size']
    return found
