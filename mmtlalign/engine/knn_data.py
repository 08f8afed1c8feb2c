"""Known images and images to classify: what a config says of them, or folders."""

from mmengine.config import Config
from mmengine.config.config import ConfigDict

from mmtlalign.engine.errors import InputError

__all__ = ['check_classes', 'knn_hook_of', 'knn_loaders']


def knn_hook_of(cfg: Config) -> dict:
    """Settings of the config's KNNHook; empty without one."""
    for hook in cfg.get('custom_hooks') or []:
        if str(hook.get('type')).endswith('KNNHook'):
            return hook
    return {}


def knn_loaders(
    cfg: Config, bank: str | None = None, queries: str | None = None
) -> dict[str, dict]:
    """Data loaders of the bank and the queries.

    Those of the config's KNNHook; of a config without it the images it trains on and
    those it is validated on, both through the pipeline of the validation.

    Args:
        cfg: Of mmpretrain.
        bank: A folder instead, with one folder of images for each class.
        queries: The same.

    Returns:
        dict: Settings by name, ``bank`` and ``queries``.

    Raises:
        InputError: The config has neither.
    """
    found = knn_hook_of(cfg)
    if not found:
        known, asked = cfg.get('train_dataloader'), cfg.get('val_dataloader')
        if not known or not asked:
            raise InputError(
                f'{cfg.filename} has no KNNHook, and not both train_dataloader and '
                'val_dataloader: images of known classes are needed twice. Name a '
                'config that has them.'
            )
        pipeline = innermost(asked['dataset'])['pipeline']
        plain = dict(innermost(known['dataset']), pipeline=pipeline)
        found = dict(bank=dict(asked, dataset=plain), queries=asked)
    loaders = {}
    for name, folder in (('bank', bank), ('queries', queries)):
        settings = dict(found[name])
        if folder is not None:
            pipeline = innermost(settings['dataset'])['pipeline']
            settings['dataset'] = dict(
                type='CustomDataset', data_root=folder, pipeline=pipeline
            )
        # Each image once, in order.
        settings['sampler'] = dict(type='DefaultSampler', shuffle=False)
        settings['drop_last'] = False
        loaders[name] = ConfigDict(settings)
    return loaders


def innermost(dataset: dict) -> dict:
    """The data set inside wrappers such as ``RepeatDataset``."""
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    return dataset


def check_classes(bank, queries) -> None:
    """Make sure that two data sets number the same classes.

    Raises:
        InputError: Their class names differ, in kind or in order.
    """
    known, asked = (
        list(getattr(data, 'metainfo', {}).get('classes') or ())
        for data in (bank, queries)
    )
    if not known or not asked or known == asked:
        return
    for mine, other, name in ((known, asked, 'bank'), (asked, known, 'queries')):
        only = [c for c in mine if c not in other]
        if only:
            what = f'only the {name} have {", ".join(map(str, only[:5]))}'
            break
    else:
        what = 'their order differs'
    raise InputError(
        f'The bank has {len(known)} classes and the queries {len(asked)}, and they are '
        f'not the same: {what}. Give both the same folders of classes.'
    )
