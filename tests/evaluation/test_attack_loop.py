"""`mmtlalign.AttackLoop` attacks as the rules do, whatever the batch size."""

import pickle

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, TRANSFORMS, init_default_scope
from mmpretrain.models import VisionTransformer
from tiny_run import run_tool, train_to_end, write_config, write_images

from mmtlalign.evaluation.attacks import Protocol, run_protocol
from mmtlalign.evaluation.draws import generators
from mmtlalign.evaluation.pixel_model import PixelModel

LOOP = "test_cfg = dict(type='mmtlalign.AttackLoop', {})\n"


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Folder of a run, and of the data."""
    root = tmp_path_factory.mktemp('attack')
    data = write_images(root / 'data')
    with pytest.MonkeyPatch.context() as patch:
        text = 'train_cfg = dict(by_epoch=True, max_epochs=4)\n'
        assert train_to_end(patch, root, data, text=text) is None
    return root


@pytest.fixture
def attack(monkeypatch, tmp_path, run):
    """Scores of the attacked pictures, or the message the test ends with."""

    def scores(options, batch_size=16, more=''):
        text = LOOP.format(options) + f"test_dataloader['batch_size'] = {batch_size}\n"
        config = write_config(tmp_path, run / 'data', text + more)
        out = tmp_path / 'out.pkl'
        args = (config, run / 'work/epoch_4.pth', '--out', out)
        try:
            run_tool(monkeypatch, 'test', *args, '--work-dir', tmp_path / 'work')
        except SystemExit as stop:
            return str(stop.code)
        return torch.stack(
            [one['pred_score'] for one in pickle.loads(out.read_bytes())]
        )

    return scores


def by_the_rules(run, tmp_path, protocol, more):
    """Scores of the attacked pictures without mmengine's loop."""
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(write_config(tmp_path, run / 'data', more))
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    file = torch.load(run / 'work/epoch_4.pth', weights_only=False)
    model.load_state_dict(file['state_dict'])
    files = sorted((run / 'data/val').rglob('*.png'))
    images = np.stack([cv2.imread(str(f))[..., ::-1] for f in files]) / 255
    images = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    labels = torch.tensor([int(f.parent.name[-1]) for f in files])
    pixels = PixelModel.of(model)
    random = generators(3, 'attack start', range(len(files)))
    attacked = run_protocol(pixels, images, labels, protocol, random)
    assert (attacked - images).abs().max() <= protocol.epsilon + 1e-6
    with torch.no_grad():
        return pixels(images).softmax(1), pixels(attacked).softmax(1), labels


PROTOCOLS = {
    'fgsm': ('epsilon=0.03', Protocol(0.03)),
    'pgd': (
        'epsilon=0.03, step=0.01, steps=4, seed=3',
        Protocol(0.03, 0.01, 4, random_start=True),
    ),
    'plain start': (
        'epsilon=0.03, steps=2, random_start=False',
        Protocol(0.03, 0.015, 2),
    ),
}


@pytest.mark.parametrize('name', PROTOCOLS)
@pytest.mark.parametrize('to_rgb', [False, True])
def test_attacks_are_those_of_the_rules(attack, run, tmp_path, name, to_rgb):
    options, protocol = PROTOCOLS[name]
    more = f"data_preprocessor['to_rgb'] = {to_rgb}\n"
    clean, expected, labels = by_the_rules(run, tmp_path, protocol, more)
    found = attack(options, more=more)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    worse = found.gather(1, labels[:, None]) < clean.gather(1, labels[:, None])
    assert worse.all()


def test_batches_do_not_matter(attack):
    options = "protocol='openmixup-pgd'"
    whole = attack(options)
    for size in (1, 5):
        torch.testing.assert_close(attack(options, size), whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    'options, message',
    [
        ('', 'protocol=None, epsilon=None; give epsilon, such as 1 / 255'),
        ("protocol='pgd'", "protocol='pgd', epsilon=None; give epsilon"),
        ("protocol='rvt-pgd', epsilon=0.1", "protocol='rvt-pgd', epsilon=0.1; give"),
        ('epsilon=4', 'epsilon=4 in pixels of [0, 1] allows any image: divide by 255'),
        ('epsilon=0.1, steps=2, step=-1', 'step=-1: give a number greater than 0'),
    ],
)
def test_wrong_settings(attack, options, message):
    assert message in attack(options)


@MODELS.register_module()
class RoundingViT(VisionTransformer):
    """A network whose gradient does not reach the pixels."""

    def forward(self, x):
        return super().forward((x * 8).round() / 8)


def test_a_model_whose_gradient_is_masked_is_told(attack):
    more = "model['backbone']['type'] = 'mmengine.RoundingViT'\n"
    assert 'The gradient is masked: it is 0 for all' in attack(
        'epsilon=0.03', more=more
    )


@TRANSFORMS.register_module()
class TwoLabels:
    """A step that gives each image two labels."""

    def __call__(self, results):
        return dict(results, gt_label=[0, 1])


def test_an_image_with_several_labels_is_named(attack):
    step = "dict(type='mmengine.TwoLabels')"
    more = f"test_dataloader['dataset']['pipeline'].insert(1, {step})\n"
    found = attack('epsilon=0.03', more=more)
    assert '.png has 2 labels' in found and 'use a single-label data set' in found


@pytest.mark.parametrize(
    'pack, message',
    [
        ("meta_keys=('img_path',)", 'draws random starts by sample_idx, which the'),
        ("input_key='img'", ''),
    ],
)
def test_a_random_start_needs_the_index(attack, pack, message):
    step = f"dict(type='PackInputs', {pack})"
    more = f"test_dataloader['dataset']['pipeline'][1] = {step}\n"
    found = attack('epsilon=0.03, steps=1', more=more)
    assert message in found if message else torch.is_tensor(found)
