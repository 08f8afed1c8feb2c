"""Converted weights give the numbers of official codes, and of the papers' text."""

import numpy as np
import pytest
import torch
from convert_nets import classifier, far_from_start, logits
from golden_files import FILES, close
from mmengine.registry import MODELS
from pvt_nets import LAYERS, WIDE
from pvt_reference import class_token
from repository import tool
from small_backbones import randomise
from test_golden import Golden

from mmtlalign.checkpoint.convert import convert, unwrap
from mmtlalign.checkpoint.load import load_backbone


@pytest.mark.parametrize(
    'family, method, name',
    [
        (family, method, name)
        for family, method in (('tlalign', 'TLAlign'), ('transmix', 'TransMix'))
        for name in sorted(FILES)
        if name.startswith(f'{family}_vit') and 'distilled' not in name
    ],
)
def test_numbers_of_official_tl_align_and_transmix(family, method, name):
    golden = Golden(FILES[name], method)
    official = {
        name[3:]: torch.from_numpy(array)
        for name, array in golden.arrays.items()
        if name.startswith('sd/')
    }
    randomise(golden.model).load_state_dict(convert(official, family), strict=True)
    close(
        logits(golden.model, torch.from_numpy(golden['mixed'])), golden['logits'], 1e-5
    )
    back = convert(golden.model.state_dict(), family, reverse=True)
    assert back.keys() == official.keys()
    assert all(back[key].equal(official[key]) for key in official)


ESVIT = sorted(name for name in FILES if name.startswith('esvit_swin'))


def esvit_backbone(arrays):
    """mmpretrain's Swin with the norms and shifts of the official one."""
    norm = dict(type='LN', eps=float(arrays['cfg/ln_eps']))
    depths = arrays['cfg/depths'].tolist()
    first = np.cumsum([0, *depths[:-1]])
    shifts, windows = arrays['cfg/shift_per_block'], arrays['cfg/window_per_block']
    stages = []
    for begin, depth in zip(first, depths):
        block = dict(norm_cfg=norm, ffn_ratio=float(arrays['cfg/mlp_ratio']))
        if not shifts[begin : begin + depth].any():
            block['shift'] = False
        stages.append(
            dict(
                window_size=int(windows[begin]),
                block_cfgs=block,
                downsample_cfg=dict(norm_cfg=norm),
            )
        )
    return MODELS.build(
        dict(
            type='mmpretrain.SwinTransformer',
            arch=dict(
                embed_dims=int(arrays['cfg/embed_dim']),
                depths=depths,
                num_heads=arrays['cfg/num_heads'].tolist(),
            ),
            img_size=int(arrays['cfg/img_size']),
            window_size=int(windows[0]),
            pad_small_map=True,
            norm_cfg=norm,
            patch_cfg=dict(norm_cfg=norm),
            stage_cfgs=stages,
        )
    )


@pytest.mark.parametrize('name', ESVIT)
def test_features_of_official_esvit(name):
    arrays = np.load(FILES[name], allow_pickle=False)
    official = {
        f'module.{key[2:]}': torch.from_numpy(arrays[key])
        for key in arrays
        if key.startswith('w/')
    }
    assert any('head_dense' in key for key in official)
    bare, taken = unwrap(official, 'esvit')
    assert taken == {'module.': len(official)}
    converted = convert(bare, 'esvit')
    backbone = esvit_backbone(arrays)
    backbone.load_state_dict(
        {key.replace('backbone.', '', 1): v for key, v in converted.items()}
    )
    backbone.double().eval()
    for crop in ('global0', 'local0'):
        view = 0 if crop == 'global0' else 2
        images = torch.from_numpy(arrays[f'in/crop{view}']).double()
        with torch.no_grad():
            pooled = backbone(images)[-1].mean((2, 3))
        close(pooled, arrays[f'{crop}/pooled'], 2e-5)
    back = convert(converted, 'esvit', reverse=True)
    assert all(back[key].equal(bare[key]) for key in back)
    assert set(bare) - set(back) == {key for key in bare if key.startswith('head')}


@pytest.mark.parametrize('key', [None, 'teacher', 'student'])
@pytest.mark.parametrize('name', ESVIT)
def test_official_esvit_file_becomes_a_backbone(name, key, tmp_path):
    """As the official code saves it: two networks, both heads, behind DDP's name."""
    arrays = np.load(FILES[name], allow_pickle=False)
    official = {
        f'module.{key[2:]}': torch.from_numpy(arrays[key])
        for key in arrays
        if key.startswith('w/')
    }
    other = {name: torch.randn_like(value) for name, value in official.items()}
    chosen = key or 'teacher'
    content = {chosen: official, ('student', 'teacher')[chosen == 'student']: other}
    content.update(epoch=300, dino_loss=dict(center=torch.zeros(1, 4)))
    torch.save(content, source := str(tmp_path / 'checkpoint.pth'))
    target = str(tmp_path / 'ours.pth')
    lines = tool('model_converters/convert_weights').convert_file(
        'esvit', source, target, key=key
    )
    backbone = esvit_backbone(arrays)
    count = len(backbone.state_dict())
    assert lines[-1] == f'{count} tensors written to {target}'
    (line,) = load_backbone(backbone, target)
    assert f'{count} of {count} tensors' in line
    backbone.eval()
    for crop, view in (('global0', 0), ('local0', 2)):
        with torch.no_grad():
            out = backbone(torch.from_numpy(arrays[f'in/crop{view}']))[-1]
        close(out.mean((2, 3)), arrays[f'{crop}/pooled'], 2e-5)


def test_windows_of_14_as_esvit_has_them():
    """Three stages of window 14, the last of 7: mmpretrain's own index is met."""
    unshifted = dict(block_cfgs=dict(shift=False))
    arch = dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 2])
    ours = MODELS.build(
        dict(
            type='mmpretrain.SwinTransformer',
            arch=arch,
            window_size=14,
            stage_cfgs=[{}, {}, unshifted, dict(unshifted, window_size=7)],
        )
    )
    weights = {f'backbone.{name}': v for name, v in ours.state_dict().items()}
    official = convert(weights, 'esvit', reverse=True)
    tables = [v for name, v in official.items() if 'bias_table' in name]
    assert [len(table) for table in tables] == [729, 729, 729, 169]
    again = convert(official, 'esvit')
    assert again.keys() == weights.keys()
    assert all(again[name].equal(value) for name, value in weights.items())


def test_logits_of_pvt():
    """Official names, read by functions written from the paper."""
    backbone = dict(type='mmtlalign.PVT', arch=WIDE, img_size=64)
    model = classifier(backbone, width=512)
    model = far_from_start(model)
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    official = convert(model.state_dict(), 'pvt', reverse=True)
    token = class_token(official, images, LAYERS)
    expected = token @ official['head.weight'].T + official['head.bias']
    torch.testing.assert_close(logits(model, images), expected, rtol=0, atol=1e-10)
    back = convert(official, 'pvt')
    assert back.keys() == model.state_dict().keys()
    assert all(back[key].equal(value) for key, value in model.state_dict().items())
