"""Base classes of the heads for mixed batches.

A head combines a mixin that computes the target (``TLAlign``, ``TransMix``) with a head
of mmpretrain, whose layers, parameter names and loss do not change. Shapes: ``B``
batch, ``K`` classes.
"""

import logging
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmtlalign.errors import InputError
from mmtlalign.mixing.augments import BatchMix
from mmtlalign.mixing.mix import Mix
from mmtlalign.tracing.support import backbone_spec


class MixHead:
    """Mixin that computes the loss of a mixed batch, with a target for each output.

    Subclasses define what is read from a forward pass (:meth:`attach`, :meth:`trace`)
    and how it becomes a target (:meth:`partner_shares`).

    Attributes:
        outputs: Number of outputs of the network that the head scores.
        extra_modules: Names of modules that mmpretrain's head does not have. They
            initialise themselves without consuming random numbers, so that all other
            weights equal those of the baseline.
    """

    outputs = 1
    extra_modules: tuple[str, ...] = ()
    # Provided by mmpretrain's head, which follows in the class hierarchy.
    cal_acc: bool
    num_classes: int
    loss_module: Callable[..., Tensor]
    __call__: Callable[..., Tensor]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.cal_acc:
            raise InputError(
                f'cal_acc=True: {type(self).__name__} does not compute an accuracy in '
                'training, because a mixed batch has no single true class; set '
                'cal_acc=False and read the accuracy of the validation.'
            )
        check_loss(self.loss_module, self.num_classes)

    def attach(self, backbone: nn.Module) -> None:
        """Check that the head can read the backbone; subclasses attach tracing.

        Raises:
            UnsupportedError: The backbone or an attention in it is not known.
            InputError: The head cannot score the backbone's outputs.
        """
        self.output, given = self.read_output(backbone)
        if given != self.outputs:
            raise InputError(
                f'{type(backbone).__name__} has {given} output(s) and '
                f'{type(self).__name__} scores {self.outputs}: use a DeiTClsHead '
                'with a distilled backbone, and another head otherwise.'
            )

    def read_output(self, backbone: nn.Module) -> tuple[str, int]:
        """Return ``'class'`` or ``'mean'``, and the backbone's number of outputs.

        Raises:
            UnsupportedError: The backbone is not registered.
            InputError: No share can be read from its outputs.
        """
        spec = backbone_spec(backbone)
        return spec.output(backbone), spec.count_outputs(backbone)

    def bind(self, model: nn.Module) -> None:
        """Check that the head fits its classifier, when this is built.

        Raises:
            InputError: It does not.
        """

    def check_mixer(self, mixer: Any) -> None:
        """Check that the head supports the augments of a mixer; by default all.

        Augments of mmpretrain record neither partner nor mask, so that their batches
        are trained with labels mixed by area. This gives a warning, except for Mixup,
        where every token has the same share.

        Args:
            mixer: A :class:`mmtlalign.methods.mixer.BatchMixer`.

        Raises:
            InputError: An augment or the guide does not provide what the head needs.
        """
        names = [
            type(a).__name__ for a in mixer.augments if not isinstance(a, BatchMix)
        ]
        names = [name for name in names if name != 'Mixup']
        if names:
            print_log(
                f"{type(self).__name__}: mmpretrain's {', '.join(names)} does not "
                'record where the partner image is, so these batches are trained with '
                f'labels by area, as with a stock head. Use mmtlalign.{names[0]}.',
                'current',
                logging.WARNING,
            )

    def trace(
        self, backbone: nn.Module, mix: Mix, data_samples: list | None = None
    ) -> AbstractContextManager:
        """Return a context manager for one forward pass, which yields the reader.

        Args:
            backbone: Backbone after :meth:`attach`.
            mix: The mixed batch.
            data_samples: Data samples of the batch, for heads that read labels there.
                Defaults to None.
        """
        raise NotImplementedError

    def partner_shares(self, mix: Mix, trace: Any) -> tuple[Tensor, ...]:
        """Return the partner's share of the target (B,) for each output.

        Args:
            mix: The mixed batch.
            trace: The reader from :meth:`trace`, after the forward pass.
        """
        raise NotImplementedError

    def label_weights(
        self, mix: Mix, trace: Any, scores: tuple[Tensor, ...]
    ) -> tuple[tuple[Tensor | None, Tensor], ...]:
        """Return the weights of the own and the partner's label (B,) for each output.

        For heads whose weights depend on the scores, or do not sum to one; by default
        those of :meth:`partner_shares`.

        Args:
            mix: The mixed batch.
            trace: The reader from :meth:`trace`, after the forward pass.
            scores: Class scores (B, K) of each output.

        Returns:
            Own and partner's weight; an own weight of None means 1 - partner's weight.
        """
        return tuple((None, share) for share in self.partner_shares(mix, trace))

    def extra_losses(
        self, feats: tuple, mix: Mix, trace: Any, scores: tuple[Tensor, ...]
    ) -> dict[str, Tensor]:
        """Return additional terms of the loss by name, ``loss_...``; by default none.

        Entries with other names are logged, but not added to the loss.

        Args:
            feats: Features of the backbone and neck.
            mix: The mixed batch.
            trace: The reader from :meth:`trace`, after the forward pass.
            scores: Class scores (B, K) of each output.
        """
        return {}

    def loss(
        self,
        feats: tuple,
        data_samples: list,
        mix: Mix | None = None,
        trace: Any = None,
    ) -> dict[str, Tensor]:
        """Compute the loss of a mixed batch.

        Args:
            feats: Features of the backbone and neck.
            data_samples: Not used: the labels are in ``mix``.
            mix: The mixed batch.
            trace: The reader from :meth:`trace`, after the forward pass.

        Returns:
            dict[str, Tensor]: ``loss``, the mean over the network's outputs; with
            additional terms it is named ``loss_cls`` and they are added to the dict.

        Raises:
            InputError: ``mix`` is missing, or scores and labels differ in shape.
        """
        if mix is None:
            raise InputError(
                f'{type(self).__name__} gets no record of how the batch was mixed: set '
                "model.type='mmtlalign.MixClassifier'."
            )
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
        weights = self.label_weights(mix, trace, scores)
        losses = [
            self.loss_module(score, mix.target(share, own), avg_factor=len(score))
            for score, (own, share) in zip(scores, weights)
        ]
        loss = sum(losses) / len(losses)
        extra = self.extra_losses(feats, mix, trace, scores)
        # mmengine logs the sum of all terms as ``loss``.
        return dict(loss_cls=loss, **extra) if extra else dict(loss=loss)

    def output_scores(self, feats: tuple) -> tuple[Tensor, ...]:
        """Return the class scores (B, K) of each output of the network."""
        return (self(feats),)


def check_loss(loss: Callable[..., Tensor], classes: int) -> None:
    """Check by an example that a loss accepts mixed labels and depends on their shares.

    Raises:
        InputError: It fails, or ignores the shares.
    """
    name, device = type(loss).__name__, torch.device('cpu')
    scores = torch.linspace(-1, 1, classes, device=device).repeat(2, 1)
    own = torch.arange(1.0, classes + 1, device=device).repeat(2, 1)
    own /= own.sum(1, keepdim=True)
    try:
        with torch.no_grad():
            found = [
                loss(scores, own.lerp(own.flip(1), share), avg_factor=2)
                for share in (0.1, 0.3)
            ]
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f'head.loss={name} fails for mixed labels of {classes} classes: {reason}. '
            'Correct its options (num_classes, class_weight), or choose a loss for '
            'soft labels, such as CrossEntropyLoss(use_soft=True).'
        ) from error
    if torch.equal(*found):
        raise InputError(
            f'head.loss={name} ignores the shares of mixed labels: its value is the '
            'same for each. Choose a loss for soft labels, such as '
            "LabelSmoothLoss(mode='original') or CrossEntropyLoss(use_soft=True)."
        )


class DistilledScores(MixHead):
    """Mixin that scores DeiT's two classifiers separately in training.

    Without a teacher both are trained with mixed labels, each with the target of its
    own token; inference averages them, as in DeiT (ICML 2021, §4).
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
            # mmpretrain's head warns that it cannot be trained; this one can.
            warnings.simplefilter('ignore')
            return super().forward(feats)  # type: ignore[misc]  # mmpretrain's
