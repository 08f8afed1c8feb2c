"""How a head's labels are traced: its options, and whether a backbone fits them."""

from collections.abc import Sequence

from ..tracing import attach, layer_indices, residual_weight


class TraceOptions:
    """Options of a trace that heads have in common.

    Args:
        layers: Attentions that move the labels, by index, negative ones from
            the end; ``[-1]`` is the paper's ablation with the last layer alone
            (TL-Align, ICCV 2023, Table 8). Defaults to None: all.
        residual: How much labels before a layer count beside the moved ones. True:
            the plain mean; False: not at all, the paper's ablation. A number r is
            an extension of ours, ``p <- (r p + A p) / (r + 1)``: 2 for LV-ViT-S and
            M, 3 for L weighs both as these networks do (``skip_lam``). Defaults to
            True.
        merge: How DHVT's head tokens come back to the class token, ``'nested'``
            or ``'flat'``; see :meth:`mmtlalign.tracing.Tracer.append_tokens`.
            Defaults to None: ``'nested'`` where there are head tokens.

    Attributes:
        of_tracer: The options as a tracer takes them.
    """

    def __init__(
        self,
        layers: Sequence[int] | None = None,
        residual: bool | float = True,
        merge: str | None = None,
    ):
        if merge not in (None, 'nested', 'flat'):
            raise ValueError(f"merge={merge!r}: choose 'nested' or 'flat'.")
        self.merge = merge
        self.of_tracer = dict(
            layers=layers,
            residual=residual_weight(residual),
            merge=merge or 'nested',
        )

    def attach(self, backbone) -> None:
        """Tap the backbone.

        Raises:
            TypeError: If it cannot be traced.
            ValueError: If it has no such layers, or no head tokens to merge.
        """
        wire = attach(backbone)
        layer_indices(self.of_tracer['layers'], wire.attentions)
        if self.merge is not None and not wire.appends:
            raise ValueError(
                f'merge={self.merge!r} is about head tokens (DHVT), and '
                f'{type(backbone).__name__} has none: leave it out.'
            )
