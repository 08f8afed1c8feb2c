"""A wrong config stops before the first step, with one line that names the key."""

import copy
import os
import random
from collections import Counter

import pytest
from every_config import plain, quick
from mmengine.runner import loops
from mmengine.visualization import Visualizer
from mutations import KINDS, Mutation, mutate
from repository import tool
from tiny_configs import tiny, write_all

from mmtlalign.validation.config import RUNNER_KEYS, SETTINGS

BASES = (
    'tlalign/tlalign_deit-small-p16_8xb128-coslr-300e_in1k.py',
    'transmix/transmix_pvt-small_8xb128-coslr-300e_in1k.py',
    'token_labeling/token-label_lvvit-small-p16_8xb128-coslr-310e_in1k.py',
    'esvit/esvit_swin-mini-p4-w4_digits-32px.py',
    'transfer/swin-tiny-p4-w7_tlalign-in1k-pre_adamw-1000e_flowers102.py',
    'segmentation/swin-tiny-p4-w7_tlalign-in1k-pre_upernet_1xb16-4k_camvid-360x360.py',
    'detection/mask-rcnn_swin-tiny-p4-w7_tlalign-pre_fpn_amp-ms-crop-1x_coco.py',
    'quickstart/cascade-mask-rcnn_swin-mini-p4-w3_fpn_digits-96x96.py',
)
_quick = pytest.fixture(autouse=True)(quick)


class FirstStepError(Exception):
    """The run got as far as its first step."""


@pytest.fixture(scope='module')
def bases(tmp_path_factory):
    data = write_all(tmp_path_factory.mktemp('data'))
    found = {}
    for name in BASES:
        settings = dict(plain(tiny(name, data)))
        # Without the variables of the recipe's own code.
        known = RUNNER_KEYS | SETTINGS
        found[name] = {key: settings[key] for key in settings if key in known}
    return found


def outcome(mutation, folder, monkeypatch):
    """How a run of a wrong config ends, in a word or two, and what it says."""
    config = folder / 'config.py'
    # Runs of one name, begun in the same second, would share their default scope.
    name = '_'.join(folder.parts[-2:])
    settings = dict(mutation.settings, experiment_name=name)
    lines = [f'{key} = {value!r}' for key, value in settings.items()]
    config.write_text('\n'.join(lines))

    def stop(loop, *given):
        raise FirstStepError

    for loop in (loops.EpochBasedTrainLoop, loops.IterBasedTrainLoop):
        monkeypatch.setattr(loop, 'run_iter', stop)
    monkeypatch.setattr(
        'sys.argv', ['train.py', str(config), '--work-dir', str(folder)]
    )
    for kind in (Visualizer, *Visualizer.__subclasses__()):
        kind._instance_dict.clear()
    try:
        tool('train').main()
    except SystemExit as end:
        said = str(end.code).strip()
        if '\n' in said:
            return 'several lines', said
        named = any(word in said for word in mutation.words)
        return ('named' if named else 'not named'), said
    except FirstStepError:
        return 'not noticed', ''
    except BaseException as error:
        return 'traceback', f'{type(error).__name__}: {error}'
    return 'not noticed', ''


def wrong_configs(bases, count, seed):
    draw = random.Random(seed)
    for number in range(count):
        name = BASES[number % len(BASES)]
        kind = KINDS[number // len(BASES) % len(KINDS)]
        yield name, mutate(bases[name], kind, draw)


def run_all(bases, count, seed, folder, monkeypatch):
    """Run wrong configs; returns counts by kind and outcome, and what is not right."""
    counts, faults = Counter(), []
    for number, (name, wrong) in enumerate(wrong_configs(bases, count, seed)):
        work = folder / str(number)
        work.mkdir()
        result, said = outcome(wrong, work, monkeypatch)
        counts[wrong.kind, result] += 1
        if result != 'named':
            faults.append(
                (result, wrong.kind, name, wrong.path, wrong.words, said[:300])
            )
    return counts, faults


def test_the_bases_are_right(bases, tmp_path, monkeypatch):
    for number, name in enumerate(BASES):
        (tmp_path / str(number)).mkdir()
        right = Mutation('', (), (), bases[name])
        assert outcome(right, tmp_path / str(number), monkeypatch) == (
            'not noticed',
            '',
        )


def judge(counts, faults):
    """None may end in a traceback, and nineteen of twenty are named.

    What is left are values of arguments that nobody declares a type for.
    """
    for fault in faults:
        print(*fault, sep=' | ')
    print(dict(counts))
    results = Counter()
    for (_, result), count in counts.items():
        results[result] += count
    assert not results['traceback'] + results['several lines']
    assert results['named'] >= 0.95 * sum(results.values())


def test_some_wrong_configs(bases, tmp_path, monkeypatch):
    judge(*run_all(bases, 32, 3, tmp_path, monkeypatch))


@pytest.mark.slow  # a start of a run each
def test_wrong_configs(bases, tmp_path, monkeypatch):
    count = int(os.environ.get('MMTLALIGN_WRONG_CONFIGS', 96))
    judge(*run_all(bases, count, 0, tmp_path, monkeypatch))


LOADER = [('collate_fn', 7), ('dataset', 'text'), ('drop_lat', True)]


@pytest.mark.parametrize('key, value', LOADER)
def test_a_loader_of_a_hook_is_explained(bases, tmp_path, monkeypatch, key, value):
    settings = copy.deepcopy(bases['esvit/esvit_swin-mini-p4-w4_digits-32px.py'])
    settings['custom_hooks'][2]['queries'][key] = value
    wrong = Mutation('wrong type', (), (key,), settings)
    assert outcome(wrong, tmp_path, monkeypatch)[0] == 'named'


def test_a_misspelt_type_of_the_collate_function_is_named(bases, tmp_path, monkeypatch):
    settings = copy.deepcopy(bases[BASES[0]])
    settings['val_dataloader']['collate_fn'] = dict(tyqpe='default_collate')
    wrong = Mutation('misspelt key', (), ('collate_fn.tyqpe',), settings)
    assert outcome(wrong, tmp_path, monkeypatch)[0] == 'named'
