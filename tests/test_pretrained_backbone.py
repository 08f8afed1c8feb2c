"""The backbone arrives whole, or an error says what to do."""

import copy
import pickle

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer, MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from mmpretrain.models import (
    DistilledVisionTransformer,
    SwinTransformer,
    SwinTransformerV2,
    VisionTransformer,
)

from mmtlalign.engine.backbone_weights import load_backbone, resize_bias_tables
from mmtlalign.engine.errors import InputError
from mmtlalign.registry import HOOKS

SWIN = dict(embed_dims=16, depths=[2, 2], num_heads=[2, 4])
VIT = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)


def swin(dense=False, **options):
    usual = dict(arch=SWIN, img_size=56, window_size=7, out_indices=(1,))
    if dense:
        usual.update(out_indices=(0, 1), pad_small_map=True)
    return SwinTransformer(**dict(usual, **options))


def vit(img_size=32, arch=None, **kwargs):
    return VisionTransformer(
        arch=arch or VIT, img_size=img_size, patch_size=8, out_type='featmap', **kwargs
    )


def randomise(module):
    """Give every parameter, norms included, a value of its own."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


def save(backbone, path, prefix='backbone.', **others):
    tensors = {prefix + k: v for k, v in backbone.state_dict().items()}
    tensors.update({'head.fc.weight': torch.zeros(3, 3)} if prefix else {})
    torch.save(dict(state_dict=tensors, **others), path)
    return str(path)


def assert_same(target, source):
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor), name


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
    wanted = torch.nn.functional.interpolate(grid, (8, 8), mode='bicubic')
    wanted = wanted.flatten(2).transpose(1, 2)
    torch.testing.assert_close(target.pos_embed[:, 1:], wanted)
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
        wanted = torch.nn.functional.interpolate(
            old[:, head].reshape(1, 1, 13, 13), (27, 27), mode='bicubic'
        )
        got = msa.relative_position_bias_table[:, head].reshape(1, 1, 27, 27)
        torch.testing.assert_close(got, wanted)


def test_constant_bias_table_stays_constant():
    name = 'attn.relative_position_bias_table'
    given = {name: torch.tensor([[1.0, -2.0]]).repeat(25, 1)}
    resize_bias_tables(given, {name: torch.zeros(81, 2)})
    torch.testing.assert_close(given[name], torch.tensor([[1.0, -2.0]]).repeat(81, 1))


def test_swin_v2_computes_its_window_geometry_itself(tmp_path):
    arch = dict(SWIN, extra_norm_every_n_blocks=0)
    options = dict(arch=arch, img_size=64, out_indices=(1,))
    source = randomise(SwinTransformerV2(window_size=[8, 8], **options))
    target = SwinTransformerV2(window_size=[4, 4], **options)
    load_backbone(target, save(source, tmp_path / 'v2.pth'))
    for name, parameter in source.named_parameters():
        assert torch.equal(target.get_parameter(name), parameter), name


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


# ------------------------------------------------------- wrong files, by kind


def write(path, content):
    path.write_bytes(content)
    return str(path)


def cut_short(path):
    save(swin(), path)
    return write(path, path.read_bytes()[:-2000])


def damaged_inside(path):
    save(swin(), path)
    content = bytearray(path.read_bytes())
    start = content.index(b'data.pkl') + 40
    content[start : start + 400] = bytes(400)
    return write(path, bytes(content))


def overwritten_numbers(path):
    backbone = swin()
    torch.nn.init.constant_(backbone.norm1.weight, 0.625)
    save(backbone, path)
    number = torch.full((2,), 0.625).numpy().tobytes()
    content = path.read_bytes()
    assert content.count(number) >= 1
    return write(path, content.replace(number, b'\x00' * len(number)))


def old_pickle_of_rubbish(path):
    return write(path, b'\x80\x02}q\x00(X\x01')


def folder(path):
    path.mkdir()
    (path / 'epoch_9.pth').touch()
    return str(path)


def saved(content):
    def make(path):
        torch.save(content, path)
        return str(path)

    return make


class Runs:
    """A pickle that runs a command when it is loaded."""

    def __reduce__(self):
        return (exec, ('raise SystemExit("the pickle ran")',))


def saved_as_before_torch_1_6(content):
    def make(path):
        torch.save(content, path, _use_new_zipfile_serialization=False)
        return str(path)

    return make


FILES = dict(
    missing=(str, ['does not exist', '--cfg-options pretrained=None']),
    folder=(folder, ['is a folder', 'epoch_9.pth']),
    address=(lambda path: 'https://host/x.pth', ['is an address', 'Download']),
    empty=(lambda p: write(p, b''), ['is not a checkpoint', 'empty']),
    garbage=(lambda p: write(p, b'\x00\x01\x02' * 99), ['not a checkpoint', 'x01']),
    html=(lambda p: write(p, b'<!DOCTYPE html><p>404'), ['web page', 'torch.save']),
    pointer=(
        lambda p: write(p, b'version https://git-lfs.github.com/spec/v1\n'),
        ['Git LFS', 'git lfs pull'],
    ),
    truncated=(cut_short, ['is cut short', 'bytes']),
    damaged=(damaged_inside, ['damaged', 'again']),
    overwritten=(overwritten_numbers, ['checksum', 'again']),
    old_damaged=(old_pickle_of_rubbish, ['damaged', 'again']),
    tensor=(saved(torch.zeros(3)), ['holds a Tensor', 'state_dict']),
    no_state_dict=(saved(dict(model={}, epoch=3)), ['model, epoch', 'state_dict']),
    list_inside=(saved(dict(state_dict=[1, 2])), ["no 'state_dict' of tensors"]),
    code_zip=(saved(dict(state_dict={}, x=Runs())), ['exec', 'run code', 'rewrite']),
    code_pickle=(
        saved_as_before_torch_1_6(dict(state_dict={}, x=Runs())),
        ['exec', 'run code', 'rewrite'],
    ),
    other_pickle=(lambda p: write(p, pickle.dumps([SWIN])), ['torch.save did not']),
)


@pytest.mark.parametrize('kind', FILES)
def test_wrong_file(kind, tmp_path):
    if kind.startswith('code') and not hasattr(torch.serialization, 'safe_globals'):
        pytest.skip('this torch has no allow-list (before 2.5)')
    make, words = FILES[kind]
    path = make(tmp_path / 'epoch_300.pth')
    with pytest.raises(InputError) as error:
        load_backbone(swin(), path)
    assert str(path) in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_missing_file_names_the_command_that_makes_it(tmp_path):
    name = 'swin-tiny-p4-w7_tlalign-in1k-pre_upernet_8xb2-160k_ade20k-512x512'
    with pytest.raises(InputError, match=rf'tools/train.py .*{name}\.py'):
        load_backbone(swin(), f'work_dirs/{name}/epoch_300.pth')
    (tmp_path / 'epoch_299.pth').touch()
    with pytest.raises(InputError, match='epoch_299.pth'):
        load_backbone(swin(), tmp_path / 'epoch_300.pth')


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


@pytest.mark.parametrize('prefix, told', [
    ('module.backbone.', "'module.backbone.'"),
    ('teacher.', "'teacher.'"),
    ('', "'stages.'"),
])  # fmt: skip
def test_wrong_prefix_names_those_found(prefix, told, tmp_path):
    path = save(swin(), tmp_path / 'other.pth', prefix=prefix)
    with pytest.raises(InputError) as error:
        load_backbone(swin(dense=True), path)  # norm0 is not declared as new
    assert "no tensor begins with 'backbone.'" in str(error.value)
    assert told in str(error.value) and 'prefix=' in str(error.value)


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
        train_dataloader=dict(
            dataset=dict(type='mmpretrain.CustomDataset', data_root='x'), batch_size=2,
        ),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        default_hooks=dict(checkpoint=dict(
            type='CheckpointHook', interval=1, by_epoch=False)),
    )  # fmt: skip
    return Config(dict(cfg, **settings))


def run(work_dir, max_iters=2, **settings):
    """Train with learning rate 0: what was loaded is what the file then holds."""
    cfg = runner_config(work_dir, experiment_name=str(work_dir), **settings)
    cfg.train_cfg.max_iters = max_iters
    sample = lambda batch: dict(  # noqa: E731
        inputs=torch.stack([one['inputs'] for one in batch]), data_samples=labels(batch)
    )
    cfg.pop('train_dataloader')
    loader = torch.utils.data.DataLoader(Steps(), batch_size=2, collate_fn=sample)
    arguments = {k: v for k, v in cfg.items() if k not in ('pretrained',)}
    runner = Runner(train_dataloader=loader, cfg=cfg, **arguments)
    runner.train()
    return runner


def labels(batch):
    from mmpretrain.structures import DataSample

    return [DataSample().set_gt_label(0) for _ in batch]


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
