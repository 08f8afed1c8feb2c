"""Checks of checkpoints that mmengine's own ``load_from`` and ``resume`` load.

mmengine loads the tensors that match and only warns about the rest, so that
``load_from`` with the file of another network trains from random weights. Here it is
an error.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel

from mmtlalign.checkpoint.io import read_checkpoint
from mmtlalign.errors import InputError, some_of

# Entries that a checkpoint of mmengine must have to continue a run.
RESUMABLE = ('meta', 'state_dict', 'optimizer', 'message_hub')


def check_checkpoint(path: str, resume: bool = False) -> None:
    """Check that a local file is a whole checkpoint before mmengine loads it.

    Addresses (``https://…``) are left to mmengine.

    Args:
        path: The file; ``~`` is expanded.
        resume: Whether a run is to continue from it, which needs more than
            weights.

    Raises:
        InputError: It cannot be read, see :func:`read_checkpoint`, or lacks an entry
            that is needed.
    """
    if '://' in path:
        return
    content = read_checkpoint(path, 'checkpoint', 'Take an earlier checkpoint.', 'meta')
    lacking = [key for key in RESUMABLE if key not in content]
    if resume and lacking:
        raise InputError(
            f"'{path}' has no {', '.join(map(repr, lacking))}, which a run needs to "
            'continue; resume from an epoch_*.pth or iter_*.pth of the work directory, '
            'or start a new run from its weights: --cfg-options load_from=…'
        )


def check_finite(content: Mapping[str, Any], path: str) -> None:
    """Check that the tensors of a checkpoint hold neither NaN nor infinity.

    Attention masks (``*mask``) may hold infinity.

    Args:
        content: Tensors by name; other values are not checked.
        path: The file, for the message.

    Raises:
        InputError: A tensor holds NaN or infinity.
    """
    bad = [
        name
        for name, value in content.items()
        if isinstance(value, Tensor)
        and value.is_floating_point()
        and not value.isfinite().all()
        and (value.isnan().any() or not name.endswith('mask'))
    ]
    if bad:
        nan = any(content[name].isnan().any() for name in bad)
        raise InputError(
            f"checkpoint '{path}' holds {'NaN' if nan else 'infinity'} in {len(bad)} "
            f'of {len(content)} tensors ({some_of(bad, 3)}): its training diverged. '
            'Take an earlier checkpoint'
        )


def strip_prefix(tensors: Mapping[str, Tensor], prefix: str) -> OrderedDict:
    """Return the tensors under a prefix, by the rest of their names."""
    found = OrderedDict(
        (name[len(prefix) :], value)
        for name, value in tensors.items()
        if name.startswith(prefix)
    )
    # Version marks, by which a backbone upgrades the names of older releases.
    found._metadata = OrderedDict(  # type: ignore[attr-defined]  # as torch has it
        (name[len(prefix) :], mark)
        for name, mark in getattr(tensors, '_metadata', {}).items()
        if (name + '.').startswith(prefix)
    )
    return found


def check_fit(
    model: nn.Module, content: Mapping[str, Any], path: str, resume: bool = False
) -> None:
    """Check that a checkpoint is of the same architecture as a model.

    Heads may differ, as they do in fine-tuning. Of the backbone, layers that the file
    does not have at all may be new, such as norms of more outputs, but not parts of
    layers; shapes must be the same, except where loading resizes, such as position
    embeddings. At least half of its tensors (of all tensors, if there is no backbone)
    must be in the file. A run that is resumed needs every parameter.

    Args:
        model: The model to fill, also in a wrapper.
        content: Content of the file; tensors under ``state_dict`` or at the top level.
        path: The file, for the message.
        resume: Whether a run is to continue from it. Defaults to False.

    Raises:
        InputError: The checkpoint is of another network, or of a student and a teacher.
    """
    if isinstance(model, FullyShardedDataParallel):
        return  # its tensors are sharded, under other names
    # As mmengine unwraps a model before it loads.
    if is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    given = content.get('state_dict', content)
    # Wrappers for distribution add this prefix to every name.
    marks = getattr(given, '_metadata', {})
    given = OrderedDict((n.removeprefix('module.'), v) for n, v in given.items())
    given._metadata = marks  # type: ignore[attr-defined]  # as torch has it
    own = model.state_dict()
    needed = {name for name in own if name.startswith('backbone.')} or set(own)
    kind = type(getattr(model, 'backbone', model)).__name__
    if resume:
        needed = {name for name, _ in model.named_parameters()}
        kind = type(model).__name__
    found = needed & set(given)
    twice = [name for name in found if f'teacher.{name}' in given]
    if len(twice) == len(found) > 0 and not any(f'teacher.{n}' in own for n in twice):
        raise InputError(
            f"checkpoint '{path}' holds a student and a teacher, and load_from would "
            "take the student's backbone. Set pretrained=FILE with a "
            "PretrainedBackboneHook, which takes the teacher's unless set otherwise, "
            'or export one of the two to a file: '
            'tools/model_converters/export_backbone.py FILE OUT'
        )
    lacking = [name for name in own if name in needed and name not in given]
    differ = [
        name
        for name in own
        # Values other than tensors have no shape.
        if name in found and own[name].shape != getattr(given[name], 'shape', None)
    ]
    another = len(lacking) > len(needed) / 2  # names of another network
    most = 0.0 if resume else len(needed) / 2
    if (lacking or differ) and hasattr(model, 'backbone') and not (resume or another):
        lacking, differ, most = *_not_loaded(model.backbone, given), 0
    begin = (
        f"checkpoint '{path}' is of another architecture or size than the {kind} here: "
    )
    advice = 'give the config that it was trained with, or another file'
    if len(lacking) > most:
        if another:
            advice += (
                '. Files of other code bases must first be rewritten under the '
                "host's names: tools/model_converters/convert_weights.py"
            )
        raise InputError(
            f'{begin}it lacks {len(lacking)} of {len(needed)} tensors '
            f'({some_of(lacking, 3)}; its tensors: {some_of(list(given), 3)}); {advice}'
        )
    if differ and len(lacking) + len(differ) > most:
        name = differ[0]
        raise InputError(
            f'{begin}{len(differ)} of {len(needed)} tensors have another shape ({name} '
            f'is {tuple(given[name].shape)} in the file and {tuple(own[name].shape)} '
            f'here); {advice}'
        )


def _not_loaded(
    backbone: nn.Module, given: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """Load a backbone again; return what the file lacks and what does not fit.

    Only loading tells, because a backbone may rename, resize or compute tensors then.
    """
    part = strip_prefix(given, 'backbone.')
    lacking, differ = [], []
    try:
        missing = set(backbone.load_state_dict(part, strict=False).missing_keys)
        begun = {name.partition('.')[0] for name in part}
        lacking = [
            f'backbone.{name}'
            for name, _ in backbone.named_parameters()
            if name in missing and name.partition('.')[0] in begun
        ]
    except RuntimeError as error:
        names = re.findall(r'size mismatch for (\S+):', str(error))
        differ = [f'backbone.{name}' for name in names]
    return lacking, differ
