"""ADE20K scene parsing: images/ and annotations/, {training,validation}."""

from tools.dataset_converters.prepare.archives import check_room, unpack, unpacked_size
from tools.dataset_converters.prepare.data_set import DataSet
from tools.dataset_converters.prepare.mask_folders import check_mask_folders

ARCHIVE = 'ADEChallengeData2016.zip'


def check(look, facts):
    """Images, their masks, ids 0 (void) to 150."""
    for split in ('training', 'validation'):
        folders = f'images/{split}', f'annotations/{split}'
        check_mask_folders(look, split, *folders, facts[split], range(facts['ids']))


def build(part, archives, facts):
    """One zip; its top folder is the data folder."""
    (archive,) = archives.find(ARCHIVE)
    check_room(part, unpacked_size(archive))
    unpack(archive, part, lambda name: name.partition('/')[2] or None)


ADE20K = DataSet(
    title='ADE20K scene parsing (150 classes)',
    root='data/ade/ADEChallengeData2016',
    source='http://sceneparsing.csail.mit.edu (MIT Scene Parsing Benchmark, '
    '"Data: train/val")',
    facts=dict(training=20210, validation=2000, ids=151),
    check=check,
    build=build,
    archives=ARCHIVE,
)
