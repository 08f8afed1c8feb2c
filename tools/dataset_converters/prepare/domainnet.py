"""Domain adaptation: DomainNet, split by its official lists."""

from functools import partial
from pathlib import Path

from mmtlalign.errors import InputError
from tools.dataset_converters.prepare.archives import (
    Archives,
    check_free_space,
    unpack,
    unpacked_size,
)
from tools.dataset_converters.prepare.check_report import CheckReport
from tools.dataset_converters.prepare.data_set import DataSet
from tools.dataset_converters.prepare.images import check_class_folders


def check(report: CheckReport, published: dict) -> None:
    """Check every set that exists, or all six unless a part is enough."""
    there = [name for name in published['sets'] if (report.root / name).is_dir()]
    report.count('sets', len(there), len(published['sets']))
    for name in there:
        train, val = published['sets'][name]
        check_class_folders(report, f'{name}/train', train, published['classes'])
        check_class_folders(report, f'{name}/val', val, published['classes'])


def build(folder: Path, archives: Archives, published: dict) -> None:
    """Unpack the existing zips, with each split by its two lists."""
    names = [n for n in published['sets'] if (archives.folder / f'{n}.zip').exists()]
    if not names:
        archives.find(*(f'{name}.zip' for name in published['sets']))
    found = {
        name: archives.find(f'{name}.zip', f'{name}_train.txt', f'{name}_test.txt')
        for name in names
    }
    check_free_space(
        folder, sum(unpacked_size(zipped) for zipped, *_ in found.values())
    )
    for name, (zipped, *lists) in found.items():
        splits = {}
        for split, path in zip(('train', 'val'), lists):
            lines = path.read_text().split('\n')
            splits |= {line.rsplit(' ', 1)[0]: split for line in lines if line}
        count = unpack(zipped, folder, partial(place, splits=splits, name=name))
        if count != len(splits):
            raise InputError(
                f'{zipped} holds {count} of the {len(splits)} images in its lists; '
                'take the archive and the lists of the same version'
            )


def place(path: str, splits: dict[str, str], name: str) -> str | None:
    """Turn clipart/bee/x.jpg into clipart/train/bee/x.jpg; None if no list has it."""
    if path not in splits:
        return None
    return f'{name}/{splits[path]}/{Path(path).parent.name}/{Path(path).name}'


DOMAINNET = DataSet(
    title='DomainNet (cleaned version, 345 classes)',
    root='data/domainnet',
    source='http://ai.bu.edu/M3SDA/ (cleaned version: the zips and the lists of the '
    'sets that you need)',
    published=dict(
        classes=345,
        sets=dict(
            clipart=(33525, 14604),
            infograph=(36023, 15582),
            painting=(50416, 21850),
            quickdraw=(120750, 51750),
            real=(120906, 52041),
            sketch=(48212, 20916),
        ),
    ),
    check=check,
    build=build,
    archives='<set>.zip, <set>_train.txt and <set>_test.txt for each set',
)
