"""The rules run where PyTorch and NumPy are all there is."""

import subprocess
import sys

from repository import ROOT

SCRIPT = """
import importlib.machinery, sys

HIDDEN = ('mmengine', 'mmcv', 'mmpretrain', 'mmdet', 'mmseg', 'timm', 'sklearn',
          'imagecorruptions', 'pyautoattack')

class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, *args, **kwargs):
        if name.partition('.')[0] in HIDDEN:
            return None
        return super().find_spec(name, *args, **kwargs)

sys.meta_path = [Finder if f is importlib.machinery.PathFinder else f
                 for f in sys.meta_path if 'editable' not in repr(f).lower()]

import torch
from mmtlalign.evaluation import (accuracy, attack_checks, attacks, auto_attack,
                                  calibration, corruptions, draws, occlusion,
                                  out_of_distribution, pixel_model)

network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 5))
model = pixel_model.PixelModel(network, [120] * 3, [60] * 3)
images, labels = torch.rand(2, 3, 8, 8), torch.tensor([1, 4])
random = draws.generators(0, 'pgd', range(2))
attacked = attacks.run_protocol(model, images, labels, 'rvt-pgd', random)
right = accuracy.correct_in_top(model(attacked), labels)
assert not set(HIDDEN) & {name.partition('.')[0] for name in sys.modules}
print(accuracy.accuracy(right).n)
"""


def test_rules_import_no_host():
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == '2', done.stderr
