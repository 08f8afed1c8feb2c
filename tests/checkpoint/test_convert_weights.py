"""Official names to ours and back: names, numbers, files, messages."""

import argparse
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from golden_dhvt import GoldenDHVT
from golden_files import FILES, HERE, close
from mmengine.runner import load_checkpoint
from repository import ROOT, tool
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mmtlalign.backbones.dhvt import DHVT
from mmtlalign.checkpoint.convert import convert, pattern_of
from mmtlalign.checkpoint.io import write_tensors
from mmtlalign.checkpoint.key_maps import KEY_MAPS
from mmtlalign.checkpoint.key_maps.swin import BIAS_WITH_INDEX, MERGE_ORDER
from mmtlalign.checkpoint.key_maps.xcit import SPLIT_QKV
from mmtlalign.checkpoint.load import load_backbone
from mmtlalign.errors import InputError

GOLDEN = {name for name in FILES if name.startswith('dhvt_')}
TOOL = tool('model_converters/convert_weights')


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


def sides(family):
    """Names of the one side and of the other, each once."""
    for side in (0, 1):
        names = [pair[side] for pair in KEY_MAPS[family].pairs]
        yield [n for name in names for n in ([name] if isinstance(name, str) else name)]


@pytest.mark.parametrize('family', KEY_MAPS)
def test_tables_read_one_way_only(family):
    """No name fits two entries, so their order means nothing."""
    theirs, ours = sides(family)
    for names in ([*theirs, *KEY_MAPS[family].left_out], ours):
        for name in names:
            example = name.replace('{', '').replace('}', '')
            fitting = [n for n in names if pattern_of(n).fullmatch(example)]
            assert fitting == [name]


@pytest.mark.parametrize('change', [MERGE_ORDER, SPLIT_QKV, BIAS_WITH_INDEX])
def test_changes_of_values_have_a_way_back(change):
    rows = 48 if change is SPLIT_QKV else 49
    value = torch.randn(rows, 8).double()
    (back,) = change.to_official(*change.to_ours(value))
    assert back.equal(value) and back.dtype == value.dtype


def test_converted_file_gives_the_golden_logits(golden, tmp_path):
    """A whole official training checkpoint, loaded as a classifier is tested."""
    content = dict(
        model=golden.official, epoch=299, args=argparse.Namespace(lr=1e-3, batch=256)
    )
    source = saved(content, tmp_path / 'official.pth')
    target = str(tmp_path / 'new' / 'ours.pth')
    lines = TOOL.convert_file('dhvt', source, target)
    assert lines == [f'{len(golden.official)} tensors written to {target}']

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
        command = [
            sys.executable,
            str(ROOT / 'tools/model_converters/convert_weights.py'),
            *arguments,
        ]
        return subprocess.run(command, capture_output=True, text=True)

    source = saved(dict(model=golden.official), tmp_path / 'official.pth')
    target = str(tmp_path / 'ours.pth')
    done = run('dhvt', source, target)
    assert done.returncode == 0, done.stderr
    assert f'{len(golden.official)} tensors written' in done.stdout
    refused = run('dhvt', source, target)
    assert refused.returncode == 1
    assert 'ours.pth already exists' in refused.stderr
    assert 'Traceback' not in refused.stderr


def esvit(prefix, value):
    """A file as the official code saves it; the teacher's numbers are its own."""
    names = (
        'patch_embed.proj.weight',
        'layers.0.blocks.0.norm1.weight',
        'layers.0.blocks.0.attn_mask',
        'norm.bias',
        'head.mlp.0.weight',
        'head_dense.last_layer.weight_g',
    )
    return {prefix + name: torch.full((4,), value) for name in names}


@pytest.mark.parametrize('key, value', [(None, 2.0), ('student', 1.0)])
def test_choose_student_or_teacher_and_take_wrappers_off(key, value, tmp_path):
    content = dict(
        student=esvit('module.', 1.0), teacher=esvit('module.backbone.', 2.0)
    )
    content.update(epoch=299, args=argparse.Namespace(arch='swin_tiny'))
    source = saved(content, tmp_path / 'checkpoint.pth')
    target = str(tmp_path / 'ours.pth')
    lines = TOOL.convert_file('esvit', source, target, key=key)
    assert "removed 'module.' from 6 names" in lines
    assert "removed 'backbone.' from 6 names" in lines or key == 'student'
    assert 'tensors left out: layers.0.blocks.0.attn_mask, head.mlp.0' in lines[-2]
    tensors = torch.load(target, weights_only=True)['state_dict']
    assert list(tensors) == [
        'backbone.patch_embed.projection.weight',
        'backbone.stages.0.blocks.0.norm1.weight',
        'backbone.norm0.bias',
    ]
    assert all(tensor.eq(value).all() for tensor in tensors.values())


def test_averaged_weights_are_pointed_out(golden, tmp_path):
    weights = golden.official
    content = dict(model=weights, model_ema=dict(weights), optimizer={})
    source = saved(content, tmp_path / 'official.pth')
    lines = TOOL.convert_file('dhvt', source, str(tmp_path / 'a.pth'))
    assert 'also holds weights under model_ema' in lines[0]
    assert '--key model_ema' in lines[0]
    lines = TOOL.convert_file('dhvt', source, str(tmp_path / 'b.pth'), key='model_ema')
    assert len(lines) == 1


def test_key_that_is_not_there(golden, tmp_path):
    target = str(tmp_path / 'ours.pth')
    for name in ('weights.pth', 'weights.safetensors'):
        source = str(tmp_path / name)
        write_tensors(source, golden.official, {})
        with pytest.raises(InputError, match="no 'model_ema' of tensors"):
            TOOL.convert_file('dhvt', source, target, key='model_ema')
    two = {'module.norm.bias': torch.ones(1), 'norm.bias': torch.ones(1)}
    with pytest.raises(InputError, match='holds two networks'):
        TOOL.convert_file('dhvt', saved(two, tmp_path / 'two.pth'), target)


def test_safetensors_in_and_out(golden, tmp_path):
    names = [str(tmp_path / f'{n}.safetensors') for n in ('official', 'ours', 'back')]
    save_file(golden.official, names[0])
    TOOL.convert_file('dhvt', names[0], names[1])
    for parameter in golden.model.parameters():
        torch.nn.init.normal_(parameter)
    load_checkpoint(golden.model, names[1], strict=True)
    golden.model.eval()
    close(golden.logits(golden['x']), golden['eval/logits'], 5e-6)
    TOOL.convert_file('dhvt', *names[1:], reverse=True)
    again = load_file(names[2])
    assert again.keys() == golden.official.keys()
    assert all(again[key].equal(value) for key, value in golden.official.items())
    with safe_open(names[1], 'pt') as file:
        meta = dict(file.metadata())
    assert meta == dict(
        format='pt',
        converted_from='"official.safetensors"',
        family='"dhvt"',
        reverse='false',
    )


class Runs:
    """A pickle that runs a command when it is loaded."""

    def __reduce__(self):
        return (exec, ('raise SystemExit("the pickle ran")',))


def test_file_that_runs_code_is_refused(tmp_path):
    source = saved(dict(model={}, extra=Runs()), tmp_path / 'official.pth')
    with pytest.raises(InputError, match='exec, whose loading would run code'):
        TOOL.convert_file('deit', source, str(tmp_path / 'ours.pth'))
    assert not (tmp_path / 'ours.pth').exists()


def test_commands_of_the_page_are_real():
    """They parse, and every family is in one of them."""
    page = (ROOT / 'docs' / 'checkpoints.md').read_text()
    commands = re.findall(r'`python tools/model_converters/(\w+)\.py ([^`]+)`', page)
    assert {name for name, _ in commands} == {'convert_weights', 'export_backbone'}
    for name, arguments in commands:
        tool(f'model_converters/{name}').parse_args(arguments.split())
    for family in KEY_MAPS:
        assert f'`{family}`' in page or f'convert_weights.py {family} ' in page, family


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
    with pytest.raises(InputError, match="'.ckpt'. Name a file with one of these"):
        TOOL.convert_file('dhvt', source, str(tmp_path / 'ours.ckpt'))
    part = {'backbone.ca_layers.0.attn.q.weight': torch.ones(1)}
    with pytest.raises(InputError, match=r'k\.weight, .*v\.weight is not in the file'):
        convert(part, 'xcit', reverse=True)
    window = {'layers.0.blocks.0.attn.relative_position_bias_table': torch.ones(15, 1)}
    with pytest.raises(InputError, match='15 rows, but a square window'):
        convert(window, 'swin')
    with pytest.raises(InputError, match='1 names.*gamma_1'):
        convert({'blocks.0.gamma_1': torch.ones(1)}, 'deit')
    assert not (tmp_path / 'ours.pth').exists()
