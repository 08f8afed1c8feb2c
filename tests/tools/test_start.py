"""A wrong command line is answered before PyTorch is imported."""

import subprocess
import sys

import pytest
from repository import ROOT

from mmtlalign.checkpoint.export import FORMATS
from mmtlalign.checkpoint.key_maps import KEY_MAPS
from mmtlalign.checkpoint.load import WEIGHTS
from mmtlalign.evaluation import frozen_features
from tools.analysis_tools import knn
from tools.dataset_converters import prepare, prepare_data
from tools.model_converters import convert_weights, export_backbone

# Tool: a command line that names what is not there, and what the answer says.
WRONG = {
    'train.py': (['configs/quickstart/none.py'], 'does not exist'),
    'test.py': (['tools/test.py', 'none.pth'], "checkpoint 'none.pth' does not exist"),
    'analysis_tools/knn.py': (['none.py'], 'does not exist'),
    'analysis_tools/draw_regions.py': (['none.pth', 'x.png'], 'does not exist'),
    'analysis_tools/list_models.py': (['--wrong'], 'unrecognized arguments'),
    'analysis_tools/measure_regions.py': (['none.pth', 'tools'], 'does not exist'),
    'configs/generate.py': (['--wrong'], 'unrecognized arguments'),
    'dataset_converters/check_data.py': (['coco', 'none'], 'is not a folder'),
    'dataset_converters/make_label_maps.py': (
        ['none', 'out', '--annotator', 'timm:x'],
        'is not a folder',
    ),
    'dataset_converters/prepare_data.py': (['imagenett'], 'invalid choice'),
    'experiments/draw_runs.py': (['out', 'none'], 'is not a folder'),
    'experiments/pretrain_to_downstream.py': (['none.py'], 'does not exist'),
    'analysis_tools/draw_mixers.py': (['mixers.pdf'], 'ends with .png'),
    'docs/notebooks.py': (['none.ipynb'], 'does not exist'),
    'model_converters/convert_weights.py': (['deit', 'no.pth', 'x.pth'], 'not exist'),
    'model_converters/export_backbone.py': (['no.pth', 'x.pth'], 'does not exist'),
}
RUN = """
import runpy, sys
tool, sys.argv = sys.argv[1], sys.argv[1:]
try:
    runpy.run_path(tool, run_name='__main__')
finally:
    print('torch' in sys.modules)
"""


@pytest.mark.parametrize('tool', WRONG)
@pytest.mark.parametrize('wrong', [False, True], ids=['help', 'wrong'])
def test_answer_without_pytorch(tool, wrong):
    arguments, words = WRONG[tool] if wrong else (['-h'], 'usage: ')
    command = [sys.executable, '-c', RUN, f'tools/{tool}', *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert words in done.stdout + done.stderr
    assert 'Traceback' not in done.stderr and done.stdout.endswith('False\n')
    assert bool(done.returncode) == wrong


def test_a_name_nearby_is_named():
    command = [sys.executable, 'tools/train.py', 'configs/plans/quickstart_fasd.py']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "did you mean 'configs/plans/quickstart_fast.py'?" in done.stderr


def test_choices_are_those_of_the_package():
    assert export_backbone.WEIGHTS == WEIGHTS
    assert list(export_backbone.FORMATS) == list(FORMATS)
    assert convert_weights.FAMILIES == {k: v.about for k, v in KEY_MAPS.items()}
    assert knn.WEIGHT_CHOICES == frozen_features.WEIGHT_CHOICES
    assert knn.FEATURE_CHOICES == frozen_features.FEATURE_CHOICES
    assert list(prepare_data.NAMES) == list(prepare.DATA_SETS)


def test_prints_of_hosts_are_kept_out(tmp_path):
    command = 'from mmtlalign.engine.console import import_host; import mmtlalign'
    hosts = '; '.join(f'import_host({h!r})' for h in ('mmpretrain', 'mmseg', 'mmdet'))
    code = f'{command}; {hosts}; from mmengine import print_log; print_log("kept")'
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == 'kept\n'
