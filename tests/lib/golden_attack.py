"""Golden numbers of FGSM, PGD and AutoAttack on a tiny smooth network."""

import re

import numpy as np
import torch
from golden_files import close

from mmtlalign.evaluation.attacks import fgsm, loss_gradient, pgd
from mmtlalign.evaluation.auto_attack import auto_attack
from mmtlalign.evaluation.pixel_model import PixelModel


class Tiny(torch.nn.Module):
    """The network of the README: a convolution, tanh, pooling, a linear layer."""

    def __init__(self, golden):
        super().__init__()
        width, channels = golden['weight/conv.weight'].shape[:2]
        self.conv = torch.nn.Conv2d(channels, width, 3, stride=2, padding=1)
        self.fc = torch.nn.Linear(4 * width, len(golden['weight/fc.bias']))
        self.double().load_state_dict(
            {
                key.removeprefix('weight/'): torch.from_numpy(golden[key])
                for key in golden.files
                if key.startswith('weight/')
            }
        )

    def forward(self, inputs):
        features = self.conv(inputs).tanh()
        pooled = torch.nn.functional.adaptive_avg_pool2d(features, 2)
        return self.fc(pooled.flatten(1))


class Setting:
    """A file's network, images and labels."""

    def __init__(self, path, dtype=torch.float64):
        self.golden = np.load(path, allow_pickle=False)
        mean, std = (255 * self.golden[key] for key in ('mean', 'std'))
        self.model = PixelModel(Tiny(self.golden).to(dtype), mean, std)
        self.images = torch.from_numpy(self.golden['image_0_1']).to(dtype)
        self.labels = torch.from_numpy(self.golden['label'])

    def correct(self, images):
        return self.model(images).argmax(1) == self.labels

    def keys(self, pattern):
        found = [(k, re.fullmatch(pattern, k)) for k in self.golden.files]
        found = [(k, *match.groups()) for k, match in found if match]
        assert found, pattern
        return found


def check_attack(path):
    setting = Setting(path)
    golden, model = setting.golden, setting.model
    images, labels = setting.images, setting.labels
    gradient, _, scores = loss_gradient(model, images, labels)
    close(scores, golden['logits_clean'], 1e-6)
    close(gradient / len(images), golden['grad_loss_mean_wrt_image'], 1e-6)
    for key, epsilon in setting.keys(r'fgsm/eps(.+)/adversarial'):
        attacked = fgsm(model, images, labels, float(epsilon) / 255)
        close(attacked, golden[key], 1e-9)
        close(model(attacked), golden[key.replace('adversarial', 'logits')], 1e-6)
        right = golden[key.replace('adversarial', 'correct')]
        close(setting.correct(attacked), right, 0)
    pattern = r'pgd/eps(.+)_alpha(.+)_steps(\d+)/adversarial'
    for key, epsilon, step, steps in setting.keys(pattern):
        size = float(epsilon) / 255, float(step) / 255, int(steps)
        attacked = pgd(model, images, labels, *size)
        close(attacked, golden[key], 1e-9)
        close(setting.correct(attacked), golden[f'{key[:-11]}correct'], 0)
        losses = loss_gradient(model, attacked, labels)[1]
        close(losses.mean(), golden[f'{key[:-11]}loss_mean'], 1e-6)
        start = torch.from_numpy(golden[f'{key[:-11]}start_delta'])
        attacked = pgd(model, images, labels, *size, start)
        close(attacked, golden[f'{key}_from_start'], 1e-9)
    for key, epsilon in setting.keys(r'rvt_fgsm_eps(.+)/adversarial'):
        attacked = fgsm(model, images, labels, float(epsilon) / 255)
        close(attacked, golden[key], 1e-9)
    check_single_precision(path)


def check_single_precision(path):
    """In float32 a sign may flip where the gradient is tiny."""
    setting = Setting(path, torch.float32)
    golden = setting.golden
    gradient = np.abs(golden['grad_loss_mean_wrt_image'])
    clear = torch.from_numpy(gradient > 1e-5 * gradient.max())
    for key, epsilon in setting.keys(r'fgsm/eps(.+)/adversarial'):
        size = float(epsilon) / 255
        attacked = fgsm(setting.model, setting.images, setting.labels, size)
        expected = torch.from_numpy(golden[key])
        close(attacked[clear], expected[clear], 1e-6)


def check_auto_attack(path, seed):
    """By the package pyautoattack, in float32."""
    setting = Setting(path, torch.float32)
    for key, epsilon in setting.keys(r'autoattack_standard/eps(.+)/correct'):
        size = float(epsilon) / 255
        found = auto_attack(setting.model, setting.images, setting.labels, size, seed)
        close(found.robust, setting.golden[key], 0)
        share = setting.golden[key.replace('correct', 'robust_accuracy')]
        close(found.robust.double().mean(), share, 1e-12)
        assert (found.images - setting.images).abs().max() <= size + 1e-6
        assert 0 <= found.images.min() and found.images.max() <= 1
