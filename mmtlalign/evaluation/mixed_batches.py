"""The mixed batches of a recipe, drawn as in training.

Shapes: ``B`` batch, ``K`` classes, ``H, W`` pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor, nn

from mmtlalign.errors import InputError
from mmtlalign.evaluation.microscope.collect import restore_pixels
from mmtlalign.evaluation.microscope.source import set_seeds
from mmtlalign.evaluation.pictures import is_bgr
from mmtlalign.evaluation.readers import output_of
from mmtlalign.methods.guides import EMAAttention, guides_of
from mmtlalign.methods.mixer import BatchMixer, from_batch_augment
from mmtlalign.methods.preprocessor import batch_labels
from mmtlalign.methods.token_labeling.head import TokenLabelClsHead
from mmtlalign.mixing.mix import Mix
from mmtlalign.mixing.mixtoken import TokenSwap
from mmtlalign.modes import eval_mode
from mmtlalign.tracing.attach import attached
from mmtlalign.tracing.trace import trace

# Give up after this number of successive batches that no augment has mixed.
UNMIXED = 100


@dataclass(frozen=True)
class MixedBatch:
    """A mixed batch of a recipe.

    Attributes:
        mix: The record of the mixed batch.
        before: The same images before mixing (B, 3, H, W), normalised.
        samples: B data samples.
        skipped: Number of batches before it that were not mixed.
        known: Whether the augment records the mask; mmpretrain's own do not.
        bgr: Whether the data preprocessor was given B, G, R.
    """

    mix: Mix
    before: Tensor
    samples: list
    skipped: int
    known: bool
    bgr: bool


@dataclass(frozen=True)
class MixedImage:
    """One image of a mixed batch, as pictures and numbers.

    Attributes:
        own: (H, W, 3) uint8.
        partner: (H, W, 3) uint8.
        mixed: (H, W, 3) uint8.
        mask: Share of the partner in each pixel (H, W), 0...1.
        area: Share of the partner by area.
        classes: Class of the own image, and of the partner.
        files: Names of both files, or ''.
        traced: TL-Align's share of the partner at the first output, or None.
        target: Weights of the own and of the partner's label in the head's target, or
            None.
    """

    own: np.ndarray
    partner: np.ndarray
    mixed: np.ndarray
    mask: np.ndarray
    area: float
    classes: tuple[int, int]
    files: tuple[str, str]
    traced: float | None = field(default=None, kw_only=True)
    target: tuple[float, float] | None = field(default=None, kw_only=True)


def find_mixer(model: nn.Module, name: str) -> BatchMixer:
    """Return the mixer of a classifier, and disable mixing in its preprocessor.

    Args:
        model: A classifier of mmpretrain, ``mmtlalign.MixClassifier`` or any other.
        name: Name of the recipe, for the message.

    Raises:
        InputError: The classifier does not mix.
    """
    mixer = getattr(model, 'mixer', None)
    pre: Any = model.data_preprocessor
    if mixer is None and getattr(pre, 'batch_augments', None) is not None:
        mixer = from_batch_augment(pre.batch_augments)
        pre.batch_augments = None
    if mixer is None:
        raise InputError(
            f'{name} mixes no batches: it has neither train_cfg.augments of '
            'MixClassifier nor batch_augments of a data preprocessor.'
        )
    for guide in guides_of(model):
        if isinstance(guide, EMAAttention):
            # At the first step of a run the EMA copy equals the network itself.
            guide.average = model
    return mixer


def mixed_batches(
    cfg: Config, model: nn.Module, count: int, seed: int = 0
) -> Iterator[MixedBatch]:
    """Draw the next mixed batches of a recipe.

    Images are loaded by the recipe's pipeline and loader, in this process. The random
    generators of Python, NumPy and PyTorch are seeded.

    Args:
        cfg: Config of the recipe, with a ``train_dataloader``.
        model: Its classifier.
        count: Number of batches.
        seed: Seed of the order of the images and of all draws.

    Yields:
        The mixed batches.

    Raises:
        InputError: The recipe does not mix, or has no images.
    """
    name = cfg.filename or 'The config'
    mixer = find_mixer(model, name)
    if not cfg.get('train_dataloader'):
        raise InputError(f'{name} has no train_dataloader: give one with images.')
    set_seeds(seed)
    loader = dict(cfg.train_dataloader, num_workers=0)
    for option in ('persistent_workers', 'prefetch_factor'):
        loader.pop(option, None)
    found = skipped = 0
    while found < count:
        built = Runner.build_dataloader(loader, seed=seed + found + skipped)
        bgr = is_bgr(built.dataset)
        for data in built:
            batch = _mixed(model, mixer, data, skipped, bgr)
            if batch is None:
                skipped += 1
                if skipped >= UNMIXED:
                    raise InputError(
                        f'{skipped} batches of {name} in a row were not mixed: raise '
                        'prob of the augments, or probs of train_cfg.'
                    )
                continue
            found, skipped = found + 1, 0
            yield batch
            if found == count:
                return


@torch.no_grad()
def _mixed(
    model: nn.Module, mixer: BatchMixer, data: dict, skipped: int, bgr: bool
) -> MixedBatch | None:
    """Mix a batch of the loader; return None if no augment mixes it."""
    model.train()
    data = model.data_preprocessor(data, True)
    images, samples = data['inputs'], list(data['data_samples'])
    labels = batch_labels(samples)
    before = images.clone()
    with torch.enable_grad():
        mix = mixer(images, labels)
    known = bool((mix.mask > 0).any())
    if not known and torch.equal(mix.images, before):
        return None
    return MixedBatch(mix, before, samples, skipped, known, bgr)


def describe_images(
    model: nn.Module, batch: MixedBatch, count: int, traced: bool = False
) -> list[MixedImage]:
    """Return the first images of a mixed batch as pictures and numbers.

    Args:
        model: The classifier.
        batch: From :func:`mixed_batches`.
        count: Number of images.
        traced: Whether to run the network, in evaluation mode, for TL-Align's shares.
            Defaults to False.

    Raises:
        UnsupportedError: ``traced`` is set, and the backbone cannot be traced.
    """
    mix = batch.mix
    before = restore_pixels(model, batch.before, batch.bgr)
    after = restore_pixels(model, mix.images, batch.bgr)
    masks = mix.mask[:, 0].float().expand(len(before), -1, -1).cpu().numpy()
    if isinstance(mix, TokenSwap):
        # MixToken mixes tokens in the network; show the corresponding pixels.
        other = before[mix.partner.cpu().numpy()]
        after = np.where(masks[..., None] > 0, other, before)
    area, partner = mix.area().tolist(), mix.partner.tolist()
    if not batch.known:
        area = _label_share(batch)
    shares = traced_shares(model, mix).tolist() if traced and batch.known else None
    weights = learnt_weights(model, batch) if traced and batch.known else None
    classes = batch_labels(batch.samples).argmax(dim=1).tolist()
    return [
        MixedImage(
            before[i],
            before[partner[i]],
            after[i],
            masks[i],
            area[i],
            (classes[i], classes[partner[i]]),
            (_file(batch.samples[i]), _file(batch.samples[partner[i]])),
            traced=None if shares is None else shares[i],
            target=None if weights is None else weights[i],
        )
        for i in range(min(count, len(before)))
    ]


@torch.no_grad()
def traced_shares(model: nn.Module, mix: Mix) -> Tensor:
    """Return TL-Align's share of the partner (B,) at the first output."""
    backbone: Any = model.backbone
    output = output_of(model)
    options = getattr(model.head, 'trace_options', {})
    with eval_mode(model), attached(backbone), trace(backbone, mix, **options) as seen:
        backbone(mix.images)
    return seen.output_shares(output)[0].squeeze(-1)


@torch.no_grad()
def learnt_weights(
    model: nn.Module, batch: MixedBatch
) -> list[tuple[float, float]] | None:
    """Return the weights of own and partner's label in the head's target.

    Returns:
        The weights of the first output for each image; those by area for heads without
        tracing. None for heads that trace label vectors.
    """
    mix, head, backbone = batch.mix, model.head, model.backbone
    own, share = None, mix.area()
    if hasattr(head, 'trace'):
        tracing = head.trace(backbone, mix, batch.samples)  # type: ignore[operator]
        with eval_mode(model), mix.apply_in_backbone(backbone), tracing as seen:
            feats = model.extract_feat(mix.images)  # type: ignore[operator]
        if isinstance(head, TokenLabelClsHead):
            if getattr(head, 'traced', 'share') == 'labels':
                return None
            share = head.partner_share(mix, seen)
        else:
            with eval_mode(model):
                scores = head.output_scores(feats)  # type: ignore[operator]
            own, share = head.label_weights(mix, seen, scores)[0]  # type: ignore[operator]
    own = 1 - share if own is None else own
    return list(zip(own.tolist(), share.tolist()))


def _label_share(batch: MixedBatch) -> list[float]:
    """Return the part of mixed labels outside the own class, for unknown masks."""
    own = batch_labels(batch.samples)
    return (1 - torch.minimum(batch.mix.labels, own).sum(dim=1)).tolist()


def _file(sample: Any) -> str:
    return str(sample.get('img_path') or '').replace('\\', '/').rsplit('/', 1)[-1]
