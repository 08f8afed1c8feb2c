"""Fill a backbone from a checkpoint file: every tensor of it, or an error.

A checkpoint of another architecture is an error, not a page of warnings.

mmengine loads what matches and warns about the rest, so that ``load_from`` with the
file of another network trains from random weights.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Iterable

import torch
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.functional import interpolate

from mmtlalign.checkpoint.io import (
    ANOTHER_BACKBONE,
    read_checkpoint,
    some_of,
    tensors_in,
)
from mmtlalign.checkpoint.select import choose_weights, without
from mmtlalign.errors import InputError

BIAS_TABLE = 'relative_position_bias_table'
# Geometry of a window. Every model computes its own; never learnt.
WINDOW_BUFFERS = ('relative_position_index', 'relative_coords_table')


def load_backbone(
    backbone: nn.Module,
    path: str,
    new_layers: Iterable[str] = (),
    prefix: str = 'backbone.',
    weights: str = 'auto',
) -> list[str]:
    """Load every tensor of ``backbone`` from a checkpoint file, or raise.

    Position embeddings of another image size are resized by the backbone's own
    load hook, bias tables of another window here (bicubic, as mmdet and mmseg
    do it; mmpretrain's own way needs a SciPy function that is gone since 1.14).

    Args:
        backbone: The module to fill, in place.
        path: A file as in :func:`read_state_dict`. Its tensors carry ``prefix``,
            or it is the state dict of exactly this backbone.
        new_layers: Modules of the backbone that the file need not hold.
        prefix: Begin of the backbone's names in the file.
        weights: Which network of the file, as in :func:`choose_weights`: by default
            the teacher, or else the averaged weights, where there are any.

    Returns:
        Lines for the log: how many tensors, and what was resized.

    Raises:
        InputError: No such file, or it does not hold the whole of this backbone.
    """
    own = backbone.state_dict()
    new = _names_in(new_layers, own)
    content = read_checkpoint(path, 'pretrained', ANOTHER_BACKBONE)
    everything = tensors_in(content, path)
    content = dict(content, state_dict=everything)
    chosen, kind = choose_weights(content, weights, path, prefix)
    given = select_backbone(chosen, own, new, prefix, path)
    # With few names in common it is another network; shapes would mislead.
    if len(set(given) & set(own)) > len(own) / 2:
        _check_widths(given, own, path)
    else:
        _check_names(set(own) - set(given) - new, set(given) - set(own), backbone, path)
    lines = resize_bias_tables(given, own)
    wanted = {name: tensor.shape for name, tensor in given.items()}

    try:
        result = backbone.load_state_dict(given, strict=False)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f'{path} does not fit {type(backbone).__name__}: {error}'
        ) from error
    # A tensor that the backbone's load hook took out of the file is one that
    # the backbone computes by itself (SwinTransformerV2's window geometry).
    missing = [n for n in result.missing_keys if n not in wanted and n not in new]
    _check_names(missing, result.unexpected_keys, backbone, path)

    loaded = [name for name in own if name in wanted]
    lines += _describe_resized(backbone, wanted, own)
    whose = f' of the {kind}' if kind in ('teacher', 'student') else ''
    told = f'backbone: {len(loaded)} of {len(own)} tensors{whose} from {path}'
    if len(loaded) < len(own):
        told += f'; new layers: {some_of([n for n in own if n not in wanted])}'
    rest = Counter(n.split('.')[0] for n in everything if not n.startswith(prefix))
    if rest and len(everything) > len(wanted):
        told += '; not needed: ' + ', '.join(f'{k} ({n})' for k, n in rest.items())
    return [told, *lines]


def select_backbone(
    tensors: dict[str, Tensor],
    own: dict[str, Tensor],
    new: Iterable[str],
    prefix: str,
    path: str,
) -> dict[str, Tensor]:
    """Pick the tensors under ``prefix``, or a bare dict of exactly this backbone.

    Args:
        tensors: Everything in the file.
        own: The state dict of the backbone to fill.
        new: Names in ``own`` that the file need not hold.
        prefix: Begin of the backbone's names.
        path: The file, for the message.

    Returns:
        Tensors by their names inside the backbone, ``_metadata`` kept.

    Raises:
        InputError: No tensor has the prefix; names those that are there.
    """
    found = without(prefix, tensors)
    if found:
        return found
    if set(own) - set(new) <= set(tensors) <= set(own):
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
    """'teacher.module.0.backbone.layers.3.weight' -> 'teacher.module.0.backbone'."""
    head, found, _ = name.partition('backbone.')
    return head + 'backbone.' if found else name.split('.')[0] + '.'


def _names_in(new_layers: Iterable[str], own: dict[str, Tensor]) -> set:
    """Names of all tensors of the declared layers."""
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


def _check_widths(given, own, path) -> None:
    """Shapes must agree, apart from what can be resized along its token axis."""
    for name in sorted(set(given) & set(own), key=list(own).index):
        theirs, ours = tuple(given[name].shape), tuple(own[name].shape)
        if theirs == ours or name.endswith(WINDOW_BUFFERS):
            continue
        if name.endswith((BIAS_TABLE, 'pos_embed')) and theirs[-1] == ours[-1]:
            continue
        raise InputError(
            f'{path}: {name} has shape {theirs} in the file and {ours} in the '
            'model, so this is a backbone of another size. Use the config of the '
            'same size, or the checkpoint of this one.'
        )


def _check_names(missing, unexpected, backbone, path) -> None:
    if not missing and not unexpected:
        return
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
    raise InputError(
        f'{path} does not hold the whole {type(backbone).__name__}: '
        f'{"; ".join(problems)}. Use a checkpoint of the same backbone (kind, depth, '
        'options); layers that pretraining does not have are named in new_layers '
        'of PretrainedBackboneHook.'
    )


def resize_bias_tables(given: dict[str, Tensor], own: dict[str, Tensor]) -> list[str]:
    """Bring bias tables of another window to the model's window, in place.

    A table is ((2w-1)², heads), a map over relative positions for each head.

    Args:
        given: Tensors of the file by name; changed in place.
        own: The state dict of the backbone.

    Returns:
        One line for the log if anything was resized.

    Raises:
        InputError: A table is not square.
    """
    resized = Counter()
    for name, table in list(given.items()):
        if not name.endswith(BIAS_TABLE) or name not in own:
            continue
        (old, heads), new = table.shape, own[name].shape[0]
        if old == new:
            continue
        old_side, new_side = math.isqrt(old), math.isqrt(new)
        if old_side**2 != old or new_side**2 != new:
            raise InputError(
                f'{name} has {old} rows in the file and {new} in the model; a table '
                'is resized only between square windows, (2w-1)² rows each. Use '
                'the window of pretraining.'
            )
        maps = table.T.reshape(1, heads, old_side, old_side).float()
        maps = interpolate(maps, (new_side, new_side), mode='bicubic')
        given[name] = maps.reshape(heads, new).T.contiguous().to(table.dtype)
        resized[(old_side + 1) // 2, (new_side + 1) // 2] += 1
        index = name.replace(BIAS_TABLE, WINDOW_BUFFERS[0])
        if index in own:
            given[index] = own[index]
    return [
        f'backbone: {count} bias tables resized from window {old} to {new} (bicubic)'
        for (old, new), count in resized.items()
    ]


def _describe_resized(backbone, wanted: dict[str, torch.Size], own) -> list[str]:
    """A line for a position embedding that the load hook resized."""
    lines = []
    if not hasattr(backbone, 'patch_resolution'):
        return lines  # Not mmpretrain's: its hook says by itself what it changed.
    for name in own:
        if name.endswith('pos_embed') and wanted.get(name, own[name].shape) != (
            own[name].shape
        ):
            extra = getattr(backbone, 'num_extra_tokens', 0)
            side = math.isqrt(wanted[name][1] - extra)
            high, wide = backbone.patch_resolution
            if (side, side) == (high, wide):
                continue  # Only the position of a class token was left out.
            lines.append(
                f'backbone: {name} resized from {side}x{side} to {high}x{wide} tokens'
            )
    return lines


def check_fit(model, content: dict, path: str, resume: bool = False) -> None:
    """Check that the tensors of a checkpoint are those of a model.

    Heads may differ, as they do in fine-tuning: of the backbone (of all, where
    there is none) at least half of the names must be in the file, and of these half
    in the same shape. What is resized on loading, such as position embeddings, is
    less than that. A run that goes on needs every parameter.

    Args:
        model (nn.Module): The model to fill; a wrapper is looked into.
        content (dict): Of the file; tensors under ``state_dict`` or at the top.
        path (str): The file, for the message.
        resume (bool): Whether a run is to continue from it. Defaults to False.

    Raises:
        InputError: If they are not.
    """
    if isinstance(model, FullyShardedDataParallel):
        return  # its tensors lie in pieces, under other names
    # As mmengine does before it fills one.
    if is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    given = content.get('state_dict', content)
    # Wrappers for distribution put their own name in front.
    given = {name.removeprefix('module.'): value for name, value in given.items()}
    own = model.state_dict()
    part = {name for name in own if name.startswith('backbone.')} or set(own)
    kind = type(getattr(model, 'backbone', model)).__name__
    if resume:
        part = {name for name, _ in model.named_parameters()}
        kind = type(model).__name__
    here = part & set(given)
    differ = [n for n in own if n in here and own[n].shape != shape_of(given[n])]
    most = len(part) if resume else len(part) / 2
    told = f"checkpoint '{path}' is of another architecture than the {kind} here: "
    advice = 'give the config that it was trained with, or another file'
    twice = [name for name in here if f'teacher.{name}' in given]
    if len(twice) == len(here) > 0 and not any(f'teacher.{n}' in own for n in twice):
        raise InputError(
            f"checkpoint '{path}' holds a student and a teacher, and load_from would "
            "take the student's backbone. Set pretrained=FILE with a "
            "PretrainedBackboneHook, which takes the teacher's unless told otherwise, "
            'or write the one you want as a file: tools/model_converters/export_backbone.py FILE OUT'
        )
    if len(here) < most:
        names = f'its tensors: {some_of(list(given), 3)}'
        lacking = [name for name in own if name in part and name not in given]
        raise InputError(
            f'{told}it lacks {len(lacking)} of {len(part)} tensors '
            f'({some_of(lacking, 3)}; {names}); {advice}. Files of other code bases '
            "must first be rewritten under the host's names: tools/model_converters/convert_weights.py"
        )
    if differ and len(here) - len(differ) < most:
        name = differ[0]
        raise InputError(
            f'{told}{len(differ)} of {len(part)} tensors have another shape ({name} is '
            f'{tuple(given[name].shape)} in the file and {tuple(own[name].shape)} '
            f'here); {advice}'
        )


def shape_of(value):
    """The shape of a tensor; None for anything else in a file."""
    return getattr(value, 'shape', None)
