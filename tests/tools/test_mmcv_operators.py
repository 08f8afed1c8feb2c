"""The operators that a config needs are found in the source; the page is up to date."""

import re
from pathlib import Path

import mmdet
import mmseg
import pytest
from repository import ROOT, tool

from mmtlalign.compat import mmcv_ops
from tools.analysis_tools.references import references_of, truth

OPERATORS = tool('analysis_tools/mmcv_operators')
PAGE = ROOT / 'docs' / 'mmcv_operators.md'
CPU, GPU = 'cpu', 'cuda'


# --- references -----------------------------------------------------------------------


def made_up(self, boxes: list, kind=None):
    on_gpu = self.custom and boxes.is_cuda
    if on_gpu:
        output = operators.fast(boxes)  # noqa: F821
    elif isinstance(boxes, Pyramid):  # noqa: F821
        output = self.plain(boxes).sum()
    else:
        super().__init__(dict(type='DCN') if kind is None else kind)
    return output


def test_references_of_a_function():
    found = {(kind, text): guards for kind, text, guards in references_of(made_up)}
    assert found['name', 'operators.fast'] and not found['name', 'boxes.is_cuda']
    assert ('name', 'self.plain') in found and ('attribute', 'sum') in found
    assert ('super', '.__init__') in found and ('type', 'DCN') in found
    # Neither an annotation nor the class of isinstance is used.
    assert not found.keys() & {('name', 'list'), ('name', 'Pyramid')}


@pytest.mark.parametrize(
    'known, fast, dcn',
    [
        ({'device': GPU}, None, None),
        ({'device': CPU}, False, None),
        ({'device': GPU, 'self.custom': True}, True, False),
        ({'device': GPU, 'self.custom': False, 'kind': None}, False, None),
        ({'device': CPU, 'kind': 'DCNv2'}, False, False),
    ],
)
def test_conditions(known, fast, dcn):
    found = {text: guards for _, text, guards in references_of(made_up)}

    def holds(text):
        parts = [
            None if (value := truth(test, known)) is None else value is wanted
            for test, wanted in found[text]
        ]
        return False if False in parts else None if None in parts else True

    assert holds('operators.fast') is fast
    assert holds('DCN') is dcn


# --- stock configs --------------------------------------------------------------------


def calls(library, path):
    """What a stock config calls: the functions in each mode on each device."""
    folder = Path(library.__file__).parent / '.mim' / 'configs'
    answers, failures = OPERATORS.ask([(library.__name__, folder, folder / path)])
    assert not failures
    return {
        (mode, device): {
            name
            for name, places in answers[0].calls.items()
            if (mode, device) in places
        }
        for mode in ('loss', 'predict')
        for device in (CPU, GPU)
    }


FOCAL = {'sigmoid_focal_loss_forward', 'sigmoid_focal_loss_backward'}
ROI = {'roi_align_forward', 'roi_align_backward'}
DEFORM = {
    'deform_conv_forward',
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
}
ATTENTION = {'ms_deform_attn_forward', 'ms_deform_attn_backward'}
MASK_RCNN = 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
DCN = 'dcn/mask-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py'
DEFORMABLE_DETR = 'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py'


@pytest.mark.parametrize(
    'library, path, training, testing, on_gpu',
    [
        (mmdet, 'retinanet/retinanet_r50_fpn_1x_coco.py', set(), {'nms'}, FOCAL),
        (mmdet, MASK_RCNN, {'nms', *ROI}, {'nms', 'roi_align_forward'}, set()),
        (
            mmdet,
            DCN,
            {'nms', *ROI, *DEFORM},
            {'nms', 'roi_align_forward', 'deform_conv_forward'},
            set(),
        ),
        (mmdet, 'detr/detr_r50_8xb2-150e_coco.py', set(), set(), set()),
        (mmdet, DEFORMABLE_DETR, set(), set(), ATTENTION | FOCAL),
        # The suppression has its name in the config.
        (
            mmdet,
            'faster_rcnn/faster-rcnn_r50_fpn_soft-nms_1x_coco.py',
            {'nms', *ROI},
            {'nms', 'softnms', 'roi_align_forward'},
            set(),
        ),
        # The head has deformable convolutions only if an argument says so.
        (mmdet, 'foveabox/fovea_r50_fpn_4xb4-1x_coco.py', set(), {'nms'}, FOCAL),
        (mmseg, 'fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py', set(), set(), set()),
    ],
    ids=lambda value: Path(value).parts[0] if isinstance(value, str) else '',
)
def test_operators_of_stock_configs(library, path, training, testing, on_gpu):
    found = calls(library, path)
    assert found['loss', CPU] == training
    assert found['predict', CPU] == testing
    assert found['loss', GPU] == training | on_gpu
    assert found['predict', GPU] == testing | {
        name for name in on_gpu & ATTENTION if name.endswith('forward')
    }


def test_what_cannot_be_loaded_is_listed(tmp_path):
    (tmp_path / 'family').mkdir()
    broken = tmp_path / 'family' / 'broken.py'
    broken.write_text("_base_ = 'missing.py'\n")
    plain = tmp_path / 'family' / 'schedule.py'
    plain.write_text('epochs = 12\n')
    answers, failures = OPERATORS.ask([('mmdet', tmp_path, f) for f in (broken, plain)])
    assert answers == []
    assert failures == {'mmdet: family/broken.py': 'FileNotFoundError'}


# --- tables ---------------------------------------------------------------------------

ANSWERS = [
    OPERATORS.Answer('mmdet: a', {'nms': {('predict', CPU), ('predict', GPU)}}),
    OPERATORS.Answer('mmdet: a', {}),
    OPERATORS.Answer('mmseg: b', {}),
    OPERATORS.Answer(
        'mmdet: c',
        {'x_forward': {('loss', GPU), ('predict', GPU)}, 'x_backward': {('loss', GPU)}},
    ),
]


def test_tables():
    lines = OPERATORS.tables(ANSWERS, {'mmdet: d': 'ImportError'}, ['nms']).splitlines()
    assert '| `nms` | yes | 1 | testing | GPU, CPU | mmdet: a |' in lines
    row = '| `x_backward`, `x_forward` | no | 1 | training, testing | GPU | mmdet: c |'
    assert row in lines
    assert '| none | yes | 2 | mmdet: a (1 of 2); mmseg: b |' in lines
    assert '| `nms` | yes | 1 | mmdet: a (1 of 2) |' in lines
    assert '| `x` | on a CPU | 1 | mmdet: c |' in lines
    assert '* `mmdet: d`: ImportError' in lines


@pytest.mark.parametrize(
    'places, works',
    [
        ([('loss', GPU)], 'on a CPU, testing'),
        ([('loss', GPU), ('loss', CPU)], 'testing'),
        ([('predict', GPU), ('loss', CPU)], 'testing on a CPU'),
        ([('predict', CPU)], 'no'),
    ],
)
def test_where_a_model_works(places, works):
    assert OPERATORS.without_compiling({'x': places}, ['nms']) == works
    assert OPERATORS.without_compiling({'x': places}, ['x']) == 'yes'


def test_command_prints_writes_and_checks(tmp_path, capsys):
    config = tmp_path / 'family' / 'config.py'
    config.parent.mkdir()
    config.write_text(
        "default_scope = 'mmdet'\nmodel = dict(type='RetinaNet', test_cfg=dict())\n"
    )
    arguments = [str(config), '--supported', 'nms']
    OPERATORS.main(arguments)
    printed = capsys.readouterr().out
    assert '| none | yes | 1 | mmdet: config.py |' in printed
    page = tmp_path / 'page.md'
    page.write_text(f'before\n{OPERATORS.BEGIN}\nold\n{OPERATORS.END}\nafter\n')
    with pytest.raises(SystemExit, match='out of date'):
        OPERATORS.main([*arguments, '--check', str(page)])
    OPERATORS.main([*arguments, '--write', str(page)])
    OPERATORS.main([*arguments, '--check', str(page)])
    text = page.read_text()
    assert printed.strip() in text and '\nold\n' not in text
    assert text.startswith('before\n') and text.endswith('after\n')
    page.write_text('no markers\n')
    with pytest.raises(SystemExit, match='add them first'):
        OPERATORS.main([*arguments, '--write', str(page)])


def test_page_knows_what_is_supported():
    """The rest of the page is checked by ``--check``, which walks 2,300 configs."""
    row = r'^\| (`[^|]+`) \| (yes|no) \| \d+ \|'
    first_table = PAGE.read_text().partition('| operators |')[0]
    rows = re.findall(row, first_table, re.MULTILINE)
    assert len(rows) > 10
    for names, works in rows:
        for name in re.findall(r'`(\w+)`', names):
            assert (name in mmcv_ops.SUPPORTED) == (works == 'yes'), name
