"""Which of the networks in a checkpoint: raw, averaged, teacher or student."""

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor

from mmtlalign.checkpoint.io import some_of
from mmtlalign.errors import InputError

WEIGHTS = ('auto', 'raw', 'ema', 'teacher', 'student')
TEACHER = 'teacher.'


def choose_weights(
    content: Mapping, weights: str, path: str, prefix: str = ''
) -> tuple[Mapping[str, Tensor], str]:
    """The network asked for, under the names that it has alone.

    Two settings leave more than one network in a file. mmengine's ``EMAHook`` swaps
    raw and averaged weights when it saves: the averaged ones are in ``state_dict``,
    the raw ones in ``ema_state_dict``. A model of self-distillation, such as
    :class:`EsViT`, holds its teacher under ``teacher.``, beside the student.

    Args:
        content: The checkpoint.
        weights: One of :data:`WEIGHTS`: ``'raw'`` as the optimizer left them,
            ``'ema'`` averaged by the hook, ``'teacher'``, ``'student'``, or
            ``'auto'``, what is evaluated during training: the teacher or else the
            averaged ones, where there are any.
        path: Its file, for the message.
        prefix: What the names of the part that is wanted begin with. Defaults to
            ``''``, the whole model, which keeps its teacher.

    Returns:
        The tensors, ``_metadata`` kept, and which they are: a word of ``WEIGHTS``.

    Raises:
        InputError: There is no such word, or the file does not hold this network.
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
    others = content.get('ema_state_dict')
    if prefix and any(name.startswith(TEACHER + prefix) for name in tensors):
        held = dict(teacher=without(TEACHER, tensors))
        if any(name.startswith(prefix) for name in tensors):
            held['student'] = tensors
    else:
        meta = content.get('meta') or {}
        held = {meta.get('weights', 'raw' if others is None else 'ema'): tensors}
        if others is not None:
            held.setdefault('raw', without('module.', others))
    kind = next(iter(held)) if weights == 'auto' else weights
    if kind not in held:
        raise InputError(
            f'{path} holds {" and ".join(held)} weights only, not {kind}: averaged '
            'ones (ema) are there if the run had an EMAHook, raw ones beside them in '
            "its own checkpoints, a teacher and a student in EsViT's. Ask for "
            f'{" or ".join(held)}, or take another checkpoint.'
        )
    return held[kind], kind


def without(beginning: str, tensors: Mapping[str, Tensor]) -> OrderedDict:
    """The tensors whose names have the beginning, by the rest; version marks too."""
    found = OrderedDict(
        (name[len(beginning) :], value)
        for name, value in tensors.items()
        if name.startswith(beginning)
    )
    # They let a backbone upgrade the names of older releases.
    found._metadata = OrderedDict(
        (name[len(beginning) :], mark)
        for name, mark in getattr(tensors, '_metadata', {}).items()
        if (name + '.').startswith(beginning)
    )
    return found
