"""The recipes of this package in mmpretrain's model hub."""

from pathlib import Path

from mmtlalign.errors import InputError

# Folders with models that mmpretrain does not build, or with demonstrations.
NOT_IN_THE_HUB = {'detection', 'quickstart', 'segmentation', 'small'}


def register_models() -> None:
    """Let `mmpretrain.list_models` and `mmpretrain.get_model` find our classifiers.

    Reads the model index of the wheel, or of the checkout that this package is in. A
    second call changes nothing. There are no released weights: `pretrained` takes a
    file of yours.

    Raises:
        InputError: If neither has a model index.
    """
    from mmpretrain.apis.model import ModelHub  # only those who ask need mmpretrain

    package = Path(__file__).resolve().parent
    for root in (package / '.mim', package.parent):
        if (root / 'model-index.yml').is_file():
            break
    else:
        raise InputError(
            f'There is no model-index.yml in {package / ".mim"} nor in '
            f'{package.parent}: install the wheel, or use a checkout.'
        )
    for path in sorted((root / 'configs').glob('*/metafile.yml')):
        if path.parent.name in NOT_IN_THE_HUB:
            continue
        some = next(path.parent.glob('*.py')).stem
        if not ModelHub.has(some):
            ModelHub.register_model_index(path, config_prefix=root)
