"""The recipes of configs/transfer: every backbone to every data set by each optimiser.

There is one table for each choice; `python tools/configs/generate.py` writes a file for
each combination. Shared settings are in configs/transfer/_base_ and configs/_base_.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.configs.headers import MARK, Header


@dataclass(frozen=True)
class Backbone:
    """A pretrained network: its base, and the runs that pretrain it and its control."""

    title: str
    base: str
    run: str
    method: str = 'tlalign'
    control: str = 'cutmix'
    epochs: int = 300
    optimisers: tuple[str, ...] = ('adamw', 'sgd')

    def checkpoint(self, method: str) -> str:
        """Return the last file of a pretraining run."""
        name = f'{method}_{self.run}-coslr-{self.epochs}e_in1k'
        return f'work_dirs/{name}/epoch_{self.epochs}.pth'


@dataclass(frozen=True)
class Data:
    """A data set: its base, its classes, and the steps of a run on 8 GPUs."""

    title: str
    base: str
    classes: int
    steps: str
    confirmed: tuple[str, ...] = ()  # optimisers that the source used for it


@dataclass(frozen=True)
class Optimiser:
    """A recipe of DeiT's author: its source, and the data set of its values."""

    title: str
    source: str
    values_of: str
    drop_path: float


BACKBONES = {
    'deit-tiny-p16': Backbone('DeiT-T', 'deit_tiny', 'deit-tiny-p16_8xb128'),
    'deit-small-p16': Backbone('DeiT-S', 'deit_small', 'deit-small-p16_8xb128'),
    'deit-base-p16': Backbone('DeiT-B', 'deit_base', 'deit-base-p16_8xb128'),
    'swin-tiny-p4-w7': Backbone('Swin-T', 'swin_tiny', 'swin-tiny-p4-w7_16xb64'),
    'dhvt-small-p16': Backbone('DHVT-S', 'dhvt_small', 'dhvt-small-p16_2xb128'),
    'lvvit-small-p16': Backbone(
        'LV-ViT-S',
        'lvvit_small',
        'lvvit-small-p16_8xb128',
        method='token-label',
        control='mixtoken',
        epochs=310,
        optimisers=('adamw',),
    ),
}
DATA = {
    'cifar10-224px': Data(
        'CIFAR-10 at 224 px', 'cifar10_224px_transfer', 10, '65,000', ('adamw', 'sgd')
    ),
    'cifar100-224px': Data(
        'CIFAR-100 at 224 px', 'cifar100_224px_transfer', 100, '65,000', ('adamw',)
    ),
    'flowers102': Data('Flowers-102', 'flowers102_224', 102, '2,000'),
    'stanford-cars': Data(
        'Stanford Cars', 'stanford_cars_224', 196, '10,000', ('sgd',)
    ),
    'domainnet': Data('DomainNet', 'domainnet_224_transfer', 345, '43,000 on clipart'),
}
OPTIMISERS = dict(
    adamw=Optimiser('AdamW', 'facebookresearch/dino issue 81', 'CIFAR-10', 0.1),
    sgd=Optimiser('SGD', 'facebookresearch/deit issue 45', 'CIFAR-10 and Cars', 0.0),
)
PRETRAINED_BY = {'tlalign': 'TL-Align', 'token-label': 'token labels'}
BODY = """\
_base_ = [
    './_base_/{backbone.base}.py',
    '../_base_/datasets/{data.base}.py',
    '../_base_/schedules/{schedule}.py',
    './_base_/runtime.py',
]

{pretrained}
model = dict(backbone=dict(drop_path_rate={rate}), head=dict(num_classes={classes}))
"""


def transfer_recipes(configs: Path) -> Iterator[tuple[Path, str]]:
    """Yield (path, text) of every recipe."""
    for name, backbone in BACKBONES.items():
        for optimiser in backbone.optimisers:
            for data in DATA:
                stem = f'{name}_{backbone.method}-in1k-pre_{optimiser}-1000e_{data}'
                text = write(stem, backbone, optimiser, data)
                yield configs / 'transfer' / f'{stem}.py', text


def write(stem: str, backbone: Backbone, optimiser: str, data: str) -> str:
    """Return the text of the recipe of one combination."""
    # CIFAR-100 has its own learning rate.
    own_rate = (optimiser, data) == ('adamw', 'cifar100-224px')
    pretrained = f"pretrained = '{backbone.checkpoint(backbone.method)}'"
    if len(pretrained) > 88:
        pretrained = pretrained.replace("'", "(\n    '", 1) + '\n)'
    settings = BODY.format(
        backbone=backbone,
        data=DATA[data],
        classes=DATA[data].classes,
        rate=OPTIMISERS[optimiser].drop_path,
        pretrained=pretrained,
        schedule=f'transfer_{optimiser}_1000e' + ('_cifar100' if own_rate else ''),
    )
    return f'{MARK}\n{header(stem, backbone, optimiser, data).render()}{settings}'


def header(stem: str, backbone: Backbone, optimiser: str, data: str) -> Header:
    """Return the opening comment of one combination."""
    recipe, images = OPTIMISERS[optimiser], DATA[data]
    command = f'bash tools/dist_train.sh configs/transfer/{stem}.py 8 --amp'
    train, part = [f'  {command}'], ''
    if data == 'domainnet':
        part = '/$set'
        train = [
            '  for set in clipart painting sketch infograph real quickdraw; do',
            f'    {command} \\',
            f'        --work-dir work_dirs/{stem}{part} \\',
            '        --cfg-options data_root=data/domainnet/$set',
            '  done',
        ]
    source = recipe.source
    if optimiser in images.confirmed:
        taken_over = ''
        if data == 'cifar100-224px':
            source = 'facebookresearch/dino issue 144'
    else:
        taken_over = (
            f' Not confirmed for {images.title.partition(" at ")[0]}: these are the '
            f'values for {recipe.values_of}.'
        )
    maps = '' if backbone.method == 'tlalign' else ', without label maps'
    own = (
        ''
        if backbone.title.startswith('DeiT')
        else f'the use of this recipe for {backbone.title}, and '
    )
    return Header(
        title=f'{images.title}: fine-tuning with {recipe.title}{maps}, from the '
        f'{backbone.title} pretrained with {PRETRAINED_BY[backbone.method]} on '
        'ImageNet-1k.',
        run=[
            *train,
            '    (8 GPUs of 96 images; with another batch add --auto-scale-lr)',
            '  ... --cfg-options pretrained=FILE.pth    another backbone; None: random '
            'weights',
            'The matched control, which differs only in these weights:',
            f'  ... --work-dir work_dirs/control_{stem}{part} \\',
            f'      --cfg-options pretrained={backbone.checkpoint(backbone.control)}',
        ],
        expected='no published number that we could confirm.',
        measured='not yet.',
        cost=f'not measured by us; {images.steps.replace(" ", " steps ", 1)}'
        + ('.' if ' ' in images.steps else ' steps.'),
        source=f"DeiT's author ({source}); see the _base_ files.{taken_over}",
        ours=f'{own}the choice of initial weights.',
    )
