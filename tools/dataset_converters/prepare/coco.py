"""COCO 2017: train2017/, val2017/, annotations/instances_{train,val}2017.json."""

import json

from PIL import Image

from tools.dataset_converters.prepare.archives import check_room, unpack, unpacked_size
from tools.dataset_converters.prepare.data_set import DataSet
from tools.dataset_converters.prepare.pictures import check_files, chosen, list_files

ARCHIVES = ('train2017.zip', 'val2017.zip', 'annotations_trainval2017.zip')


def check(look, facts):
    """Images, annotations, and that each speaks of the other."""
    for split in ('train2017', 'val2017'):
        file = f'annotations/instances_{split}.json'
        files = list_files(look.root / split)
        look.count(f'{split}: images', len(files), facts[split])
        if files:
            check_files(look, split, files, look.root / split)
        if look.there(file, 'unpack annotations_trainval2017.zip'):
            check_json(look, split, look.root / file, files, facts)


def check_json(look, split, path, files, facts):
    """Rows for one annotation file."""
    again = 'unpack annotations_trainval2017.zip again'
    try:
        content = json.loads(path.read_bytes())
        images = {image['id']: image for image in content['images']}
        instances, kinds = content['annotations'], content['categories']
    except (ValueError, KeyError, TypeError) as error:
        fault = f'{path.name} ({type(error).__name__}: {error})'
        look.faults(f'{split}: json', [fault], 1, again)
        return
    look.count(f'{split}: images in the json', len(images), facts[split])
    look.count(f'{split}: instances', len(instances), facts[f'{split} instances'])
    look.count(f'{split}: categories', len(kinds), facts['categories'])
    missing = [i['file_name'] for i in images.values() if i['file_name'] not in files]
    look.faults(
        f'{split}: listed but not there',
        missing,
        len(images),
        f'unpack {split}.zip again',
    )
    ids = {kind['id'] for kind in kinds}
    lost = [f'instance {i["id"]}' for i in instances if i['image_id'] not in images]
    look.faults(f'{split}: instances of no image', lost, len(instances), again)
    lost = [f'instance {i["id"]}' for i in instances if i['category_id'] not in ids]
    look.faults(f'{split}: instances of no category', lost, len(instances), again)
    lost = [f'instance {i["id"]}' for i in instances if not i.get('segmentation')]
    look.faults(f'{split}: instances without a mask', lost, len(instances), again)
    there = [image for image in images.values() if files.get(image['file_name'])]
    there = chosen(there, look.full)
    wrong = [i['file_name'] for i in there if differs(look.root / split, i)]
    look.faults(
        f'{split}: size is not the json’s', wrong, len(there), 'unpack the images again'
    )


def differs(folder, image) -> bool:
    """Whether a file has another size than its record; False if unreadable."""
    try:
        with Image.open(folder / image['file_name']) as picture:
            return picture.size != (image['width'], image['height'])
    except OSError:
        return False  # told as unreadable


def build(part, archives, facts):
    """Three zips side by side."""
    found = archives.find(*ARCHIVES)
    check_room(part, sum(map(unpacked_size, found)))
    for archive in found:
        unpack(archive, part, str)


COCO = DataSet(
    title='COCO 2017 (detection and instance segmentation)',
    root='data/coco',
    source='https://cocodataset.org/#download (2017 Train images, 2017 Val images, '
    '2017 Train/Val annotations)',
    facts={
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
