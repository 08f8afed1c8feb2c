"""Collection of the data that the label microscope shows of mixed pairs.

Shapes: ``B`` batch, ``K`` classes, ``H, W`` pixels, ``P`` special tokens, ``h, w``
token grid, ``N = h * w`` image tokens, ``L`` attentions.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mmtlalign.errors import InputError
from mmtlalign.evaluation.microscope.readers import EVERY, EveryAttention
from mmtlalign.evaluation.microscope.records import Geometry, Pair, Rule
from mmtlalign.evaluation.readers import backbone_of, output_of
from mmtlalign.methods import batch_fields
from mmtlalign.methods.classifier import MixClassifier
from mmtlalign.methods.tl_align import TLAlign
from mmtlalign.methods.token_labeling.head import TokenLabelClsHead
from mmtlalign.methods.token_labeling.targets import MAP
from mmtlalign.methods.transmix import TransMix
from mmtlalign.mixing.mix import Mix
from mmtlalign.mixing.mixtoken import TokenSwap
from mmtlalign.modes import eval_mode
from mmtlalign.tracing.attach import attached
from mmtlalign.tracing.attention_readers import attention_reader, transmix_share
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import (
    start_share,
    token_grid,
    trace,
    trace_forward,
)
from mmtlalign.tracing.tracer import at_output

BEST = 5


@torch.no_grad()
def collect_pairs(
    model: nn.Module,
    mix: Mix,
    images: Tensor,
    samples: Sequence | None = None,
    bgr: bool = True,
) -> tuple[Geometry, list[Pair]]:
    """Collect the traced labels of a mixed batch, one pair per image.

    The model runs in eval mode, in float32; its training flags are restored.

    Args:
        model: A classifier of mmpretrain, or of timm.
        mix: The mixed batch, normalised.
        images: The same images before mixing (B, 3, H, W), normalised.
        samples: B data samples, for names of files and label maps. Defaults to None.
        bgr: Whether the data preprocessor was given B, G, R, see
            :func:`mmtlalign.evaluation.pictures.is_bgr`. Defaults to True.

    Returns:
        The geometry of the tokens, and B pairs.

    Raises:
        UnsupportedError: The backbone cannot be traced.
        InputError: Model and batch do not fit.
    """
    backbone, output = backbone_of(model), output_of(model)
    head = getattr(model, 'head', None)
    options = getattr(head, 'trace_options', {})
    spec = backbone_spec(backbone)
    outputs = getattr(head, 'outputs', 1)
    if not hasattr(head, 'output'):  # a head of another package
        outputs = spec.count_outputs(backbone)
    device = mix.images.device.type
    with eval_mode(model), torch.autocast(device, enabled=False), attached(backbone):
        with trace(backbone, mix, **options) as traced:
            scores = class_scores(model, mix.images)
        every = attention_reader(
            backbone, mix, 'cls' if output == 'class' else 'received', readers=EVERY
        )
        assert isinstance(every, EveryAttention)
        with mix.apply_in_backbone(backbone), trace_forward(backbone, every):
            class_scores(model, mix.images)
        arrived = traced.output_shares(output)[:outputs]
        targets = _targets(model, mix, arrived, every.shares[:outputs], output)
        targets += _map_target(model, backbone, mix, samples)
        start = start_share(backbone, mix)
    if scores.shape != mix.labels.shape:
        raise InputError(
            f'Scores of shape {tuple(scores.shape)} for labels of shape '
            f'{tuple(mix.labels.shape)}: give the labels of as many classes as the '
            'model has.'
        )
    history = [start, *traced.history]
    grids = [token_grid(backbone, images.shape[-2:]), *traced.grids]
    special = [spec.prefix(backbone), *traced.prefixes]
    (height, width), (rows, columns) = images.shape[-2:], spec.patch(backbone)
    geometry = Geometry(
        size=(height, width),
        patch=(rows, columns),
        names=layer_names(grids),
        grids=tuple((h, w) for h, w in grids),
        special=tuple(special),
        special_names=_special_names(max(special), outputs),
        output='class token' if output == 'class' else 'mean of the tokens',
    )
    read = torch.stack([
        at_output(share[..., 0], prefix, output)
        for share, prefix in zip(history, special)
    ])  # fmt: skip
    transmix = [
        None if share is None else _transmix(head, mix, share)
        for share in (None, *every.by_layer)
    ]
    pictures = restore_pixels(model, images, bgr)
    mixed = restore_pixels(model, mix.images, bgr)
    masks = mix.mask[:, 0].float().cpu().numpy()
    best = scores.softmax(dim=-1).topk(min(BEST, scores.shape[1]))
    pairs = []
    for index, other in enumerate(mix.partner.tolist()):
        mask = masks[index if len(masks) > 1 else 0]
        own, partner = pictures[index], pictures[other]
        composed = own + mask[..., None] * (partner.astype(np.float32) - own)
        same = isinstance(mix, TokenSwap) or np.abs(composed - mixed[index]).max() < 2
        pairs.append(
            Pair(
                own=own,
                partner=partner,
                mixed=None if same else mixed[index],
                mask=mask,
                area=float(mix.area()[index]),
                own_class=int(mix.labels[index].argmax()),
                partner_class=int(mix.labels[other].argmax()),
                shares=tuple(quantise(share[index, :, 0]) for share in history),
                read=tuple(read[:, index].tolist()),
                transmix=tuple(s if s is None else float(s[index]) for s in transmix),
                rules=tuple(_rules(targets, scores, mix, index)),
                best=tuple(
                    zip(best.indices[index].tolist(), best.values[index].tolist())
                ),
                files=(_file(samples, index), _file(samples, other)),
            )
        )
    return geometry, pairs


def class_scores(model: nn.Module, images: Tensor) -> Tensor:
    """Return the class scores (B, K) of normalised images (B, 3, H, W)."""
    if hasattr(model, 'data_preprocessor'):
        return model(images, mode='tensor').float()
    return model(images).float()


def restore_pixels(model: nn.Module, images: Tensor, bgr: bool = True) -> np.ndarray:
    """Return normalised images as pictures.

    Args:
        model: A classifier of mmpretrain, or of timm.
        images: (B, 3, H, W).
        bgr: Whether its data preprocessor was given B, G, R.

    Returns:
        (B, H, W, 3), uint8, RGB.
    """
    pre = getattr(model, 'data_preprocessor', None)
    if pre is not None:
        mean, std = getattr(pre, 'mean', None), getattr(pre, 'std', None)
        # Without normalisation the images are pixels already.
        mean = 0.0 if mean is None else mean.to(images)
        std = 1.0 if std is None else std.to(images)
        swapped = bgr != getattr(pre, 'to_rgb', False)
    else:
        config = getattr(model, 'pretrained_cfg', None) or {}
        mean, std = (
            255 * torch.tensor(config.get(key, default)).view(3, 1, 1).to(images)
            for key, default in (('mean', (0.5,) * 3), ('std', (0.5,) * 3))
        )
        swapped = False
    pixels = (images.float() * std + mean).round().clamp(0, 255).to(torch.uint8)
    pixels = pixels.flip(1) if swapped else pixels
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


def quantise(share: Tensor) -> np.ndarray:
    """Return ``round(255 * share)`` as uint8."""
    return (255 * share).round().clamp(0, 255).to(torch.uint8).cpu().numpy()


def layer_names(grids: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """Return names of the layers, by stage and block where the grid changes.

    Args:
        grids: Token rows and columns of the input and of each layer.
    """
    if len({tuple(grid) for grid in grids}) == 1:
        return 'input', *(f'layer {number}' for number in range(1, len(grids)))
    names, stage, block = ['input'], 0, 0
    for number, grid in enumerate(grids[1:], 1):
        new = number == 1 or tuple(grid) != tuple(grids[number - 1])
        stage, block = (stage + 1, 1) if new else (stage, block + 1)
        names.append(f'stage {stage} block {block}')
    return tuple(names)


def _special_names(count: int, outputs: int) -> tuple[str, ...]:
    names = ['class token', *(['distillation token'] if outputs > 1 else [])]
    names += [f'register {number}' for number in range(1, count)]
    return tuple(names[:count])


def _targets(
    model: nn.Module,
    mix: Mix,
    arrived: Sequence[Tensor],
    attention: Sequence[Tensor],
    output: str,
) -> list[tuple[str, Tensor, Tensor, bool]]:
    """Return name, share (B,), target (B, K) and whether the head trains on it."""
    head = getattr(model, 'head', None)
    transmix = [_transmix(head, mix, share) for share in attention]
    aligned = [share.squeeze(-1) for share in arrived]
    received = '' if output == 'class' else ' (received)'
    kinds = [
        ('CutMix (area)', [mix.area()], _learns_area(model)),
        (f'TransMix{received}', transmix, _fixed_ratio(head) is not None),
        ('TL-Align', aligned, isinstance(head, TLAlign)),
    ]
    found = []
    for name, shares, learnt in kinds:
        for number, share in enumerate(shares):
            label = f'{name}, distillation token' if number else name
            found.append((label, share, mix.target(share), learnt))
    return found


def _fixed_ratio(head: nn.Module | None) -> float | None:
    """Return the fixed weight of the area in a TransMix head, or None."""
    own = isinstance(head, TransMix) and head.teacher is None
    fixed = own and not isinstance(head.ratio, str)  # type: ignore[union-attr]
    return head.ratio if fixed else None  # type: ignore[union-attr, return-value]


def _transmix(head: nn.Module | None, mix: Mix, share: Tensor) -> Tensor:
    """Return TransMix's share (B,), from the area and the share of attention."""
    ratio = _fixed_ratio(head)
    ratio = 0.5 if ratio is None else ratio
    return transmix_share(share, mix.area(), ratio)


def _learns_area(model: nn.Module) -> bool:
    mixes = isinstance(model, MixClassifier) and model.mixer is not None
    return mixes and not model.traces


def _map_target(
    model: nn.Module, backbone: nn.Module, mix: Mix, samples: Sequence | None
) -> list[tuple[str, Tensor, Tensor, bool]]:
    """Return the target of a Token Labeling head, if there are label maps."""
    head = getattr(model, 'head', None)
    if not isinstance(head, TokenLabelClsHead) or not samples or not has_maps(samples):
        return []
    samples = list(samples)
    with head.trace(backbone, mix, samples) as tokens, mix.apply_in_backbone(backbone):
        backbone(mix.images)
    target = head.class_labels(samples, head.smooth_labels(mix.labels), mix, tokens)
    # Traced label vectors have no single share of the partner: the area is shown.
    by_label = getattr(head, 'traced', 'share') == 'labels'
    share = mix.area() if by_label else head.partner_share(mix, tokens)
    return [('Token Labeling (map)', share, target, True)]


def has_maps(samples: Sequence) -> bool:
    """Return whether data samples carry label maps."""
    collated = batch_fields.load(samples, batch_fields.LABEL_MAPS)
    return collated is not None or any(MAP in sample for sample in samples)


def _rules(targets: list, scores: Tensor, mix: Mix, index: int) -> Iterator[Rule]:
    own = int(mix.labels[index].argmax())
    partner = int(mix.labels[mix.partner[index]].argmax())
    logs = scores[index].log_softmax(dim=-1)
    for name, share, target, learnt in targets:
        row = target[index].float()
        yield Rule(
            name,
            float(share[index]),
            float(row[own]),
            float(row[partner]),
            float(-(row * logs).sum()),
            learnt,
        )


def _file(samples: Sequence | None, index: int) -> str:
    info = {} if samples is None else getattr(samples[index], 'metainfo', {})
    return str(info.get('img_path') or '').replace('\\', '/').rsplit('/', 1)[-1]
