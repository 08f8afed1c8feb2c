"""Registry of the backbones that can be traced, and of those that cannot.

Nothing is guessed: a backbone or an attention that is not registered, by an adapter of
its host library or in its own file, raises an error when the model is built.
"""

import functools
import importlib
import importlib.util
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from torch import nn

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.tracing.unsupported import UNSUPPORTED

# Modules of `adapters` that register the backbones and attentions of each host.
ADAPTERS = {
    'mmpretrain': (
        'mmpretrain_vit',
        'mmpretrain_swin',
        'mmpretrain_twins',
        'mmpretrain_xcit',
        'mmpretrain_t2t',
        'mmpretrain_davit',
        'mmpretrain_hivit',
        'mmpretrain_mixmim',
        'mmpretrain_mlp',
        'mmpretrain_convolution',
        'mmpretrain_timm',
    ),
    'mmdet': ('mmdet',),
    'timm': ('timm_vit', 'timm_swin', 'timm_pvt', 'timm_mlp'),
}
_ATTENTION_NAME = re.compile(r'atten|attn|msa(?![a-z])|mixer', re.IGNORECASE)


@dataclass(frozen=True)
class BackboneSpec:
    """The properties of a backbone class that tracing needs.

    All attributes but ``note`` are functions that take the backbone.

    Attributes:
        patch: Returns the size ``(height, width)`` of a token in pixels.
        prefix: Returns the number of special tokens.
        output: Returns what the last feature is, ``'class'`` or ``'mean'``. Raises
            InputError for an output that no share can be read from.
        late_tokens: Returns the number of special tokens that join after the patch
            embedding, each starting at the mean of the tokens. Defaults to 0.
        num_outputs: Returns how many special tokens the backbone outputs, counted from
            the first, if ``output`` is ``'class'``. Defaults to None: all.
        grid: Also takes the image size (height, width); returns token rows and
            columns. Defaults to None: as many tokens as cover the image.
        has_learnt_weights: Returns whether learnt weights mix the tokens in place of
            attention. Defaults to False.
        note: Description of the output, for tables of models.
    """

    patch: Callable[[nn.Module], tuple[int, int]]
    prefix: Callable[[nn.Module], int]
    output: Callable[[nn.Module], str]
    late_tokens: Callable[[nn.Module], int] = lambda backbone: 0
    num_outputs: Callable[[nn.Module], int] | None = None
    grid: Callable[[nn.Module, Sequence[int]], tuple[int, int]] | None = None
    has_learnt_weights: Callable[[nn.Module], bool] = lambda backbone: False
    note: str = 'class token, or mean of the tokens'

    def count_outputs(self, backbone: nn.Module) -> int:
        """Return the number of outputs of the backbone that a head scores."""
        if self.output(backbone) == 'mean':
            return 1
        if self.num_outputs is not None:
            return self.num_outputs(backbone)
        return self.prefix(backbone) + self.late_tokens(backbone)


@dataclass
class _Known:
    """Registered classes, each with its spec or with the function that attaches it."""

    backbones: dict[type, BackboneSpec] = field(default_factory=dict)
    attentions: dict[type, Callable] = field(default_factory=dict)
    token_modules: dict[type, Callable] = field(default_factory=dict)


KNOWN = _Known()


def register_backbone(cls: type, spec: BackboneSpec) -> None:
    """Register a backbone class, and its subclasses, as traceable.

    Args:
        cls: The class.
        spec: Its tokens and outputs.
    """
    KNOWN.backbones[cls] = spec


def register_attention(*classes: type) -> Callable[[Callable], Callable]:
    """Return a decorator for a function that attaches tracing to an attention module.

    The function is called with the module and the
    :class:`mmtlalign.tracing.attach.TraceContext`.

    Args:
        *classes: Classes of the module.
    """
    return functools.partial(_register, KNOWN.attentions, classes)


def register_token_module(*classes: type) -> Callable[[Callable], Callable]:
    """Return a decorator as :func:`register_attention`, for other token modules.

    These move, merge or add tokens without attention.

    Args:
        *classes: Classes of the module.
    """
    return functools.partial(_register, KNOWN.token_modules, classes)


def _register(table: dict, classes: tuple[type, ...], install: Callable) -> Callable:
    table.update(dict.fromkeys(classes, install))
    return install


def backbone_spec(backbone: nn.Module) -> BackboneSpec:
    """Return the spec of a backbone.

    Raises:
        UnsupportedError: For an unknown class, naming the known ones, and for one
            whose labels cannot be traced, with the reason.
    """
    _load_bases(type(backbone))  # type: ignore[arg-type]
    found = _look_up(type(backbone))
    if not isinstance(found, BackboneSpec):
        load_adapters(hosts_of(backbone))
        found = _look_up(type(backbone))
    if isinstance(found, BackboneSpec):
        return found
    if found is not None:
        raise UnsupportedError(
            f'{type(backbone).__name__} cannot be traced: {found} '
            'Train it with a stock head (plain CutMix), or take one of the '
            'backbones of docs/backbones.md.'
        )
    name = type(backbone).__name__
    inside: list[str] = []
    for path, module in backbone.named_modules():
        known = isinstance(_look_up(type(module)), BackboneSpec)
        if known and not any(path.startswith(f'{outer}.') for outer in inside):
            inside.append(path)
    if len(inside) == 1:
        raise UnsupportedError(
            f'{name} is not a backbone, but has one: attach and trace its {inside[0]}, '
            f'and call the whole {name} inside the trace.'
        )
    if inside:
        raise UnsupportedError(
            f'{name} is not a backbone, but has {len(inside)}: {", ".join(inside)}. '
            'Attach and trace one of them.'
        )
    raise UnsupportedError(
        f'{type(backbone).__module__}.{name} cannot be traced: nothing is registered '
        'about where its tokens start and what it outputs. Take a class of '
        'mmtlalign.list_backbones(), or register yours: docs/add_a_backbone.md.'
    )


def convolved(size: Sequence[int], layer: nn.Module) -> tuple[int, int]:
    """Return rows and columns of a convolution's output for a map of ``size``."""
    return tuple(
        (side + 2 * pad - kernel) // stride + 1
        for side, pad, kernel, stride in zip(
            size, layer.padding, layer.kernel_size, layer.stride
        )
    )


def check_last_output(outputs: Sequence[int], last: int) -> None:
    """Raise InputError if the last layer or stage is not among the outputs."""
    if max(outputs) != last:
        raise InputError(
            f'out_indices={tuple(outputs)}: labels are traced to the last layer or '
            f'stage, so the last output must be {last}; set out_indices=({last},).'
        )


def supported_backbones() -> dict[type, BackboneSpec]:
    """Return all registered backbones, including those of the installed hosts."""
    for host in ADAPTERS:
        if importlib.util.find_spec(host):
            load_adapters([host])
    return dict(KNOWN.backbones)


def hosts_of(model: nn.Module) -> set[str]:
    """Return the top-level packages that the modules of a model come from."""
    return {
        cls.__module__.partition('.')[0]
        for module in model.modules()
        for cls in type(module).__mro__
    }


def load_adapters(hosts: Iterable[str]) -> None:
    """Import the adapters of these hosts, and of no other."""
    for host in hosts:
        for name in ADAPTERS.get(host, ()):
            importlib.import_module(f'mmtlalign.tracing.adapters.{name}')


@functools.cache
def _load_bases(cls: type) -> None:
    """Load the adapters of all base classes, so that the nearest known one is found."""
    load_adapters({base.__module__.partition('.')[0] for base in cls.__mro__})


@functools.cache
def looks_like_attention(cls: type) -> bool:
    """Return whether a class is an attention, judging by its name."""
    return _ATTENTION_NAME.search(cls.__name__) is not None


def _look_up(cls: type) -> BackboneSpec | str | None:
    """Return the spec of the nearest known base class, or the reason for refusal."""
    for base in cls.__mro__:
        if base in KNOWN.backbones:
            return KNOWN.backbones[base]
        if base.__name__ in UNSUPPORTED:
            return UNSUPPORTED[base.__name__]
    return None
