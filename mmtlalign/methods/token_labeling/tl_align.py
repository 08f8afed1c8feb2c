"""Token Labeling with TL-Align: the class token learns what arrives of the tokens.

Of ours, in no paper: both papers (arXiv 2104.10858, arXiv 2210.06455) leave the class
label of a mixed batch to the other.

A label of K classes moves through attention as K columns; with 1000 classes that is
more than the network itself. Labels that name few classes need few: one for each class
that the image's tokens name most, one for all others together, and one for what a
class has that is not named (:class:`TopKLabels`).

Shapes: ``B`` batch, ``K`` classes, ``N`` image tokens, ``k`` classes that a token
names, ``m`` classes that get a column, ``S`` columns.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmtlalign.compat.renamed import renamed_arguments
from mmtlalign.errors import InputError
from mmtlalign.methods.tl_align import attach_with_options, trace_options
from mmtlalign.methods.token_labeling.head import TokenLabelClsHead
from mmtlalign.methods.token_labeling.loss import TopKLabels, mix_tokens
from mmtlalign.methods.token_labeling.targets import MixedTokens
from mmtlalign.mixing.mix import Mix
from mmtlalign.registry import MODELS
from mmtlalign.tracing.trace import MixTracer, label_tracer, trace_forward
from mmtlalign.tracing.tracer import Tracer

# Classes that get a column of the trace: two images of five to eight objects.
COLUMNS = 16


@dataclass(frozen=True)
class LabelColumns:
    """Labels of the tokens of each image in few columns, and what these mean.

    All steps are linear, so that a mean of tokens may be taken before
    :meth:`dense` or after, and no mass is lost. Exact where no image names more than m
    classes; the excess of others is spread evenly over all.

    Attributes:
        values: (B, N, S): m classes, others, rest.
        classes: The classes that have a column (B, m), int64.
        num_classes: K.
    """

    values: Tensor
    classes: Tensor
    num_classes: int

    @classmethod
    def from_labels(
        cls, labels: TopKLabels, columns: int, num_classes: int
    ) -> 'LabelColumns':
        """Give columns to the classes of most mass in each image.

        Args:
            labels: Labels of the tokens (B, N).
            columns: m, at most K of them are used.
            num_classes: K.
        """
        batch, tokens, _ = labels.indices.shape
        named, excess = labels.indices.flatten(1), labels.excess.flatten(1)
        # A named class may have less than one that is not: it counts all the same.
        mass = excess.new_zeros(batch, num_classes)
        mass = mass.scatter_add(1, named, excess.abs())
        classes = mass.topk(min(columns, num_classes), dim=1).indices
        count = classes.shape[1]
        numbers = torch.arange(count, device=classes.device).expand_as(classes)
        # All other classes share the column behind.
        column = torch.full_like(mass, count, dtype=torch.int64)
        column = column.scatter(1, classes, numbers).gather(1, named)
        values = excess.new_zeros(batch, tokens, count + 1)
        values = values.scatter_add(2, column.view_as(labels.indices), labels.excess)
        values = torch.cat([values, labels.rest.unsqueeze(-1)], dim=-1)
        return cls(values, classes, num_classes)

    def dense(self, mean: Tensor) -> Tensor:
        """Return the label of all classes (B, K) of a mean of tokens (B, S)."""
        excess, others, rest = mean.tensor_split([-2, -1], dim=-1)
        full = (rest + others / self.num_classes).repeat(1, self.num_classes)
        return full.scatter_add(1, self.classes, excess)


@dataclass(frozen=True)
class TracedTokens(MixedTokens):
    """Which image tokens come from, and what attention does to their labels.

    Attributes:
        tracer: Follows the labels through the forward pass.
        own_labels: Labels of each image's own tokens, where the trace starts from
            labels.
        columns: What the columns of that trace mean; None: they are the classes.
    """

    tracer: Tracer
    own_labels: Tensor | TopKLabels | None = None
    columns: LabelColumns | None = None


@MODELS.register_module()
class TLAlignTokenLabelClsHead(TokenLabelClsHead):
    """``TokenLabelClsHead`` whose class target is traced through the attention.

    An extension of ours. Tokens learn as in Token Labeling, the class token what
    arrives at it. Needs ``MixClassifier``; inference is that of
    ``TokenLabelClsHead``.

    Args:
        traced (str): What is followed. ``'share'``: the share of the partner, as
            in TL-Align; it takes the place of the area in the target that
            ``class_target`` names. ``'labels'``: the labels of the tokens
            themselves; each token starts with its own, special tokens with the
            mean, and the target is the label that arrives at the class token. The
            map's label of the whole crop is not read then, and ``class_target``
            stays ``'map'``. Defaults to ``'share'``.
        columns (int, optional): How many classes of each image are followed one by
            one with ``traced='labels'``, those of most mass in its tokens; all others
            are followed together and spread evenly. Defaults to None: 16.
        layers (Sequence[int], optional): Attentions that move the labels, by index,
            negative ones from the end. Defaults to None: all.
        residual (bool | float): How much labels before a layer count beside the moved
            ones: True is the plain mean, False not at all, and a number r gives
            ``p <- (r p + A p) / (r + 1)``. Defaults to True.
        head_token_rule (str, optional): How DHVT's head tokens come back to the class
            token, ``'nested'`` or ``'flat'``. Defaults to None: ``'nested'`` where
            there are head tokens.
        **kwargs: ``num_classes`` (K), ``in_channels`` (width of the tokens), ``loss``
            (a :class:`TokenLabelLoss`), ``class_target`` (what the class token learns:
            ``'map'``, ``'label'`` or ``'both'``), ``missing`` (an image without map is
            an ``'error'``, or all of it has its ``'hard label'``), ``map_values``
            (``'logits'`` or ``'probabilities'``), ``label_smooth_val``,
            ``num_extra_tokens`` (tokens in front of the image's) and what mmpretrain's
            ``VisionTransformerClsHead`` takes; defaults and details:
            :class:`TokenLabelClsHead`.

    Raises:
        InputError: A setting is impossible, the features are not all tokens, or maps
            are missing or do not fit; also for maps of more than ``columns + 2``
            classes that do not name the likeliest ones.
    """

    @renamed_arguments(merge='head_token_rule')
    def __init__(
        self,
        *args: Any,
        traced: str = 'share',
        columns: int | None = None,
        layers: Sequence[int] | None = None,
        residual: bool | float = True,
        head_token_rule: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self._check_trace(traced, columns)
        self.traced = traced
        self.columns = COLUMNS if columns is None else columns
        self.trace_options = trace_options(layers, residual, head_token_rule)

    def _check_trace(self, traced: str, columns: int | None) -> None:
        if traced not in ('share', 'labels'):
            raise InputError(f"traced={traced!r}: choose 'share' or 'labels'.")
        if traced == 'labels' and self.class_target != 'map':
            raise InputError(
                f"class_target={self.class_target!r} with traced='labels': the class "
                "token learns the token labels that arrive; leave it at 'map', or "
                "trace the 'share'."
            )
        if columns is not None and (traced == 'share' or columns < 1):
            raise InputError(
                f'columns={columns} with traced={traced!r}: the number of classes '
                "that are followed one by one with traced='labels', 1 or more."
            )

    def attach(self, backbone: nn.Module) -> None:
        """Prepare the backbone for tracing.

        Raises:
            UnsupportedError: If it cannot be traced.
            InputError: If it does not output all tokens, or the options do not fit.
        """
        super().attach(backbone)
        attach_with_options(backbone, self.trace_options)

    @contextlib.contextmanager
    def trace(
        self, backbone: nn.Module, mix: Mix, data_samples: list | None = None
    ) -> Iterator[TracedTokens]:
        """Trace the shares, or the labels of ``data_samples``, through one forward.

        Args:
            backbone: Attached.
            mix: The record of the mixing.
            data_samples: B data samples with maps, for ``traced='labels'``.

        Yields:
            What :meth:`loss` takes as ``trace``.
        """
        with super().trace(backbone, mix) as tokens:
            if self.traced == 'share':
                tracer = MixTracer(backbone, mix, **self.trace_options)
                trace = TracedTokens(
                    tokens.grid, tokens.share, tracer, source=tokens.source
                )
            elif data_samples is None:
                raise InputError(
                    "traced='labels' starts from labels: give the data samples."
                )
            else:
                trace = self._start_from_labels(backbone, mix, data_samples, tokens)
        with trace_forward(backbone, trace.tracer):
            yield trace

    def _start_from_labels(
        self, backbone: nn.Module, mix: Mix, samples: list, tokens: MixedTokens
    ) -> TracedTokens:
        count = tokens.share.shape[1]
        labels = self.smooth_labels(mix.labels)
        own_labels = super().token_labels(samples, labels, count, tokens)
        start = self._reduce_columns(own_labels, count)
        start = mix_tokens(start, mix.partner, tokens.share, tokens.source)
        columns = None
        if isinstance(start, TopKLabels):
            columns = LabelColumns.from_labels(start, self.columns, self.num_classes)
            start = columns.values
        tracer = label_tracer(backbone, start, tokens.grid, **self.trace_options)
        return TracedTokens(
            tokens.grid,
            tokens.share,
            tracer,
            own_labels,
            columns,
            source=tokens.source,
        )

    def _reduce_columns(
        self, labels: Tensor | TopKLabels, count: int
    ) -> Tensor | TopKLabels:
        """Return labels of N = ``count`` tokens in a form of few columns."""
        if isinstance(labels, TopKLabels):
            return labels
        # As many columns as labels that name few classes get.
        if self.num_classes <= self.columns + 2:
            return labels.expand(-1, count, -1)
        if labels.shape[1] != 1:
            raise InputError(
                f"Maps of all {self.num_classes} classes with traced='labels', which "
                f'follows {self.columns} classes one by one: name the likeliest, '
                f'topk={max(self.columns // 2, 1)} in PoolLabelMap, or set columns='
                f'{self.num_classes - 2} in the head.'
            )
        # No image has a map: its own label in every token.
        values, indices = labels.topk(self.columns, dim=-1)
        top = TopKLabels.from_probabilities(values, indices, self.num_classes)
        return TopKLabels(
            top.excess.expand(-1, count, -1),
            top.indices.expand(-1, count, -1),
            top.rest.expand(-1, count),
        )

    def loss(
        self,
        feats: tuple,
        data_samples: list,
        mix: Mix | None = None,
        trace: MixedTokens | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses of ``TokenLabelClsHead`` with the traced class target.

        Args:
            feats: Features of the backbone.
            data_samples: B samples with ``gt_score`` (K,) or ``gt_label``, and maps.
            mix: The record of the mixing.
            trace: What :meth:`trace` gave, which is needed.

        Returns:
            ``loss_cls`` and ``loss_dense``; one without weight is left out.
        """
        return super().loss(feats, data_samples, mix, self._traced(trace))

    def _traced(self, trace: MixedTokens | None) -> TracedTokens:
        if not isinstance(trace, TracedTokens):
            raise InputError(
                f'{type(self).__name__} learns labels that are traced through the '
                "backbone: train it with type='mmtlalign.MixClassifier'."
            )
        return trace

    def class_labels(
        self,
        samples: list,
        labels: Tensor,
        mix: Mix | None,
        trace: MixedTokens | None,
    ) -> Tensor:
        """Return what the class token learns (B, K): what arrives there."""
        if self.traced == 'share':
            return super().class_labels(samples, labels, mix, trace)
        trace = self._traced(trace)
        arrived = trace.tracer.output_shares('class')[0]
        return arrived if trace.columns is None else trace.columns.dense(arrived)

    def partner_share(self, mix: Mix, trace: MixedTokens | None) -> Tensor:
        """Return the share of the partner that arrived at the class token (B,)."""
        return self._traced(trace).tracer.output_shares('class')[0].squeeze(-1)

    def token_labels(
        self, samples: list, labels: Tensor, count: int, trace: MixedTokens | None
    ) -> Tensor | TopKLabels:
        """Return the labels of each image's own tokens, not mixed."""
        trace = self._traced(trace)
        if trace.own_labels is not None:
            return trace.own_labels
        return super().token_labels(samples, labels, count, trace)
