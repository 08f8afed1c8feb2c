"""Views first, then views and regions: the second run goes on in the schedules."""

import pytest
import torch
from esvit_parts import model_settings, settings

from mmtlalign.engine.runner import build_runner
from mmtlalign.errors import InputError

SCHEDULES = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=2),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, begin=2, end=8),
    dict(type='CosineAnnealingWeightDecay', eta_min=0.4, by_epoch=False, end=8),
]
HOOK = dict(type='mmtlalign.EsViTHook', momentum=0.9, warmup_teacher_temp_epochs=3)
GO_ON = dict(type='mmtlalign.ContinueHook')
VIEWS = model_settings(region_head=None)


def run(work_dir, epochs=4, train=True, schedules=SCHEDULES, **changes):
    """Two steps an epoch; every step's rates, decays, epoch, temperature, momentum."""
    changes = dict(custom_hooks=[HOOK], epochs=epochs) | changes
    runner = build_runner(settings(work_dir, param_scheduler=schedules, **changes))
    runner.seen = []
    model, moved = runner.model, runner.model.after_step

    def after_step(momentum):
        groups = runner.optim_wrapper.optimizer.param_groups
        pairs = {(group['lr'], group['weight_decay']) for group in groups}
        runner.seen.append((runner.epoch, model.teacher_temp, momentum, pairs))
        moved(momentum)

    model.after_step = after_step
    if train:
        runner.train()
    return runner


@pytest.fixture(scope='module')
def views(tmp_path_factory):
    """A run of views alone, to its end."""
    return run(tmp_path_factory.mktemp('views'), model=VIEWS)


def second(tmp_path, views, epoch=2, **changes):
    changes = dict(load_from=f'{views.work_dir}/epoch_{epoch}.pth') | changes
    return run(tmp_path, custom_hooks=[HOOK, GO_ON], **changes)


def test_second_phase_has_the_schedules_of_one_run(tmp_path, views):
    rest = second(tmp_path, views)
    assert rest.iter == 8
    assert rest.epoch == 4
    assert len(rest.seen) == 4
    for ours, whole in zip(rest.seen, views.seen[4:], strict=True):
        # New groups are scheduled as the old ones are, none is left behind.
        assert ours == whole
        assert len(ours[3]) == 2  # with and without weight decay
    names = [name for name in rest.model.state_dict() if 'region_head' in name]
    assert any(name.startswith('teacher.') for name in names)


def test_weights_and_centres_are_those_of_the_file(tmp_path, views):
    runner = second(tmp_path, views, train=False)
    runner.train_loop.run = lambda: None
    runner.train()
    file = torch.load(f'{views.work_dir}/epoch_2.pth', weights_only=False)
    now = runner.model.state_dict()
    for name, value in file['state_dict'].items():
        assert torch.equal(now[name], value), name
    assert now['centers.view.value'].abs().sum() > 0
    assert now['centers.region.value'].abs().sum() == 0
    assert not runner.optim_wrapper.optimizer.state
    assert (runner.epoch, runner.iter) == (2, 4)


def test_second_phase_is_resumed_bit_for_bit(tmp_path, views):
    whole = second(tmp_path / 'whole', views)
    part = run(
        tmp_path / 'part',
        custom_hooks=[HOOK, GO_ON],
        resume=True,
        load_from=f'{whole.work_dir}/epoch_3.pth',
    )
    assert part.seen == whole.seen[2:]
    other = part.model.state_dict()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(other[name], value), name


def without(path, to, *keys):
    content = torch.load(path, weights_only=False)
    for key in keys:
        content.pop(key)
    torch.save(content, to)
    return str(to)


def test_file_without_state(tmp_path, views):
    bare = without(
        f'{views.work_dir}/epoch_2.pth', tmp_path / 'bare.pth', 'optimizer', 'meta'
    )
    with pytest.raises(InputError, match=r'bare\.pth.* has no meta, optimizer'):
        second(tmp_path, views, load_from=bare)


@pytest.mark.parametrize('changes', [dict(), dict(resume=True)])
def test_nothing_loaded(tmp_path, views, changes):
    with pytest.raises(InputError, match='no checkpoint was loaded.*Set load_from'):
        second(tmp_path, views, load_from=None, **changes)


def test_other_batch(tmp_path, views):
    with pytest.raises(InputError, match='epoch is 4 iterations here.*same global'):
        second(tmp_path, views, batch=4)


def test_other_schedules(tmp_path, views):
    longer = [*SCHEDULES[:2], dict(SCHEDULES[2], end=9)]
    with pytest.raises(InputError, match=r"'weight_decay', 0, 9\)\]: use the same"):
        second(tmp_path, views, schedules=longer)


def test_other_rate(tmp_path, views):
    optimizer = dict(type='AdamW', lr=2e-2, weight_decay=0.1)
    wrapper = dict(optimizer=optimizer, paramwise_cfg=dict(flat_decay_mult=0.0))
    with pytest.raises(InputError, match=r'lr, weight_decay = \(0\.02, .*use the same'):
        second(tmp_path, views, optim_wrapper=wrapper)


def test_end_of_the_schedule(tmp_path, views):
    with pytest.raises(InputError, match='max_epochs=4: name an earlier'):
        second(tmp_path, views, epoch=4)
