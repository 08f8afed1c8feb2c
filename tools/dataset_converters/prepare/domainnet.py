"""DomainNet: <set>/train/<class>/ and <set>/val/<class>/ by the official lists."""

from pathlib import Path

from mmtlalign.errors import InputError
from tools.dataset_converters.prepare.archives import check_room, unpack, unpacked_size
from tools.dataset_converters.prepare.class_folders import check_class_folders
from tools.dataset_converters.prepare.data_set import DataSet


def check(look, facts):
    """Every set that is there; all six unless a part is fine."""
    there = [name for name in facts['sets'] if (look.root / name).is_dir()]
    look.count('sets', len(there), len(facts['sets']))
    for name in there:
        train, val = facts['sets'][name]
        check_class_folders(look, f'{name}/train', train, facts['classes'])
        check_class_folders(look, f'{name}/val', val, facts['classes'])


def build(part, archives, facts):
    """The zips that are there, each sorted by its two lists."""
    names = [n for n in facts['sets'] if (archives.folder / f'{n}.zip').exists()]
    if not names:
        archives.find(*(f'{name}.zip' for name in facts['sets']))
    found = {
        name: archives.find(f'{name}.zip', f'{name}_train.txt', f'{name}_test.txt')
        for name in names
    }
    check_room(part, sum(unpacked_size(zipped) for zipped, *_ in found.values()))
    for name, (zipped, *lists) in found.items():
        splits = {}
        for split, path in zip(('train', 'val'), lists):
            lines = path.read_text().split('\n')
            splits |= {line.rsplit(' ', 1)[0]: split for line in lines if line}
        count = unpack(zipped, part, lambda path, s=splits, n=name: place(path, s, n))
        if count != len(splits):
            raise InputError(
                f'{zipped} holds {count} of the {len(splits)} images in its lists; '
                'take the archive and the lists of the same version'
            )


def place(path: str, splits: dict, name: str) -> str | None:
    """clipart/bee/x.jpg -> clipart/train/bee/x.jpg; None if no list has it."""
    if path not in splits:
        return None
    return f'{name}/{splits[path]}/{Path(path).parent.name}/{Path(path).name}'


DOMAINNET = DataSet(
    title='DomainNet (cleaned version, 345 classes)',
    root='data/domainnet',
    source='http://ai.bu.edu/M3SDA/ (cleaned version: the zips and the lists of the '
    'sets that you need)',
    facts=dict(
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
