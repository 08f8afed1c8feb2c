"""What a resumed run keeps of its checkpoint, whatever the config says.

mmengine restores the optimizer and the schedulers with their settings, so a learning
rate that is changed in the config has no effect on a run that is resumed.
"""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from mmtlalign.checkpoint.config_text import read_config_text
from mmtlalign.errors import InputError, some_of

# Entries of a parameter group that do not change the result.
IMPLEMENTATION = {'params', 'fused', 'foreach', 'capturable', 'differentiable'}
# Arguments of a scheduler that count its progress, or print.
PROGRESS = {'last_step', 'verbose', 'optimizer'}


def check_resumed(runner: Runner, content: Mapping[str, Any], path: str) -> None:
    """Check that a checkpoint fits the optimizer; warn of settings without effect.

    Call it before the optimizer is restored.

    Args:
        runner: A runner that trains.
        content: The checkpoint.
        path: Its file, for the message.

    Raises:
        InputError: The optimizer is another one than that of the checkpoint, or trains
            other parameters; the schedulers are others; or the run has no ``EMAHook``,
            and that of the checkpoint had one.
    """
    _check_average(runner, content, path)
    saved = (content.get('optimizer') or {}).get('param_groups')
    wrapper = runner.optim_wrapper
    if saved is None or not isinstance(wrapper, OptimWrapper):
        return
    groups = wrapper.optimizer.param_groups
    old, new = ([len(group['params']) for group in part] for part in (saved, groups))
    if old != new:
        changed = _config_changes(runner, content, path, 'model', 'optim_wrapper')
        raise InputError(
            f"'{path}' cannot be resumed: its optimizer has {sum(old)} parameters in "
            f'{len(old)} group(s), that of this config {sum(new)} in {len(new)}'
            f'{_listed(changed)}. Resume with the old settings, or start a new run '
            'from its weights: load_from instead of --resume'
        )
    _check_optimizer(runner, saved, groups, content, path)
    _check_kinds(runner, content, path)
    changed = [*_group_changes(saved, groups), *_schedule_changes(runner, content)]
    if changed:
        runner.logger.warning(
            'A resumed run keeps the settings of its checkpoint; these of the config '
            f'have no effect: {", ".join(changed)}. To change them, start a new run '
            'from the weights (load_from instead of --resume); to keep them, resume '
            'with the old values'
        )


def _group_changes(saved: list[dict], groups: list[dict]) -> Iterator[str]:
    """Yield each setting of the optimizer that differs, at its highest new value."""
    for key in groups[0]:
        if key in IMPLEMENTATION or key.startswith('initial_'):
            continue
        if key == 'betas' and 'initial_momentum' in groups[0]:
            continue  # a scheduler changes them
        pairs = [
            (new.get(f'initial_{key}', new[key]), old.get(f'initial_{key}', old[key]))
            for old, new in zip(saved, groups)
            if key in old and key in new
        ]
        differ = [(new, old) for new, old in pairs if new != old]
        if differ:
            new, old = max(
                differ, key=lambda pair: pair[0] if isinstance(pair[0], float) else 0
            )
            yield f'optim_wrapper.optimizer.{key}={new} (in force: {old})'


def _check_optimizer(
    runner: Runner,
    saved: list[dict],
    groups: list[dict],
    content: Mapping[str, Any],
    path: str,
) -> None:
    """Check that the optimizer is of the type of the checkpoint; warn of precision."""
    changed = _config_changes(runner, content, path, 'optim_wrapper')
    kinds = [c for c in changed if c.startswith('optim_wrapper.optimizer.type=')]
    if kinds and not _settings(groups[0]) <= _settings(saved[0]):
        raise InputError(
            f"'{path}' cannot be resumed by another optimizer: {kinds[0]}. Resume with "
            'the old one, or start a new run from its weights: load_from instead of '
            '--resume'
        )
    wrappers = [c for c in changed if c.startswith('optim_wrapper.type=')]
    if wrappers:
        runner.logger.warning(
            f'This run goes on with another optimizer wrapper, and perhaps in another '
            f'precision: {wrappers[0]}. Resume with --amp if the run began with it'
        )


def _settings(group: dict) -> set[str]:
    """Return the names of the settings of a group that change the result."""
    return {k for k in set(group) - IMPLEMENTATION if not k.startswith('initial_')}


def _check_average(runner: Runner, content: Mapping[str, Any], path: str) -> None:
    """Check that a run whose weights were averaged is averaged again."""
    averages = any(isinstance(hook, EMAHook) for hook in runner.hooks)
    if 'ema_state_dict' in content and not averages:
        raise InputError(
            f"'{path}' cannot be resumed without its EMAHook: its state_dict holds the "
            'averaged weights. Keep the hook, or start a new run from them: load_from '
            'instead of --resume'
        )


def _check_kinds(runner: Runner, content: Mapping[str, Any], path: str) -> None:
    """Check that the schedulers are as many, and of the same types, as in a checkpoint.

    mmengine would restore the first ones, and start the others at their first step.
    """
    pairs = _schedulers(runner, content)
    if pairs is None:
        return
    new, old = pairs
    state = [(one.state_dict(), _arguments(one)) for one in new]
    same = [
        names & set(ours) <= set(theirs) for (ours, names), theirs in zip(state, old)
    ]
    if len(new) != len(old) or not all(same):
        changed = _config_changes(runner, content, path, 'param_scheduler')
        names = some_of([type(one).__name__ for one in new], 6)
        raise InputError(
            f"'{path}' cannot be resumed: it has the state of {len(old)} scheduler(s), "
            f'and the config has {len(new)} ({names}){_listed(changed)}. Resume with '
            'the old param_scheduler, or start a new run from its weights: load_from '
            'instead of --resume'
        )


def _schedule_changes(runner: Runner, content: Mapping[str, Any]) -> Iterator[str]:
    """Yield each setting of a scheduler that differs."""
    for number, (scheduler, old) in enumerate(
        zip(*(_schedulers(runner, content) or ((), ())))
    ):
        new = scheduler.state_dict()
        for key in sorted(_arguments(scheduler) & set(new) & set(old)):
            if new[key] != old[key]:
                name = f'param_scheduler.{number}.{key}'
                yield f'{name}={new[key]} (in force: {old[key]})'


def _schedulers(
    runner: Runner, content: Mapping[str, Any]
) -> tuple[list[Any], list[dict]] | None:
    """Return the schedulers of a run and their state in a checkpoint.

    They are None with several optimizers, which have a dict of them.
    """
    new, old = runner.param_schedulers or [], content.get('param_schedulers') or []
    return (new, old) if isinstance(new, list) and isinstance(old, list) else None


def _arguments(scheduler: Any) -> set[str]:
    """Return the names of the arguments of a scheduler that its course depends on."""
    names = set[str]()
    for base in type(scheduler).__mro__:
        names.update(inspect.signature(base.__init__).parameters)  # type: ignore[misc]
    return names - PROGRESS


def _config_changes(
    runner: Runner, content: Mapping[str, Any], path: str, *keys: str
) -> list[str]:
    """List the settings under some keys of the config that differ in a checkpoint."""
    text = (content.get('meta') or {}).get('cfg') or ''
    try:
        old = _flat(read_config_text(text, path))
    except InputError:
        return []
    new = _flat(runner.cfg.to_dict())
    return [
        f'{name}={new.get(name)} (in the checkpoint: {old.get(name)})'
        for name in dict.fromkeys([*new, *old])
        if name.split('.')[0] in keys and new.get(name) != old.get(name)
    ]


def _listed(changes: list[str]) -> str:
    """Return a sentence that lists changes of the config, '' without any."""
    return f'. Changed in the config: {some_of(changes, 6)}' if changes else ''


def _flat(settings: Any, begin: str = '') -> dict[str, Any]:
    if isinstance(settings, Mapping):
        items: Any = settings.items()
    elif isinstance(settings, list | tuple):
        items = enumerate(settings)
    else:
        return {begin.removesuffix('.'): settings}
    flat: dict[str, Any] = {}
    for key, value in items:
        flat.update(_flat(value, f'{begin}{key}.'))
    return flat
