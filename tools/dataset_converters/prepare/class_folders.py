"""Images in a folder for each class, which the host numbers in sorted order."""

from collections import Counter

from tools.dataset_converters.prepare.findings import Findings
from tools.dataset_converters.prepare.pictures import check_files, list_files


def check_class_folders(
    look: Findings, split: str, images: int, classes: int
) -> set[str]:
    """Rows for the classes, images and files of ``<root>/<split>/<class>/*``.

    Args:
        look (Findings): Where the rows go.
        split (str): The folder.
        images (int): Published number.
        classes (int): Published number.

    Returns:
        set[str]: The classes found.
    """
    if not look.there(split):
        return set()
    folder = look.root / split
    names = {entry.name for entry in folder.iterdir() if entry.is_dir()}
    look.count(
        f'{split}: classes',
        len(names),
        classes,
        f'a folder too many or too few shifts the labels; see {folder}'
        if len(names) > classes
        else '',
    )
    files = list_files(folder)
    look.count(f'{split}: images', len(files), images)
    counts = Counter(name.split('/')[0] for name in files)
    empty = sorted(name for name in names if not counts[name])
    look.faults(f'{split}: classes without an image', empty, len(names))
    stray = sorted(name for name in files if '/' not in name)
    look.faults(
        f'{split}: images in no class', stray, len(files), 'put them into class folders'
    )
    check_files(look, split, files, folder)
    return names
