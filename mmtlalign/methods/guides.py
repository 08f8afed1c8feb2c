"""Guides: networks that process the images of a batch before they are mixed.

Their output (:class:`mmtlalign.mixing.guides.GuideOutput`) is passed to augments that
need it. A guide is not part of the model: it is in no checkpoint and no optimizer,
consumes no random numbers, and changes no buffer and no gradient.

Shapes: ``B`` batch, ``K`` classes, ``h, w`` token rows and columns, ``N = h * w``.
"""

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.model import BaseModule
from mmengine.runner import Runner
from torch import Tensor, nn

from mmtlalign.checkpoint.load import load_backbone
from mmtlalign.checkpoint.normalisation import (
    normalisation_of,
    other_normalisation,
    saved_normalisation,
)
from mmtlalign.compat.wrappers import unwrap_model
from mmtlalign.errors import InputError
from mmtlalign.mixing.guides import GuideOutput
from mmtlalign.mixing.mix import Mix
from mmtlalign.modes import eval_mode
from mmtlalign.registry import HOOKS, MODELS
from mmtlalign.tracing.attach import attach
from mmtlalign.tracing.attention_readers import READERS, attention_reader
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import token_grid, trace_forward

Grids = tuple[tuple[int, int], tuple[int, int]]


class AttentionGuide:
    """Base class of guides that read the last attention of a network.

    Args:
        attention (str, optional): ``'cls'``: the attention of the class token to each
            token; ``'received'``: the mean attention that each token receives from all
            image tokens. Defaults to ``'received'``.

    Attributes:
        gives: Fields of :class:`mmtlalign.mixing.guides.GuideOutput` that it provides.
    """

    gives = frozenset({'saliency'})

    def __init__(self, attention: str = 'received'):
        if attention not in READERS:
            raise InputError(f"attention={attention!r}: choose 'cls' or 'received'.")
        self.attention = attention

    def bind(self, model: nn.Module) -> Grids | None:
        """Connect the guide with a classifier.

        Args:
            model: The classifier that is trained.

        Returns:
            Rows and columns of the maps, and height and width of the images that they
            belong to, or None if this is not known before the first batch.

        Raises:
            UnsupportedError: The attention of the network cannot be read.
            InputError: The network does not have the chosen attention.
        """
        raise NotImplementedError

    def check_backbone(self, backbone: nn.Module) -> Grids | None:
        """Attach to a network, and return its token grid and image size."""
        spec, name = backbone_spec(backbone), type(backbone).__name__
        late = spec.late_tokens(backbone)
        if self.attention == 'cls' and not spec.prefix(backbone) + late:
            raise InputError(
                f"The guide's attention='cls' needs a class token, which {name} does "
                "not have: use attention='received'."
            )
        attach(backbone)
        size = getattr(backbone, 'img_size', None)
        if size is None or not spec.prefix(backbone):
            return None  # for a pyramid only the grid of its first stage is known
        size = (size, size) if isinstance(size, int) else tuple(size)
        return token_grid(backbone, size), size

    def read(self, backbone: nn.Module, images: Tensor) -> tuple[Tensor, Any]:
        """Run a network once; return its map (B, h, w) and its features."""
        unmixed = Mix.unmixed(images, images.new_zeros(len(images), 1).float())
        reader = attention_reader(backbone, unmixed, self.attention)
        with trace_forward(backbone, reader):
            feats = backbone(images)
        return reader.saliency(), feats


@contextlib.contextmanager
def silent_evaluation(*networks: nn.Module) -> Iterator[None]:
    """Run networks in evaluation mode, without gradient, and restore every flag."""
    with eval_mode(*networks), torch.no_grad():
        yield
    # Autocast of an older PyTorch would hand its casts of the weights, which have no
    # gradient, to the training step (pytorch/pytorch#158232).
    torch.clear_autocast_cache()


@MODELS.register_module()
class OwnAttention(AttentionGuide):
    """Guide that reads the last attention of the trained network itself.

    It costs an additional forward pass of the images before mixing, in evaluation mode
    and without gradient, in the precision of the training step. It also gives the
    scores of these images.

    Args:
        attention (str): ``'received'``: the mean attention that each token receives
            from all image tokens; ``'cls'``: the attention of the class token to each
            token. Defaults to ``'received'``.
    """

    gives = frozenset({'saliency', 'scores'})

    def bind(self, model: nn.Module) -> Grids | None:
        """Use the classifier itself; see :meth:`AttentionGuide.bind`."""
        self.model: Any = model
        return self.check_backbone(model.backbone)

    def __call__(self, images: Tensor, labels: Tensor) -> GuideOutput:
        """Return saliency and scores of images (B, 3, H, W); labels are not used."""
        return self.read_map(self.model, images)

    def read_map(self, model: Any, images: Tensor) -> GuideOutput:
        """Return a classifier's saliency and scores for images (B, 3, H, W)."""
        with silent_evaluation(model):
            attention, feats = self.read(model.backbone, images)
            if model.with_neck:
                feats = model.neck(feats)
            scores = model.head(feats)
        return GuideOutput(attention, scores.float())


@MODELS.register_module()
class TeacherAttention(AttentionGuide):
    """Guide that reads the last attention of a frozen network.

    The network may be of any family that can be traced. It costs one forward pass, and
    the map has the network's own token grid. The network is not part of the model; its
    file is read when training begins.

    Args:
        backbone (dict): Config of the network.
        checkpoint (str): File of its weights, with names that begin with ``backbone.``
            or with those of the backbone alone.
        attention (str): ``'cls'``: the attention of the class token to each token;
            ``'received'``: the mean attention that each token receives from all image
            tokens. Defaults to ``'cls'``.
        mean (Sequence[float], optional): Mean that the teacher's images were normalised
            with, as in the data preprocessor. Defaults to None: the value of the
            config in the file, else it is not checked.
        std (Sequence[float], optional): Standard deviation that they were normalised
            with. Defaults to None: that of the file, or not checked.

    Raises:
        InputError: The data preprocessor normalises differently; or, when training
            begins, the file does not exist or does not fit.
    """

    def __init__(
        self,
        backbone: dict,
        checkpoint: str,
        attention: str = 'cls',
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ):
        super().__init__(attention)
        if not checkpoint:
            raise InputError(
                f'TeacherAttention(checkpoint={checkpoint!r}): a teacher without '
                'weights has random attention; set checkpoint to a file of its weights.'
            )
        self.normalisation = dict(mean=mean, std=std)
        self.checkpoint: str | None = checkpoint
        self.given: dict[str, Any] = {}
        # In a fork, so that all other weights equal those of a model without a teacher.
        with torch.random.fork_rng(devices=[]):
            self.network: BaseModule = MODELS.build(copy.deepcopy(backbone))
        self.network.requires_grad_(False)
        self.network.eval()  # mmpretrain's return nothing here

    def load(self) -> None:
        """Load the weights on the first call: testing a model does not need the file.

        Raises:
            InputError: The file does not exist, or does not fit.
        """
        if self.checkpoint is not None:
            load_backbone(
                self.network,
                self.checkpoint,
                setting="the teacher's checkpoint",
                remedy='Correct `checkpoint` of its config.',
            )
            self._check_normalisation(saved_normalisation(self.checkpoint))
            self.checkpoint = None

    def _check_normalisation(self, asked: Mapping[str, Any]) -> None:
        """Check that the model's images are normalised as the teacher's."""
        fault = other_normalisation(asked, self.given)
        if fault:
            raise InputError(
                f'The teacher was {fault}: use the same normalisation for both '
                'networks.'
            )

    def __deepcopy__(self, memo: dict) -> 'TeacherAttention':
        """Share the network between copies of a model, such as the EMA copy."""
        return copy.copy(self)

    def bind(self, model: nn.Module) -> Grids | None:
        """Check the teacher; see :meth:`AttentionGuide.bind`.

        Raises:
            InputError: The model's images are not normalised as the teacher's.
        """
        self.given = normalisation_of(model.data_preprocessor)
        self._check_normalisation(self.normalisation)
        return self.check_backbone(self.network)

    def __call__(self, images: Tensor, labels: Tensor) -> GuideOutput:
        """Return the saliency of images (B, 3, H, W); labels are not used."""
        self.load()
        self.network.to(images.device)
        with silent_evaluation(self.network):
            return GuideOutput(self.read(self.network, images)[0])


@MODELS.register_module()
class EMAAttention(OwnAttention):
    """Guide that reads the last attention of the EMA copy of the trained network.

    The copy is that of mmengine's ``EMAHook``, found by ``mmtlalign.EMAGuideHook``. No
    paper evaluates this guide. It also gives the copy's scores.

    Args:
        attention (str): ``'received'``: the mean attention that each token receives
            from all image tokens; ``'cls'``: the attention of the class token to each
            token. Defaults to ``'received'``.
    """

    average: Any = None

    def __call__(self, images: Tensor, labels: Tensor) -> GuideOutput:
        """Return saliency and scores of images (B, 3, H, W); labels are not used.

        Raises:
            InputError: There is no EMA copy.
        """
        if self.average is None:
            raise InputError(
                'EMAAttention has no averaged model to read the attention of: add '
                "custom_hooks=[dict(type='EMAHook'), "
                "dict(type='mmtlalign.EMAGuideHook')]."
            )
        return self.read_map(self.average, images)


@HOOKS.register_module()
class EMAGuideHook(Hook):
    """Hook that connects ``EMAAttention`` with the copy of mmengine's ``EMAHook``.

    ``EMAAttention`` may be the guide of ``train_cfg`` or the teacher of a head.

    Raises:
        InputError: There is no ``EMAAttention`` or no ``EMAHook``.
    """

    def before_train(self, runner: Runner) -> None:
        """Find the copy, and pass it to the guide."""
        guides = [
            g
            for g in guides_of(unwrap_model(runner.model))
            if isinstance(g, EMAAttention)
        ]
        hooks = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
        if not guides or not hooks:
            raise InputError(
                'EMAGuideHook gives the averaged model to a guide of train_cfg or to '
                'the teacher of a head: it needs guide= or '
                "teacher=dict(type='mmtlalign.EMAAttention') and dict(type='EMAHook') "
                'in custom_hooks; add both, or remove the hook.'
            )
        for guide in guides:
            guide.average = hooks[0].ema_model.module


def guides_of(model: Any) -> list[Any]:
    """Return the guide of a classifier's mixer and the teacher of its head."""
    found = [
        getattr(getattr(model, 'mixer', None), 'guide', None),
        getattr(getattr(model, 'head', None), 'teacher', None),
    ]
    return [guide for guide in found if guide is not None]
