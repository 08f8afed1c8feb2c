"""Checks of checkpoints that mmengine's own ``load_from`` and ``resume`` load.

mmengine loads the tensors that match and only warns about the rest, so that
``load_from`` with the file of another network trains from random weights. Here it is
an error.
"""

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
    """Check that the tensors of a checkpoint hold no NaN.

    Infinity is allowed, because attention masks hold it.

    Args:
        content: Tensors by name; other values are not checked.
        path: The file, for the message.

    Raises:
        InputError: A tensor holds NaN.
    """
    bad = [
        name
        for name, value in content.items()
        if isinstance(value, Tensor)
        and value.is_floating_point()
        and value.isnan().any()
    ]
    if bad:
        raise InputError(
            f"checkpoint '{path}' holds NaN in {len(bad)} of {len(content)} tensors "
            f'({some_of(bad, 3)}): its training diverged. Take an earlier checkpoint'
        )


def check_fit(
    model: nn.Module, content: Mapping[str, Any], path: str, resume: bool = False
) -> None:
    """Check that a checkpoint is of the same architecture as a model.

    Heads may differ, as they do in fine-tuning. At least half of the backbone's tensors
    (of all tensors, if there is no backbone) must be in the file with the same name and
    shape; those that loading resizes, such as position embeddings, are fewer than the
    other half. A run that is resumed needs every parameter.

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
    given = {name.removeprefix('module.'): value for name, value in given.items()}
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
    least = len(needed) if resume else len(needed) / 2
    begin = f"checkpoint '{path}' is of another architecture than the {kind} here: "
    advice = 'give the config that it was trained with, or another file'
    if len(found) < least:
        lacking = [name for name in own if name in needed and name not in given]
        raise InputError(
            f'{begin}it lacks {len(lacking)} of {len(needed)} tensors '
            f'({some_of(lacking, 3)}; its tensors: {some_of(list(given), 3)}); '
            f'{advice}. Files of other code bases must first be rewritten under the '
            "host's names: tools/model_converters/convert_weights.py"
        )
    # Values other than tensors have no shape.
    shapes = {name: getattr(given[name], 'shape', None) for name in found}
    differ = [n for n in own if n in found and own[n].shape != shapes[n]]
    if differ and len(found) - len(differ) < least:
        name = differ[0]
        raise InputError(
            f'{begin}{len(differ)} of {len(needed)} tensors have another shape ({name} '
            f'is {tuple(given[name].shape)} in the file and {tuple(own[name].shape)} '
            f'here); {advice}'
        )
