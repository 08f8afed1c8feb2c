"""The backbone arrives whole, or an error says what to do."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer, MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from mmpretrain.models import DistilledVisionTransformer, SwinTransformerV2
from mmpretrain.structures import DataSample
from small_backbones import SWIN, VIT, assert_same, randomise, save, swin, vit

from mmtlalign.checkpoint.load import load_backbone, resize_bias_tables
from mmtlalign.errors import InputError
from mmtlalign.registry import HOOKS


@pytest.fixture
def checkpoint(tmp_path):
    source = randomise(swin())
    return source, save(source, tmp_path / 'epoch_1.pth')


# ---------------------------------------------------------------- it loads


def test_every_tensor_arrives_and_is_counted(checkpoint):
    source, path = checkpoint
    target = swin()
    before = target.stages[0].blocks[0].attn.w_msa.qkv.weight.clone()
    lines = load_backbone(target, path)
    assert not torch.equal(target.stages[0].blocks[0].attn.w_msa.qkv.weight, before)
    assert_same(target, source)
    count = len(source.state_dict())
    assert lines == [f'backbone: {count} of {count} tensors from {path}; '
                     'not needed: head (1)']  # fmt: skip


def test_declared_new_layers_keep_their_values(checkpoint):
    source, path = checkpoint
    target = randomise(swin(dense=True))
    norm0 = target.norm0.weight.clone()
    (line,) = load_backbone(target, path, new_layers=('norm0',))
    assert torch.equal(target.norm0.weight, norm0)
    assert_same(target, source)
    assert 'new layers: norm0.weight, norm0.bias' in line


def test_bare_state_dict_of_this_backbone(tmp_path):
    source, target = randomise(swin()), swin(dense=True)
    path = tmp_path / 'bare.pth'
    torch.save(source.state_dict(), path)
    load_backbone(target, path, new_layers=('norm0',))
    assert_same(target, source)


def test_other_prefix(tmp_path):
    source, target = randomise(vit()), vit()
    path = save(source, tmp_path / 'teacher.pth', prefix='teacher.module.0.')
    load_backbone(target, path, prefix='teacher.module.0.')
    assert_same(target, source)


def test_position_embedding_is_resized_and_told(tmp_path):
    source, target = randomise(vit(img_size=32)), vit(img_size=64)
    path = save(source, tmp_path / 'vit.pth')
    lines = load_backbone(target, path)
    assert lines[1:] == ['backbone: pos_embed resized from 4x4 to 8x8 tokens']
    grid = source.pos_embed[:, 1:].reshape(1, 4, 4, 16).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(grid, (8, 8), mode='bicubic')
    expected = expected.flatten(2).transpose(1, 2)
    torch.testing.assert_close(target.pos_embed[:, 1:], expected)
    assert torch.equal(target.pos_embed[:, :1], source.pos_embed[:, :1])


def test_bias_tables_of_another_window_are_resized(tmp_path):
    source, target = randomise(swin()), swin(window_size=14)
    index = target.stages[0].blocks[0].attn.w_msa.relative_position_index.clone()
    lines = load_backbone(target, save(source, tmp_path / 'w7.pth'))
    assert lines[1:] == [
        'backbone: 4 bias tables resized from window 7 to 14 (bicubic)'
    ]
    msa = target.stages[0].blocks[0].attn.w_msa
    assert torch.equal(msa.relative_position_index, index)
    old = source.stages[0].blocks[0].attn.w_msa.relative_position_bias_table
    for head in range(2):
        expected = torch.nn.functional.interpolate(
            old[:, head].reshape(1, 1, 13, 13), (27, 27), mode='bicubic'
        )
        got = msa.relative_position_bias_table[:, head].reshape(1, 1, 27, 27)
        torch.testing.assert_close(got, expected)


def test_constant_bias_table_stays_constant():
    name = 'attn.relative_position_bias_table'
    given = {name: torch.tensor([[1.0, -2.0]]).repeat(25, 1)}
    resize_bias_tables(given, {name: torch.zeros(81, 2)})
    torch.testing.assert_close(given[name], torch.tensor([[1.0, -2.0]]).repeat(81, 1))


def test_swin_v2_computes_its_window_geometry_itself(tmp_path):
    arch = dict(SWIN, extra_norm_every_n_blocks=0)
    options = dict(arch=arch, img_size=64, out_indices=(1,))
    source = randomise(SwinTransformerV2(window_size=[8, 8], **options))
    options |= dict(window_size=[4, 4])
    target = SwinTransformerV2(pretrained_window_sizes=[8, 8], **options)
    load_backbone(target, save(source, tmp_path / 'v2.pth'))
    for name, parameter in source.named_parameters():
        assert torch.equal(target.get_parameter(name), parameter), name
    # A third window, of a network that was pretrained with two.
    again = SwinTransformerV2(pretrained_window_sizes=[8, 8], **options)
    load_backbone(again, save(target, tmp_path / 'again.pth'))
    with pytest.raises(InputError, match=r'windows of \[8\] in .*of \[4\].*_sizes'):
        load_backbone(SwinTransformerV2(**options), str(tmp_path / 'v2.pth'))


def test_training_checkpoint_with_log_buffers(checkpoint, tmp_path):
    """mmengine keeps HistoryBuffers and NumPy numbers beside the weights."""
    import numpy as np

    source, _ = checkpoint
    hub = dict(log_scalars={'loss': HistoryBuffer([1.0, 2.0], [1, 1])},
               runtime_info=dict(best_score=np.float32(0.5)))  # fmt: skip
    path = save(source, tmp_path / 'full.pth', message_hub=hub, meta=dict(epoch=1))
    target = swin()
    load_backbone(target, path)
    assert_same(target, source)


# -------------------------------------------------- wrong backbones, by kind


def deeper():
    return swin(arch=dict(SWIN, depths=[2, 4]))


def wider():
    return swin(arch=dict(SWIN, embed_dims=32))


BACKBONES = dict(
    missing_layers=(swin, deeper, ['not in the file', 'stages.1.blocks.2']),
    unexpected_layers=(deeper, swin, ['not in the model', 'stages.1.blocks.2']),
    undeclared_new=(swin, lambda: swin(dense=True), ['norm0.weight', 'new_layers']),
    width=(
        wider,
        swin,
        ['patch_embed.projection.weight', '(32, 3, 4, 4)', '(16, 3, 4, 4)'],
    ),
    heads=(
        lambda: swin(arch=dict(SWIN, num_heads=[4, 8])),
        swin,
        ['relative_position_bias_table', '(169, 4)', '(169, 2)'],
    ),
    other_kind=(vit, swin, ['the whole SwinTransformer', 'cls_token', 'stages.0']),
    distilled=(
        lambda: DistilledVisionTransformer(arch=VIT, img_size=32, patch_size=8),
        vit,
        ['pos_embed', 'VisionTransformer'],
    ),
    vit_width=(
        lambda: vit(arch=dict(VIT, embed_dims=32)),
        vit,
        ['cls_token', '(1, 1, 32)', '(1, 1, 16)'],
    ),
)


@pytest.mark.parametrize('kind', BACKBONES)
def test_wrong_backbone(kind, tmp_path):
    source, target, words = BACKBONES[kind]
    path = save(source(), tmp_path / 'other.pth')
    with pytest.raises(InputError) as error:
        load_backbone(target(), path)
    for word in [path, *words]:
        assert word in str(error.value)


@pytest.mark.parametrize('prefix, named', [
    ('module.backbone.', "'module.backbone.'"),
    ('teacher.', "'teacher.'"),
    ('', "'stages.'"),
])  # fmt: skip
def test_wrong_prefix_names_those_found(prefix, named, tmp_path):
    path = save(swin(), tmp_path / 'other.pth', prefix=prefix)
    with pytest.raises(InputError) as error:
        load_backbone(swin(dense=True), path)  # norm0 is not declared as new
    assert "no tensor begins with 'backbone.'" in str(error.value)
    assert named in str(error.value) and 'prefix=' in str(error.value)


def test_bias_table_that_is_not_square():
    name = 'attn.relative_position_bias_table'
    with pytest.raises(InputError, match='15 rows in the file and 25 in the model'):
        resize_bias_tables({name: torch.zeros(15, 2)}, {name: torch.zeros(25, 2)})


def test_new_layer_that_does_not_exist(checkpoint):
    with pytest.raises(InputError, match="names 'norm7', but the backbone has no"):
        load_backbone(swin(), checkpoint[1], new_layers=('norm7',))


# ------------------------------------------------------------- the hook


class Steps(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(inputs=torch.full((3, 56, 56), float(index)))


def runner_config(work_dir, **settings):
    model = dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(
            type='mmpretrain.SwinTransformer', arch=SWIN, img_size=56,
            out_indices=(0, 1),
        ),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=2, in_channels=32),
    )  # fmt: skip
    hook = dict(type='mmtlalign.PretrainedBackboneHook', new_layers=('norm0',))
    cfg = dict(
        default_scope='mmpretrain', work_dir=str(work_dir), model=model,
        custom_hooks=[hook], log_level='INFO',
        train_cfg=dict(by_epoch=False, max_iters=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        default_hooks=dict(checkpoint=dict(
            type='CheckpointHook', interval=1, by_epoch=False)),
    )  # fmt: skip
    return Config(dict(cfg, **settings))


def collate(batch):
    return dict(
        inputs=torch.stack([one['inputs'] for one in batch]),
        data_samples=[DataSample().set_gt_label(0) for _ in batch],
    )


def run(work_dir, max_iters=2, **settings):
    """Train, at learning rate 0 unless set: what was loaded then stays."""
    cfg = runner_config(work_dir, experiment_name=str(work_dir), **settings)
    cfg.train_cfg.max_iters = max_iters
    loader = torch.utils.data.DataLoader(Steps(), batch_size=2, collate_fn=collate)
    arguments = {key: value for key, value in cfg.items() if key != 'pretrained'}
    runner = Runner(train_dataloader=loader, cfg=cfg, **arguments)
    runner.train()
    return runner


def test_hook_loads_after_init_and_before_the_first_step(checkpoint, tmp_path):
    source, path = checkpoint
    runner = run(tmp_path / 'a', pretrained=path)
    assert_same(runner.model.backbone, source)


def test_hook_does_not_load_when_resuming(checkpoint, tmp_path):
    source, path = checkpoint
    run(tmp_path / 'a', pretrained=path)
    saved_file = tmp_path / 'a' / 'iter_2.pth'
    content = torch.load(saved_file, weights_only=False)
    for name, value in content['state_dict'].items():
        if 'qkv.weight' in name:
            value.fill_(0.125)
    torch.save(content, saved_file)
    # The pretraining file may be gone by now.
    runner = run(tmp_path / 'a', max_iters=3, pretrained='gone.pth', resume=True)
    qkv = runner.model.backbone.stages[0].blocks[0].attn.w_msa.qkv.weight
    assert runner.iter == 3 and (qkv == 0.125).all()


def test_file_of_an_averaged_run_holds_the_average(tmp_path):
    """What the hook's docstring says of mmengine's EMAHook."""
    ema = dict(type='EMAHook', momentum=0.5)
    sgd = dict(optimizer=dict(type='SGD', lr=0.5))
    runner = run(tmp_path / 'a', pretrained=None, optim_wrapper=sgd, custom_hooks=[ema])
    (hook,) = [h for h in runner.hooks if type(h).__name__ == 'EMAHook']
    target = swin(dense=True)
    load_backbone(target, tmp_path / 'a' / 'iter_2.pth')
    assert_same(target, hook.ema_model.module.backbone)
    name = 'patch_embed.projection.weight'
    raw = runner.model.backbone.state_dict()[name]
    assert not torch.equal(target.state_dict()[name], raw)


def test_none_trains_from_random_weights(tmp_path):
    run(tmp_path / 'a', pretrained=None)
    (log,) = (tmp_path / 'a').glob('*/*.log')
    assert 'backbone: random weights (pretrained = None)' in log.read_text()


def test_log_tells_what_was_loaded(checkpoint, tmp_path):
    source, path = checkpoint
    run(tmp_path / 'a', pretrained=path)
    (log,) = (tmp_path / 'a').glob('*/*.log')
    count = len(source.state_dict())
    assert f'backbone: {count} of {count + 2} tensors from {path}' in log.read_text()


def test_forgotten_setting_is_an_error(tmp_path):
    with pytest.raises(InputError, match='no top-level `pretrained`'):
        run(tmp_path / 'a')


def test_two_sources_are_an_error(checkpoint, tmp_path):
    run(tmp_path / 'a', pretrained=checkpoint[1])
    whole = str(tmp_path / 'a' / 'iter_2.pth')
    with pytest.raises(InputError, match='are both set'):
        run(tmp_path / 'b', pretrained=checkpoint[1], load_from=whole)


def test_hook_fills_the_whole_model_if_asked(checkpoint, tmp_path):
    first = run(tmp_path / 'a', pretrained=checkpoint[1]).model
    file = str(tmp_path / 'a' / 'iter_2.pth')
    hook = dict(type='mmtlalign.PretrainedBackboneHook', whole=True)
    options = dict(pretrained=file, custom_hooks=[hook], randomness=dict(seed=1))
    assert_same(run(tmp_path / 'b', **options).model, first)
    # A file without the head that is needed.
    with pytest.raises(InputError, match=r'not in the file \(head\.fc'):
        run(tmp_path / 'c', **dict(options, pretrained=only_backbone(file)))


def only_backbone(path):
    content = torch.load(path, weights_only=False)['state_dict']
    kept = {k: v for k, v in content.items() if not k.startswith('head.')}
    torch.save(dict(state_dict=kept), path + '.backbone')
    return path + '.backbone'


def test_hook_fills_the_model_inside_a_wrapper(checkpoint):
    source, path = checkpoint

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = swin(dense=True)

    # What is_model_wrapper looks at, without a process group.
    wrapper = MMDistributedDataParallel.__new__(MMDistributedDataParallel)
    torch.nn.Module.__init__(wrapper)
    wrapper.module = Model()

    class FakeRunner:
        iter, _load_from = 0, None
        cfg = Config(dict(pretrained=path))
        model = wrapper
        logger = MMLogger.get_instance('wrapper')

    cfg = dict(type='mmtlalign.PretrainedBackboneHook', new_layers=('norm0',))
    HOOKS.build(copy.deepcopy(cfg)).before_train(FakeRunner())
    assert_same(wrapper.module.backbone, source)


@pytest.mark.parametrize('mean, told', [(127.5, True), (123.7, False)])
def test_another_normalisation_than_in_pretraining_is_told(
    checkpoint, tmp_path, mean, told
):
    content = torch.load(checkpoint[1], weights_only=False)
    trained = dict(mean=[123.7] * 3, std=[58.0] * 3)
    path = str(tmp_path / 'pretrained.pth')
    torch.save(dict(content, meta=dict(cfg=f'data_preprocessor = {trained}')), path)
    pre = dict(mean=[mean] * 3, std=[58.0] * 3)
    run(tmp_path / 'a', pretrained=path, data_preprocessor=pre)
    (log,) = (tmp_path / 'a').glob('*/*.log')
    assert ('trained on images with mean=[123.7' in log.read_text()) is told
