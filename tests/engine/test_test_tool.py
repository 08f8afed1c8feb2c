"""What `tools/test.py` evaluates: the averaged weights, from every kind of file."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from tiny_run import run_tool, train_to_end, write_config, write_images

from mmtlalign.checkpoint.check import check_finite
from mmtlalign.checkpoint.load import load_backbone
from mmtlalign.errors import InputError

# Averaged weights that lag far behind.
EMA = """
custom_hooks = [dict(type='EMAHook', momentum=0.01)]
optim_wrapper['optimizer']['lr'] = 0.05
tta_model = dict(type='AverageClsScoreTTA')
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TestTimeAug', transforms=[
        [dict(type='RandomFlip', prob=0.0)], [dict(type='PackInputs')]]),
]
"""


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Folder of a run with averaged weights, and of the data."""
    root = tmp_path_factory.mktemp('ema')
    data = write_images(root / 'data')
    with pytest.MonkeyPatch.context() as patch:
        assert train_to_end(patch, root, data, text=EMA) is None
    return root


@pytest.fixture
def evaluate(monkeypatch, tmp_path, run):
    """Scores of the images by a checkpoint, or the message it ends with."""

    def scores(checkpoint, *args, text=EMA):
        config = write_config(tmp_path, run / 'data', text)
        out = tmp_path / 'out.pkl'
        args = ('--work-dir', tmp_path / 'work', '--out', out, *args)
        try:
            run_tool(monkeypatch, 'test', config, checkpoint, *args)
        except SystemExit as stop:
            return str(stop.code)
        found = pickle.loads(out.read_bytes())
        return torch.stack([sample['pred_score'] for sample in found])

    return scores


def test_averaged_weights_are_evaluated(evaluate, run, tmp_path):
    path = run / 'work/epoch_2.pth'
    content = torch.load(path, weights_only=False)
    averaged = content['state_dict']
    raw = {
        name.removeprefix('module.'): value
        for name, value in content['ema_state_dict'].items()
        if name.startswith('module.')
    }
    torch.save(dict(meta={}, state_dict=raw), tmp_path / 'raw.pth')
    torch.save(averaged, tmp_path / 'bare.pth')
    save_file(averaged, tmp_path / 'averaged.safetensors')
    plain = 'custom_hooks = []\ntta_model = tta_pipeline = None\n'
    wanted = evaluate(path, text=plain)
    assert not torch.allclose(wanted, evaluate(tmp_path / 'raw.pth', text=plain))
    files = [path, tmp_path / 'bare.pth', tmp_path / 'averaged.safetensors']
    for file in files:
        assert torch.equal(evaluate(file), wanted), file
        torch.testing.assert_close(evaluate(file, '--tta'), wanted)
    engine = EMA.replace('EMAHook', 'mmengine.EMAHook')
    assert torch.equal(evaluate(path, text=engine), wanted)
    torch.testing.assert_close(evaluate(path, '--tta', text=engine), wanted)
    # A hook that evaluates the raw weights in its validation does so here.
    origin = EMA.replace('0.01', '0.01, evaluate_on_ema=False, evaluate_on_origin=True')
    assert torch.equal(
        evaluate(path, text=origin), evaluate(tmp_path / 'raw.pth', text=plain)
    )


def test_nan_in_a_checkpoint_is_said_of_the_checkpoint(
    evaluate, run, tmp_path, monkeypatch
):
    content = torch.load(run / 'work/epoch_2.pth', weights_only=False)
    name = 'backbone.layers.0.ffn.layers.1.bias'
    content['state_dict'][name][0] = torch.nan
    path = tmp_path / 'epoch_2.pth'
    torch.save(content, path)
    for message in (
        str(evaluate(path)),
        train_to_end(
            monkeypatch, tmp_path, run / 'data', '--cfg-options', f'load_from={path}'
        ),
    ):
        assert f"checkpoint '{path}' holds NaN" in message and name in message
    from mmpretrain.registry import MODELS

    backbone = dict(
        type='mmpretrain.VisionTransformer',
        arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32),
        img_size=32,
        patch_size=8,
    )
    with pytest.raises(InputError, match='holds NaN.*earlier checkpoint'):
        load_backbone(MODELS.build(backbone), str(path))


def test_infinity_in_a_checkpoint_too():
    content = {'norm.weight': torch.tensor([1.0, torch.inf])}
    with pytest.raises(InputError, match='holds infinity in 1 of 1 .*norm.weight'):
        check_finite(content, 'a.pth')
    check_finite({'stages.0.attn_mask': torch.tensor([0.0, -torch.inf])}, 'a.pth')
