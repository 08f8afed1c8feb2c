"""mmengine's Runner with a readable console and errors that name the file."""

import textwrap
from logging import Logger
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmtlalign.checkpoint.check import check_checkpoint, check_fit
from mmtlalign.compat.data_pickle import trusted_types
from mmtlalign.engine.console import hide_bulk, import_host
from mmtlalign.errors import InputError
from mmtlalign.validation.classes import check_checkpoint_classes
from mmtlalign.validation.data import check_loops, explain_build_error
from mmtlalign.validation.reading import Listing, host_reading, tell_left_out
from mmtlalign.validation.samples import name_broken_samples

CONSTRUCTOR = 'mmtlalign.FastOptimWrapperConstructor'


class TaskRunner(Runner):
    """The runner of ``tools/train.py`` and ``tools/test.py``.

    It trains as :class:`mmengine.runner.Runner` does, with the same arguments, and

    * refuses data and checkpoints that do not fit before the first step;
    * names the file of a sample that fails;
    * takes the optimizer's fused step where there is one;
    * reads losses from the GPU when they are logged;
    * keeps the bulk of the log off the console.
    """

    _is_test = False
    _datasets: dict = {}

    def build_logger(self, *args: Any, **kwargs: Any) -> Logger:
        """Build mmengine's logger with the bulk kept off the console."""
        logger = super().build_logger(*args, **kwargs)
        hide_bulk(logger)
        return logger

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict, *args: Any, **kwargs: Any
    ) -> DataLoader:
        """Build mmengine's data loader; a sample that fails names its file.

        Raises:
            InputError: The data set is empty, or its annotation file is wrong.
        """
        listing = Listing()
        try:
            with host_reading(listing):
                built = Runner.build_dataloader(dataloader, *args, **kwargs)
        except Exception as error:
            fault = explain_build_error(error, dataloader['dataset'], listing)
            if not fault:
                raise
            raise InputError(fault) from error
        tell_left_out(built.dataset, listing)
        name_broken_samples(built.dataset)
        return built

    def load_or_resume(self) -> None:
        """Check the data against the model, then load; every kind of run does."""
        self.check_datasets()
        if self._is_test and self._load_from is not None:
            self.load_whole_checkpoint(self._load_from)
            self._has_loaded = True
        super().load_or_resume()

    def check_datasets(self) -> None:
        """Check what was built of the data before the first step."""
        splits = ('train', 'val', 'test')
        loops = {split: getattr(self, f'_{split}_loop') for split in splits}
        self._datasets = check_loops(self.model, loops, self.logger)

    def load_checkpoint(self, filename: str, *args: Any, **kwargs: Any) -> dict:
        """Load a checkpoint.

        Raises:
            InputError: The file is broken, or of another architecture.
        """
        check_checkpoint(filename, resume=self._resume)
        with trusted_types():
            content = super().load_checkpoint(filename, *args, **kwargs)
        check_fit(self.model, content, filename, resume=self._resume)
        check_checkpoint_classes(
            content, self._datasets, filename, self.logger, resume=self._resume
        )
        return content

    def test(self) -> dict:
        """Test; unlike a start of training this needs every weight."""
        self._is_test = True
        return super().test()

    def load_whole_checkpoint(self, filename: str) -> None:
        """Load a checkpoint that has every weight of the model.

        Raises:
            InputError: Weights are missing or have another shape.
        """
        try:
            self.load_checkpoint(filename, strict=True)
        except RuntimeError as error:
            lines = str(error).splitlines()
            wrong = [li for li in lines if li.startswith(('missing', 'size mismatch'))]
            if wrong:
                shown = textwrap.shorten('; '.join(wrong), 300, placeholder=' …')
                raise InputError(
                    f"checkpoint '{filename}' does not fit the model of this config: "
                    f'{shown}; a test needs every weight, so give the config '
                    'that the checkpoint was trained with'
                ) from error
            # Weights that the model does not have are only worth a warning.
            self.load_checkpoint(filename)

    def build_optim_wrapper(self, optim_wrapper: OptimWrapper | dict) -> OptimWrapper:
        """Build the wrapper by this package's constructor, or the one of the config."""
        if isinstance(optim_wrapper, dict) and 'optimizer' in optim_wrapper:
            optim_wrapper.setdefault('constructor', CONSTRUCTOR)
        return super().build_optim_wrapper(optim_wrapper)

    def register_default_hooks(
        self, hooks: dict[str, Hook | dict] | None = None
    ) -> None:
        """Register the hooks; losses are read from the device when they are logged."""
        lazy = dict(runtime_info=dict(type='mmtlalign.LazyRuntimeInfoHook'))
        super().register_default_hooks(lazy | dict(hooks or {}))

    def scale_lr(
        self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None
    ) -> None:
        """Scale the learning rate if asked, and log what is used."""
        super().scale_lr(optim_wrapper, auto_scale_lr)
        self.logger.info(self.describe_batch(optim_wrapper, auto_scale_lr or {}))

    def describe_batch(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict) -> str:
        """Return one line: global batch, learning rate, what the recipe expects."""
        loader = self.train_dataloader
        size = loader.batch_size or loader.batch_sampler.batch_size
        steps = getattr(optim_wrapper, '_accumulative_counts', 1)
        total = size * self.world_size * steps
        rates = [lr for values in optim_wrapper.get_lr().values() for lr in values]
        line = (
            f'Global batch {total} = {size} images x {self.world_size} process(es) x '
            f'{steps} accumulated step(s); highest learning rate {max(rates):.4g}'
        )
        base = auto_scale_lr.get('base_batch_size')
        if base and base != total and not auto_scale_lr.get('enable'):
            line += (
                f'. The recipe was made for {base}: `--auto-scale-lr` scales the '
                'learning rate in proportion'
            )
        return line


def build_runner(cfg: Config) -> Runner:
    """Build the runner that a config asks for.

    Args:
        cfg: A complete config with ``work_dir``.

    Returns:
        A :class:`TaskRunner`, or what ``runner_type`` names.
    """
    import_host(cfg.get('default_scope', 'mmengine'))
    if 'runner_type' in cfg:
        return RUNNERS.build(cfg)
    return TaskRunner.from_cfg(cfg)
