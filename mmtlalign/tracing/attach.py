"""Attach tracing to a network that stays as it is, and detach it again.

:func:`attach` registers hooks once, when the model is built. All of them share one
:class:`TraceContext`, on which :mod:`mmtlalign.tracing.trace` puts a reader for one
forward pass. Without a reader an attached network is the stock one: same state dict,
same arithmetic.

An adapter reads each attention of its host by one of :meth:`TraceContext.read_weights`,
``replace_attention``, ``capture`` and ``swap_class``, the first that fits; ``before``,
``after`` and ``in_windows`` report what else happens to the tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from mmtlalign.errors import InputError, TraceError, UnsupportedError
from mmtlalign.tracing.capture import capturing
from mmtlalign.tracing.events import Reader
from mmtlalign.tracing.kernels.attention_hook import AttentionHook
from mmtlalign.tracing.learnt_weights import known_weights
from mmtlalign.tracing.support import (
    KNOWN,
    BackboneSpec,
    backbone_spec,
    hosts_of,
    load_adapters,
    looks_like_attention,
    names_of,
)


@dataclass
class TraceContext:
    """What the hooks of one backbone share.

    Attributes:
        reader: Reader of the forward pass that is running, else None.
        attentions: Number of attentions that are read.
        has_head_tokens: Whether head tokens are appended in an attention (DHVT).
        late_tokens: How many special tokens join behind the patch embedding.
        learnt_weights: The rule for layers that mix tokens by learnt weights.
        undo: Takes off what was attached, the last first.
    """

    reader: Reader | None = None
    attentions: int = 0
    has_head_tokens: bool = False
    late_tokens: int = 0
    learnt_weights: str | None = None
    undo: list[Callable[[], object]] = field(default_factory=list, repr=False)

    def before(self, module: nn.Module, report: Callable) -> None:
        """Call ``report(reader, module, *args, **kwargs)`` before a forward."""
        hook = EventHook(self, report)
        handle = module.register_forward_pre_hook(hook.before, with_kwargs=True)
        self.undo.append(handle.remove)

    def after(self, module: nn.Module, report: Callable) -> None:
        """Call ``report(reader, module, output)`` after a forward."""
        handle = module.register_forward_hook(EventHook(self, report).after)
        self.undo.append(handle.remove)

    def in_windows(self, module: nn.Module, enter: Callable) -> None:
        """Read the attention inside a module's forward as attention in windows.

        Args:
            module: Puts the windows together again at the end of its forward.
            enter: Called as in :meth:`before`; calls ``reader.enter_windows``.
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
            module: Calls the function as PyTorch's is called.
            scale: Factor of the logits, where the function has one of its own that
                its callers do not give. Defaults to None.
            name: Name of the attribute.
        """
        setattr(module, name, AttentionHook(self, getattr(module, name), scale))
        self.undo.append(partial(_unwrap, module, name))

    def capture(self, module: nn.Module) -> None:
        """Read an attention that is computed in the middle of a module's forward.

        Args:
            module: Calls a softmax, or PyTorch's fused attention, in its forward.
        """
        self.swap_class(module, capturing(type(module)))  # type: ignore[arg-type]

    def swap_class(self, module: nn.Module, cls: type) -> None:
        """Read an attention by a subclass of its module that computes the same.

        Args:
            module: Changed in place.
            cls: Its forward calls ``self.attention_hook`` in place of
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
    """Put back the function that an attention hook calls."""
    setattr(module, name, getattr(module, name).function)


class EventHook:
    """A forward hook that does something only while there is a reader.

    An object, as a deep copy of the network copies it and its context; a function
    would go on reporting to the context of the original.
    """

    def __init__(self, context: TraceContext, report: Callable[..., object]):
        self.context = context
        self.report = report

    def before(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        """Report the arguments of the forward to the reader."""
        if self.context.reader is not None:
            self.report(self.context.reader, module, *args, **kwargs)

    def after(self, module: nn.Module, args: tuple, output: object) -> None:
        """Report the output of the forward to the reader."""
        if self.context.reader is not None:
            self.report(self.context.reader, module, output)


def attach(backbone: nn.Module, learnt_weights: str | None = None) -> TraceContext:
    """Put hooks on every attention of a backbone, in place; a second call does nothing.

    Its class and its state dict do not change; deep copies get a context of their own.

    Args:
        backbone: Of a supported class, as it is or in a wrapper of
            :func:`bare_model`.
        learnt_weights: How labels move through networks that mix tokens by learnt
            weights in place of attention (MLP-Mixer, ResMLP, depth-wise convolutions),
            a rule of ours that is in no paper: ``'mean_gates'`` takes the gates of a
            token MLP as their mean over channels, ``'no_gates'`` its weights alone,
            ``'exact'`` channel by channel, which is slow and for analysis; layers
            without gates are the same in all. Defaults to None: such networks are
            refused.

    Raises:
        UnsupportedError: The backbone's class, or a module in it that looks like
            attention, is not known; or it has learnt weights and no rule is given.
        InputError: There is no such rule, the backbone has attention, or it is
            attached with another rule.
    """
    backbone = bare_model(backbone)
    context = getattr(backbone, 'trace_context', None)
    if context is not None:
        if learnt_weights not in (None, context.learnt_weights):
            raise InputError(
                f'learnt_weights={learnt_weights!r}: {type(backbone).__name__} is '
                f'attached with {context.learnt_weights!r}; call mmtlalign.detach '
                'first.'
            )
        return context
    spec = backbone_spec(backbone)
    _check_rule(backbone, spec, learnt_weights)
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
                f'{type(backbone).__name__} has no attention that can be traced.'
            )
    except BaseException:
        _undo(context)
        raise
    backbone.trace_context = context
    return context


def _check_rule(
    backbone: nn.Module, spec: BackboneSpec, learnt_weights: str | None
) -> None:
    name = type(backbone).__name__
    if learnt_weights is None:
        if spec.has_learnt_weights(backbone):
            raise UnsupportedError(
                f'{name} mixes tokens by learnt weights, not by attention. Labels '
                'follow them by a rule of ours that is in no paper '
                "(docs/tracing.md): learnt_weights='mean_gates' of a TL-Align head, or "
                'of mmtlalign.attach; or train it with a stock head (plain CutMix).'
            )
        return
    known_weights(learnt_weights)
    if not spec.has_learnt_weights(backbone):
        raise InputError(
            f'learnt_weights={learnt_weights!r} is for networks without attention '
            f'(MLP-Mixer, ConvNeXt), and {name} has it: leave it out.'
        )


def detach(backbone: nn.Module) -> None:
    """Take off what :func:`attach` put on: every object is the stock one again.

    Args:
        backbone: Attached or not, as it is or in a wrapper of :func:`bare_model`.

    Raises:
        TraceError: A forward pass is being read.
    """
    backbone = bare_model(backbone)
    context = getattr(backbone, 'trace_context', None)
    if context is None:
        return
    if context.reader is not None:
        raise TraceError(
            f'{type(backbone).__name__} is being traced: detach it after the forward '
            'pass.'
        )
    _undo(context)
    del backbone.trace_context


def bare_model(model: nn.Module) -> nn.Module:
    """Return the model inside ``torch.compile`` and ``DistributedDataParallel``.

    Raises:
        UnsupportedError: It is in ``DataParallel``, whose threads would share a trace.
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
    """List what has to be attached: installer, module, number of attentions."""
    # What is inside of an attention is part of it.
    inside: tuple[str, ...] = ()
    found = []
    for name, module in backbone.named_modules():
        if module is backbone or name.startswith(inside):
            continue
        # A class of fast/ names the stock class that it stands for.
        cls = vars(type(module)).get('stands_for', type(module))
        if cls in KNOWN.attentions:
            found.append((KNOWN.attentions[cls], module, 1))
            inside += (f'{name}.',)
        elif cls in KNOWN.token_modules:
            found.append((KNOWN.token_modules[cls], module, 0))
        elif looks_like_attention(type(module)):  # type: ignore[arg-type]
            raise UnsupportedError(
                f'{type(backbone).__name__}.{name} is a {type(module).__name__}, '
                'whose way of moving tokens is not known. Known attentions: '
                f'{names_of(KNOWN.attentions)}. Shares that skip a layer would be '
                'wrong, so register it first: docs/add_a_backbone.md.'
            )
    return found


def _undo(context: TraceContext) -> None:
    while context.undo:
        context.undo.pop()()
