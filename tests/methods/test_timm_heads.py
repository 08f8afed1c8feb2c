"""timm models under the heads of this package, and the configs of docs/timm.md."""

import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample
from repository import ROOT
from timm_parts import SMALL


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


TL, TM = 'mmtlalign.TLAlign{}', 'mmtlalign.TransMix{}'
VIT_HEAD, DEIT_HEAD, LINEAR = (
    'VisionTransformerClsHead',
    'DeiTClsHead',
    'LinearClsHead',
)
MEAN_POOL = dict(type='mmtlalign.TokenPooling', output='mean')
STOCK = dict(type='TIMMBackbone')
HEADS = [
    ('vit', VIT_HEAD, {}, None),
    ('distilled', DEIT_HEAD, {}, None),
    ('mean', LINEAR, {}, None),
    ('swin', LINEAR, {}, None),
    ('pvt', LINEAR, {}, None),
    ('vit', VIT_HEAD, STOCK, dict(type='mmtlalign.TokenPooling', output='class')),
    ('mean', LINEAR, STOCK, dict(MEAN_POOL, prefix=3)),
    ('swin', LINEAR, STOCK, MEAN_POOL),
    ('pvt', LINEAR, STOCK, dict(type='GlobalAveragePooling')),
]


def classifier(name, head, method, options=None, neck=None):
    looks = dict(attention='received') if head == LINEAR and method == TM else {}
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='mmtlalign.MixClassifier',
            backbone={**SMALL[name], **(options or {})},
            neck=neck,
            head=dict(type=method.format(head), num_classes=5, in_channels=32, **looks),
            train_cfg=dict(augments=dict(type='mmtlalign.CutMix')),
        )
    ).train()


def loss_of(model, size=(32, 32), batch=4):
    samples = [DataSample().set_gt_label(i) for i in range(batch)]
    images = torch.randint(0, 255, (batch, 3, *size))
    inputs = model.data_preprocessor(
        dict(inputs=images, data_samples=samples), training=True
    )
    return model(**inputs, mode='loss')['loss']


@pytest.mark.parametrize('method', [TL, TM])
@pytest.mark.parametrize('name, head, options, neck', HEADS)
def test_heads_learn_from_timm(name, head, options, neck, method):
    model = classifier(name, head, method, options, neck)
    loss = loss_of(model)
    loss.backward()
    assert torch.isfinite(loss)
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert not without
    model.eval()
    images = torch.rand(2, 3, 32, 32)
    assert model(images, mode='tensor').shape == (2, 5)


def test_wrapper_and_mmpretrain_learn_the_same():
    ours = classifier('vit', VIT_HEAD, TL)
    neck = dict(type='mmtlalign.TokenPooling', output='class')
    theirs = classifier('vit', VIT_HEAD, TL, STOCK, neck)
    theirs.load_state_dict(ours.state_dict())
    losses = []
    for model in (ours, theirs):
        torch.manual_seed(0)
        np.random.seed(0)
        losses.append(loss_of(model).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize(
    'neck, words',
    [
        (dict(MEAN_POOL, prefix=1), "pools output='class' with prefix=1"),
        (None, r'Scores of shape \(4, 17, 5\).*not pooled'),
    ],
)
def test_pooling_elsewhere_is_refused(neck, words):
    with pytest.raises(ValueError, match=words):
        loss_of(classifier('vit', VIT_HEAD, TL, STOCK, neck))


def test_wrong_prefix_and_wrong_output_of_the_neck():
    with pytest.raises(ValueError, match='prefix=3'):
        classifier('mean', LINEAR, TL, STOCK, dict(MEAN_POOL, prefix=1))
    with pytest.raises(ValueError, match="choose 'class' or 'mean'"):
        classifier('mean', LINEAR, TL, STOCK, dict(MEAN_POOL, output='token'))


@pytest.mark.parametrize(
    'name, head', [('distilled', VIT_HEAD), ('vit', DEIT_HEAD), ('swin', DEIT_HEAD)]
)
def test_heads_that_score_other_outputs(name, head):
    with pytest.raises(ValueError, match='use a DeiTClsHead with a distilled'):
        classifier(name, head, TL)


PAGE = (ROOT / 'docs' / 'timm.md').read_text()
BLOCKS = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)
CONFIGS = {
    m[2]: m for b in BLOCKS if (m := re.match(r'# configs/(\w+)/(\w+)\.py\n', b))
}


def config_of(name, folder):
    """A config of the page, its base where the page's first line puts it."""
    match = CONFIGS[name]
    room = ROOT / 'configs' / match[1]
    text = match.string.replace("_base_ = './", f"_base_ = '{room}/")
    file = folder / f'{name}.py'
    file.write_text(text)
    return Config.fromfile(file)


def test_the_page_has_these_configs():
    assert set(CONFIGS) == {'my_deit3', 'my_registers', 'my_upernet', 'my_cascade'}


def test_channels_and_strides_of_the_page():
    (block,) = [b for b in BLOCKS if 'print(' in b]
    printed = []
    exec(block, dict(print=lambda *values: printed.append(values)))
    (comment,) = re.findall('# (.*)', block)
    assert ' '.join(map(str, printed[0])) == comment


@pytest.mark.slow  # real sizes
@pytest.mark.parametrize('name', ['my_deit3', 'my_registers'])
def test_classification_of_the_page(name, tmp_path):
    model = MODELS.build(config_of(name, tmp_path).model).train()
    loss = loss_of(model, (224, 224), batch=2)
    loss.backward()
    assert torch.isfinite(loss)
    assert model.backbone.trace_context.attentions == 12
    assert model.head.layers.head.in_features == 384


@pytest.mark.slow  # real sizes
def test_segmentation_of_the_page(tmp_path):
    pytest.importorskip('mmseg')
    init_default_scope('mmseg')
    cfg = config_of('my_upernet', tmp_path)
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).eval()
    assert list(model.backbone.channels) == cfg.model.decode_head.in_channels
    with torch.no_grad():
        out = model(torch.randn(1, 3, 100, 163), mode='tensor')
    assert out.shape == (1, 150, 25, 41)


@pytest.mark.slow  # real sizes
def test_detection_of_the_page(tmp_path):
    pytest.importorskip('mmdet')
    init_default_scope('mmdet')
    cfg = config_of('my_cascade', tmp_path)
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).eval()
    assert list(model.backbone.channels) == cfg.model.neck.in_channels
    with torch.no_grad():
        maps = model.extract_feat(torch.randn(1, 3, 96, 160))
    assert [tuple(m.shape[2:]) for m in maps] == [
        (24, 40),
        (12, 20),
        (6, 10),
        (3, 5),
        (2, 3),
    ]


@pytest.mark.slow  # real sizes
@pytest.mark.parametrize(
    'name, head, width, attentions',
    [
        ('deit_small_patch16_224', VIT_HEAD, 384, 12),
        ('swin_tiny_patch4_window7_224', LINEAR, 768, 12),
    ],
)
def test_a_step_at_real_size(name, head, width, attentions):
    model = MODELS.build(
        dict(
            type='mmtlalign.MixClassifier',
            backbone=dict(type='mmtlalign.TIMMBackbone', model_name=name),
            head=dict(type=TL.format(head), num_classes=1000, in_channels=width),
            train_cfg=dict(augments=dict(type='mmtlalign.CutMix')),
        )
    ).train()
    loss = loss_of(model, (224, 224), batch=2)
    loss.backward()
    assert torch.isfinite(loss)
    assert model.backbone.trace_context.attentions == attentions
