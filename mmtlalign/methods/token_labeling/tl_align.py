"""Token Labeling with TL-Align: a class target traced through the attention.

The combination is ours: neither paper (arXiv 2104.10858, arXiv 2210.06455) describes
it.

A label of K classes moves through attention as K columns; with 1000 classes that costs
more than the network itself. Labels with few stored classes need fewer columns: one for
each of the m classes with most mass in the image's tokens, one for all other stored
classes together, and one for the constant of classes that are not stored
(:class:`TopKLabels`).

Shapes: ``B`` batch, ``K`` classes, ``N`` image tokens, ``k`` classes stored for a
token, ``m`` classes with their own column, ``S`` columns.
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

# Number of classes with their own column, enough for two images of 5 to 8 objects.
COLUMNS = 16


@dataclass(frozen=True)
class LabelColumns:
    """Labels of the tokens of each image in few columns, with the columns' classes.

    All steps are linear, so that a mean of tokens may be taken before or after
    :meth:`dense`, and no mass is lost. The labels are exact if no image has more than m
    stored classes; the excess of others is spread evenly over all classes.

    Attributes:
        values: (B, N, S): m classes, others, rest.
        classes: The classes with their own column (B, m), int64.
        num_classes: Number of classes K.
    """

    values: Tensor
    classes: Tensor
    num_classes: int

    @classmethod
    def from_labels(
        cls, labels: TopKLabels, columns: int, num_classes: int
    ) -> 'LabelColumns':
        """Assign columns to the classes with most mass in each image.

        Args:
            labels: Labels of the tokens (B, N).
            columns: Number of columns m; at most K are used.
            num_classes: Number of classes K.
        """
        batch, tokens, _ = labels.indices.shape
        named, excess = labels.indices.flatten(1), labels.excess.flatten(1)
        # The excess of a stored class may be negative: its absolute value counts.
        mass = excess.new_zeros(batch, num_classes)
        mass = mass.scatter_add(1, named, excess.abs())
        classes = mass.topk(min(columns, num_classes), dim=1).indices
        count = classes.shape[1]
        numbers = torch.arange(count, device=classes.device).expand_as(classes)
        # All other classes share the next column.
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
    """Origin of the tokens of a mixed batch, with the tracer of their labels.

    Attributes:
        tracer: Tracer of the forward pass.
        own_labels: Labels of each image's own tokens, if the trace starts from labels.
        columns: Classes of the trace's columns; None: the columns are the K classes.
    """

    tracer: Tracer
    own_labels: Tensor | TopKLabels | None = None
    columns: LabelColumns | None = None


@MODELS.register_module()
class TLAlignTokenLabelClsHead(TokenLabelClsHead):
    """``TokenLabelClsHead`` whose class target is traced through the attention.

    An extension of ours. Image tokens are trained as in Token Labeling, the class token
    with the traced label. It needs ``MixClassifier``; inference is that of
    ``TokenLabelClsHead``.

    Args:
        traced (str): What is traced. ``'share'``: the share of the partner, as in
            TL-Align, which replaces the area in the target of ``class_target``.
            ``'labels'``: the labels of the tokens themselves; each token starts with
            its own, special tokens with the mean, and the target is the label that
            arrives at the class token. Then the map's label of the whole crop is not
            used, and ``class_target`` must be ``'map'``. Defaults to ``'share'``.
        columns (int, optional): Number of classes of each image that are traced
            separately with ``traced='labels'``, those with most mass in its tokens; all
            others are traced together and spread evenly. Defaults to None: 16.
        layers (Sequence[int], optional): Attentions that move the labels, by index;
            negative ones count from the end. Defaults to None: all.
        residual (bool | float): Weight r of the labels before a layer relative to the
            moved ones, ``p <- (r p + A p) / (r + 1)``. True is 1, the plain mean, False
            is 0. Defaults to True.
        head_token_rule (str, optional): How DHVT's head tokens are merged into the
            class token, ``'nested'`` or ``'flat'``. Defaults to None: ``'nested'`` if
            there are head tokens.
        **kwargs: ``num_classes`` (K), ``in_channels`` (width of the tokens), ``loss``
            (a :class:`TokenLabelLoss`), ``class_target`` (``'map'``, ``'label'`` or
            ``'both'``), ``missing`` (``'error'`` or ``'hard label'``), ``map_values``
            (``'logits'`` or ``'probabilities'``), ``label_smooth_val``,
            ``num_extra_tokens`` (tokens before the image tokens) and arguments of
            mmpretrain's ``VisionTransformerClsHead``; see :class:`TokenLabelClsHead`.

    Raises:
        InputError: A setting is invalid, the features are not all tokens, or maps are
            missing or do not fit; also for maps with values of all classes, without
            indices, if these are more than ``columns + 2``.
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
                'token is trained with the traced token labels; leave class_target at '
                "'map', or set traced='share'."
            )
        if columns is not None and (traced == 'share' or columns < 1):
            raise InputError(
                f'columns={columns} with traced={traced!r}: columns is the number of '
                "classes that traced='labels' traces one by one; give 1 or more, and "
                'only with that.'
            )

    def attach(self, backbone: nn.Module) -> None:
        """Prepare the backbone for tracing.

        Raises:
            UnsupportedError: It cannot be traced.
            InputError: It does not output all tokens, or the options do not fit.
        """
        super().attach(backbone)
        attach_with_options(backbone, self.trace_options)

    @contextlib.contextmanager
    def trace(
        self, backbone: nn.Module, mix: Mix, data_samples: list | None = None
    ) -> Iterator[TracedTokens]:
        """Trace shares, or the labels of ``data_samples``, through one forward pass.

        Args:
            backbone: Backbone after :meth:`attach`.
            mix: The record of the mixing.
            data_samples: B data samples with maps, for ``traced='labels'``.

        Yields:
            The argument ``trace`` of :meth:`loss`.
        """
        with super().trace(backbone, mix) as tokens:
            if self.traced == 'share':
                tracer = MixTracer(backbone, mix, **self.trace_options)
                trace = TracedTokens(
                    tokens.grid, tokens.share, tracer, source=tokens.source
                )
            elif data_samples is None:
                raise InputError(
                    "traced='labels' traces the label maps: give the data samples."
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
        """Return labels of N = ``count`` tokens in a form with few columns."""
        if isinstance(labels, TopKLabels):
            return labels
        # No more columns than labels with few stored classes need.
        if self.num_classes <= self.columns + 2:
            return labels.expand(-1, count, -1)
        if labels.shape[1] != 1:
            raise InputError(
                f"Label maps of all {self.num_classes} classes with traced='labels', "
                f'which traces {self.columns} classes one by one: keep only the '
                f'likeliest with topk={max(self.columns // 2, 1)} in PoolLabelMap, or '
                f'set columns={self.num_classes - 2} in the head.'
            )
        # No image has a map: all its tokens get its own label.
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
            trace: The output of :meth:`trace`, which is required.

        Returns:
            ``loss_cls`` and ``loss_dense``; a term without weight is left out.
        """
        return super().loss(feats, data_samples, mix, self._traced(trace))

    def _traced(self, trace: MixedTokens | None) -> TracedTokens:
        if not isinstance(trace, TracedTokens):
            raise InputError(
                f'{type(self).__name__} needs labels that are traced through the '
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
        """Return the traced target of the class token (B, K)."""
        if self.traced == 'share':
            return super().class_labels(samples, labels, mix, trace)
        trace = self._traced(trace)
        arrived = trace.tracer.output_shares('class')[0]
        return arrived if trace.columns is None else trace.columns.dense(arrived)

    def partner_share(self, mix: Mix, trace: MixedTokens | None) -> Tensor:
        """Return the traced share of the partner at the class token (B,)."""
        return self._traced(trace).tracer.output_shares('class')[0].squeeze(-1)

    def token_labels(
        self, samples: list, labels: Tensor, count: int, trace: MixedTokens | None
    ) -> Tensor | TopKLabels:
        """Return the labels of each image's own tokens, not mixed."""
        trace = self._traced(trace)
        if trace.own_labels is not None:
            return trace.own_labels
        return super().token_labels(samples, labels, count, trace)
