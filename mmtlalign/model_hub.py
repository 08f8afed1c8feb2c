"""The recipes of this package in mmpretrain's model hub."""

from mmtlalign.compat.own_configs import own_root

# Folders whose models mmpretrain cannot build, are listed in another folder as well, or
# are demonstrations.
NOT_IN_THE_HUB = {'detection', 'evaluation', 'quickstart', 'segmentation', 'small'}


def register_models() -> None:
    """Add our classifiers to `mmpretrain.list_models` and `mmpretrain.get_model`.

    The model index comes from the installed wheel or from the checkout that this
    package is in. A second call changes nothing. There are no released weights:
    `pretrained` takes the path of your own file.

    Raises:
        InputError: If neither has a model index.
    """
    from mmpretrain.apis.model import ModelHub  # mmpretrain is optional

    root = own_root()
    for path in sorted((root / 'configs').glob('*/metafile.yml')):
        if path.parent.name in NOT_IN_THE_HUB:
            continue
        some = next(path.parent.glob('*.py')).stem
        if not ModelHub.has(some):
            ModelHub.register_model_index(path, config_prefix=root)
