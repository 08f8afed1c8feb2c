"""Images in one folder, their masks under the same names in another."""

from collections.abc import Iterable
from pathlib import Path

from tools.dataset_converters.prepare.findings import Findings
from tools.dataset_converters.prepare.pictures import (
    check_files,
    check_pairs,
    list_files,
)


def check_mask_folders(
    look: Findings, split: str, images: str, masks: str, count: int, ids: range
) -> Iterable[str]:
    """Rows for both folders of a split.

    Args:
        look (Findings): Where the rows go.
        split (str): Its name.
        images (str): Folder below the root.
        masks (str): Folder below the root.
        count (int): Published number of images.
        ids (range): The ids that may stand in a mask.

    Returns:
        Iterable[str]: The names of the images.
    """
    image_folder, mask_folder = look.root / images, look.root / masks
    found, labelled = list_files(image_folder), list_files(mask_folder, ['.png'])
    look.count(f'{split}: images', len(found), count)
    look.count(f'{split}: masks', len(labelled), count)
    if found:
        check_files(look, split, found, image_folder)
    if found and labelled:
        pairs = by_stem(image_folder, found), by_stem(mask_folder, labelled)
        check_pairs(look, split, *pairs, ids)
    return found


def by_stem(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """Name without suffix -> path."""
    return {name.rsplit('.', 1)[0]: folder / name for name in names}
