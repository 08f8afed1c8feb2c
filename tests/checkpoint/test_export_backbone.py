"""Backbones as files: raw or averaged, with what they are, whole or not at all."""

import json
import os
from pathlib import Path

import pytest
import torch
from convert_nets import swin, vit
from exported_files import checkpoint, exported, settings_of
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from safetensors import safe_open
from tiny_run import run_tool, train_to_end, write_images

from mmtlalign.checkpoint.config_text import read_config_text
from mmtlalign.checkpoint.export import export_backbone
from mmtlalign.checkpoint.io import hash_tensors
from mmtlalign.checkpoint.load import load_backbone
from mmtlalign.errors import InputError


def test_metadata_says_what_the_file_is(tmp_path):
    model = swin()
    source = checkpoint(model, tmp_path / 'epoch_7.pth')
    out = str(tmp_path / 'new' / 'folder' / 'backbone.pth')
    returned = export_backbone(source, out)
    content = torch.load(out, weights_only=True)
    assert set(content) == {'state_dict', 'meta'}
    tensors, meta = content['state_dict'], content['meta']
    assert meta == returned
    assert all(name.startswith('backbone.') for name in tensors)
    assert len(tensors) == len(model.backbone.state_dict())
    assert meta['method'] == dict(
        model='mmtlalign.MixClassifier',
        head='mmtlalign.TLAlignLinearClsHead',
        augments=['mmtlalign.TokenCutMix'],
    )
    assert meta['backbone'] == dict(type='SwinTransformer', img_size=224)
    assert meta['image_size'] == dict(train=[128, 128], test=None)
    assert meta['normalisation'] == dict(
        mean=[1.0] * 3, std=[2.0] * 3, channel_order='RGB'
    )
    values = {k: meta[k] for k in ('num_classes', 'epoch', 'iteration', 'seed')}
    assert values == dict(num_classes=3, epoch=7, iteration=70, seed=3)
    assert meta['weights'] == 'raw' and meta['layout'] == 'mmpretrain'
    assert meta['versions']['torch'] == torch.__version__
    assert meta['exported_from'] == 'epoch_7.pth'
    assert meta['sha256'] == hash_tensors(tensors)
    tensors['backbone.norm3.bias'][0] += 1
    assert meta['sha256'] != hash_tensors(tensors)
    assert read_config_text(meta['cfg'], 'cfg')['model']['head']['num_classes'] == 3

    export_backbone(source, safe := str(tmp_path / 'backbone.safetensors'))
    with safe_open(safe, 'pt') as file:
        strings = file.metadata()
        assert set(file.keys()) == set(tensors)
    assert strings.pop('format') == 'pt'
    assert {key: json.loads(value) for key, value in strings.items()} == meta
    # What was exported is exported again, for another host.
    again = export_backbone(safe, str(tmp_path / 'timm.pth'), layout='timm')
    changed = ('layout', 'exported_from', 'sha256', 'load_with', 'notes')
    assert {k: v for k, v in again.items() if k not in changed} == {
        k: v for k, v in meta.items() if k not in changed
    }


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Weights after each of four steps, and the same run with averaging."""
    folder = tmp_path_factory.mktemp('runs')
    data = write_images(folder / 'data')
    text = (
        'train_cfg = dict(by_epoch=False, max_iters=4, val_interval=4)\n'
        "param_scheduler = dict(type='ConstantLR', factor=1.0, by_epoch=False)\n"
        "default_hooks = dict(logger=dict(type='LoggerHook'), "
        "checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1))\n"
    )
    ema = "custom_hooks = [dict(type='EMAHook', momentum=0.3)]\n"
    with pytest.MonkeyPatch.context() as patch:
        for name, more in (('plain', ''), ('ema', ema)):
            (folder / name).mkdir()
            message = train_to_end(patch, folder / name, data, text=text + more)
            assert message is None
    plain, averaged = folder / 'plain', folder / 'ema'
    weights = [
        torch.load(plain / 'work' / f'iter_{i}.pth', weights_only=False)
        for i in range(1, 5)
    ]
    return [c['state_dict'] for c in weights], averaged / 'work' / 'iter_4.pth'


def test_raw_and_averaged_weights_of_a_real_run(runs, tmp_path):
    """Raw: those of the run without the hook. Averaged: computed here anew."""
    plain, path = runs
    average = {k: v.clone() for k, v in plain[0].items()}
    for weights in plain[1:]:
        average = {k: 0.7 * average[k] + 0.3 * weights[k] for k in average}
    written = {}
    for kind in ('raw', 'ema', 'auto'):
        out = str(tmp_path / f'{kind}.pth')
        meta = export_backbone(str(path), out, weights=kind)
        assert meta['weights'] == ('raw' if kind == 'raw' else 'ema')
        assert meta['iteration'] == 4
        written[kind] = torch.load(out, weights_only=True)['state_dict']
    assert set(written['raw']) == {k for k in average if k.startswith('backbone.')}
    for name, value in written['raw'].items():
        assert value.equal(plain[-1][name]), name
        torch.testing.assert_close(written['ema'][name], average[name])
        assert written['auto'][name].equal(written['ema'][name])
    name = 'backbone.layers.0.attn.qkv.weight'
    assert not written['raw'][name].equal(written['ema'][name])
    # A file says what it holds, and is not taken for the other.
    with pytest.raises(InputError, match='holds ema weights only, not raw'):
        out = str(tmp_path / 'other.pth')
        export_backbone(str(tmp_path / 'ema.pth'), out, weights='raw')


def test_config_of_the_run_arrives(runs, tmp_path):
    meta = export_backbone(str(runs[1]), str(tmp_path / 'a.safetensors'))
    assert meta['normalisation'] == dict(
        mean=[127.0] * 3, std=[64.0] * 3, channel_order='BGR'
    )
    assert meta['backbone']['patch_size'] == 8 and meta['num_classes'] == 2
    assert meta['versions']['trained_with']


def test_errors_leave_no_file(tmp_path, monkeypatch):
    source = checkpoint(swin(), tmp_path / 'epoch_7.pth')
    out = str(tmp_path / 'out.pth')
    (tmp_path / 'there.pth').touch()
    empty = tmp_path / 'empty.py'
    empty.write_text('a = 1')
    vit_file = checkpoint(vit('DeiT3'), tmp_path / 'deit3.pth')
    bare = checkpoint(swin(), tmp_path / 'bare.pth', meta={})
    for args, options, message in (
        ((source, str(tmp_path / 'there.pth')), {}, 'already exists'),
        ((source, str(tmp_path / 'out.npz')), {}, 'suffix selects the format'),
        ((str(tmp_path / 'no.pth'), out), {}, 'does not exist.*Name a checkpoint'),
        ((bare, out), {}, 'holds no config.*--config FILE'),
        ((bare, out), dict(config=str(tmp_path / 'no.py')), 'no.py does not exist'),
        ((bare, out), dict(config=str(empty)), 'no model with a backbone'),
        ((source, out), dict(weights='ema'), 'holds raw weights only, not ema'),
        ((source, out), dict(weights='mean'), "weights='mean' is not known"),
        ((source, out), dict(layout='onnx'), '--format onnx is not known'),
        ((vit_file, out), dict(layout='timm'), 'does not know DeiT3, only Distilled'),
        ((source, out), dict(prefix='teacher'), "begins with 'teacher.'.*'backbone.'"),
    ):
        with pytest.raises(InputError, match=message):
            export_backbone(*args, **options)

    def fails(content, path):
        with open(path, 'wb') as stream:
            stream.write(b'half of it')
        raise OSError('No space left on device')

    monkeypatch.setattr(torch, 'save', fails)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(OSError, match='No space'):
        export_backbone(source, out)
    assert sorted(os.listdir(tmp_path)) == before


def test_safetensors_that_are_not_whole(tmp_path):
    out = exported(swin(), tmp_path, '.safetensors')
    content = Path(out).read_bytes()
    for wrong in (content[:-100], content[:50], b'', b'<!DOCTYPE html>'):
        path = tmp_path / 'wrong.safetensors'
        path.write_bytes(wrong)
        with pytest.raises(InputError, match='wrong.safetensors is not a whole safe'):
            load_backbone(swin().backbone, str(path))
    with pytest.raises(InputError, match='does not exist'):
        load_backbone(swin().backbone, str(tmp_path / 'no.safetensors'))
    loader = CheckpointLoader._get_checkpoint_loader
    assert loader(str(tmp_path / 'a.safetensors')).__name__ == 'load_from_safetensors'
    assert loader('https://host/a.safetensors').__name__ == 'load_from_http'
    assert loader('safetensors/a.pth').__name__ == 'load_from_local'


def test_config_by_name(tmp_path):
    model = swin()
    source = checkpoint(model, tmp_path / 'bare.pth', meta={})
    config = tmp_path / 'config.py'
    config.write_text(Config(settings_of(model)).pretty_text)
    out = str(tmp_path / 'out.pth')
    meta = export_backbone(source, out, config=str(config))
    assert meta['num_classes'] == 3 and meta['epoch'] is None


def test_another_prefix(tmp_path):
    """A teacher's backbone becomes a backbone."""
    model = swin()
    source = checkpoint(model, tmp_path / 'epoch_7.pth')
    content = torch.load(source, weights_only=False)
    content['state_dict'] = {
        f'teacher.module.0.{name}': value for name, value in model.state_dict().items()
    }
    torch.save(content, tmp_path / 'teacher.pth')
    out = tmp_path / 'out.pth'
    prefix = 'teacher.module.0.backbone'
    export_backbone(str(tmp_path / 'teacher.pth'), str(out), prefix=prefix)
    tensors = torch.load(out, weights_only=True)['state_dict']
    assert set(tensors) == {f'backbone.{n}' for n in model.backbone.state_dict()}


def test_command_line(monkeypatch, tmp_path, capsys):
    source = checkpoint(swin(), tmp_path / 'epoch_7.pth')
    arguments = (source, tmp_path / 'out.safetensors', '--format', 'timm')
    run_tool(monkeypatch, 'model_converters/export_backbone', *arguments)
    printed = capsys.readouterr().out
    assert 'raw weights of SwinTransformer, names of timm' in printed
    assert 'mmtlalign.TLAlignLinearClsHead, epoch 7' in printed
    with pytest.raises(SystemExit, match='error: .*already exists'):
        run_tool(monkeypatch, 'model_converters/export_backbone', *arguments)
