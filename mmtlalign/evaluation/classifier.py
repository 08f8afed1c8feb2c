"""Loading of a classifier from a config and a checkpoint."""

import contextlib
import logging
from collections.abc import Iterator

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import set_random_seed
from torch import nn

from mmtlalign.checkpoint.check import check_checkpoint, check_finite, check_fit
from mmtlalign.checkpoint.io import read_checkpoint, tensors_in
from mmtlalign.checkpoint.load import select_weights
from mmtlalign.checkpoint.normalisation import warn_other_normalisation
from mmtlalign.engine.console import import_host
from mmtlalign.errors import InputError

RANDOM = 'random'


def load_classifier(
    cfg: Config, checkpoint: str | None = None, weights: str = 'auto', seed: int = 0
) -> tuple[nn.Module, str]:
    """Build the classifier of a config and load all its weights, in eval mode.

    Args:
        cfg: A config of mmpretrain; its model has a backbone and a head.
        checkpoint: A local file, or None for the initial weights of the config.
        weights: ``'auto'``, ``'raw'`` or ``'ema'``, see
            :func:`mmtlalign.checkpoint.load.select_weights`.
        seed: Seed of random weights.

    Returns:
        The classifier, and which weights it has: ``'raw'``, ``'ema'`` (averaged) or
        ``'random'``.

    Raises:
        InputError: The config has no classifier, or the checkpoint does not fit.
    """
    enter_scope(cfg)
    settings = dict(cfg.model)
    if cfg.get('data_preprocessor'):
        settings.setdefault('data_preprocessor', cfg.data_preprocessor)
    set_random_seed(seed)
    model = MODELS.build(settings)
    if checkpoint is None:
        with quiet_log():
            model.init_weights()
        return model.eval(), RANDOM
    check_checkpoint(checkpoint)
    content = read_checkpoint(
        checkpoint, 'CHECKPOINT', 'Name a file that a training run wrote.'
    )
    content = dict(content, state_dict=tensors_in(content, checkpoint))
    tensors, kind = select_weights(content, weights, checkpoint)
    check_finite(tensors, checkpoint)
    check_fit(model, dict(state_dict=tensors), checkpoint, resume=True)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(
            f'{checkpoint} does not fit the config: {str(error).splitlines()[-1]}. '
            'Give the config that it was trained with.'
        ) from error
    logger = MMLogger.get_current_instance()
    warn_other_normalisation(content, checkpoint, model, cfg, logger)
    # mmpretrain stores it there as well; it contains the class names.
    model._dataset_meta = (content.get('meta') or {}).get('dataset_meta')
    return model.eval(), kind


def enter_scope(cfg: Config) -> None:
    """Set the default scope of a config, so that its types are found without prefix.

    Raises:
        InputError: The config has no classifier.
    """
    scope = cfg.get('default_scope', 'mmpretrain')
    if scope != 'mmpretrain' or 'head' not in cfg.model:
        raise InputError(
            f"A model of default_scope='{scope}'"
            f'{"" if "head" in cfg.model else " without head"} is not a classifier. '
            'Give the config that it was trained with as a classifier.'
        )
    import_host(scope)
    init_default_scope(scope)


@contextlib.contextmanager
def quiet_log() -> Iterator[None]:
    """Log only warnings, as mmengine logs the initialisation of every parameter."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
