"""A checkpoint of another architecture is an error, not a page of warnings.

mmengine loads what matches and warns about the rest, so that ``load_from`` with the
file of another network trains from random weights.
"""

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch.distributed.fsdp import FullyShardedDataParallel

from mmtlalign.engine.checkpoint_file import some_of
from mmtlalign.engine.errors import InputError

__all__ = ['check_fit']


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
            'or write the one you want as a file: tools/export_backbone.py FILE OUT'
        )
    if len(here) < most:
        names = f'its tensors: {some_of(list(given), 3)}'
        lacking = [name for name in own if name in part and name not in given]
        raise InputError(
            f'{told}it lacks {len(lacking)} of {len(part)} tensors '
            f'({some_of(lacking, 3)}; {names}); {advice}. Files of other code bases '
            "must first be rewritten under the host's names: tools/convert_weights.py"
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
