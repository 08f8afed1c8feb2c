"""Read MATLAB files the way mmpretrain does, so that a check means something."""

from tools.dataset_converters.prepare.findings import Findings


def read_mat(look: Findings, name: str, *keys: str):
    """The value under nested keys of a ``.mat`` file below the data folder.

    Args:
        look (Findings): Gets a row if the file is not as it should be.
        name (str): The file.
        *keys (str): One key inside the other.

    Returns:
        list: The value, a single one as a list; None if it cannot be read.
    """
    from mat4py import loadmat

    try:
        value = loadmat(str(look.root / name))
        for key in keys:
            value = value[key]
    except Exception as error:
        fault = f'{"/".join(keys)} cannot be read ({type(error).__name__}: {error})'
        look.faults(name, [fault], 1, 'download it again')
        return None
    return value if isinstance(value, list) else [value]
