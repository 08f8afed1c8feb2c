"""Pictures, and weights of annotators."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    """Seven pictures, not square, in two class folders."""
    root, rng = tmp_path_factory.mktemp('pictures'), np.random.default_rng(0)
    for number in range(7):
        file = root / f'class{number % 2}' / f'{number}.png'
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 56, 3), np.uint8)).save(file)
    return root


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A function that writes random weights of a timm model."""
    folder = tmp_path_factory.mktemp('weights')

    def write(name):
        file = folder / f'{name}.pth'
        if not file.exists():
            torch.manual_seed(0)
            torch.save(timm.create_model(name).state_dict(), file)
        return str(file)

    return write
