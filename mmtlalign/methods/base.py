"""What heads for mixed batches have in common.

A head is a method's way of reading a target (``TLAlign``, ``TransMix``) put
before a head of mmpretrain, which keeps its layers, its names and its loss.
"""

import warnings

from torch import Tensor

from mmtlalign.errors import InputError
from mmtlalign.mixing.mix import Mix
from mmtlalign.tracing.support import backbone_spec


class MixHead:
    """Mixin: the loss of a mixed batch with a target that is read per output.

    Subclasses say what is watched (:meth:`attach`, :meth:`trace`) and what it
    means (:meth:`partner_shares`).

    Attributes:
        outputs: How many outputs of the network the head scores.
    """

    outputs = 1

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.cal_acc:
            raise InputError(
                'cal_acc=True: a mixed batch has no single true class to count; '
                'set cal_acc=False and read the accuracy of the validation.'
            )

    def attach(self, backbone) -> None:
        """Check that the head can read the backbone; subclasses tap it.

        Raises:
            TypeError: If the backbone or an attention in it is not known.
            ValueError: If the backbone's outputs are not what the head scores.
        """
        family = backbone_spec(backbone)
        self.output = family.output(backbone)
        given = family.count_outputs(backbone)
        if given != self.outputs:
            raise InputError(
                f'{type(backbone).__name__} has {given} output(s) and '
                f'{type(self).__name__} scores {self.outputs}: use a DeiTClsHead '
                'with a distilled backbone, and another head otherwise.'
            )

    def trace(self, backbone, mix: Mix, data_samples: list | None = None):
        """Context manager around the forward; gives the reader.

        Args:
            backbone: Attached.
            mix: The record of the mixing.
            data_samples: The batch's, for heads that find labels there.
        """
        raise NotImplementedError

    def partner_shares(self, mix: Mix, seen) -> tuple[Tensor, ...]:
        """Share of the partner (B,) in each output of the network."""
        raise NotImplementedError

    def loss(self, feats: tuple, data_samples: list, mix: Mix, seen) -> dict:
        """Loss of a mixed batch.

        Args:
            feats: Features of the backbone and neck.
            data_samples: Not read: the labels travel in ``mix``.
            mix: The record of the mixing.
            seen: The reader that watched the forward.

        Returns:
            dict[str, Tensor]: ``loss``, the mean over the network's outputs.
        """
        shares = self.partner_shares(mix, seen)
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
        """Class scores (B, K) of each output of the network."""
        return (self(feats),)


class DistilledScores(MixHead):
    """Mixin: DeiT's two classifiers, scored one by one in training.

    Without a teacher both learn the mixed labels, each with what arrives at
    its own token; inference averages them, as in DeiT (ICML 2021, §4).
    """

    outputs = 2

    def output_scores(self, feats: tuple) -> tuple[Tensor, Tensor]:
        """Scores (B, K) of the class token and of the distillation token."""
        class_token, dist_token = self.pre_logits(feats)
        return self.layers.head(class_token), self.layers.head_dist(dist_token)

    def forward(self, feats: tuple) -> Tensor:
        """Average of both scores (B, K)."""
        with warnings.catch_warnings():
            # The stock head warns that it cannot be trained; this one can.
            warnings.simplefilter('ignore')
            return super().forward(feats)
