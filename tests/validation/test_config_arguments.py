"""Arguments in a config are compared with what their classes declare."""

import pytest
from mmengine.config import Config

from mmtlalign.engine.console import import_host
from mmtlalign.errors import InputError
from mmtlalign.validation.config_arguments import arguments, check_arguments


class Base:
    """Test only: hands nothing on."""

    def __init__(self, depth: int = 2, names: tuple[str, ...] | None = None):
        pass


class Child(Base):
    """Test only: hands on what it does not know."""

    def __init__(self, enable=False, **kwargs):
        super().__init__(**kwargs)


def check(**settings):
    scope = settings.pop('scope', 'mmpretrain')
    import_host(scope)
    check_arguments(Config(dict(default_scope=scope, part=settings)))


def test_arguments_of_bases_are_known():
    found, is_open = arguments(Child)
    assert list(found) == ['enable', 'depth', 'names'] and not is_open


@pytest.mark.parametrize(
    'good',
    [
        dict(type=Child, enable=True, depth=3, names=('a', 'b')),
        dict(type=Child, enable=1, depth=None, names=None),
        # Of several stages, as the hosts take where they say `int`.
        dict(type=Child, depth=[1, 2]),
        dict(type='AdamW', lr=1e-3, betas=(0.9, 0.99)),
        dict(type='AmpOptimWrapper', loss_scale=512.0),
        dict(type='ImageClassifier', init_cfg=[dict(type='Constant')]),
        dict(type='Resize', scale=224, keep_ratio=True),
        dict(type='no class of anybody', depth='many'),
    ],
)
def test_right_arguments(good):
    check(**good)


@pytest.mark.parametrize(
    ('wrong', 'said'),
    [
        (dict(type=Child, enable='maybe'), 'part.enable=.maybe.: Child takes'),
        (dict(type=Child, depth='many'), 'part.depth'),
        (dict(type=Child, depth=dict(a=1)), 'part.depth'),
        (dict(type=Child, names='ab'), 'part.names=.ab.'),
        (dict(type='Resize', scale=8, keep_ratio='maybe'), 'part.keep_ratio'),
        (dict(type='RandomResize', scale=8, keep_ratio='maybe'), 'part.keep_ratio'),
        (dict(type='VisualizationHook', enable='maybe'), 'part.enable'),
        (dict(type='AdamW', lqr=0.1), "part.lqr: .*Did you mean 'lr'"),
        (dict(type='CosineAnnealingLR', T_max=[1, 1], by_epoch=True), 'part.T_max'),
        (dict(type='LoggerHook', interval=[5, 5]), 'part.interval'),
        (dict(type='CheckpointHook', intervall=2), "Did you mean 'interval'"),
        (
            dict(
                type='MaxIoUAssigner', pos_iou_thr='x', neg_iou_thr=0.5, scope='mmdet'
            ),
            'part.pos_iou_thr',
        ),
        (dict(type='RandomSampler', num='x', scope='mmdet'), 'part.num'),
    ],
)
def test_wrong_arguments(wrong, said):
    if wrong.get('scope') == 'mmdet':
        pytest.importorskip('mmdet')
    with pytest.raises(InputError, match=said):
        check(**wrong)
