"""mmengine's Runner with checks, exact resuming and a readable console."""

import textwrap
from logging import Logger
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import RUNNERS
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmengine.runner.base_loop import BaseLoop
from torch import nn
from torch.utils.data import DataLoader

from mmtlalign.checkpoint.check import check_checkpoint, check_finite, check_fit
from mmtlalign.checkpoint.normalisation import warn_other_normalisation
from mmtlalign.compat.data_pickle import trusted_types
from mmtlalign.compat.files import atomic_write
from mmtlalign.engine.console import hide_bulk, import_host
from mmtlalign.engine.exact_resume import resume_exactly
from mmtlalign.engine.host_hooks import (
    average_inner_model,
    check_hooks,
    check_schedules,
    our_hook,
)
from mmtlalign.engine.resumed_settings import check_resumed
from mmtlalign.engine.run_folder import check_same_start, find_checkpoint
from mmtlalign.engine.seeded_batches import number_batches
from mmtlalign.errors import InputError
from mmtlalign.validation.classes import check_checkpoint_classes, check_class_names
from mmtlalign.validation.config_arguments import check_arguments
from mmtlalign.validation.data import check_loops, explain_build_error
from mmtlalign.validation.reading import Listing, host_reading, tell_left_out
from mmtlalign.validation.samples import NamedCollate, name_broken_samples

STOCK_HOOKS = {
    *('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler'),
    'checkpoint',
}
CONSTRUCTOR = 'mmtlalign.FastOptimWrapperConstructor'


class TaskRunner(Runner):
    """The runner of ``tools/train.py`` and ``tools/test.py``.

    It trains as :class:`mmengine.runner.Runner` does, with the same arguments, and

    * refuses data, checkpoints and hooks that do not fit before the first step;
    * resumes exactly, from the last checkpoint that is whole;
    * names the file of a sample that fails;
    * uses the optimizer's fused step where there is one;
    * reads losses from the GPU only when they are logged;
    * keeps long log records off the console.
    """

    _is_test = False
    _datasets: dict = {}
    _load_from: str | None

    def build_logger(self, *args: Any, **kwargs: Any) -> Logger:
        """Build mmengine's logger, with long records kept off the console."""
        logger = super().build_logger(*args, **kwargs)
        hide_bulk(logger)
        return logger

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict, *args: Any, **kwargs: Any
    ) -> DataLoader:
        """Build mmengine's data loader, whose errors name the file of a bad sample.

        Raises:
            InputError: The data set is empty, its annotation file is wrong, or the
                settings of its workers contradict each other.
        """
        check_workers(dataloader)
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
        built.collate_fn = NamedCollate(built.collate_fn)
        seed = kwargs.get('seed', args[0] if args else None)
        if seed is not None:
            number_batches(built, seed)
        return built

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build mmengine's training loop, and make it resume exactly.

        Raises:
            InputError: It validates at no interval.
        """
        built = super().build_train_loop(loop)
        interval = getattr(built, 'val_interval', 1)
        if interval < 1:
            raise InputError(
                f'train_cfg.val_interval={interval}: give 1 or more; set '
                'val_dataloader, val_cfg and val_evaluator to None to train without '
                'validation'
            )
        return resume_exactly(built)

    def load_or_resume(self) -> None:
        """Check data and hooks against the model, then load the checkpoint."""
        self.check_datasets()
        average_inner_model(self)
        if self._is_test:
            if self._load_from is not None:
                self.load_whole_checkpoint(self._load_from)
                self._has_loaded = True
        elif isinstance(self._train_loop, BaseLoop):
            check_hooks(self)
            if self._resume and self._load_from is None:
                self._load_from = find_checkpoint(self.work_dir, self.logger)
        super().load_or_resume()
        check_same_start(self)
        if self._is_test or not isinstance(self._train_loop, BaseLoop):
            return
        for line in check_schedules(self):  # as resumed
            self.logger.warning(line)
        by_epoch = isinstance(self._train_loop, EpochBasedTrainLoop)
        unit = 'epoch' if by_epoch else 'iteration'
        done = self.epoch if by_epoch else self.iter
        total = self.max_epochs if by_epoch else self.max_iters
        if self._resume and done >= total:
            self.logger.warning(
                f'This run is finished: {unit} {done} of {total}. '
                'Only its last validation is repeated'
            )

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> Any:
        """Wrap the model for several processes; on CPUs without SyncBN."""
        on_cpus = self.distributed and get_device() == 'cpu'
        if on_cpus and any(isinstance(m, nn.SyncBatchNorm) for m in model.modules()):
            self.logger.warning(
                'SyncBN needs GPUs. On CPUs each process normalises by its own images'
            )
            model = revert_sync_batchnorm(model)
        return super().wrap_model(model_wrapper_cfg, model)

    def check_datasets(self) -> None:
        """Check the data of all loops before the first step."""
        splits = ('train', 'val', 'test')
        loops = {split: getattr(self, f'_{split}_loop') for split in splits}
        loaders = [self._test_dataloader, self._val_dataloader]
        test, val = (one if isinstance(one, dict) else {} for one in loaders)
        other = not self._is_test and test.get('dataset') != val.get('dataset')
        self._datasets = check_loops(
            self.model, loops, self.logger, test if other else None
        )

    def load_checkpoint(self, filename: str, *args: Any, **kwargs: Any) -> dict:
        """Load a checkpoint.

        Raises:
            InputError: The file is broken, of another architecture or other classes,
                or holds NaN.
        """
        check_checkpoint(filename, resume=self._resume)
        with trusted_types():
            content = super().load_checkpoint(filename, *args, **kwargs)
        check_fit(self.model, content, filename, resume=self._resume)
        if self._resume:
            check_resumed(self, content, filename)
        check_checkpoint_classes(
            content, self._datasets, filename, self.logger, resume=self._resume
        )
        warn_other_normalisation(content, filename, self.model, self.cfg, self.logger)
        for part in (content['state_dict'], content.get('ema_state_dict', {})):
            check_finite(part, filename)
        return content

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call the hooks.

        A checkpoint may hold bare tensors; hooks get them under ``state_dict``. After
        ``before_train``, the classes of what a hook has built or loaded are compared.
        """
        if fn_name == 'after_load_checkpoint':
            content = kwargs['checkpoint']
            if 'state_dict' not in content:
                content['state_dict'] = dict(content)
        super().call_hook(fn_name, **kwargs)
        if fn_name == 'before_train':
            for hook in self.hooks:  # such as a k-NN hook with its bank and queries
                loaders = getattr(hook, 'loaders', None) or {}
                names = [f'{type(hook).__name__}.{name}' for name in loaders]
                datasets = [loader.dataset for loader in loaders.values()]
                check_class_names(dict(zip(names, datasets)))
                origin = dict(meta=getattr(hook, 'head_origin', None))
                file = self.cfg.get('pretrained')
                check_checkpoint_classes(origin, self._datasets, file, self.logger)

    def save_checkpoint(
        self, out_dir: str, filename: str, *args: Any, **kwargs: Any
    ) -> None:
        """Save a checkpoint; a local file appears whole or not at all."""
        if not is_main_process() or '://' in out_dir or kwargs.get('backend_args'):
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        Path(out_dir).mkdir(parents=True, exist_ok=True)
        with atomic_write(Path(out_dir) / filename, sync=True) as part:
            super().save_checkpoint(out_dir, part.name, *args, **kwargs)

    def test(self) -> dict:
        """Test the model; the checkpoint must hold every weight."""
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
        """Build the wrapper by this package's constructor, unless the config has one.

        Raises:
            InputError: It trains in float16, and there is no GPU.
        """
        if isinstance(optim_wrapper, dict) and 'optimizer' in optim_wrapper:
            optim_wrapper.setdefault('constructor', CONSTRUCTOR)
            if optim_wrapper.get('type') == 'AmpOptimWrapper' and get_device() == 'cpu':
                raise InputError(
                    "optim_wrapper.type='AmpOptimWrapper' trains in float16, which "
                    'needs a GPU, and none is found. Add --amp: without a GPU it '
                    'trains in bfloat16'
                )
        return super().build_optim_wrapper(optim_wrapper)

    def register_hook(
        self, hook: Hook | dict, priority: str | int | None = None
    ) -> None:
        """Register a hook, or this package's version of it."""
        super().register_hook(our_hook(hook), priority)

    def register_default_hooks(
        self, hooks: dict[str, Hook | dict] | None = None
    ) -> None:
        """Register the default hooks, three of them this package's."""
        ours = dict(
            runtime_info=dict(type='mmtlalign.LazyRuntimeInfoHook'),
            exact_resume=dict(type='mmtlalign.ExactResumeHook'),
            broadcast_buffers=dict(type='mmtlalign.BroadcastBuffersHook'),
        )
        chosen = ours | dict(hooks or {})
        # None leaves a hook out; mmengine allows it for its own hooks only.
        off = {name for name, hook in chosen.items() if hook is None} - STOCK_HOOKS
        hooks = {name: hook for name, hook in chosen.items() if name not in off}
        super().register_default_hooks(hooks)

    def scale_lr(
        self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None
    ) -> None:
        """Scale the learning rate if the config asks for it, and log the result.

        Unlike mmengine's, this counts accumulated steps in the global batch size.

        Raises:
            InputError: The config does not name the batch size to scale from.
        """
        options = auto_scale_lr or {}
        loader = self.train_dataloader
        size = loader.batch_size or loader.batch_sampler.batch_size
        steps = getattr(optim_wrapper, '_accumulative_counts', 1)
        total, base = size * self.world_size * steps, options.get('base_batch_size')
        line = (
            f'Global batch {total} = {size} images x {self.world_size} process(es) x '
            f'{steps} accumulated step(s)'
        )
        if options.get('enable') and not base:
            raise InputError(
                'the learning rate cannot be scaled (auto_scale_lr) without the batch '
                'size that the recipe was made for; set auto_scale_lr = '
                'dict(base_batch_size=…) in the config'
            )
        if options.get('enable'):
            several = isinstance(optim_wrapper, OptimWrapperDict)
            for wrapper in optim_wrapper.values() if several else [optim_wrapper]:
                for group in wrapper.optimizer.param_groups:
                    group['lr'] *= total / base
            line += f'; learning rate scaled by {total / base:g}, from {base}'
        rates = [lr for values in optim_wrapper.get_lr().values() for lr in values]
        line += f'; highest learning rate {max(rates):.4g}'
        if base and base != total and not options.get('enable'):
            line += (
                f'. The recipe was made for {base}: `--auto-scale-lr` scales the '
                'learning rate in proportion'
            )
        self.logger.info(line)


def check_workers(dataloader: DataLoader | dict) -> None:
    """Check that a loader whose settings need data workers has some.

    Raises:
        InputError: It has none.
    """
    if not isinstance(dataloader, dict) or dataloader.get('num_workers', 0):
        return
    for key in ('persistent_workers', 'prefetch_factor', 'timeout'):
        if dataloader.get(key):
            off = False if key == 'persistent_workers' else None
            raise InputError(
                f'num_workers=0 with {key}={dataloader[key]}, which needs workers, in '
                f'the loader of {dataloader["dataset"].get("type")}. Set {key}={off} '
                f'there too, such as --cfg-options train_dataloader.{key}={off}'
            )


def build_runner(cfg: Config) -> Runner:
    """Build the runner that a config asks for.

    Returns:
        A :class:`TaskRunner`, or the class that ``runner_type`` names.
    """
    import_host(cfg.get('default_scope', 'mmengine'))
    check_arguments(cfg)
    if 'runner_type' in cfg:
        return RUNNERS.build(cfg)
    return TaskRunner.from_cfg(cfg)
