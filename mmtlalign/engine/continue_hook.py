"""Continue another run's schedules with a model that has more parameters."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmtlalign.errors import InputError
from mmtlalign.registry import HOOKS


@HOOKS.register_module()
class ContinueHook(Hook):
    """Continue the run that wrote ``load_from`` with a model that has more parameters.

    For the two phases of EsViT (arXiv 2106.09785, official README): the view loss alone
    for 200 epochs, then view and region loss for the last 100 of the same schedules.
    Weights, centres and teacher come from the file, and so do epoch, learning rate,
    weight decay and loss scale. The region heads, for which the file has no weights,
    start from their initialisation. The moments of the optimizer start at zero, as in
    the official code, whose optimizer cannot load the old ones for other parameters.

    ``--resume`` continues such a run like any other; the hook does nothing then.

    Raises:
        InputError: Nothing was loaded, the file holds no training state, or that run
            had other schedules, learning rates or iterations per epoch.
    """

    def __init__(self) -> None:
        self.loaded = False

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take epoch, iteration and scheduled values from the file."""
        self.loaded = True
        if runner._resume:
            return
        file = f"load_from='{runner._load_from}'"
        missing = {'meta', 'optimizer', 'param_schedulers'} - set(checkpoint)
        if missing:
            raise InputError(
                f'ContinueHook: {file} has no {", ".join(sorted(missing))}, so the '
                'state of that run is unknown; name a checkpoint that a run has '
                'written with its optimizer (save_optimizer and save_param_scheduler '
                'of CheckpointHook are True by default).'
            )
        self._take_schedules(runner, checkpoint, file)
        self._take_position(runner, checkpoint['meta'], file)
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        if scaler is not None and 'loss_scaler' in checkpoint['optimizer']:
            scaler.load_state_dict(checkpoint['optimizer']['loss_scaler'])
        loop = runner.train_loop
        runner.logger.info(
            f'Continuing from epoch {loop.epoch} of {loop.max_epochs}, iteration '
            f'{loop.iter}, with the schedules of {runner._load_from}; the moments of '
            'the optimizer are reset.'
        )

    def before_train(self, runner: Runner) -> None:
        """Check that a checkpoint was loaded, else the run would start at random.

        Raises:
            InputError: None was.
        """
        if not self.loaded:
            raise InputError(
                'ContinueHook: no checkpoint was loaded, so there is nothing to '
                'continue. Set load_from to one of the first phase; --resume is for a '
                'run of this phase that has written a checkpoint of its own.'
            )

    def _take_position(self, runner: Runner, meta: dict, file: str) -> None:
        """Set the epoch and the iteration of the loop."""
        loop, epoch = runner.train_loop, meta['epoch']
        length = len(runner.train_dataloader)
        if meta['iter'] != epoch * length:
            raise InputError(
                f'ContinueHook: {file} is of iteration {meta["iter"]} in epoch '
                f'{epoch}, but an epoch is {length} iterations here: use the same '
                'global batch and data, and a checkpoint from the end of an epoch.'
            )
        if epoch >= loop.max_epochs:
            raise InputError(
                f'ContinueHook: {file} is of epoch {epoch}, and the training ends at '
                f'max_epochs={loop.max_epochs}: name an earlier checkpoint.'
            )
        loop._epoch, loop._iter = epoch, meta['iter']

    def _take_schedules(self, runner: Runner, checkpoint: dict, file: str) -> None:
        """Set the schedulers to their step, and the scheduled values to theirs."""
        schedulers, saved = runner.param_schedulers, checkpoint['param_schedulers']
        if not isinstance(schedulers, list) or not isinstance(saved, list):
            raise InputError(
                'ContinueHook supports one optimizer only, not an OptimWrapperDict: '
                'start the run from its weights, with load_from.'
            )
        spans = [(s.param_name, s.begin, s.end) for s in schedulers]
        saved_spans = [(s['param_name'], s['begin'], s['end']) for s in saved]
        if spans != saved_spans:
            raise InputError(
                f'ContinueHook: the schedules of {file} are {saved_spans} (name, first '
                f'and last step), but here they are {spans}: use the same schedules, '
                'global batch and data.'
            )
        names = list(dict.fromkeys(s.param_name for s in schedulers))
        # Current values of a group by its initial ones, which tell the groups apart.
        current = {
            tuple(group[f'initial_{n}'] for n in names): {n: group[n] for n in names}
            for group in checkpoint['optimizer']['param_groups']
        }
        groups = runner.optim_wrapper.optimizer.param_groups
        for group in groups:
            initial = tuple(group[f'initial_{n}'] for n in names)
            if initial not in current:
                raise InputError(
                    f'ContinueHook: a parameter group starts with {", ".join(names)} = '
                    f'{initial} here, but the groups in {file} start with '
                    f'{sorted(current)}: use the same optimizer settings and global '
                    'batch.'
                )
            group.update(current[initial])
        for scheduler, state in zip(schedulers, saved):
            scheduler.last_step = state['last_step']
            scheduler._global_step = state['_global_step']
            scheduler._last_value = [group[scheduler.param_name] for group in groups]
