"""tools/analysis_tools/knn.py: features of any checkpoint, random weights, pixels."""

import json

import pytest
import torch
from esvit_parts import model_settings
from knn_parts import by_hand
from mmengine.dataset import default_collate
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from tiny_run import run_tool, train_to_end, write_config, write_images
from torch.utils._python_dispatch import TorchDispatchMode

from mmtlalign.methods import knn
from mmtlalign.validation.config import load_config

ESVIT = """
del val_dataloader, test_dataloader, val_evaluator, test_evaluator
del val_cfg, test_cfg, train_cfg, train_dataloader
model = {model}
data_preprocessor = dict(
    type='SelfSupDataPreprocessor', mean=[127.0] * 3, std=[64.0] * 3)
loader = dict(
    batch_size=5,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
custom_hooks = [
    dict(
        type='mmtlalign.KNNHook',
        bank=dict(loader, dataset=dict(data_prefix='train', **dataset)),
        queries=dict(loader, dataset=dict(data_prefix='val', **dataset)),
        ks=(1, 7),
    )
]
"""


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('data'))


@pytest.fixture(scope='module')
def esvit(data, tmp_path_factory):
    """Config and checkpoint of an EsViT whose teacher is not its student."""
    folder = tmp_path_factory.mktemp('esvit')
    config = write_config(folder, data, ESVIT.format(model=model_settings()))
    init_default_scope('mmpretrain')
    cfg = load_config(str(config))
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    for param in model.parameters():
        torch.nn.init.normal_(param, std=0.3)
    path = folder / 'epoch_1.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return config, path, model


@pytest.fixture
def measure(monkeypatch, tmp_path):
    """Run the tool and return its record, or the error it ends with."""

    def run(*args):
        file = tmp_path / 'knn.json'
        try:
            run_tool(monkeypatch, 'analysis_tools/knn', *args, '--json', file)
        except SystemExit as stop:
            return str(stop.code)
        return json.loads(file.read_text())

    return run


def expected(model, config, network, k):
    """Top-1 by a loop over all images, from features taken one batch at a time."""
    (hook,) = load_config(str(config)).custom_hooks
    sets = [Runner.build_dataloader(hook[name]).dataset for name in ('bank', 'queries')]
    features, labels = [], []
    for images in sets:
        batch = default_collate([images[i] for i in range(len(images))])
        labels.append(torch.tensor([int(s.gt_label) for s in batch['data_samples']]))
        pixels = model.data_preprocessor(batch)['inputs']
        pixels = pixels[0] if isinstance(pixels, list) else pixels
        model.eval()
        with torch.no_grad():
            features.append(model.extract_feat(pixels, network=network))
    best = by_hand(features[1], features[0], labels[0], k, 2, 0.2)
    return 100 * (best == labels[1]).double().mean().item()


@pytest.mark.parametrize('network', ['teacher', 'student'])
def test_accuracies_are_those_of_the_network(esvit, measure, network):
    config, path, model = esvit
    record = measure(
        config, path, '--weights', network, '--ks', 3, 9, '--temperature', 0.2
    )
    assert f'of the {network} from' in record['weights']
    assert (record['bank'], record['queries']) == (32, 16)
    for k in (3, 9):
        wanted = expected(model, config, network, k)
        assert record['top1'][str(k)] == pytest.approx(wanted)


def test_teacher_is_the_default_and_the_hook_says_ks(esvit, measure):
    record = measure(*esvit[:2])
    assert 'of the teacher' in record['weights']
    assert list(record['top1']) == ['1', '7'] and record['temperature'] == 0.07


def test_pixels_and_random_weights(esvit, measure, data):
    config = esvit[0]
    pixels = measure(config, '--features', 'pixels')
    assert pixels['weights'] == 'pixels'
    # Two colours are far apart.
    assert pixels['top1']['7'] == 100
    first, again = (measure(config, '--seed', 3) for _ in range(2))
    assert first == again and first['weights'] == 'random weights, seed 3'


def test_checkpoint_of_a_classification(monkeypatch, tmp_path, data, measure):
    assert train_to_end(monkeypatch, tmp_path, data) is None
    (config,) = tmp_path.glob('tiny_*.py')
    path = tmp_path / 'work' / 'epoch_2.pth'
    # Bank: what it trains on; queries: what it is validated on.
    record = measure(config, path, '--ks', 5)
    assert (record['bank'], record['queries']) == (32, 16)
    assert 0 <= record['top1']['5'] <= 100
    found = measure(config, path, '--features', 'blocks', '--ks', 2)
    assert 'blocks=4' in found and 'has 2' in found
    record = measure(config, path, '--ks', 2, '--bank', data / 'val')
    assert record['bank'] == record['queries'] == 16
    # Each image is its own nearest neighbour.
    assert measure(config, path, '--ks', 1, '--bank', data / 'val')['top1'] == {
        '1': 100
    }
    assert 'holds raw weights only, not teacher' in measure(
        config, path, '--weights', 'teacher'
    )
    assert 'another size' in measure(
        config, path, '--cfg-options', 'model.backbone.arch.embed_dims=8'
    )
    assert 'does not exist' in measure(config, tmp_path / 'none.pth')
    assert 'name a checkpoint' in measure(config, '--weights', 'raw')


class Largest(TorchDispatchMode):
    """Numbers in the largest tensor that is made."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if torch.is_tensor(tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return out


@pytest.mark.parametrize('count', [10, 1000])
def test_memory_does_not_grow_with_the_queries(monkeypatch, count):
    monkeypatch.setattr(knn, 'CHUNK', 4000)
    bank, labels = torch.randn(400, 2), torch.randint(0, 3, (400,))
    with Largest() as largest:
        knn.top_classes(torch.randn(count, 2), bank, labels, (5,), 3)
    # All similarities would be 400,000 numbers.
    assert largest.numbers == 4000


def test_bank_too_small_and_other_classes(esvit, measure, data, tmp_path):
    assert 'k=33 needs a bank' in measure(*esvit[:2], '--ks', 33)
    other = write_images(tmp_path / 'other') / 'val'
    (other / 'class1').rename(other / 'horse')
    found = measure(*esvit[:2], '--queries', other)
    assert 'the bank have class1' in found and 'same folders' in found
