"""Attach tracing to an unmodified network, and detach it again.

:func:`attach` registers hooks once, when the model is built. All of them share one
:class:`TraceContext`, in which :mod:`mmtlalign.tracing.trace` sets a reader for one
forward pass. Without a reader an attached network behaves as before: same state dict,
same arithmetic.

An adapter reads each attention of its host by one of :meth:`TraceContext.read_weights`,
``replace_attention``, ``capture`` and ``swap_class``, the first that fits; ``before``,
``after`` and ``in_windows`` report all other changes of the tokens.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from mmtlalign.errors import InputError, TraceError, UnsupportedError
from mmtlalign.tracing.capture import capturing
from mmtlalign.tracing.events import Reader
from mmtlalign.tracing.kernels.attention_hook import AttentionHook, is_recomputing
from mmtlalign.tracing.learnt_weights import checked_learnt_weights
from mmtlalign.tracing.support import (
    KNOWN,
    BackboneSpec,
    backbone_spec,
    hosts_of,
    load_adapters,
    looks_like_attention,
)


@dataclass
class TraceContext:
    """State that the hooks of one backbone share.

    Attributes:
        reader: Reader of the current forward pass, or None; hooks use :meth:`active`.
        attentions: Number of attentions that are read.
        has_head_tokens: Whether head tokens are appended in an attention (DHVT).
        late_tokens: Number of special tokens that join after the patch embedding.
        learnt_weights: The rule for layers that mix tokens with learnt weights.
        undo: Functions that remove what was attached; the last is called first.
    """

    reader: Reader | None = None
    attentions: int = 0
    has_head_tokens: bool = False
    late_tokens: int = 0
    learnt_weights: str | None = None
    undo: list[Callable[[], object]] = field(default_factory=list, repr=False)

    def active(self) -> Reader | None:
        """Return the reader, or None if a layer is recomputed (checkpointing)."""
        return None if self.reader is None or is_recomputing() else self.reader

    def before(self, module: nn.Module, report: Callable) -> None:
        """Call ``report(reader, module, *args, **kwargs)`` before each forward pass."""
        hook = EventHook(self, report)
        handle = module.register_forward_pre_hook(hook.before, with_kwargs=True)
        self.undo.append(handle.remove)

    def after(self, module: nn.Module, report: Callable) -> None:
        """Call ``report(reader, module, output)`` after each forward pass."""
        handle = module.register_forward_hook(EventHook(self, report).after)
        self.undo.append(handle.remove)

    def in_windows(self, module: nn.Module, enter: Callable) -> None:
        """Read the attention inside a module's forward as attention in windows.

        Args:
            module: Module that merges the windows again at the end of its forward.
            enter: Function that calls ``reader.enter_windows``; it is called as in
                :meth:`before`.
        """
        self.before(module, enter)
        self.after(module, _leave_windows)

    def read_weights(self, softmax: nn.Module) -> None:
        """Read an attention from the output (..., H, Nq, Nk) of its softmax module."""
        self.after(softmax, _weigh)

    def replace_attention(
        self,
        module: nn.Module,
        scale: float | None = None,
        name: str = 'scaled_dot_product_attention',
    ) -> None:
        """Read an attention whose function is an attribute of the module.

        Args:
            module: Module that calls the function with the arguments of PyTorch's.
            scale: Factor of the logits, if the function has its own and callers do not
                pass one. Defaults to None.
            name: Name of the attribute.
        """
        setattr(module, name, AttentionHook(self, getattr(module, name), scale))
        self.undo.append(partial(_unwrap, module, name))

    def capture(self, module: nn.Module) -> None:
        """Read an attention that is computed in the middle of a module's forward.

        Args:
            module: Module that calls a softmax, or PyTorch's fused attention, there.
        """
        self.swap_class(module, capturing(type(module)))  # type: ignore[arg-type]

    def swap_class(self, module: nn.Module, cls: type) -> None:
        """Read an attention by a subclass of its module that computes the same.

        Args:
            module: Module whose class is replaced in place.
            cls: Subclass whose forward calls ``self.attention_hook`` in place of
                ``F.scaled_dot_product_attention``.
        """
        self.undo.append(partial(setattr, module, '__class__', type(module)))
        self.undo.append(partial(delattr, module, 'attention_hook'))
        module.__class__ = cls
        module.attention_hook = AttentionHook(self, F.scaled_dot_product_attention)


def _leave_windows(reader: Reader, module: nn.Module, output: object) -> None:
    reader.leave_windows()


def _weigh(reader: Reader, module: nn.Module, output: Tensor) -> None:
    reader.weigh(output)


def _unwrap(module: nn.Module, name: str) -> None:
    """Restore the function that an attention hook replaces."""
    setattr(module, name, getattr(module, name).function)


class EventHook:
    """A forward hook that is active only while there is a reader.

    It is an object, not a closure, because a deep copy of the network must get a copy
    of it with the copied context; a closure would keep the context of the original.
    """

    def __init__(self, context: TraceContext, report: Callable[..., object]):
        self.context = context
        self.report = report

    def before(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        """Report the arguments of the forward pass to the reader."""
        reader = self.context.active()
        if reader is not None:
            self.report(reader, module, *args, **kwargs)

    def after(self, module: nn.Module, args: tuple, output: object) -> None:
        """Report the output of the forward pass to the reader."""
        reader = self.context.active()
        if reader is not None:
            self.report(reader, module, output)


def attach(backbone: nn.Module, learnt_weights: str | None = None) -> TraceContext:
    """Register hooks on every attention of a backbone, in place.

    A second call does nothing. The backbone's class and state dict do not change; deep
    copies get their own context.

    Args:
        backbone: Backbone of a supported class, bare or in a wrapper that
            :func:`bare_model` removes.
        learnt_weights: How labels move through networks that mix tokens with learnt
            weights in place of attention (MLP-Mixer, ResMLP, depth-wise convolutions).
            The rules are ours and not from a paper. They differ in the gates of token
            MLPs, the factors ``f(a) / a`` of an activation: ``'mean_gates'`` averages
            them over channels, ``'no_gates'`` leaves them out, ``'exact'`` computes
            each channel, which is slow and meant for analysis. Defaults to None: such
            networks are rejected.

    Returns:
        The context that all hooks share.

    Raises:
        UnsupportedError: The backbone's class, or a module in it that looks like
            attention, is not known; or it has learnt weights and no rule is given.
        InputError: The rule does not exist, the backbone has attention and needs no
            rule, or it is attached with another rule.
    """
    backbone = bare_model(backbone)
    context = context_of(backbone)
    if context is not None:
        if learnt_weights not in (None, context.learnt_weights):
            raise InputError(
                f'learnt_weights={learnt_weights!r}: {type(backbone).__name__} is '
                f'already attached with {context.learnt_weights!r}; call '
                'mmtlalign.detach first.'
            )
        return context
    spec = backbone_spec(backbone)
    _check_learnt_weights(backbone, spec, learnt_weights)
    load_adapters(hosts_of(backbone))
    installers = _find_attentions(backbone)
    context = TraceContext(
        late_tokens=spec.late_tokens(backbone), learnt_weights=learnt_weights
    )
    try:
        for install, module, attentions in installers:
            install(module, context)
            context.attentions += attentions
        if not context.attentions:
            raise UnsupportedError(
                f'{type(backbone).__name__} has no attention that can be traced: '
                'register it as docs/add_a_backbone.md says, or use a stock head.'
            )
    except BaseException:
        _undo(context)
        raise
    backbone.trace_context = context
    return context


@contextmanager
def attached(
    backbone: nn.Module, learnt_weights: str | None = None
) -> Iterator[TraceContext]:
    """Attach tracing temporarily, unless it is attached already.

    Arguments and errors are those of :func:`attach`.
    """
    backbone = bare_model(backbone)
    before = context_of(backbone) is not None
    context = attach(backbone, learnt_weights)
    try:
        yield context
    finally:
        if not before:
            detach(backbone)


def _check_learnt_weights(
    backbone: nn.Module, spec: BackboneSpec, learnt_weights: str | None
) -> None:
    name = type(backbone).__name__
    if learnt_weights is None:
        if spec.has_learnt_weights(backbone):
            raise UnsupportedError(
                f'{name} mixes tokens by learnt weights, not by attention. Tracing '
                'follows a rule of this package that is in no paper '
                "(docs/tracing.md): set learnt_weights='mean_gates' in a TL-Align head "
                'or in mmtlalign.attach; or train it with a stock head (plain CutMix).'
            )
        return
    checked_learnt_weights(learnt_weights)
    if not spec.has_learnt_weights(backbone):
        raise InputError(
            f'learnt_weights={learnt_weights!r} is for networks without attention '
            f'(MLP-Mixer, ConvNeXt), and {name} has it: leave it out.'
        )


def detach(backbone: nn.Module) -> None:
    """Remove all that :func:`attach` added, and restore the original modules.

    Args:
        backbone: Attached or not, bare or in a wrapper that :func:`bare_model` removes.

    Raises:
        TraceError: A forward pass is being traced.
    """
    backbone = bare_model(backbone)
    context = context_of(backbone)
    if context is None:
        return
    if context.reader is not None:
        raise TraceError(
            f'{type(backbone).__name__} is being traced: detach it after the forward '
            'pass.'
        )
    _undo(context)
    del backbone.trace_context


def context_of(backbone: nn.Module) -> TraceContext | None:
    """Return the context of a backbone, or None if it is not attached.

    Wrappers that forward attributes (PEFT) are not attached if the model inside is.
    """
    return vars(backbone).get('trace_context')


def bare_model(model: nn.Module) -> nn.Module:
    """Return the model inside ``torch.compile`` and ``DistributedDataParallel``.

    Raises:
        UnsupportedError: It is in ``DataParallel``, whose threads would share a reader.
    """
    if isinstance(model, nn.DataParallel):
        raise UnsupportedError(
            'DataParallel cannot be traced, as it splits a batch over threads: use '
            'DistributedDataParallel, or trace and call its module.'
        )
    inner = getattr(model, '_orig_mod', None)
    if isinstance(model, nn.parallel.DistributedDataParallel):
        inner = model.module
    return model if inner is None else bare_model(inner)


def _find_attentions(backbone: nn.Module) -> list[tuple[Callable, nn.Module, int]]:
    """List the modules to attach, as (installer, module, number of attentions)."""
    # Submodules of an attention are part of it.
    inside: tuple[str, ...] = ()
    found = []
    for name, module in backbone.named_modules():
        if module is backbone or name.startswith(inside):
            continue
        # A class of mmtlalign.fast names the original class that it replaces.
        cls = vars(type(module)).get('stands_for', type(module))
        if cls in KNOWN.attentions:
            found.append((KNOWN.attentions[cls], module, 1))
            inside += (f'{name}.',)
        elif cls in KNOWN.token_modules:
            found.append((KNOWN.token_modules[cls], module, 0))
        elif looks_like_attention(type(module)):  # type: ignore[arg-type]
            raise UnsupportedError(
                f'{type(backbone).__name__}.{name} is a {type(module).__name__}, and '
                'how it mixes tokens is not known. Shares that skip a layer would be '
                'wrong, so register it first: docs/add_a_backbone.md.'
            )
    return found


def _undo(context: TraceContext) -> None:
    while context.undo:
        context.undo.pop()()
