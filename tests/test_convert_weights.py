"""Official names to ours and back: names, numbers, files, messages."""

import argparse
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, tool
from golden_dhvt import GoldenDHVT
from golden_files import FILES, HERE, close
from mmengine.runner import load_checkpoint

from mmtlalign.backbones import DHVT
from mmtlalign.engine.backbone_weights import load_backbone
from mmtlalign.engine.errors import InputError
from mmtlalign.engine.weight_names import FAMILIES, _pattern, convert

GOLDEN = {name for name in FILES if name.startswith('dhvt_')}
TOOL = tool('convert_weights')


@pytest.fixture
def golden():
    return GoldenDHVT(HERE / 'dhvt_patch16_a.npz')


def saved(content, path):
    torch.save(content, path)
    return str(path)


@pytest.mark.parametrize('name', sorted(GOLDEN))
def test_there_and_back_changes_nothing(name):
    official = GoldenDHVT(FILES[name]).official
    ours = convert(official, 'dhvt')
    assert not set(ours) & set(official)
    back = convert(ours, 'dhvt', reverse=True)
    assert list(back) == list(official)
    assert all(back[key] is official[key] for key in official)


def test_covers_exactly_the_names_of_the_network(golden):
    assert set(convert(golden.official, 'dhvt')) == set(golden.model.state_dict())


@pytest.mark.parametrize('family', FAMILIES)
def test_tables_read_one_way_only(family):
    """No name fits two entries, so their order means nothing."""
    for side in (0, 1):
        names = [pair[side] for pair in FAMILIES[family]]
        for name in names:
            example = name.replace('{', '').replace('}', '')
            assert [n for n in names if _pattern(n).fullmatch(example)] == [name]


def test_converted_file_gives_the_golden_logits(golden, tmp_path):
    """A whole official training checkpoint, loaded as a classifier is tested."""
    content = dict(
        model=golden.official, epoch=299, args=argparse.Namespace(lr=1e-3, batch=256)
    )
    source = saved(content, tmp_path / 'official.pth')
    target = str(tmp_path / 'new' / 'ours.pth')
    assert TOOL.convert_file('dhvt', source, target) == len(golden.official)

    for parameter in golden.model.parameters():
        torch.nn.init.normal_(parameter)
    load_checkpoint(golden.model, target, strict=True)
    golden.model.eval()
    close(golden.logits(golden['x']), golden['eval/logits'], 5e-6)

    back = str(tmp_path / 'back.pth')
    TOOL.convert_file('dhvt', target, back, reverse=True)
    again = torch.load(back, weights_only=True)['model']
    assert list(again) == list(golden.official)
    for key, value in golden.official.items():
        assert again[key].equal(value) and again[key].dtype == value.dtype


def test_converted_file_starts_a_downstream_backbone(golden, tmp_path):
    source = saved(golden.official, tmp_path / 'weights_alone.pth')
    TOOL.convert_file('dhvt', source, str(tmp_path / 'ours.pth'))
    sizes = {k: int(golden['meta/' + k]) for k in ('embed_dim', 'depth', 'num_heads')}
    backbone = DHVT(
        dict(
            embed_dims=sizes['embed_dim'],
            num_layers=sizes['depth'],
            num_heads=sizes['num_heads'],
            feedforward_channels=4 * sizes['embed_dim'],
        ),
        patch_size=int(golden['meta/patch_size']),
        out_type='featmap',
        out_indices=range(sizes['depth']),
    )
    lines = load_backbone(backbone, str(tmp_path / 'ours.pth'))
    count = len(backbone.state_dict())
    assert f'{count} of {count} tensors' in lines[0]
    backbone.double().eval()
    maps = backbone(torch.from_numpy(golden['x']).double())
    close(maps[0].flatten(2).mT, golden['eval/blk0/out'][:, 1:], 2e-5)
    close(maps[-1].flatten(2).mT, golden['eval/norm'][:, 1:], 2e-5)


def test_command_line(golden, tmp_path):
    def run(*arguments):
        command = [sys.executable, str(ROOT / 'tools/convert_weights.py'), *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    source = saved(dict(model=golden.official), tmp_path / 'official.pth')
    target = str(tmp_path / 'ours.pth')
    done = run('dhvt', source, target)
    assert done.returncode == 0, done.stderr
    assert f'{len(golden.official)} tensors written' in done.stdout
    refused = run('dhvt', source, target)
    assert refused.returncode == 1
    assert 'ours.pth is there already' in refused.stderr
    assert 'Traceback' not in refused.stderr


def test_messages(golden, tmp_path):
    with pytest.raises(InputError, match="no table of names for 'vgg'.*dhvt"):
        convert({}, 'vgg')
    stranger = {**golden.official, 'blocks.0.mlp.fc1.weight': torch.zeros(1)}
    with pytest.raises(InputError, match=r'1 names.*blocks\.0\.mlp\.fc1\.weight'):
        convert(stranger, 'dhvt')
    source = saved(dict(model=golden.official), tmp_path / 'official.pth')
    target = str(tmp_path / 'ours.pth')
    with pytest.raises(InputError, match="no 'state_dict' of tensors"):
        TOOL.convert_file('dhvt', source, target, reverse=True)
    with pytest.raises(InputError, match='does not exist.*Name the checkpoint'):
        TOOL.convert_file('dhvt', str(tmp_path / 'nothing.pth'), target)
    odd = saved(dict(weights=np.zeros(3)), tmp_path / 'odd.pth')
    with pytest.raises(InputError, match="no 'model' or 'state_dict'"):
        TOOL.convert_file('dhvt', odd, target)
    assert not (tmp_path / 'ours.pth').exists()
