"""The table of what mixers cost: its cells are what they say, and it is written."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from benchmark_nets import SWIN, VIT
from mmengine.registry import init_default_scope

from tools.benchmarks import benchmark_mixers
from tools.benchmarks.step import mixers, models
from tools.benchmarks.step.mixers import MIXERS, TARGETS, Variant
from tools.benchmarks.step.steps import Batch, train_step

DEIT = models.Network(
    dict(type='VisionTransformer', arch=VIT, img_size=64, patch_size=8),
    size=64,
    patch=8,
)
NETWORKS = dict(deit=DEIT, swin=SWIN)
CELLS = [Variant(m, t) for m in MIXERS for t in MIXERS[m].targets]


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    init_default_scope('mmpretrain')
    for name, network in NETWORKS.items():
        monkeypatch.setitem(models.MODELS, name, network)
    # 16 blocks a side do not divide 56 pixels.
    puzzle = dict(MIXERS['puzzlemix'].augment, blocks=(2, 4, 8))
    puzzle = dataclasses.replace(MIXERS['puzzlemix'], augment=puzzle)
    monkeypatch.setitem(MIXERS, 'puzzlemix', puzzle)


def step_of(name, cell):
    network = NETWORKS[name]
    case = models.Case(name, network.size, None, 4, 'step', 'fp32', 'stock', 1, 'cpu')
    model, batch = (
        mixers.build_cell(network, cell, network.size),
        Batch(4, network.size, 'cpu'),
    )
    batch.renew()
    return model, train_step(model, batch, case)


@pytest.mark.parametrize('name', NETWORKS)
@pytest.mark.parametrize('cell', CELLS, ids=lambda cell: f'{cell.mixer}-{cell.target}')
def test_every_cell_mixes_by_its_mixer_and_reads_its_target(name, cell):
    model, step = step_of(name, cell)
    mixer = MIXERS[cell.mixer]
    (augment,) = model.mixer.augments
    assert f'mmtlalign.{type(augment).__name__}' == mixer.augment['type']
    heads = [base.__name__ for base in type(model.head).__mro__]
    kinds = {'plain': (), 'tlalign': ('TLAlign',), 'transmix': ('TransMix',)}
    for method in ('TLAlign', 'TransMix'):
        assert (method in heads) == (method in kinds[cell.target])
    seen, stock = [], model.mixer.__class__.__call__

    def call(self, *args, **kwargs):
        seen.append(stock(self, *args, **kwargs))
        return seen[-1]

    np.random.seed(3)
    torch.manual_seed(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(model.mixer), '__call__', call)
        with mixers.count_passes(model) as passes:
            loss = step()
    assert torch.isfinite(loss)
    (mix,) = seen
    # The cheapest mask of Puzzle Mix may be empty: these images are noise.
    low = 0 if cell.mixer == 'puzzlemix' else 1e-3
    assert 0 <= mix.area().min() and low <= mix.area().max() <= 1
    # One pass, and one more where a guide looks through the network.
    without_pass = None, dict(type='mmtlalign.FineGrainedSaliency')
    assert passes[0] == 1 + (mixer.guide not in without_pass)
    assert model.mixer.guide is None or mixer.guide


def test_the_published_rules_are_rows_of_their_own():
    assert mixers.build_cell(DEIT, Variant('mixpro', 'transmix'), 64).head.ratio == (
        'confidence'
    )
    assert (
        'SMMix'
        in type(mixers.build_cell(DEIT, Variant('smmix', 'tlalign'), 64).head).__name__
    )
    assert all(set(m.targets) <= set(TARGETS) for m in MIXERS.values())


def test_cells_are_asked_for_once_and_begin_with_plain_cutmix():
    cells = mixers.cells_of(['smmix', 'mixpro', 'cutmix'], ['plain', 'transmix'])
    assert cells == [
        Variant('cutmix', 'plain'),
        Variant('smmix', 'plain'),
        Variant('mixpro', 'transmix'),
        Variant('cutmix', 'transmix'),
    ]


def page_with_markers(path):
    begin = benchmark_mixers.BEGIN.format(path)
    path.write_text(f'before\n{begin}\nold\n{benchmark_mixers.END}\nafter\n')


def test_the_tool_prints_and_writes_the_table(tmp_path, capsys):
    page, file = tmp_path / 'page.md', tmp_path / 'out.json'
    page_with_markers(page)
    benchmark_mixers.main(
        f'deit --mixers cutmix mixpro smmix --batch 2 --repeats 2 --write {page} '
        f'--json {file}'.split()
    )
    printed, text = capsys.readouterr().out, page.read_text()
    assert text.startswith('before') and text.endswith('after\n') and 'old' not in text
    table = [line for line in text.splitlines() if line.startswith('|')]
    assert all(line in printed for line in table)
    assert len(table) == 5 and len({line.count('|') for line in table}) == 1
    cutmix, mixpro, smmix = ([c.strip() for c in x.split('|')[1:-1]] for x in table[2:])
    ratio = r'\d+\.\d\d \(\d+\.\d\d-\d+\.\d\d\)'
    assert (
        cutmix[:4] == ['CutMix', '0', '0', '1.00 (1.00-1.00)'] and cutmix[6] == '1.00'
    )
    assert all(re.fullmatch(ratio, cell) for cell in cutmix[3:6])
    assert mixpro[3:5] == ['·', '·'] and re.fullmatch(ratio, mixpro[5])
    assert smmix[1] == '1' and smmix[5] == '·'
    samples = json.loads(file.read_text())['networks']['deit']
    assert all(len(row['seconds']) == 2 for row in samples.values())
    # The second classifier: 1000 classes from 32 channels, and their biases.
    assert samples['smmix plain']['parameters'] == 1000 * 33
    # What a median is of, by hand.
    seconds, plain = (samples[k]['seconds'] for k in ('smmix plain', 'cutmix plain'))
    ratios = [a / b for a, b in zip(seconds, plain)]
    assert samples['smmix plain']['median'] == pytest.approx(sum(ratios) / 2)
    assert samples['smmix plain']['range'] == pytest.approx(sorted(ratios))


@pytest.mark.parametrize(
    'given, said',
    [
        ('no-net', "network 'no-net' is not known; choose from deit-tiny"),
        (
            'deit --mixers cutmx',
            "mixer 'cutmx' is not known; choose from cutmix, mixup",
        ),
        ('deit --batch 0', '--batch 0: takes 1 or more'),
    ],
)
def test_what_is_wrong_is_said(given, said, capsys):
    with pytest.raises(SystemExit) as error:
        benchmark_mixers.main(given.split())
    assert said in f'{error.value} {capsys.readouterr().err}'


def test_a_page_without_markers_is_refused_before_anything_is_measured(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('nothing')
    with pytest.raises(SystemExit, match='lacks the lines'):
        benchmark_mixers.main(['deit', '--write', str(page)])
