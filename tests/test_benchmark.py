"""The benchmark of tracing prints a table of one run, and says what is wrong."""

import json

import pytest
from conftest import tool

BENCHMARK = tool('benchmark')

TINY = dict(
    type='VisionTransformer',
    arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=16),
    img_size=32,
    patch_size=8,
)
SWIN = dict(
    type='SwinTransformer',
    arch=dict(embed_dims=16, depths=[1, 1], num_heads=[1, 2]),
    out_indices=(1,),
    img_size=32,
    window_size=4,
)


@pytest.mark.slow
def test_table_and_times(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(BENCHMARK, 'BACKBONES', dict(vit=TINY, swin=SWIN))
    file = tmp_path / 'times.json'
    BENCHMARK.main(['--batch', '2', '--repeats', '3', '--json', str(file)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == '| model | stock, ms | CutMix | TransMix | TL-Align |'
    assert [line.split()[1] for line in lines[3:]] == ['vit', 'swin']
    found = json.loads(file.read_text())
    assert found['repeats'] == 3
    for model in found['models'].values():
        assert {len(times) for times in model['seconds'].values()} == {3}
        assert all(min(times) > 0 for times in model['wall'].values())
        ratios = model['ratios']['TL-Align']
        assert 0 < ratios['low'] <= ratios['median'] <= ratios['high']


def test_ratios_are_taken_round_by_round():
    slow = {v: [1.0, 3.0, 1.0] for v in BENCHMARK.VARIANTS}
    slow['TL-Align'] = [1.1, 3.3, 1.1]
    ratios = BENCHMARK.ratios(slow)
    assert ratios['TL-Align']['median'] == pytest.approx(1.1)
    assert ratios['TL-Align']['high'] == pytest.approx(1.1)
    assert ratios['CutMix']['median'] == 1


@pytest.mark.parametrize('arguments', [['nonsense'], ['--repeats', '0']])
def test_wrong_arguments(arguments, capsys):
    with pytest.raises(SystemExit):
        BENCHMARK.main(arguments)
    assert arguments[0].strip('-') in capsys.readouterr().err
