"""Make hooks of mmengine and mmpretrain work with this package, or refuse them.

A hook that would silently do nothing is an error when the run is built;
``tests/engine/test_host_hooks.py`` tests each of them.
"""

from types import SimpleNamespace
from typing import Any

from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.optim import (
    CosineAnnealingParamScheduler,
    LinearParamScheduler,
    OneCycleParamScheduler,
    PolyParamScheduler,
)
from mmengine.registry import MODELS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn

from mmtlalign.compat.wrappers import unwrap_dataset, unwrap_model
from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.validation.samples import name_broken_samples

# Hooks that replace mmengine's.
OURS = {'CheckpointHook': 'mmtlalign.WholeCheckpointHook'}
# mmengine's `end` of a scheduler without an end.
ENDLESS = 10**9
# A schedule that ends before this share of the run gets a notice, if it is of a kind
# that lowers a value up to its end.
LATE = 0.9
DECLINES = (
    CosineAnnealingParamScheduler,
    LinearParamScheduler,
    OneCycleParamScheduler,
    PolyParamScheduler,
)


def our_hook(hook: Hook | dict) -> Hook | dict:
    """Return a hook's config with mmengine's type replaced by ours, if we have one."""
    if not isinstance(hook, dict):
        return hook
    kind = hook.get('type')
    name = 'CheckpointHook' if kind is CheckpointHook else str(kind)
    return dict(hook, type=OURS.get(name.removeprefix('mmengine.'), kind))


def average_inner_model(runner: Runner) -> None:
    """Let an ``EMAHook`` average the network inside test-time augmentation.

    Call it before a checkpoint is loaded. The hook would average the wrapper, find no
    weights for it in the checkpoint, and evaluate random ones.
    """
    model = runner.model
    model = model.module if is_model_wrapper(model) else model
    if not isinstance(model, BaseTTAModel):
        return
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            hook.src_model = unwrap_model(model)
            options = dict(model=hook.src_model)
            hook.ema_model = MODELS.build(hook.ema_cfg, default_args=options)


def check_hooks(runner: Runner) -> None:
    """Check that every hook of a training run has an effect.

    Raises:
        InputError: A hook would do nothing, or fail late.
    """
    model = unwrap_model(runner.model)
    for hook in runner.hooks:
        kinds = [kind.__name__ for kind in type(hook).__mro__]
        for name, check in CHECKS.items():
            if name in kinds:
                check(hook, model, runner)


def check_switch(hook: Any, model: nn.Module, runner: Runner) -> None:
    """Check what mmpretrain's ``SwitchRecipeHook`` switches to."""
    if isinstance(runner.train_loop, IterBasedTrainLoop):
        raise InputError(
            'SwitchRecipeHook counts epochs, and this run counts iterations: nothing '
            'would switch. Set train_cfg=dict(by_epoch=True, max_epochs=…)'
        )
    for epoch, recipe in hook.schedule.items():
        if 'batch_augments' in recipe:
            check_switched_augments(recipe['batch_augments'], epoch, model)
        if 'loss' in recipe:
            owner = model if hasattr(model, 'loss_module') else model.head
            old, new = getattr(owner, 'loss_module', None), recipe['loss']
            # The head for token labels calls its own loss with arguments that other
            # losses do not take.
            own = type(old).__module__.startswith('mmtlalign.')
            if old is None or (own and not isinstance(new, type(old))):
                raise UnsupportedError(
                    f'SwitchRecipeHook, action_epoch={epoch}: {type(model).__name__} '
                    f'cannot use the loss {type(new).__name__} in place of '
                    f'{type(old).__name__}. Remove `loss` from that action'
                )
        if 'train_pipeline' in recipe:
            inner = unwrap_dataset(runner.train_dataloader.dataset)
            zero = getattr(inner, 'reduce_zero_label', None)
            part = dict(pipeline=recipe['train_pipeline'], reduce_zero_label=zero)
            named = SimpleNamespace(**part)
            name_broken_samples(named)
            recipe['train_pipeline'] = named.pipeline


def check_switched_augments(augments: Any, epoch: int, model: nn.Module) -> None:
    """Check that a model can switch to other augments at an epoch."""
    preprocessor = getattr(model, 'data_preprocessor', None)
    if hasattr(model, 'make_switched_mixer') and hasattr(preprocessor, 'on_switch'):
        model.make_switched_mixer(augments)  # so that errors show now
    elif hasattr(model, 'make_switched_mixer') or not hasattr(
        preprocessor, 'batch_augments'
    ):
        raise UnsupportedError(
            f'SwitchRecipeHook, action_epoch={epoch}: {type(model).__name__} with '
            f'{type(preprocessor).__name__} cannot switch batch_augments. Use '
            'mmtlalign.MixClassifier with its own data preprocessor, or leave them out'
        )


def needs(test: Any, reason: str) -> Any:
    """Return a check that raises UnsupportedError unless ``test`` holds."""

    def check(hook: Hook, model: nn.Module, runner: Runner) -> None:
        if not test(model, runner):
            raise UnsupportedError(
                f'{type(hook).__name__} does nothing in this run: {reason}. Take it '
                'out of custom_hooks'
            )

    return check


def has_loss(name: str) -> Any:
    """Return a test of whether the loss of the head has an attribute."""

    def test(model: nn.Module, runner: Runner) -> bool:
        head = getattr(model, 'head', None)
        return hasattr(getattr(head, 'loss_module', None), name)

    return test


def has_fixed_rate(model: nn.Module, runner: Runner) -> bool:
    """Return whether a parameter group of the optimizer has ``fix_lr``."""
    groups = getattr(runner.optim_wrapper, 'optimizer', None)
    return any(g.get('fix_lr') for g in getattr(groups, 'param_groups', ()))


def check_visualization(hook: Any, model: nn.Module, runner: Runner) -> None:
    """Check that mmpretrain's ``VisualizationHook`` has something to draw with."""
    drawing = getattr(hook, 'enable', False) and type(hook).__module__.startswith(
        'mmpretrain.'
    )
    if drawing and not hasattr(hook._visualizer, 'visualize_cls'):
        raise InputError(
            'VisualizationHook.enable=True needs a visualizer of mmpretrain, and the '
            "config has none. Set visualizer=dict(type='UniversalVisualizer', "
            "vis_backends=[dict(type='LocalVisBackend')])"
        )


def check_parameter(hook: Any, model: nn.Module, runner: Runner) -> None:
    """Check that mmpretrain's ``WarmupParamHook`` finds its parameter."""
    try:
        hook.get_param(runner)
    except AttributeError as error:
        raise InputError(
            f'WarmupParamHook: {error}. Correct its param_name and module_name.'
        ) from error


# Checks of a training run, by class name of the hook.
CHECKS = {
    'SwitchRecipeHook': check_switch,
    'VisualizationHook': check_visualization,
    'WarmupParamHook': check_parameter,
    'DenseCLHook': needs(
        lambda model, _: hasattr(model, 'loss_lambda'), 'the model is not DenseCL'
    ),
    'PrepareProtoBeforeValLoopHook': needs(
        lambda model, _: hasattr(model, 'prepare_prototype'),
        'the model is not a retriever',
    ),
    'SetAdaptiveMarginsHook': needs(
        lambda model, _: hasattr(getattr(model, 'head', None), 'set_margins'),
        'the head is not an ArcFaceClsHead',
    ),
    'SimSiamHook': needs(
        has_fixed_rate,
        'no parameter has fix_lr=True (paramwise_cfg.custom_keys, with '
        "optim_wrapper.constructor='DefaultOptimWrapperConstructor')",
    ),
    'SwAVHook': needs(has_loss('use_queue'), 'the loss is not that of SwAV'),
    'PreciseBNHook': needs(
        lambda model, _: any(
            isinstance(module, nn.modules.batchnorm._BatchNorm)
            for module in model.modules()
        ),
        'the model has no batch norm',
    ),
    'NaiveVisualizationHook': needs(
        lambda *_: False, "it reads batches of another format; take the host's own hook"
    ),
}


def check_schedules(runner: Runner) -> list[str]:
    """Return a notice for each scheduler that does not fit the length of the run."""
    schedulers = runner.param_schedulers
    if not isinstance(schedulers, list):
        return []
    by_iteration = isinstance(runner.train_loop, IterBasedTrainLoop)
    ends = [schedule_end(runner, number) for number in range(len(schedulers))]
    shares = [end / max(length, 1) for _, end, length in ends]
    latest: dict[str, float] = {}
    for scheduler, share in zip(schedulers, shares):
        name = scheduler.param_name
        latest[name] = max(share, latest.get(name, 0))
    notices = []
    for number, (scheduler, share) in enumerate(zip(schedulers, shares)):
        name = f'param_scheduler.{number} ({type(scheduler).__name__})'
        unit, end, length = ends[number]
        # A warm-up alone is a schedule too.
        declines = isinstance(scheduler, DECLINES)
        declines &= getattr(scheduler, 'end_factor', 0) != 1
        fault = ''
        if scheduler.by_epoch and by_iteration:
            notices.append(
                f'{name} counts epochs, and this run counts iterations: it never '
                'changes anything. Set --cfg-options '
                f'param_scheduler.{number}.by_epoch=False'
            )
        elif length < end < ENDLESS:
            fault = f'but the run already ends at {length}'
        elif share == latest[scheduler.param_name] < LATE and declines:
            fault = f'and {scheduler.param_name} stays constant from there to {length}'
        if fault:
            notices.append(
                f'{name} ends at {unit} {end}, {fault}. If this is not intended: '
                f'--cfg-options param_scheduler.{number}.end={length}'
            )
    return notices


def schedule_end(runner: Runner, number: int) -> tuple[str, int, int]:
    """Return the unit that the config counts in, the scheduler's end and the run's."""
    scheduler = runner.param_schedulers[number]
    if scheduler.by_epoch:
        return 'epoch', scheduler.end, runner.max_epochs
    given = runner.cfg.get('param_scheduler')
    given = given[number] if isinstance(given, list) else given
    if isinstance(given, dict) and given.get('convert_to_iter_based'):
        steps = len(runner.train_dataloader)
        return 'epoch', scheduler.end // steps, runner.max_epochs
    return 'iteration', scheduler.end, runner.max_iters
