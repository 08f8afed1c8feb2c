"""The recipes of this package in mmpretrain's model hub."""

from mmtlalign.compat.own_configs import own_root

# Folders with models that mmpretrain does not build, that are in another folder too, or
# that are demonstrations.
NOT_IN_THE_HUB = {'detection', 'evaluation', 'quickstart', 'segmentation', 'small'}


def register_models() -> None:
    """Let `mmpretrain.list_models` and `mmpretrain.get_model` find our classifiers.

    Reads the model index of the wheel, or of the checkout that this package is in. A
    second call changes nothing. There are no released weights: `pretrained` takes a
    file of yours.

    Raises:
        InputError: If neither has a model index.
    """
    from mmpretrain.apis.model import ModelHub  # only those who ask need mmpretrain

    root = own_root()
    for path in sorted((root / 'configs').glob('*/metafile.yml')):
        if path.parent.name in NOT_IN_THE_HUB:
            continue
        some = next(path.parent.glob('*.py')).stem
        if not ModelHub.has(some):
            ModelHub.register_model_index(path, config_prefix=root)
