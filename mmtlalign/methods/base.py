"""What the heads of mixed batches have in common.

A head is a mixin that reads a target (``TLAlign``, ``TransMix``) in front of a head of
mmpretrain, which keeps its layers, its names and its loss. Shapes: ``B`` batch, ``K``
classes.
"""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn

from mmtlalign.errors import InputError
from mmtlalign.mixing.mix import Mix
from mmtlalign.tracing.support import backbone_spec


class MixHead:
    """Mixin: compute the loss of a mixed batch, with a target for each output.

    Subclasses say what is read from a forward pass (:meth:`attach`, :meth:`trace`) and
    what it means (:meth:`partner_shares`).

    Attributes:
        outputs: How many outputs of the network the head scores.
    """

    outputs = 1
    # Of mmpretrain's head, which comes behind.
    cal_acc: bool
    loss_module: Callable[..., Tensor]
    __call__: Callable[..., Tensor]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.cal_acc:
            raise InputError(
                'cal_acc=True: a mixed batch has no single true class to count; '
                'set cal_acc=False and read the accuracy of the validation.'
            )

    def attach(self, backbone: nn.Module) -> None:
        """Check that the head can read the backbone; subclasses attach tracing.

        Raises:
            UnsupportedError: The backbone or an attention in it is not known.
            InputError: The backbone's outputs are not what the head scores.
        """
        spec = backbone_spec(backbone)
        self.output = spec.output(backbone)
        given = spec.count_outputs(backbone)
        if given != self.outputs:
            raise InputError(
                f'{type(backbone).__name__} has {given} output(s) and '
                f'{type(self).__name__} scores {self.outputs}: use a DeiTClsHead '
                'with a distilled backbone, and another head otherwise.'
            )

    def trace(
        self, backbone: nn.Module, mix: Mix, data_samples: list | None = None
    ) -> AbstractContextManager:
        """Return a context manager around one forward pass, which gives the reader.

        Args:
            backbone: Attached.
            mix: The mixed batch.
            data_samples: Data samples of the batch, for heads that find labels there.
                Defaults to None.
        """
        raise NotImplementedError

    def partner_shares(self, mix: Mix, trace: Any) -> tuple[Tensor, ...]:
        """Return the partner's share of the target (B,) for each output.

        Args:
            mix: The mixed batch.
            trace: The reader that :meth:`trace` gave, after the forward pass.
        """
        raise NotImplementedError

    def loss(
        self, feats: tuple, data_samples: list, mix: Mix, trace: Any
    ) -> dict[str, Tensor]:
        """Compute the loss of a mixed batch.

        Args:
            feats: Features of the backbone and neck.
            data_samples: Not read: the labels travel in ``mix``.
            mix: The mixed batch.
            trace: The reader that :meth:`trace` gave, after the forward pass.

        Returns:
            dict[str, Tensor]: ``loss``, the mean over the network's outputs.
        """
        shares = self.partner_shares(mix, trace)
        scores = self.output_scores(feats)
        for score in scores:
            if score.shape != mix.labels.shape:
                # The losses of mmpretrain would broadcast some of these.
                raise InputError(
                    f'Scores of shape {tuple(score.shape)} for labels of shape '
                    f'{tuple(mix.labels.shape)}: the features are not pooled; add a '
                    'neck (mmtlalign.TokenPooling, GlobalAveragePooling), or choose '
                    "the backbone's out_type."
                )
        losses = [
            self.loss_module(score, mix.target(share), avg_factor=len(score))
            for score, share in zip(scores, shares)
        ]
        return dict(loss=sum(losses) / len(losses))

    def output_scores(self, feats: tuple) -> tuple[Tensor, ...]:
        """Return the class scores (B, K) of each output of the network."""
        return (self(feats),)


class DistilledScores(MixHead):
    """Mixin: score DeiT's two classifiers one by one in training.

    Without a teacher both learn the mixed labels, each with what arrives at
    its own token; inference averages them, as in DeiT (ICML 2021, §4).
    """

    outputs = 2
    layers: Any
    pre_logits: Callable[[tuple], tuple[Tensor, Tensor]]

    def output_scores(self, feats: tuple) -> tuple[Tensor, Tensor]:
        """Return scores (B, K) of the class token and of the distillation token."""
        class_token, dist_token = self.pre_logits(feats)
        return self.layers.head(class_token), self.layers.head_dist(dist_token)

    def forward(self, feats: tuple) -> Tensor:
        """Return the average of both scores (B, K)."""
        with warnings.catch_warnings():
            # The stock head warns that it cannot be trained; this one can.
            warnings.simplefilter('ignore')
            return super().forward(feats)  # type: ignore[misc]  # mmpretrain's
