"""Detection and instance segmentation: COCO 2017."""

import json
from pathlib import Path

from mmtlalign.compat.image_files import read_header
from tools.dataset_converters.prepare.archives import (
    Archives,
    check_free_space,
    unpack,
    unpacked_size,
)
from tools.dataset_converters.prepare.check_report import CheckReport
from tools.dataset_converters.prepare.data_set import DataSet
from tools.dataset_converters.prepare.images import check_files, list_files, sample

ARCHIVES = ('train2017.zip', 'val2017.zip', 'annotations_trainval2017.zip')


def check(report: CheckReport, published: dict) -> None:
    """Check images and annotations, and that they match."""
    for split in ('train2017', 'val2017'):
        file = f'annotations/instances_{split}.json'
        files = list_files(report.root / split)
        report.count(f'{split}: images', len(files), published[split])
        if files:
            check_files(report, split, files, report.root / split)
        if report.exists(file, 'unpack annotations_trainval2017.zip'):
            check_json(report, split, report.root / file, files, published)


def check_json(
    report: CheckReport, split: str, path: Path, files: dict[str, int], published: dict
) -> None:
    """Check one annotation file with its images (name to bytes), and report."""
    again = 'unpack annotations_trainval2017.zip again'
    try:
        content = json.loads(path.read_bytes())
        images = {image['id']: image for image in content['images']}
        instances, kinds = content['annotations'], content['categories']
    except (ValueError, KeyError, TypeError) as error:
        fault = f'{path.name} ({type(error).__name__}: {error})'
        report.faults(f'{split}: json', [fault], 1, again)
        return
    report.count(f'{split}: images in the json', len(images), published[split])
    report.count(f'{split}: instances', len(instances), published[f'{split} instances'])
    report.count(f'{split}: categories', len(kinds), published['categories'])
    missing = [i['file_name'] for i in images.values() if i['file_name'] not in files]
    report.faults(
        f'{split}: listed but not there',
        missing,
        len(images),
        f'unpack {split}.zip again',
    )
    ids = {kind['id'] for kind in kinds}
    lost = [f'instance {i["id"]}' for i in instances if i['image_id'] not in images]
    report.faults(f'{split}: instances of no image', lost, len(instances), again)
    lost = [f'instance {i["id"]}' for i in instances if i['category_id'] not in ids]
    report.faults(f'{split}: instances of no category', lost, len(instances), again)
    lost = [f'instance {i["id"]}' for i in instances if not i.get('segmentation')]
    report.faults(f'{split}: instances without a mask', lost, len(instances), again)
    there = [image for image in images.values() if files.get(image['file_name'])]
    there = sample(there, report.full)
    wrong = [i['file_name'] for i in there if size_differs(report.root / split, i)]
    report.faults(
        f'{split}: size is not the json’s', wrong, len(there), 'unpack the images again'
    )


def size_differs(folder: Path, image: dict) -> bool:
    """Return whether a picture as read has another size than its record says."""
    header = read_header(str(folder / image['file_name']))
    # Unreadable ones are reported as such.
    return header is not None and header.read_size != (image['width'], image['height'])


def build(folder: Path, archives: Archives, published: dict) -> None:
    """Unpack three zips side by side."""
    found = archives.find(*ARCHIVES)
    check_free_space(folder, sum(map(unpacked_size, found)))
    for archive in found:
        unpack(archive, folder, str)


COCO = DataSet(
    title='COCO 2017 (detection and instance segmentation)',
    root='data/coco',
    source='https://cocodataset.org/#download (2017 Train images, 2017 Val images, '
    '2017 Train/Val annotations)',
    published={
        'train2017': 118287,
        'val2017': 5000,
        'train2017 instances': 860001,
        'val2017 instances': 36781,
        'categories': 80,
    },
    check=check,
    build=build,
    archives=', '.join(ARCHIVES),
)
