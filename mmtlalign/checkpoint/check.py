"""Checks of what mmengine's own ``load_from`` and ``resume`` are about to load.

mmengine loads what matches and warns about the rest, so that ``load_from`` with the
file of another network trains from random weights. Here it is an error.
"""

from collections.abc import Mapping
from typing import Any

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel

from mmtlalign.checkpoint.io import read_checkpoint
from mmtlalign.errors import InputError, some_of

# What a checkpoint of mmengine must hold to continue a run.
RESUMABLE = ('meta', 'state_dict', 'optimizer', 'message_hub')


def check_checkpoint(path: str, resume: bool = False) -> None:
    """Check that a local file is a whole checkpoint before mmengine loads it.

    Addresses (``https://…``) are left to mmengine.

    Args:
        path: The file; ``~`` is expanded.
        resume: Whether a run is to continue from it, which takes more than
            weights.

    Raises:
        InputError: It cannot be read, see :func:`read_checkpoint`, or lacks what is
            needed.
    """
    if '://' in path:
        return
    content = read_checkpoint(path, 'checkpoint', 'Take an earlier checkpoint.', 'meta')
    lacking = [key for key in RESUMABLE if key not in content]
    if resume and lacking:
        raise InputError(
            f"'{path}' has no {', '.join(map(repr, lacking))}, which a run needs to "
            'continue; resume from an epoch_*.pth or iter_*.pth of the work '
            'directory, or start anew from its weights: --cfg-options load_from=…'
        )


def check_finite(content: Mapping[str, Any], path: str) -> None:
    """Check that the tensors of a checkpoint are numbers.

    Infinity is left alone: masks of attention hold it.

    Args:
        content: Tensors by name; anything else passes.
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
            f'({some_of(bad, 3)}): its training went wrong. Take an earlier checkpoint'
        )


def check_fit(
    model: nn.Module, content: Mapping[str, Any], path: str, resume: bool = False
) -> None:
    """Check that the tensors of a checkpoint are those of a model.

    Heads may differ, as they do in fine-tuning: of the backbone (of all, where
    there is none) at least half of the names must be in the file, and of these half
    in the same shape. What is resized on loading, such as position embeddings, is
    less than that. A run that goes on needs every parameter.

    Args:
        model: The model to fill, also in a wrapper.
        content: What the file holds; tensors under ``state_dict`` or at the top.
        path: The file, for the message.
        resume: Whether a run is to continue from it. Defaults to False.

    Raises:
        InputError: They are those of another network, or of a student and a teacher.
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
            'or write the one you want as a file: '
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
    # Anything but a tensor in a file has no shape.
    shapes = {name: getattr(given[name], 'shape', None) for name in found}
    differ = [n for n in own if n in found and own[n].shape != shapes[n]]
    if differ and len(found) - len(differ) < least:
        name = differ[0]
        raise InputError(
            f'{begin}{len(differ)} of {len(needed)} tensors have another shape ({name} '
            f'is {tuple(given[name].shape)} in the file and {tuple(own[name].shape)} '
            f'here); {advice}'
        )
