"""UperNet on LV-ViT: sizes, the official backbone, training, windows of the test."""

import ast
import re

import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from small_runs import without_memory
from tiny_segmentation import CONFIGS, config, shrink, small_model
from torch import nn

RECIPES = {n: p for n, p in CONFIGS.items() if n.startswith('lvvit') and 'ade' in n}
# Official: millions of parameters, layers that are tapped.
TABLE = {
    'small': (44, (6, 9, 12, 15)),
    'medium': (77, (10, 13, 16, 19)),
    'large': (209, (14, 17, 20, 23)),
}
EXACT = {'small': 44_452_076, 'medium': 77_274_988, 'large': 208_738_476}


@pytest.mark.parametrize('name', RECIPES)
def test_whole_model_has_the_official_size(name):
    cfg = config(name)
    arch = name.split('-')[1]
    count = sum(p.numel() for p in without_memory(cfg.model).parameters())
    assert (round(count / 1e6), cfg.model.backbone.out_indices) == TABLE[arch]
    assert count == EXACT[arch]


def dropouts(layer):
    """Rates of the feed-forward, behind each of its two linear layers."""
    return [m.p for m in layer.ffn.modules() if isinstance(m, nn.Dropout)]


@pytest.mark.parametrize('name', RECIPES)
def test_header_gives_the_official_backbone(name):
    """The options that it names are read, and turn both quirks on."""
    cfg = config(name)
    last = without_memory(cfg.model.backbone).layers[-1]
    rate, divisor = cfg.model.backbone.drop_path_rate, 3 if 'large' in name else 2
    # Out of the box: that of pretraining, and real stochastic depth.
    assert (last.skip_lam, last.ffn.dropout_layer.drop_prob) == (divisor, rate)
    assert dropouts(last) == [0.0, 0.0]

    text = RECIPES[name].read_text().replace('\\\n#', '')
    (options,) = re.findall(r'--cfg-options ((?:model\.\S+ *)+)', text)
    options = dict(option.split('=') for option in options.split())
    cfg = config(name, {k: ast.literal_eval(v) for k, v in options.items()})
    last = without_memory(cfg.model.backbone).layers[-1]
    assert (last.skip_lam, dropouts(last)) == (1 if divisor == 3 else 2, [rate] * 2)
    assert isinstance(last.ffn.dropout_layer, nn.Identity) or (
        last.ffn.dropout_layer.drop_prob == 0
    )


@pytest.fixture
def segmentor():
    """The recipe of LV-ViT-S with a narrow network, an eighth of the sizes."""
    cfg = small_model(
        shrink(config('lvvit-small-p16_token-label-in1k-pre_upernet_8xb2'))
    )
    return cfg, revert_sync_batchnorm(MODELS.build(cfg.model))


def batch(*size):
    label = torch.full((1, *size), 149)
    label[:, :8] = 255  # ignored
    samples = [
        SegDataSample(metainfo=dict(img_shape=size, ori_shape=size)) for _ in range(2)
    ]
    for sample in samples:
        sample.gt_sem_seg = PixelData(data=label)
    pictures = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    return dict(inputs=list(pictures), data_samples=samples)


@pytest.mark.parametrize('amp', [False, True])
def test_segmentor_learns_one_batch(segmentor, amp):
    cfg, model = segmentor
    cfg.optim_wrapper.optimizer.lr = 0.02
    model.train()
    model.data_preprocessor.size = (32, 32)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    data = model.data_preprocessor(batch(32, 32), training=True)
    losses = []
    for _ in range(4):
        with torch.autocast('cpu', torch.bfloat16, enabled=amp):
            loss, _ = model.parse_losses(model(**data, mode='loss'))
        wrapper.update_params(loss)
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_windows_overlap_as_in_the_official_test(segmentor):
    """Crops of 64 every 42 pixels here; where they overlap, scores are averaged."""
    _, model = segmentor
    model.eval()
    seen = []
    model.backbone.register_forward_hook(lambda m, i, o: seen.append(i[0].shape[-2:]))
    picture = torch.randn(1, 3, 64, 106)
    with torch.no_grad():
        metas = [dict(ori_shape=(64, 106), img_shape=(64, 106))]
        out = model.inference(picture, metas)
        assert [tuple(size) for size in seen] == 2 * [(64, 64)]
        left, right = (
            model.encode_decode(picture[..., x : x + 64], metas) for x in (0, 42)
        )
    torch.testing.assert_close(out[..., :42], left[..., :42])
    torch.testing.assert_close(out[..., 64:], right[..., 22:])
    both = (left[..., 42:] + right[..., :22]) / 2
    torch.testing.assert_close(out[..., 42:64], both)


def test_a_picture_of_no_whole_patches_is_cut_back(segmentor):
    _, model = segmentor
    model.eval()
    data = batch(50, 61)
    out = model.test_step(dict(data, inputs=data['inputs'][:1]))
    assert out[0].seg_logits.shape == (50, 61)


def test_layers_learn_at_falling_rates(segmentor):
    cfg, model = segmentor
    cfg.optim_wrapper.constructor = 'mmtlalign.LayerDecayOptimWrapperConstructor'
    cfg.optim_wrapper.paramwise_cfg.decay_rate = 0.5
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    names = {id(p): name for name, p in model.named_parameters()}
    given = {
        names[id(p)]: group['lr_scale']
        for group in wrapper.optimizer.param_groups
        for p in group['params']
    }
    assert given.keys() == set(names.values())
    for name, scale in given.items():
        layer = re.match(r'backbone\.layers\.(\d+)', name)
        if layer:
            assert scale == 0.5 ** (16 - int(layer[1]))
        else:
            assert scale == (0.5**17 if name.startswith('backbone.') else 1)
