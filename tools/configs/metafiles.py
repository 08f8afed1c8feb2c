"""`metafile.yml` of every folder of configs/, and `model-index.yml`, which lists them.

The format is OpenMMLab's, so that `mim` and mmpretrain's model hub can read it. A model
has results only if we measured it.
"""

import contextlib
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import torch
import yaml
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmtlalign.evaluation.cost import count, image_size
from tools.configs.headers import read_header

NOTE = '# Made by tools/configs/generate.py from the recipes and their headers.\n'
ARXIV = 'https://arxiv.org/abs/'
# Folder -> name, and the paper behind it.
COLLECTIONS = {
    'tlalign': (
        'TL-Align',
        'Token-Label Alignment for Vision Transformers',
        '2210.06455',
    ),
    'transmix': (
        'TransMix',
        'TransMix: Attend to Mix for Vision Transformers',
        '2111.09833',
    ),
    'cutmix': (
        'CutMix control',
        'CutMix: Regularization Strategy to Train Strong Classifiers with Localizable '
        'Features',
        '1905.04899',
    ),
    'mixers': ('Mixers', None, None),
    'ablations': ('Ablations', None, None),
    'token_labeling': (
        'Token Labeling',
        'All Tokens Matter: Token Labeling for Training Better Vision Transformers',
        '2104.10858',
    ),
    'relabel': (
        'ReLabel',
        'Re-labeling ImageNet: from Single to Multi-Labels, from Global to Localized '
        'Labels',
        '2101.05022',
    ),
    'esvit': (
        'EsViT',
        'Efficient Self-supervised Vision Transformers for Representation Learning',
        '2106.09785',
    ),
    'dhvt': (
        'DHVT',
        'Bridging the Gap Between Vision Transformers and Convolutional Neural '
        'Networks on Small Datasets',
        '2210.05958',
    ),
    'pvt': (
        'PVT',
        'Pyramid Vision Transformer: A Versatile Backbone for Dense Prediction without '
        'Convolutions',
        '2102.12122',
    ),
    'caswin': (
        'CA-Swin',
        'TransMix: Attend to Mix for Vision Transformers',
        '2111.09833',
    ),
    'transfer': ('Transfer', None, None),
    'segmentation': ('Segmentation', None, None),
    'detection': ('Detection', None, None),
    'evaluation': ('Evaluation', None, None),
    'quickstart': ('Quickstart', None, None),
    'small': ('Small', None, None),
}
# End of a recipe's name -> its data set.
DATA = {
    'ade20k': 'ADE20K',
    'camvid': 'CamVid',
    'cifar10': 'CIFAR-10',
    'cifar100': 'CIFAR-100',
    'coco': 'COCO 2017',
    'coco-persons': 'COCO 2017, 200 pictures with persons',
    'digits': 'handwritten digits of scikit-learn',
    'domainnet': 'DomainNet',
    'flowers102': 'Flowers-102',
    'imagenet-a': 'ImageNet-A',
    'imagenet-c': 'ImageNet-C',
    'imagenet-o': 'ImageNet-O',
    'imagenette': 'Imagenette',
    'in1k': 'ImageNet-1k',
    'pascal-context': 'Pascal Context',
    'pascal-context59': 'Pascal Context, 59 classes',
    'stanford-cars': 'Stanford Cars',
}
TASKS = {
    'mmpretrain': 'Image Classification',
    'mmseg': 'Semantic Segmentation',
    'mmdet': 'Instance Segmentation',
}
METRICS = {
    'k-NN top-1': 'k-NN Top 1 Accuracy',
    'top-1': 'Top 1 Accuracy',
    'mIoU': 'mIoU',
    'box AP': 'box AP',
    'box AP50': 'box AP50',
    'mask AP': 'mask AP',
    'mask AP50': 'mask AP50',
}


def metafiles(root: Path, count: bool) -> Iterator[tuple[Path, str]]:
    """Yield (path, text) of the index and of every metafile.

    Args:
        root: Folder of the repository.
        count: Whether to count parameters and multiply-accumulates anew, or to take
            those of the existing metafiles.
    """
    imports = [f'configs/{folder}/metafile.yml' for folder in COLLECTIONS]
    yield root / 'model-index.yml', NOTE + dump(dict(Import=imports))
    for folder in COLLECTIONS:
        path = root / 'configs' / folder / 'metafile.yml'
        known = {} if count else costs_in(path)
        models = [entry(p, root, known) for p in recipes_of(path.parent)]
        contents = dict(Collections=[collection(folder)], Models=models)
        yield path, NOTE + dump(contents)


def recipes_of(folder: Path) -> list[Path]:
    """Return the recipes of a folder, without their bases."""
    return sorted(p for p in folder.rglob('*.py') if '_base_' not in p.parts)


def dump(contents: dict) -> str:
    """Return YAML with keys in the given order."""
    return yaml.safe_dump(contents, sort_keys=False, allow_unicode=True, width=88)


def collection(folder: str) -> dict:
    """Return a folder's entry: its name, paper and page."""
    name, title, number = COLLECTIONS[folder]
    paper = dict(Paper=dict(Title=title, URL=ARXIV + number)) if title else {}
    return dict(Name=name, **paper, README=f'configs/{folder}/README.md')


def entry(path: Path, root: Path, known: dict[str, dict[str, int]]) -> dict:
    """Return a recipe's entry.

    Args:
        path: The recipe.
        root: Folder of the repository.
        known: Costs of models by name; those of other models are counted.
    """
    config, folder = Config.fromfile(path), path.relative_to(root / 'configs').parts[0]
    train = config.get('train_cfg') or {}  # recipes of evaluation have none
    length = {'Epochs': train.get('max_epochs'), 'Iterations': train.get('max_iters')}
    batch = config.get('auto_scale_lr', {}).get('base_batch_size')
    metadata = {
        'Training Data': data_of(path.stem) if train else None,
        **length,
        'Batch Size': batch,
        **(known.get(path.stem) or costs(config, folder)),
    }
    results = results_of(path, config.default_scope)
    return {
        'Name': path.stem,
        'Metadata': {key: value for key, value in metadata.items() if value},
        'In Collection': COLLECTIONS[folder][0],
        **(dict(Results=results) if results else {}),
        'Config': path.relative_to(root).as_posix(),
    }


def data_of(stem: str) -> str:
    """Return the data set that a name ends with: `…_in1k-384px` is ImageNet-1k."""
    return DATA[re.sub(r'-\d+(px|x\d+)$', '', stem.rpartition('_')[2])]


def results_of(path: Path, scope: str) -> list[dict]:
    """Return our results: the first number of each metric in the header."""
    measured = read_header(path).measured
    names = sorted(METRICS, key=len, reverse=True)
    found = re.findall(rf'({"|".join(names)}) (\d+\.\d)', measured)
    metrics = {}
    for name, value in found:
        metrics.setdefault(METRICS[name], float(value))
    if not metrics:
        return []
    return [dict(Task=TASKS[scope], Dataset=data_of(path.stem), Metrics=metrics)]


def costs_in(path: Path) -> dict[str, dict[str, int]]:
    """Return the costs in a metafile, as :func:`costs` returns them, by model name."""
    models = yaml.safe_load(path.read_text(encoding='utf-8'))['Models']
    names = ('Parameters', 'FLOPs', 'Image Size')
    return {
        model['Name']: {k: v for k, v in model['Metadata'].items() if k in names}
        for model in models
    }


# Costs that were counted in this process, by network.
_COUNTED: dict[str, dict[str, int]] = {}


def costs(config: Config, folder: str) -> dict[str, int]:
    """Count the parameters of a recipe's network and, for a classifier, its FLOPs.

    ``FLOPs`` are multiply-accumulates of one image, as OpenMMLab uses the word. For
    EsViT, both are those of its backbone.
    """
    init_default_scope(config.default_scope)
    model = config.model.backbone if folder == 'esvit' else config.model
    if folder != 'esvit' and 'data_preprocessor' in config:
        model.setdefault('data_preprocessor', config.data_preprocessor)
    if config.model.backbone.type == 'mmtlalign.TIMMBackbone':
        config.model.backbone.pretrained = False  # nothing is downloaded
    classifies = config.default_scope == 'mmpretrain'
    size = image_size(config) if classifies else None
    # train_cfg, the mixing, does not change the network, which many recipes share.
    kept = {key: value for key, value in model.to_dict().items() if key != 'train_cfg'}
    key = repr((config.default_scope, size, kept))
    if key not in _COUNTED:
        network = without_memory(model)
        if classifies:
            cost = count(network, size)
            found = {'Parameters': cost.parameters, 'FLOPs': cost.macs}
            _COUNTED[key] = {**found, 'Image Size': size}
        else:
            parameters = sum(p.numel() for p in network.parameters())
            _COUNTED[key] = dict(Parameters=parameters)
    return dict(_COUNTED[key])


def without_memory(model: dict) -> torch.nn.Module:
    """Build a network of full size without memory for its weights."""
    with meta_device():
        return MODELS.build(model)


@contextlib.contextmanager
def meta_device() -> Iterator[None]:
    """Make tensors without memory, except stochastic-depth rates, which are read."""
    linspace = functools.partial(torch.linspace, device='cpu')
    with torch.device('meta'), patch.object(torch, 'linspace', linspace):
        yield
