"""Hook that writes label microscopes during training."""

from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.distributed.fsdp import FullyShardedDataParallel

from mmtlalign.checkpoint.io import hash_tensors
from mmtlalign.compat.wrappers import unwrap_model
from mmtlalign.errors import InputError
from mmtlalign.evaluation.microscope.source import (
    class_names,
    describe_model,
    make_pairs,
)
from mmtlalign.evaluation.microscope.write import Page, write_page
from mmtlalign.registry import HOOKS
from mmtlalign.tracing.support import backbone_spec


@HOOKS.register_module()
class MicroscopeHook(Hook):
    """Write a label microscope of validation images during training.

    Each page is a self-contained HTML file with mixed pairs, the share of the partner
    in every token of every layer, the targets of CutMix, TransMix and TL-Align, and the
    model's predictions. All pages show the same pairs. The main process writes them;
    the hook does not change the run's random numbers and the modes of its modules.

    Args:
        pairs (int): Number of mixed images. Defaults to 16.
        interval (int): Validations between two pages; there is always a page at the end
            of training. Defaults to 0: only at the end.
        seed (int): Seed of the choice of images and of the masks. Defaults to 0.
        folder (str): Folder of the pages, below the work directory. Defaults to
            ``'microscope'``.

    Raises:
        InputError: There is no validation, the model is sharded (FSDP), or an argument
            has an invalid value.
        UnsupportedError: The backbone cannot be traced.
    """

    # After a validation, before EMAHook (NORMAL) swaps the averaged weights back.
    priority = 'ABOVE_NORMAL'

    def __init__(
        self,
        pairs: int = 16,
        interval: int = 0,
        seed: int = 0,
        folder: str = 'microscope',
    ):
        if pairs < 1 or interval < 0:
            raise InputError(
                f'pairs={pairs}, interval={interval}: give 1 pair or more, and an '
                'interval of 0 (at the end alone) or more.'
            )
        self.pairs = pairs
        self.interval = interval
        self.seed = seed
        self.folder = folder
        self._training = False
        self._validations = 0
        self._written: int | None = None

    def before_train(self, runner: Runner) -> None:
        """Check before training that a page can be written."""
        if runner.val_loop is None:
            raise InputError(
                'MicroscopeHook shows images of the validation set, and the run has '
                'none: set val_dataloader, val_evaluator and val_cfg.'
            )
        model = unwrap_model(runner.model)
        if not hasattr(model, 'backbone') or not hasattr(model, 'head'):
            raise InputError(
                f'MicroscopeHook is for classifiers, not {type(model).__name__}: '
                'leave it out.'
            )
        if isinstance(runner.model, FullyShardedDataParallel):
            raise InputError(
                'MicroscopeHook runs the network in one process, and FSDP shards it '
                'over all: remove the hook, and use '
                'tools/analysis_tools/label_microscope.py with a checkpoint.'
            )
        backbone_spec(model.backbone)
        self._training, self._validations, self._written = True, 0, None

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Write a page if one is due, but not in a run that only validates."""
        self._validations += 1
        due = self.interval and self._validations % self.interval == 0
        if self._training and (due or runner.iter >= runner.max_iters):
            self.write(runner)

    def after_train(self, runner: Runner) -> None:
        """Write the last page, unless the last validation has written it."""
        if self._written != runner.iter:
            self.write(runner)
        self._training = False

    def write(self, runner: Runner) -> Path | None:
        """Write a page, and return its path; None on other processes."""
        self._written = runner.iter
        if not is_main_process():
            return None
        model = unwrap_model(runner.model)
        loader = runner.val_dataloader
        geometry, pairs = make_pairs(
            model, loader.dataset, loader.collate_fn, self.pairs, self.seed
        )
        by_iter = isinstance(runner.train_loop, IterBasedTrainLoop)
        number = runner.iter if by_iter else runner.epoch
        name = f'{"iter" if by_iter else "epoch"}_{number}'
        config = Path(runner.cfg.filename or runner.experiment_name).name
        about = dict(
            config=config,
            weights=name.replace('_', ' '),
            hash=hash_tensors(model.state_dict()),
            **describe_model(model),
            data=f'{len(loader.dataset)} of the validation, seed {self.seed}',
        )
        names = class_names(model.head.num_classes, loader.dataset.metainfo)
        path = Path(runner.work_dir) / self.folder / f'{name}.html'
        write_page(Page(geometry, pairs, names, about), path)
        runner.logger.info(f'Label microscope of {len(pairs)} pairs: {path}')
        return path
