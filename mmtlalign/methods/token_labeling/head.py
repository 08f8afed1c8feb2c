"""The head of Token Labeling, which trains every token on its own label.

NeurIPS 2021, arXiv 2104.10858. A second classifier is trained on every image token with
the labels of a map, which is stored in the data samples
(:mod:`mmtlalign.methods.token_labeling.targets`).

Shapes: ``B`` batch, ``K`` classes, ``N`` image tokens, ``D`` width.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from mmpretrain.models.heads import VisionTransformerClsHead
from torch import Tensor, nn

from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.loss import (
    TokenLabelLoss,
    TopKLabels,
    smooth_one_hot,
    trust_map,
)
from mmtlalign.methods.token_labeling.targets import MixedTokens, SampleMaps
from mmtlalign.mixing.mix import Mix
from mmtlalign.registry import MODELS
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import crop_to_tokens, start_share, token_grid

# Weight of the largest token score in a class's evaluation score (official code).
TOKEN_VOTE = 0.5
# For messages.
WITHOUT_MAPS = (
    ', or train without maps: dense_weight=0 in the loss and '
    "class_target='label' in the head"
)


@MODELS.register_module()
class TokenLabelClsHead(VisionTransformerClsHead):
    """mmpretrain's ``VisionTransformerClsHead`` with a classifier of all tokens.

    For backbones that output all tokens, class token first, (B, 1 + N, D):
    ``out_type='raw'`` of LVViT, VisionTransformer and DHVT. Scores in evaluation are
    those of the class token plus half the largest score of any token for each class,
    as in the official evaluation. With ``MixClassifier`` images may be mixed by the
    augments of this package: each token is trained on the labels of both images, in
    proportion to their shares in it. mmpretrain's own augments do not record which
    image a token comes from, and cannot be used with maps.

    Args:
        num_classes (int): Number of classes K.
        in_channels (int): Width D of the tokens.
        loss (dict): A :class:`TokenLabelLoss`, whose ``dense_weight`` may be
            ``'paper'`` (0.5) or ``'code'`` (1.0). With ``dense_weight=0`` there is
            no classifier of tokens, and no maps are read for them. Defaults to
            ``dict(type='mmtlalign.TokenLabelLoss')``.
        class_target (str): Target of the class token: ``'map'``, the label of the map
            for the crop, as in the official recipe; ``'label'``, the label of the
            image; ``'both'``, half of each if both have the same class, else 0.9 of
            the map and 0.1 of the label, the official ``ground_truth`` switch.
            Defaults to ``'map'``.
        missing (str): An image without map raises an ``'error'``, or all its tokens get
            its label (``'hard label'``). Defaults to ``'error'``.
        map_values (str): Whether maps hold ``'logits'`` or ``'probabilities'``.
            Defaults to ``'logits'``.
        label_smooth_val (float): Smoothing of labels and maps, 0.1 in the official
            recipe (:func:`smooth_one_hot`, :func:`smooth_soft_labels_official`).
            Defaults to 0.
        num_extra_tokens (int): Number of tokens before the image tokens, the first of
            which is the class token. Defaults to 1.
        init_cfg (dict): Defaults to a truncated normal distribution (std 0.02) for both
            classifiers.
        **kwargs: As in mmpretrain's ``VisionTransformerClsHead``.

    Raises:
        InputError: A setting is invalid, the features are not all tokens, or maps are
            missing or do not fit.
    """

    # Read by the analysis of shares: the label is that of the class token.
    output = 'class'

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        loss: dict | None = None,
        class_target: str = 'map',
        missing: str = 'error',
        map_values: str = 'logits',
        label_smooth_val: float = 0.0,
        num_extra_tokens: int = 1,
        init_cfg: dict | None = None,
        **kwargs: Any,
    ):
        if init_cfg is None:
            init_cfg = dict(type='TruncNormal', layer='Linear', std=0.02)
        super().__init__(
            num_classes,
            in_channels,
            loss=loss or dict(type='mmtlalign.TokenLabelLoss'),
            init_cfg=init_cfg,
            **kwargs,
        )
        self._check(class_target, label_smooth_val)
        self.class_target = class_target
        self.smoothing = label_smooth_val
        self.num_extra_tokens = num_extra_tokens
        self.maps = SampleMaps(
            num_classes, map_values, missing, label_smooth_val, WITHOUT_MAPS
        )
        self.dense = self.loss_module.dense_weight > 0
        if self.dense:
            self.layers.add_module('aux_head', nn.Linear(in_channels, num_classes))

    def _check(self, class_target: str, smoothing: float) -> None:
        if not isinstance(self.loss_module, TokenLabelLoss):
            raise InputError(
                f'loss is a {type(self.loss_module).__name__}: token labels need '
                "dict(type='mmtlalign.TokenLabelLoss', dense_weight=...)."
            )
        if class_target not in ('map', 'label', 'both'):
            raise InputError(
                f"class_target={class_target!r}: choose 'map', 'label' or 'both'."
            )
        if not 0 <= smoothing < 1:
            raise InputError(
                f'label_smooth_val={smoothing}: give a number from 0 to 1; 0.1 is '
                'usual.'
            )
        if self.cal_acc:
            raise InputError(
                'cal_acc=True: soft labels have no single true class to count; set '
                'cal_acc=False and read the accuracy of the validation.'
            )

    def attach(self, backbone: nn.Module) -> None:
        """Check that the backbone outputs the tokens that the head scores.

        Raises:
            UnsupportedError: The backbone is not registered.
            InputError: It does not output all tokens, or has no class token.
        """
        given = backbone_spec(backbone).prefix(backbone)
        if not given or given != self.num_extra_tokens:
            remedy = f'set it to {given}' if given else 'the head needs a class token'
            raise InputError(
                f'{type(backbone).__name__} has {given} special tokens and the head '
                f'num_extra_tokens={self.num_extra_tokens}: {remedy}.'
            )
        out_type = getattr(backbone, 'out_type', 'raw')
        if out_type != 'raw':
            raise InputError(
                f'{type(backbone).__name__} has out_type={out_type!r}: token labels '
                "need all of its tokens; set out_type='raw'."
            )

    @property
    def needs_record(self) -> bool:
        """Whether maps are read, so that augments must record the partner."""
        return self.dense or self.class_target != 'label'

    def check_mixer(self, mixer: Any) -> None:
        """Check that each augment records which image a token comes from.

        Raises:
            InputError: One is of mmpretrain, which do not, and maps are read.
        """
        if self.needs_record:
            mixer.check_records(type(self).__name__, WITHOUT_MAPS)

    @contextlib.contextmanager
    def trace(
        self, backbone: nn.Module, mix: Mix, data_samples: list | None = None
    ) -> Iterator[MixedTokens]:
        """Determine which image each token of a mixed batch comes from.

        Args:
            backbone: The model's backbone.
            mix: The record of the mixing.
            data_samples: Not used here, but by heads that trace labels.

        Yields:
            The argument ``trace`` of :meth:`loss`.
        """
        share = start_share(backbone, mix)[:, self.num_extra_tokens :, 0]
        grid = token_grid(backbone, mix.images.shape[-2:])
        patch = backbone_spec(backbone).patch(backbone)
        source = crop_to_tokens(mix, grid, patch).token_source(grid, patch)
        yield MixedTokens(grid, share, source=source)

    def tokens(self, feats: tuple) -> tuple[Tensor, Tensor]:
        """Return the class token (B, D) and the image tokens (B, N, D).

        Args:
            feats: Outputs of the backbone, of which the last is used.

        Raises:
            InputError: It is not a sequence of tokens.
        """
        feat = feats[-1]
        if not torch.is_tensor(feat) or feat.ndim != 3:
            shape = tuple(feat.shape) if torch.is_tensor(feat) else type(feat).__name__
            raise InputError(
                f'The last feature is {shape}: token labels need all tokens (B, 1 + N, '
                "D), class token first; set out_type='raw' in the backbone, and no "
                'neck.'
            )
        return feat[:, 0], feat[:, self.num_extra_tokens :]

    def scores(self, feats: tuple) -> tuple[Tensor, Tensor | None]:
        """Score the class token (B, K) and the image tokens (B, N, K).

        The latter are None if they have no weight in the loss.
        """
        first, others = self.tokens(feats)
        cls_score = self.layers.head(self.pre_logits((first,)))
        return cls_score, self.layers.aux_head(others) if self.dense else None

    def forward(self, feats: tuple) -> Tensor:
        """Return the evaluation scores (B, K), from both classifiers."""
        cls_score, token_scores = self.scores(feats)
        if token_scores is None:
            return cls_score
        return cls_score + TOKEN_VOTE * token_scores.amax(dim=1)

    def loss(
        self,
        feats: tuple,
        data_samples: list,
        mix: Mix | None = None,
        trace: MixedTokens | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses of the class token and of the image tokens.

        Args:
            feats: Features of the backbone.
            data_samples: B samples with ``gt_score`` (K,) or ``gt_label``, and maps.
            mix: The record of the mixing. Defaults to None: not mixed.
            trace: The output of :meth:`trace`. Defaults to None: not mixed.

        Returns:
            ``loss_cls`` and ``loss_dense``; a term without weight is left out.
        """
        cls_score, token_scores = self.scores(feats)
        labels = self.smooth_labels(mix.labels if mix else self._labels(data_samples))
        target = self.class_labels(data_samples, labels, mix, trace)
        token_target = None
        if token_scores is not None:
            count = token_scores.shape[1]
            token_target = self.token_labels(data_samples, labels, count, trace)
        partner, share, source = None, None, None
        if mix is not None:
            if trace is None:
                raise InputError(
                    'The head got a mixed batch without a trace of its tokens: train '
                    "with type='mmtlalign.MixClassifier'."
                )
            partner, share, source = mix.partner, trace.share, trace.source
        return self.loss_module(
            cls_score, target, token_scores, token_target, partner, share, source
        )

    def smooth_labels(self, labels: Tensor) -> Tensor:
        """Smooth the labels of the images (B, K), which still sum to 1.

        Raises:
            InputError: The number of classes is not the head's.
        """
        if labels.shape[1] != self.num_classes:
            raise InputError(
                f'Labels of {labels.shape[1]} classes, but the head has num_classes='
                f'{self.num_classes}: set both to the number of the data set.'
            )
        return smooth_one_hot(labels, self.smoothing, self.num_classes)

    def class_labels(
        self,
        samples: list,
        labels: Tensor,
        mix: Mix | None,
        trace: MixedTokens | None,
    ) -> Tensor:
        """Return the mixed target of the class token (B, K).

        Args:
            samples: B data samples.
            labels: Smoothed labels of the images (B, K), not mixed.
            mix: The record of the mixing, or None.
            trace: The output of :meth:`trace`, or None.
        """
        target = labels
        if self.class_target != 'label':
            target = self.maps.whole(samples, labels)
        if self.class_target == 'both':
            target = trust_map(target, labels)
        if mix is None:
            return target
        return replace(mix, labels=target).target(self.partner_share(mix, trace))

    def partner_share(self, mix: Mix, trace: MixedTokens | None) -> Tensor:
        """Return the share of the partner in the class target (B,), here its area."""
        return mix.area()

    def token_labels(
        self, samples: list, labels: Tensor, count: int, trace: MixedTokens | None
    ) -> Tensor | TopKLabels:
        """Return the labels of each image's own tokens, not mixed.

        Args:
            samples: B data samples.
            labels: Smoothed labels of the images (B, K), for those without a map.
            count: Number of image tokens N.
            trace: The output of :meth:`trace`, or None.

        Returns:
            (B, N, K) or :class:`TopKLabels` (B, N); (B, 1, K) without any map.
        """
        return self.maps.tokens(
            samples, labels, lambda grid: _check_grid(grid, count, trace)
        )

    def _labels(self, samples: list) -> Tensor:
        if 'gt_score' not in samples[0]:
            labels = torch.cat([sample.gt_label for sample in samples])
            return nn.functional.one_hot(labels, self.num_classes).float()
        if self.training and self.needs_record:
            raise InputError(
                'The samples have gt_score, as after batch_augments of a stock '
                'classifier, which do not record which image a token comes from: train '
                'with mmtlalign.MixClassifier, or leave batch_augments and to_onehot '
                'out, or train without maps: dense_weight=0 in the loss and '
                "class_target='label' in the head."
            )
        return torch.stack([sample.gt_score for sample in samples]).float()


def _check_grid(grid: tuple[int, int], count: int, trace: MixedTokens | None) -> None:
    if grid[0] * grid[1] != count or (trace is not None and grid != tuple(trace.grid)):
        tokens = f'{trace.grid[0]}x{trace.grid[1]}' if trace is not None else count
        raise InputError(
            f'Label maps of {grid[0]}x{grid[1]} cells for {tokens} tokens: each token '
            'needs one cell; pool the maps to that size in the pipeline (14x14 for 224 '
            'pixels in patches of 16, 24x24 for 384).'
        )
