"""Every hook of mmengine and mmpretrain works with our classes, or is refused."""

import copy
import inspect
from types import SimpleNamespace

import mmengine.hooks
import mmpretrain.engine.hooks
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmpretrain.registry import HOOKS, MODELS
from tiny_run import train_to_end, write_images

from mmtlalign.engine.host_hooks import CHECKS, check_hooks, check_schedules
from mmtlalign.errors import InputError
from mmtlalign.methods.mixer import BatchMixer

# What a hook does with the classes of this package. `checked`: it works, or is refused
# by host_hooks.CHECKS when the run is built.
ANSWERS = dict(
    # mmengine
    CheckpointHook='works; ours takes its place',
    DistSamplerSeedHook='works',
    EMAHook='works; inside test-time augmentation by average_inner_model',
    EarlyStoppingHook='works; its state is kept by ExactResumeHook',
    EmptyCacheHook='works',
    IterTimerHook='works',
    LoggerHook='works',
    NPUProfilerHook='fails at once without such a device',
    NaiveVisualizationHook='checked',
    ParamSchedulerHook='works',
    PrepareTTAHook='works',
    ProfilerHook='works',
    RuntimeInfoHook='works; LazyRuntimeInfoHook takes its place',
    SyncBuffersHook='works',
    # mmpretrain
    ClassNumCheckHook='works',
    DenseCLHook='checked',
    PreciseBNHook='checked',
    PrepareProtoBeforeValLoopHook='checked',
    SetAdaptiveMarginsHook='checked',
    SimSiamHook='checked',
    SwAVHook='checked',
    SwitchRecipeHook='checked',
    VisualizationHook='checked',
    WarmupParamHook='checked',
)


def test_there_is_an_answer_for_every_hook():
    found = {
        name
        for module in (mmengine.hooks, mmpretrain.engine.hooks)
        for name, kind in vars(module).items()
        if inspect.isclass(kind) and issubclass(kind, Hook) and kind is not Hook
    }
    # Releases differ by a few.
    assert found <= set(ANSWERS)
    assert set(CHECKS) == {name for name, what in ANSWERS.items() if what == 'checked'}


MODEL = dict(
    type='mmtlalign.MixClassifier',
    backbone=dict(
        type='VisionTransformer',
        arch=dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32),
        img_size=32,
        patch_size=8,
    ),
    head=dict(
        type='mmtlalign.TLAlignVisionTransformerClsHead', num_classes=3, in_channels=16
    ),
    train_cfg=dict(augments=dict(type='mmtlalign.CutMix', alpha=1.0)),
)


@pytest.fixture
def run():
    """A run of our classifier by epochs, as far as the checks look at it."""
    init_default_scope('mmpretrain')
    model = MODELS.build(MODEL)
    optimizer = torch.optim.SGD(model.parameters(), lr=1)
    data = SimpleNamespace(dataset=SimpleNamespace(pipeline=None))
    return SimpleNamespace(
        model=model,
        hooks=[],
        train_loop=None,
        train_dataloader=data,
        optim_wrapper=SimpleNamespace(optimizer=optimizer),
        logger=SimpleNamespace(info=print),
        epoch=0,
    )


def switch(**recipe):
    return dict(type='SwitchRecipeHook', schedule=[dict(action_epoch=1, **recipe)])


CUTMIX = dict(augments=dict(type='mmtlalign.Mixup', alpha=0.5), probs=0.4)
REFUSED = dict(
    densecl=(dict(type='DenseCLHook'), 'DenseCLHook does nothing'),
    precise=(dict(type='PreciseBNHook'), 'no batch norm'),
    prototypes=(dict(type='PrepareProtoBeforeValLoopHook'), 'not a retriever'),
    margins=(dict(type='SetAdaptiveMarginsHook'), 'not an ArcFaceClsHead'),
    simsiam=(dict(type='SimSiamHook', fix_pred_lr=True, lr=0.1), 'fix_lr'),
    swav=(dict(type='SwAVHook', batch_size=2), 'SwAV'),
    naive=(dict(type='mmengine.NaiveVisualizationHook'), 'another format'),
    warmup=(
        dict(type='WarmupParamHook', param_name='x', module_name='y', warmup_epochs=1),
        'WarmupParamHook: .*y',
    ),
)


@pytest.mark.parametrize('name', REFUSED)
def test_a_hook_that_would_do_nothing_is_refused(run, name):
    config, words = REFUSED[name]
    run.hooks = [HOOKS.build(config)]
    with pytest.raises(InputError, match=words):
        check_hooks(run)


def test_hooks_that_work_pass(run):
    run.optim_wrapper.optimizer.param_groups[0]['fix_lr'] = True
    run.model.backbone.norm = torch.nn.BatchNorm1d(3)
    run.model.head.loss_module.smoothing = 0.1
    run.hooks = [
        HOOKS.build(REFUSED['simsiam'][0]),
        HOOKS.build(REFUSED['precise'][0]),
        HOOKS.build(dict(REFUSED['warmup'][0], param_name='smoothing',
                         module_name='head.loss_module')),
        HOOKS.build(switch(batch_augments=CUTMIX, train_pipeline=[])),
        HOOKS.build(switch(batch_augments=None)),
    ]  # fmt: skip
    check_hooks(run)


def test_switched_augments_are_used(run):
    run.hooks = [HOOKS.build(switch(batch_augments=CUTMIX))]
    check_hooks(run)
    assert type(run.model.mixer.augments[0]).__name__ == 'CutMix'
    run.hooks[0].before_train_epoch(run)
    assert isinstance(run.model.mixer, BatchMixer)
    assert type(run.model.mixer.augments[0]).__name__ == 'Mixup'
    assert run.model.mixer.probs == [0.4, 0.6]
    HOOKS.build(switch(batch_augments=None)).before_train_epoch(run)
    assert run.model.mixer is None
    # Averaged copies have a mixer of their own.
    twin = copy.deepcopy(run.model)
    twin.data_preprocessor.batch_augments = run.hooks[0].schedule[1]['batch_augments']
    assert twin.mixer is not None and run.model.mixer is None


def test_what_cannot_be_switched_is_refused(run):
    run.hooks = [HOOKS.build(switch(loss=dict(type='CrossEntropyLoss')))]
    check_hooks(run)
    preprocessor = MODELS.build(dict(type='ClsDataPreprocessor'))
    run.model.data_preprocessor = preprocessor
    run.hooks = [HOOKS.build(switch(batch_augments=CUTMIX))]
    with pytest.raises(InputError, match='cannot switch batch_augments'):
        check_hooks(run)
    # The stock classifier mixes in its preprocessor.
    run.model = torch.nn.Module()
    run.model.data_preprocessor = preprocessor
    check_hooks(run)
    run.model.data_preprocessor = torch.nn.Module()
    with pytest.raises(InputError, match='cannot switch batch_augments'):
        check_hooks(run)


def test_augments_of_a_preprocessor_that_mixes_nothing_are_refused():
    init_default_scope('mmpretrain')
    config = dict(type='mmtlalign.MixDataPreprocessor', num_classes=3)
    MODELS.build(config)
    with pytest.raises(InputError, match='train_cfg'):
        MODELS.build(dict(config, batch_augments=CUTMIX))


def scheduler(by_epoch=True, end=10**9, kind='Linear', param_name='lr', **more):
    found = object.__new__(getattr(mmengine.optim, f'{kind}ParamScheduler'))
    vars(found).update(by_epoch=by_epoch, end=end, param_name=param_name, **more)
    return found


@pytest.fixture
def long_run():
    loader = [None] * 10
    return SimpleNamespace(
        train_loop=None, max_epochs=100, max_iters=1000, train_dataloader=loader, cfg={}
    )


def test_schedules_that_do_not_fit_the_run_get_one_notice_each(long_run):
    runner = long_run
    runner.param_schedulers = [
        scheduler(), scheduler(end=100), scheduler(end=1000, by_epoch=False)
    ]  # fmt: skip
    assert check_schedules(runner) == []
    runner.param_schedulers = [scheduler(end=20), scheduler(end=300)]
    (notice,) = check_schedules(runner)
    assert 'epoch 300' in notice and 'param_scheduler.1.end=100' in notice


def test_a_run_longer_than_its_schedule_gets_a_notice(long_run):
    # 300 of 310 epochs, and a warm-up that stays at the full rate, are recipes.
    # So are a constant warm-up, which restores the rate, and steps.
    kinds = (scheduler(end=5, kind='Constant'), scheduler(end=80, kind='MultiStep'))
    for whole in (scheduler(end=97), scheduler(end=5, end_factor=1.0), *kinds):
        long_run.param_schedulers = [whole]
        assert check_schedules(long_run) == []
    warm_up = scheduler(end=20, by_epoch=False, end_factor=1.0)
    long_run.param_schedulers = [
        warm_up, scheduler(end=50), scheduler(param_name='momentum', end=100)
    ]  # fmt: skip
    (notice,) = check_schedules(long_run)
    assert 'epoch 50, and lr stays' in notice and 'param_scheduler.1.end=100' in notice


@pytest.mark.parametrize('end', [500, 3000])
def test_a_notice_counts_as_the_config_does(long_run, end):
    long_run.param_schedulers = [scheduler(end=end, by_epoch=False)]
    (notice,) = check_schedules(long_run)
    assert f'iteration {end}' in notice and 'param_scheduler.0.end=1000' in notice
    given = dict(type='PolyLR', end=end // 10, convert_to_iter_based=True)
    long_run.cfg = dict(param_scheduler=[given])
    (notice,) = check_schedules(long_run)
    assert f'epoch {end // 10}' in notice and 'param_scheduler.0.end=100' in notice


# ------------------------------------------------------------------ with training


@pytest.fixture
def train(monkeypatch, tmp_path):
    data = write_images(tmp_path / 'data')

    def run(*args, text=''):
        return train_to_end(monkeypatch, tmp_path, data, *args, text=text)

    return run


def test_the_rate_is_scaled_by_the_global_batch(train, tmp_path):
    text = "optim_wrapper['accumulative_counts'] = 4\nparam_scheduler = []\n"
    assert train('--auto-scale-lr', text=text) is None
    # Batch 8 x 4 of a recipe for 64.
    state = torch.load(tmp_path / 'work/epoch_2.pth', weights_only=False)['optimizer']
    assert state['param_groups'][0]['lr'] == pytest.approx(1e-3 / 2)


def test_a_rate_cannot_be_scaled_from_nothing(train):
    message = train('--auto-scale-lr', text='auto_scale_lr = None\n')
    assert 'set auto_scale_lr = dict(base_batch_size=…)' in message


@pytest.mark.skipif(torch.cuda.is_available(), reason='float16 works on a GPU')
def test_float16_without_a_gpu(train):
    text = "optim_wrapper['type'] = 'AmpOptimWrapper'\n"
    message = train(text=text)
    assert 'needs a GPU' in message and '--amp' in message
    assert train('--amp', '--cfg-options', 'train_cfg.max_epochs=1', text=text) is None


def test_what_a_hook_asserts_before_the_training_is_one_line(train):
    text = "custom_hooks = [dict(type='EMAHook', begin_iter=99)]\n"
    message = train(text=text)
    assert message.startswith('\nerror: config ') and 'begin_iter' in message


@pytest.mark.parametrize('key', ['persistent_workers=True', 'prefetch_factor=2'])
def test_settings_of_workers_without_workers(train, key):
    message = train('--cfg-options', f'train_dataloader.{key}')
    assert f'num_workers=0 with {key}' in message and 'train_dataloader' in message


def test_a_run_shorter_than_its_warm_up(train):
    text = """
train_cfg = dict(by_epoch=False, max_iters=4, val_interval=4)
train_dataloader['sampler']['type'] = 'InfiniteSampler'
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=20),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=20),
]
"""
    message = train(text=text)
    assert 'param_scheduler.0.end' in message and 'Traceback' not in message
