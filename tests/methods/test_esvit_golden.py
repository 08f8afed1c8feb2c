"""The golden checks of EsViT follow every setting of a file, and see a wrong number."""

import numpy as np
import pytest
from esvit_files import eval_arrays, save, schedule_arrays, swin_arrays
from golden_esvit import check_esvit_eval, check_esvit_schedule, check_esvit_swin

SCHEDULES = {
    'decay falls': dict(
        epochs=9, iters=7, warmup=3, lr=2.5e-3, min_lr=1e-5, decay=(0.3, 0.02),
        momentum=0.97, max_norm=0.5, depths=(1, 3), frozen=['head'], seed=1,
    ),
    'decay from 0, no warm-up': dict(
        epochs=4, iters=11, warmup=0, lr=7e-4, min_lr=1e-6, decay=(0.0, 0.4),
        momentum=0.9, max_norm=6.0, depths=(2, 1, 1), frozen=[], seed=2,
    ),
    'long': dict(
        epochs=50, iters=20, warmup=10, lr=5e-4, min_lr=2e-6, decay=(0.05, 0.05),
        momentum=0.9995, max_norm=3.0, depths=(1, 1, 2, 1),
        frozen=['head', 'head_dense'], seed=3,
    ),
}  # fmt: skip
EVALUATIONS = {
    'many ties': dict(
        classes=30, bank=80, queries=90, ks=[1, 2, 4], temperature=0.07, grid=5,
        cell=16, topk=4, images=2, heads=2, seed=1,
    ),
    'many neighbours': dict(
        classes=7, bank=300, queries=70, ks=[20, 200, 300], temperature=0.2, grid=6,
        cell=32, topk=20, images=3, heads=3, seed=2,
    ),
    'few classes': dict(
        classes=3, bank=40, queries=60, ks=[3, 40], temperature=0.03, grid=4, cell=8,
        topk=10, images=1, heads=1, seed=3,
    ),
}  # fmt: skip
# Crops are of the sizes of the local ones; 'wide' is as window 14 of 224 pixels.
SWINS = {
    'five local crops': dict(
        image=64, patch=4, dim=4, depths=[2, 2, 2], heads=[1, 2, 2], window=4, ratio=3,
        eps=1e-6, head=[9, 12, 5], batch=2, crops=[28] * 5, seed=1,
    ),
    'one local crop, wide': dict(
        image=64, patch=4, dim=6, depths=[2, 2, 1, 1], heads=[1, 2, 3, 4], window=8,
        ratio=2, eps=1e-3, head=[7, 10, 6], batch=1, crops=[40], seed=2,
    ),
    'no local crop': dict(
        image=24, patch=2, dim=8, depths=[1, 3], heads=[2, 4], window=3, ratio=1,
        eps=1e-5, head=[5, 6, 4], batch=3, crops=[], seed=3,
    ),
}  # fmt: skip
KINDS = {
    'schedule': (SCHEDULES, schedule_arrays, check_esvit_schedule),
    'eval': (EVALUATIONS, eval_arrays, check_esvit_eval),
    'swin': (SWINS, swin_arrays, check_esvit_swin),
}
CASES = [(kind, name) for kind, (cases, *_) in KINDS.items() for name in cases]


@pytest.fixture(scope='module')
def made():
    """Arrays of a case, made once."""
    arrays = {}

    def get(kind, name):
        if (kind, name) not in arrays:
            cases, make, _ = KINDS[kind]
            arrays[kind, name] = make(**cases[name])
        return dict(arrays[kind, name])

    return get


@pytest.mark.parametrize('kind, name', CASES)
def test_files_of_other_settings_pass(kind, name, made, tmp_path):
    KINDS[kind][2](save(tmp_path / 'file.npz', made(kind, name)))


def by(key, amount, index=...):
    """A change of one key."""

    def change(arrays):
        value = np.array(arrays[key])
        value[index] = value[index] + amount
        arrays[key] = value

    return pytest.param(change, id=f'{key}{"" if index is ... else index}')


WRONG = {
    ('schedule', 'decay falls'): [
        by('lr', 1e-8, 5),
        by('lr', -1e-8, -1),
        by('wd', 1e-5, 0),
        by('wd', 1e-5, 40),
        by('momentum', 1e-5, 30),
        by('base_lr', 1e-6),
        by('min_lr', 1e-6),
        by('wd_range', 1e-3, 0),
        by('wd_range', 1e-3, 1),
        by('momentum_base', 1e-3),
        by('warmup_epochs', 1),
        by('epochs', 1),
        by('iters_per_epoch', 1),
        by('param_group', 1, 0),
        by('param_group', -1, -1),
        by('clip/max_norm', 0.1),
        by('clip/after/a', 1e-4, (0, 0)),
        by('clip/returned_norms', 1e-4, 2),
    ],
    ('eval', 'many ties'): [
        by('knn/top1_top5', 100 / 90, (0, 0)),
        by('knn/top1_top5', -100 / 90, (1, 0)),
        by('knn/top1_top5', 100 / 90, (2, 0)),
        by('knn/top1_top5', -30, (0, 1)),
        by('knn/temperature', 1.0),
        by('knn/ks', 3),
        by('corr/acc_dist_sim', 0.25, (0, 0)),
        by('corr/acc_dist_sim', 0.01, (1, 1)),
        by('corr/acc_dist_sim', 1e-4, (1, 2)),
        by('corr/cell', 1),
        by('corr/topk', 1),
        by('entropy/value', 1e-4, 1),
    ],
    ('eval', 'many neighbours'): [
        by('knn/top1_top5', 100 / 70, (1, 1)),
        by('knn/top1_top5', -100 / 70, (2, 1)),
        by('knn/ks', -150, 1),
    ],
    ('swin', 'five local crops'): [
        by('out/cls', 1e-3, (-1, 0)),
        by('out/region', 1e-3, (-1, 0)),
        by('out/fea', 1e-4, (-1, 0)),
        by('out/npatch', 1, 1),
        by('global0/pooled', 1e-4, (0, 0)),
        by('local0/pooled', 1e-4, (1, 2)),
        by('global0/last4', 1e-4, (0, 0)),
        by('global0/last3', 1e-4, (0, 0)),
        by('global0/last_attn', 1e-4, (0, 0, 0, 0)),
        by('cfg/ln_eps', 1e-3),
        by('cfg/shift_per_block', -2, 3),
        by('in/crop6', 0.01),
    ],
}


@pytest.mark.parametrize(
    'case, change',
    [
        pytest.param(case, param.values[0], id=f'{case[0]}-{param.id}')
        for case, params in WRONG.items()
        for param in params
    ],
)
def test_a_wrong_number_fails(case, change, made, tmp_path):
    arrays = made(*case)
    change(arrays)
    with pytest.raises(AssertionError):
        KINDS[case[0]][2](save(tmp_path / 'file.npz', arrays))


def test_local_crops_differ_from_each_other(made):
    arrays = made('swin', 'five local crops')
    assert len(arrays['out/cls']) == 7 * 2
    assert not np.allclose(arrays['in/crop2'], arrays['in/crop6'])
