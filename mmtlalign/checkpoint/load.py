"""Load all tensors of a backbone from a checkpoint file, or raise an error."""

import math
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmtlalign.checkpoint.check import check_finite, strip_prefix
from mmtlalign.checkpoint.io import read_checkpoint, tensors_in
from mmtlalign.errors import InputError, some_of

ANOTHER_BACKBONE = (
    'Name another file with --cfg-options pretrained=FILE, or start from '
    'random weights with --cfg-options pretrained=None.'
)
WEIGHTS = ('auto', 'raw', 'ema', 'teacher', 'student')
TEACHER = 'teacher.'
BIAS_TABLE = 'relative_position_bias_table'
BIAS_INDEX = 'relative_position_index'
# Buffers that describe the window; every model computes its own.
COORDINATES = 'relative_coords_table'
WINDOW_BUFFERS = (BIAS_INDEX, COORDINATES)


def load_backbone(
    backbone: nn.Module,
    path: str,
    new_layers: Iterable[str] = (),
    prefix: str = 'backbone.',
    weights: str = 'auto',
    setting: str = 'pretrained',
    remedy: str = ANOTHER_BACKBONE,
) -> list[str]:
    """Load every tensor of a backbone from a checkpoint file, or raise.

    Position embeddings of another image size are resized by the backbone's own
    load hook; bias tables of another window are resized here (bicubic, as in mmdet and
    mmseg; mmpretrain's own way needs a function that SciPy removed in 1.14).

    Args:
        backbone: The module to fill, in place.
        path: A local file; ``~`` is expanded. The names of its tensors begin with
            ``prefix``, or it is the state dict of exactly this backbone.
        new_layers: Modules of the backbone that the file need not hold.
        prefix: What the backbone's names in the file begin with.
        weights: Which network of the file, as in :func:`select_weights`: by default
            the teacher, or else the averaged weights, where there are any.
        setting: Name of the setting that gives the file, for messages.
        remedy: What to do if it cannot be read, a sentence.

    Returns:
        Lines for the log: how many tensors were loaded, and what was resized.

    Raises:
        InputError: There is no such file, it does not hold the whole backbone, or it
            holds NaN.
    """
    own = backbone.state_dict()
    new = _names_of(new_layers, own)
    content = read_checkpoint(path, setting, remedy)
    everything = tensors_in(content, path)
    content = dict(content, state_dict=everything)
    network, kind = select_weights(content, weights, path, prefix)
    given = _backbone_tensors(network, own, new, prefix, path)
    check_finite(given, path)
    # With few names in common it is another network, and shapes tell nothing.
    if len(set(given) & set(own)) > len(own) / 2:
        _check_shapes(given, own, path)
    else:
        _check_names(set(own) - set(given) - new, set(given) - set(own), backbone, path)
    _check_coordinates(given, own, path)
    resized = resize_bias_tables(given, own)
    shapes = {name: tensor.shape for name, tensor in given.items()}

    try:
        result = backbone.load_state_dict(given, strict=False)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f'{path} does not fit {type(backbone).__name__}: {error}'
        ) from error
    # Tensors that the backbone's load hook removes are not missing: the backbone
    # computes them by itself (SwinTransformerV2's window geometry).
    missing = [n for n in result.missing_keys if n not in shapes and n not in new]
    _check_names(missing, result.unexpected_keys, backbone, path)

    resized += _resized_positions(backbone, shapes, own)
    started = [name for name in own if name not in shapes]
    whose = f' of the {kind}' if kind in ('teacher', 'student') else ''
    line = (
        f'backbone: {len(own) - len(started)} of {len(own)} tensors{whose} from {path}'
    )
    if started:
        line += f'; new layers: {some_of(started)}'
    rest = Counter(n.split('.')[0] for n in everything if not n.startswith(prefix))
    if rest and len(everything) > len(shapes):
        line += '; not needed: ' + ', '.join(f'{k} ({n})' for k, n in rest.items())
    return [line, *resized]


def select_weights(
    content: Mapping[str, Any], weights: str, path: str, prefix: str = ''
) -> tuple[Mapping[str, Tensor], str]:
    """Select one of the networks that a checkpoint holds.

    A file can hold more than one network in two cases. mmengine's ``EMAHook`` swaps
    raw and averaged weights when it saves: the averaged ones are in ``state_dict``,
    the raw ones in ``ema_state_dict``. A model of self-distillation, such as
    :class:`EsViT`, holds its teacher under ``teacher.``, beside the student.

    Args:
        content: The checkpoint.
        weights: One of :data:`WEIGHTS`: ``'raw'`` as the optimizer left them,
            ``'ema'`` averaged by the hook, ``'teacher'``, ``'student'``, or
            ``'auto'``, the ones that training evaluates: the teacher, or else the
            averaged ones, where there are any.
        path: Its file, for the message.
        prefix: What the names of the part to load begin with. Defaults to ``''``,
            the whole model, which keeps its teacher.

    Returns:
        The tensors by their names in that network alone, with ``_metadata``, and the
        kind of weights: an item of ``WEIGHTS``.

    Raises:
        InputError: ``weights`` is not known, or the file does not hold this network.
    """
    if weights not in WEIGHTS:
        raise InputError(
            f'weights={weights!r} is not known. Take one of {", ".join(WEIGHTS)}.'
        )
    tensors = content.get('state_dict')
    if not isinstance(tensors, Mapping) or not tensors:
        raise InputError(
            f"{path} has no 'state_dict' of tensors; its keys are "
            f'{some_of(list(content))}. Take a checkpoint of a training run.'
        )
    swapped = content.get('ema_state_dict')
    networks: dict[str, Mapping[str, Tensor]] = {}
    if prefix and any(name.startswith(TEACHER + prefix) for name in tensors):
        networks['teacher'] = strip_prefix(tensors, TEACHER)
        if any(name.startswith(prefix) for name in tensors):
            networks['student'] = tensors
    else:
        meta = content.get('meta') or {}
        kind = meta.get('weights', 'raw' if swapped is None else 'ema')
        networks[kind] = tensors
        if swapped is not None:
            networks.setdefault('raw', strip_prefix(swapped, 'module.'))
    kind = next(iter(networks)) if weights == 'auto' else weights
    if kind not in networks:
        raise InputError(
            f'{path} holds {" and ".join(networks)} weights only, not {kind}: ema '
            'needs a run with an EMAHook, raw a checkpoint that the run itself wrote, '
            f'teacher and student a run of EsViT. Choose {" or ".join(networks)}, or '
            'take another checkpoint.'
        )
    return networks[kind], kind


def _backbone_tensors(
    tensors: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    new: set[str],
    prefix: str,
    path: str,
) -> OrderedDict:
    """Return the tensors under a prefix, or a bare dict of exactly this backbone."""
    found = strip_prefix(tensors, prefix)
    if found:
        return found
    if set(own) - new <= set(tensors) <= set(own):
        return OrderedDict(tensors)
    begins = Counter(_beginning(name) for name in tensors)
    listed = some_of([f'{b!r} ({n} tensors)' for b, n in begins.most_common()], 8)
    raise InputError(
        f'{path}: no tensor begins with {prefix!r}. Its tensors begin with '
        f'{listed}. If the backbone is under another name, set prefix=... of '
        'PretrainedBackboneHook; a state dict without prefix is taken only if it '
        'holds exactly the names of this backbone.'
    )


def _beginning(name: str) -> str:
    """Return 'module.backbone.' for 'module.backbone.norm.bias', and the like."""
    head, found, _ = name.partition('backbone.')
    return head + 'backbone.' if found else name.split('.')[0] + '.'


def _names_of(new_layers: Iterable[str], own: Mapping[str, Tensor]) -> set[str]:
    """Return the names of all tensors of the declared layers."""
    names = set()
    for layer in new_layers:
        of_layer = {n for n in own if n == layer or n.startswith(layer + '.')}
        if not of_layer:
            raise InputError(
                f'new_layers names {layer!r}, but the backbone has no such layer; '
                f'it has {sorted({n.split(".")[0] for n in own})}. Correct or '
                'remove the name.'
            )
        names |= of_layer
    return names


def _check_shapes(
    given: Mapping[str, Tensor], own: Mapping[str, Tensor], path: str
) -> None:
    """Check that shapes agree, except where loading resizes the token axis."""
    for name in own:
        if name not in given or name.endswith(WINDOW_BUFFERS):
            continue
        theirs, ours = tuple(given[name].shape), tuple(own[name].shape)
        resizable = name.endswith((BIAS_TABLE, 'pos_embed'))
        if theirs == ours or (resizable and theirs[-1] == ours[-1]):
            continue
        raise InputError(
            f'{path}: {name} has shape {theirs} in the file and {ours} in the model, '
            'so the file is of a backbone of another size. Use the config of that '
            'size, or a checkpoint of this one.'
        )


def _check_coordinates(
    given: Mapping[str, Tensor], own: Mapping[str, Tensor], path: str
) -> None:
    """Check that SwinV2's relative positions have the scale of pretraining."""
    windows = [
        (_scaling_window(given[name]), _scaling_window(own[name]))
        for name in own
        if name.endswith(COORDINATES) and name in given
    ]
    if any(theirs != ours for theirs, ours in windows):
        theirs, ours = (sorted(set(sizes)) for sizes in zip(*windows))
        raise InputError(
            f'{path}: relative positions are scaled for windows of {theirs} in the '
            f'file and of {ours} in the model, so every bias would change. Set '
            'pretrained_window_sizes of the backbone to the windows of pretraining, '
            'one for each stage.'
        )


def _scaling_window(table: Tensor) -> int:
    """Return the window that scales a table (1, 2h-1, 2w-1, 2) of log coordinates.

    One token apart is ``log2(8 / (window - 1) + 1) / 3`` (Swin V2, CVPR 2022, Eq. 4).
    """
    row, column = (side // 2 for side in table.shape[1:3])
    if not row:
        return 1
    step = table[0, row + 1, column, 0].item()
    return round(8 / (2 ** (3 * step) - 1) + 1)


def _check_names(
    missing: Collection[str],
    unexpected: Collection[str],
    backbone: nn.Module,
    path: str,
) -> None:
    problems = []
    if missing:
        problems.append(
            f'{len(missing)} tensors of the model are not in the file '
            f'({some_of(sorted(missing))})'
        )
    if unexpected:
        problems.append(
            f'{len(unexpected)} backbone tensors of the file are not in the model '
            f'({some_of(sorted(unexpected))})'
        )
    if problems:
        raise InputError(
            f'{path} does not hold the whole {type(backbone).__name__}: '
            f'{"; ".join(problems)}. Use a checkpoint of the same backbone (kind, '
            'depth, options); list layers that pretraining does not have in new_layers '
            'of PretrainedBackboneHook.'
        )


def resize_bias_tables(
    given: dict[str, Tensor], own: Mapping[str, Tensor]
) -> list[str]:
    """Resize bias tables of another window size to the model's, in place.

    A table is ((2w-1)², heads), a map over relative positions for each head.

    Args:
        given: Tensors of the file by name; changed in place.
        own: The state dict of the backbone.

    Returns:
        One line for the log for each pair of window sizes.

    Raises:
        InputError: A table is not square.
    """
    resized: Counter[tuple[int, int]] = Counter()
    for name, table in list(given.items()):
        if not name.endswith(BIAS_TABLE) or name not in own:
            continue
        (old, heads), new = table.shape, own[name].shape[0]
        if old == new:
            continue
        old_side, new_side = math.isqrt(old), math.isqrt(new)
        if old_side**2 != old or new_side**2 != new:
            raise InputError(
                f'{name} has {old} rows in the file and {new} in the model; a bias '
                'table is resized only between square windows, (2w-1)² rows each. Use '
                'the window size of pretraining.'
            )
        maps = table.T.reshape(1, heads, old_side, old_side).float()
        maps = interpolate(maps, (new_side, new_side), mode='bicubic')
        given[name] = maps.reshape(heads, new).T.contiguous().to(table.dtype)
        resized[(old_side + 1) // 2, (new_side + 1) // 2] += 1
        index = name.replace(BIAS_TABLE, BIAS_INDEX)
        if index in own:
            given[index] = own[index]
    return [
        f'backbone: {count} bias tables resized from window {old} to {new} (bicubic)'
        for (old, new), count in resized.items()
    ]


def _resized_positions(
    backbone: nn.Module, shapes: Mapping[str, torch.Size], own: Mapping[str, Tensor]
) -> list[str]:
    """Return log lines for position embeddings that the load hook resized."""
    if not hasattr(backbone, 'patch_resolution'):
        return []  # Not mmpretrain's: its own hook logs what it changed.
    lines = []
    for name in own:
        if not name.endswith('pos_embed') or name not in shapes:
            continue
        if shapes[name] == own[name].shape:
            continue
        side = math.isqrt(shapes[name][1] - getattr(backbone, 'num_extra_tokens', 0))
        high, wide = backbone.patch_resolution
        # If equal, only the position of a class token was left out.
        if (side, side) != (high, wide):
            lines.append(
                f'backbone: {name} resized from {side}x{side} to {high}x{wide} tokens'
            )
    return lines
