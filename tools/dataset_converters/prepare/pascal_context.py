"""Pascal Context in the layout of VOC2010, prepared as mmseg's converter does."""

from tools.dataset_converters.prepare.data_set import DataSet
from tools.dataset_converters.prepare.pictures import check_files, check_pairs

CONVERT = (
    "made from the page's trainval_merged.json by mmseg's "
    'tools/dataset_converters/pascal_context.py'
)


def check(look, facts):
    """The lists, their images and masks, ids 0 (background) to 59."""
    for split in ('train', 'val'):
        file = f'ImageSets/SegmentationContext/{split}.txt'
        if not look.there(file, CONVERT):
            continue
        names = (look.root / file).read_text().split()
        look.count(f'{split}: names in the list', len(names), facts[split])
        images = {n: look.root / f'JPEGImages/{n}.jpg' for n in names}
        masks = {n: look.root / f'SegmentationClassContext/{n}.png' for n in names}
        lost = [n for n in names if not images[n].exists()]
        look.faults(f'{split}: images not there', lost, len(names), 'unpack VOC2010')
        lost = [n for n in names if not masks[n].exists()]
        look.faults(f'{split}: masks not there', lost, len(names), CONVERT)
        images = {n: path for n, path in images.items() if path.exists()}
        masks = {n: path for n, path in masks.items() if n in images and path.exists()}
        sizes = {path.name: path.stat().st_size for path in images.values()}
        check_files(look, split, sizes, look.root / 'JPEGImages')
        both = {n: images[n] for n in masks}
        check_pairs(look, split, both, masks, range(facts['ids']))


PASCAL_CONTEXT = DataSet(
    title='Pascal Context (59 classes and background)',
    root='data/VOCdevkit/VOC2010',
    source='images: http://host.robots.ox.ac.uk/pascal/VOC/voc2010/ '
    '(VOCtrainval_03-May-2010.tar); annotations: '
    f'https://cs.stanford.edu/~roozbeh/pascal-context/; the masks are {CONVERT}',
    facts=dict(train=4998, val=5105, ids=60),
    check=check,
)
