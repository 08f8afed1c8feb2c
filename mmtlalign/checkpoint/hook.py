"""Start a downstream model from the backbone of a pretraining checkpoint."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmtlalign.checkpoint.io import read_checkpoint
from mmtlalign.checkpoint.load import load_backbone
from mmtlalign.checkpoint.normalisation import (
    normalisation_of_run,
    other_normalisation,
    saved_normalisation,
)
from mmtlalign.compat.wrappers import unwrap_model
from mmtlalign.errors import InputError
from mmtlalign.registry import HOOKS


@HOOKS.register_module()
class PretrainedBackboneHook(Hook):
    """Load the backbone that the top-level setting ``pretrained`` of a config names.

    ``pretrained = None`` trains from random weights. A file that does not hold the
    whole backbone is an error, see :func:`load_backbone`. A run that is resumed keeps
    its weights.

    A checkpoint may hold two networks: raw and averaged weights of a run with
    mmengine's ``EMAHook``, or student and teacher of EsViT. The averaged ones or the
    teacher are loaded unless ``weights`` says otherwise. If the file says that its
    images were normalised with another mean or std, or in another channel
    order, there is a warning.

    Args:
        new_layers (Sequence[str]): Modules of the backbone that pretraining
            does not have, such as ``('norm0', 'norm1', 'norm2')`` of a Swin
            that outputs all four stages. Defaults to ().
        prefix (str): What the names of the backbone's tensors begin with in
            the file. Defaults to ``'backbone.'``.
        whole (bool): Load the whole model, heads included, for a run on the same
            classes at another image size; ``prefix`` is not read.
            :class:`mmtlalign.engine.runner.TaskRunner` compares the classes. Defaults
            to False.
        weights (str): ``'raw'``, ``'ema'``, ``'teacher'`` or ``'student'``, an error
            if the file does not hold them. Defaults to ``'auto'``, see
            :func:`select_weights`.

    Attributes:
        head_origin: ``meta`` of the checkpoint whose head was loaded, if any.

    Raises:
        InputError: The config has no ``pretrained``, or also sets ``load_from``.
    """

    head_origin: dict | None = None

    # Before other `before_train` hooks that copy or count the weights.
    priority = 'VERY_HIGH'

    def __init__(
        self,
        new_layers: Sequence[str] = (),
        prefix: str = 'backbone.',
        whole: bool = False,
        weights: str = 'auto',
    ):
        self.new_layers = tuple(new_layers)
        self.prefix = '' if whole else prefix
        self.whole = whole
        self.weights = weights

    def before_train(self, runner: Runner) -> None:
        """Load the weights after initialisation, unless the run was resumed."""
        if runner.iter > 0:
            runner.logger.info(
                f'backbone: resumed at iteration {runner.iter}, so `pretrained` '
                'is not read again'
            )
            return
        if 'pretrained' not in runner.cfg:
            raise InputError(
                'PretrainedBackboneHook found no top-level `pretrained` in the '
                "config. Set pretrained = 'FILE.pth', or pretrained = None to "
                'train from random weights.'
            )
        path = runner.cfg.pretrained
        if path is None:
            runner.logger.info('backbone: random weights (pretrained = None)')
            return
        if runner._load_from is not None:
            raise InputError(
                f'load_from={runner._load_from!r} and pretrained={path!r} are both '
                'set, but the backbone can come from one file only. Set one of '
                'them to None.'
            )
        model = unwrap_model(runner.model)
        part = model if self.whole else model.backbone
        options = self.new_layers, self.prefix, self.weights
        for line in load_backbone(part, path, *options):
            runner.logger.info(line)
        if self.whole:
            content = read_checkpoint(path, 'checkpoint', 'Name another file.')
            self.head_origin = content.get('meta')
        given = normalisation_of_run(model, runner.cfg)
        fault = other_normalisation(saved_normalisation(path), given)
        if fault:
            runner.logger.warning(
                f'backbone: it was {fault}; the features of pretraining need the same '
                'normalisation'
            )
