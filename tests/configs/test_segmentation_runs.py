"""Segmentation recipes at work: the multi-scale test, training, any shape of input."""

import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS
from mmseg.models import EncoderDecoder
from mmseg.structures import SegDataSample
from small_runs import scores
from tiny_run import run_tool
from tiny_segmentation import (
    DATA,
    answer,
    classes_in_use,
    config,
    knows_the_answer,
    last_scores,
    shrink,
    small_data,
    small_model,
    write_data,
)

from mmtlalign.checkpoint.load import load_backbone


@pytest.fixture(autouse=True)
def _configs_are_written_as_they_are(monkeypatch):
    """Layout of written configs is most of the time of a run this small."""
    for place in ('mmengine.config.config', 'yapf.yapflib.yapf_api'):
        monkeypatch.setattr(
            f'{place}.FormatCode', lambda text, **_: (text, True), raising=False
        )


@pytest.fixture
def views(monkeypatch):
    """Grows by the size of every picture that a segmentor is shown."""
    sizes, inference = [], EncoderDecoder.inference

    def counted(self, inputs, metas):
        sizes.append(tuple(inputs.shape[-2:]))
        return inference(self, inputs, metas)

    monkeypatch.setattr(EncoderDecoder, 'inference', counted)
    return sizes


@pytest.mark.parametrize('options', [(), ('--tta',)], ids=['plain', 'tta'])
@pytest.mark.parametrize('kind', DATA)
def test_a_model_that_knows_the_answer_scores_full(
    kind, options, tmp_path, monkeypatch, views
):
    """Labels, order of channels, void, windows, flips and sizes are all right."""
    cfg = small_data(kind, tmp_path / 'data')
    knows_the_answer(cfg).dump(tmp_path / 'config.py')
    torch.save(dict(state_dict=answer(cfg)), tmp_path / 'model.pth')
    files = tmp_path / 'config.py', tmp_path / 'model.pth'
    run_tool(monkeypatch, 'test', *files, '--work-dir', tmp_path / 'work', *options)
    # Two pictures, six sizes, each mirrored as well.
    assert len(views) == (24 if options else 2)
    assert len(set(views)) == (6 if options else 1)
    score = last_scores(tmp_path / 'work')
    assert score['mIoU'] > 97 and score['aAcc'] > 97


# ------------------------------------------------------------- the whole stack

SMALL = {
    'upernet-swin': 'swin-tiny-p4-w7_tlalign-in1k-pre_upernet_1xb16-4k_camvid',
    'upernet-deit': 'deit-small-p16-ln_tlalign-in1k-pre_mln-upernet_1xb16-4k_camvid',
    'upernet-lvvit': 'lvvit-small-p16_token-label-in1k-pre_upernet_1xb16-4k_camvid',
    'segmenter': DATA['pascal_context_59'],
    'linear': 'linear_8xb1-160k_ade20k',
}
KIND = dict(zip(SMALL, 3 * ['camvid'] + ['pascal_context_59', 'ade20k']))


def small_recipe(name):
    return small_model(shrink(config(SMALL[name])))


def classifier_backbone(cfg, **changes):
    """The backbone as classification builds it: 14x14 positions, the last norm."""
    backbone = dict(cfg.model.backbone, drop_path_rate=0.0, **changes)
    if 'final_norm' in backbone:
        backbone['final_norm'] = True
    backbone['img_size'] = 14 * backbone.get('patch_size', 4)
    backbone.pop('out_indices', None)
    backbone.pop('out_type', None)
    model = MODELS.build(backbone)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def save_as_pretraining(backbone, file):
    state = {f'backbone.{k}': v for k, v in backbone.state_dict().items()}
    torch.save(dict(state_dict=state), file)
    return str(file)


@pytest.mark.parametrize('name', SMALL)
def test_trains_from_a_checkpoint_and_is_tested_at_many_scales(
    name, tmp_path, monkeypatch, views
):
    cfg = small_recipe(name)
    file = save_as_pretraining(classifier_backbone(cfg), tmp_path / 'pre.pth')
    cfg.train_cfg.update(max_iters=1, val_interval=1)
    cfg.train_dataloader.batch_size = 2  # one value a channel stops batch norm
    cfg.dump(tmp_path / 'config.py')
    write_data(KIND[name], tmp_path / 'data', classes_in_use(cfg))
    options = f'data_root={tmp_path}/data', f'pretrained={file}'
    train, test = tmp_path / 'train', tmp_path / 'test'
    files = tmp_path / 'config.py', '--work-dir', train
    run_tool(monkeypatch, 'train', *files, '--cfg-options', *options)
    assert 0 <= scores(train)['mIoU'] <= 100
    del views[:]
    # The config as mmengine wrote it to the work directory.
    files = train / 'config.py', train / 'iter_1.pth', '--work-dir', test
    run_tool(monkeypatch, 'test', *files, '--tta')
    assert len(views) == 24 and 0 <= last_scores(test)['mIoU'] <= 100


@pytest.mark.parametrize('name', SMALL)
def test_every_parameter_learns(name):
    """A parameter without gradient stops distributed training."""
    cfg = small_recipe(name)
    # On one process mmengine's runner does the same.
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    maps = model.extract_feat(torch.randn(2, 3, 64, 48))
    heads = [model.decode_head, getattr(model, 'auxiliary_head', None)]
    sum(head(maps).square().mean() for head in filter(None, heads)).backward()
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    assert not [n for n, p in trained if p.grad is None]


# -------------------------------------------------------------------- geometry


@pytest.fixture
def no_interp2d(monkeypatch):
    """SciPy as it is since 1.14, whichever is installed."""
    scipy = pytest.importorskip('scipy.interpolate')

    def gone(*args, **kwargs):
        raise NotImplementedError('interp2d is gone since SciPy 1.14')

    monkeypatch.setattr(scipy, 'interp2d', gone, raising=False)


@pytest.mark.parametrize('size', [(64, 96), (28, 112), (50, 83)])
@pytest.mark.parametrize('name', ['upernet-deit', 'upernet-lvvit', 'segmenter'])
def test_square_positions_serve_a_crop_of_any_shape(name, size, tmp_path, no_interp2d):
    cfg = small_recipe(name)
    given = classifier_backbone(cfg)
    file = save_as_pretraining(given, tmp_path / 'pre.pth')
    cfg.model.backbone.img_size = (64, 96)  # 16x24 tokens of 4x4 pixels
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    lines = load_backbone(model.backbone, file)
    assert lines[1:] == ['backbone: pos_embed resized from 14x14 to 16x24 tokens']
    grid = given.pos_embed[:, 1:].unflatten(1, (14, 14)).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, (16, 24), mode='bicubic')
    own = model.backbone.pos_embed
    assert own[:, :1].equal(given.pos_embed[:, :1])
    torch.testing.assert_close(own[:, 1:], grid.flatten(2).mT)
    # mmpretrain's eval() returns nothing, so no chaining on a backbone.
    model.eval()
    out = model.backbone(torch.randn(1, 3, *size))[-1]
    assert out.shape[-2:] == tuple(-(-side // 4) for side in size)
    scores = model(torch.randn(1, 3, *size), mode='tensor')
    assert scores.isfinite().all()


def test_input_of_the_same_length_and_another_shape_moves_the_positions():
    """mmseg's own ViT compares lengths alone: 16x16 would serve 8x32 as it is."""
    cfg = small_recipe('segmenter')
    cfg.model.backbone.update(img_size=64, drop_path_rate=0.0)
    backbone = MODELS.build(cfg.model.backbone)
    backbone.eval()
    flat = torch.zeros(1, 3, 32, 128)
    with torch.no_grad():
        backbone.pos_embed.zero_()
        backbone.pos_embed[:, 1:].unflatten(1, (16, 16))[:, 8:] = torch.randn(16)
        out = backbone(flat)[0]
    # As before, the upper half has one embedding, and the lower half another.
    assert torch.allclose(out[..., 0, :], out[..., 0, :1], atol=1e-4)
    assert not torch.allclose(out[..., 0, :], out[..., -1, :], atol=0.1)


@pytest.mark.parametrize('size', [(50, 83), (20, 20)])
def test_bias_tables_of_another_window_serve_any_size(size, tmp_path, no_interp2d):
    cfg = small_recipe('upernet-swin')
    given = classifier_backbone(cfg, window_size=5)
    file = save_as_pretraining(given, tmp_path / 'pre.pth')
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    new = cfg.custom_hooks[0].new_layers
    lines = load_backbone(model.backbone, file, new)
    assert 'bias tables resized from window 5 to 7' in lines[1]
    model.eval()
    # The last map of 20x20 is one pixel, far below a window: pad_small_map.
    assert model(torch.randn(1, 3, *size), mode='tensor').isfinite().all()


def test_only_the_last_of_four_maps_passes_the_final_norm():
    cfg = small_recipe('upernet-deit')
    backbone = MODELS.build(cfg.model.backbone)
    backbone.eval()
    torch.nn.init.zeros_(backbone.ln1.weight)
    maps = backbone(torch.randn(1, 3, 32, 32))
    assert [bool(m.any()) for m in maps] == [True, True, True, False]
    # Segmenter reads that one alone.
    backbone = MODELS.build(small_recipe('segmenter').model.backbone)
    backbone.eval()
    torch.nn.init.zeros_(backbone.ln1.weight)
    (only,) = backbone(torch.randn(1, 3, 32, 32))
    assert not only.any()


def test_a_picture_of_no_whole_patches_keeps_its_scale():
    """Filled up at the right and below, and cut off again, instead of stretched."""
    cfg = small_recipe('linear')
    cfg.model.data_preprocessor.test_cfg.size_divisor = 32
    model = MODELS.build(cfg.model)
    seen = []
    model.backbone.register_forward_hook(lambda m, i, o: seen.append(i[0].shape[-2:]))
    model.eval()
    sample = SegDataSample(metainfo=dict(img_shape=(50, 60), ori_shape=(50, 60)))
    picture = torch.zeros(3, 50, 60, dtype=torch.uint8)
    out = model.test_step(dict(inputs=[picture], data_samples=[sample]))
    assert [tuple(size) for size in seen] == [(64, 64)]
    assert out[0].seg_logits.shape == (50, 60)
