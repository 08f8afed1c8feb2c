"""Write the digits of the quickstart in the layouts that the tasks read.

::

    ROOT/stamp.json                       what wrote this, and how much of it
    ROOT/digits/{train,val}/<digit>/      class folders, as ImageNet's
    ROOT/anywhere/{train,val}/<digit>/    the same for features without labels
    ROOT/ade/{images,annotations}/{training,validation}/       as ADE20K's
    ROOT/coco/annotations/instances_{train,val}2017.json       as COCO's
    ROOT/coco/{train,val}2017/

Under ``digits`` each image has one digit at a random place on textured paper, with 60
training images of each class. Under ``anywhere`` it is white on black, and each digit
has one image for training or two for validation. The same canvases are annotated twice,
as label maps and as instances. Digits of the validation split are on validation images
only.

Run ``python tools/demo/quickstart_data.py ROOT``.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from PIL import Image

from tools.demo.digits import (
    Canvas,
    load_digits,
    paint_canvas,
    paint_digit,
    place_digit,
)

CLASSES = tuple('zero one two three four five six seven eight nine'.split())
SEG_CLASSES = ('paper', *CLASSES)

SEED = 0
# Images under `anywhere`: their side, and the digit's side.
ANYWHERE = dict(size=32, side=18)
# Number of images under `anywhere` of each digit.
PLACES = {'train': 1, 'val': 2}
# Digits per class under `digits`. Few, because the benefit of labels that follow the
# tokens shows with few images.
PER_CLASS = {'train': 60, 'val': 1000}
SPLITS = {'train': 'training', 'val': 'validation'}


def write_quickstart(
    root: str | Path,
    train: int = 60,
    val: int = 96,
    digit_size: int = 48,
    canvas_size: int = 96,
    seed: int = SEED,
) -> bool:
    """Write all images under one folder, unless they are already there.

    They are written beside the folder and moved into place at the end, so a run that is
    stopped half-way leaves nothing that looks finished.

    Args:
        root: Folder.
        train: Number of training canvases.
        val: Number of validation canvases.
        digit_size: Side of the classification images in pixels.
        canvas_size: Side of the canvases in pixels.
        seed: Seed of papers, inks and places.

    Returns:
        Whether anything had to be written.

    Raises:
        FileExistsError: The folder exists and was not written by this function.
    """
    import PIL
    import sklearn

    root = Path(root)
    # Images are made anew if this code has changed.
    here = Path(__file__).parent
    code = [here / name for name in ('quickstart_data.py', 'digits.py')]
    stamp = dict(
        code=hashlib.sha256(b''.join(file.read_bytes() for file in code)).hexdigest(),
        source='sklearn.datasets.load_digits',
        seed=seed,
        canvases=dict(train=train, val=val),
        sizes=dict(digit=digit_size, canvas=canvas_size),
        libraries=dict(
            numpy=np.__version__, pillow=PIL.__version__, sklearn=sklearn.__version__
        ),
    )
    if root.exists() and any(root.iterdir()):
        old = root / 'stamp.json'
        if not old.is_file():
            raise FileExistsError(
                f'{root} contains files that are not of the quickstart (no '
                'stamp.json): move them or name another folder'
            )
        if json.loads(old.read_text()) == stamp:
            return False
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix='.unfinished-') as tmp:
        fresh = Path(tmp) / 'data'
        for split, count in stamp['canvases'].items():
            digits = load_digits(split)
            _write_digits(fresh / 'digits', split, digits, digit_size, seed)
            _write_anywhere(fresh / 'anywhere', split, digits, seed, **ANYWHERE)
            _write_canvases(fresh, split, digits, count, canvas_size, seed)
        (fresh / 'stamp.json').write_text(json.dumps(stamp, indent=2) + '\n')
        if root.exists():
            shutil.move(root, Path(tmp) / 'old')
        os.replace(fresh, root)
    return True


def label_map(canvas: Canvas) -> np.ndarray:
    """Return the label map of a canvas, as ADE20K labels pixels.

    ADE20K keeps 0 for pixels without a class, and ``reduce_zero_label=True``
    turns 0 into "ignore" and shifts the others down by one. Here 0 is the
    half-inked rim of a stroke, 1 the paper, 2 to 11 the digits 0 to 9.

    Args:
        canvas: Canvas of (H, W) pixels.

    Returns:
        Label map (H, W), uint8.
    """
    labels = np.ones(canvas.unlabelled.shape, np.uint8)
    labels[canvas.unlabelled] = 0
    for mask, digit in zip(canvas.masks, canvas.labels, strict=True):
        labels[mask] = digit + 2
    return labels


def run_lengths(mask: np.ndarray) -> dict:
    """Return a mask in COCO's uncompressed run-length encoding.

    Runs go down the columns and begin with the zeros.

    Args:
        mask: Mask (H, W), bool.

    Returns:
        ``size`` ``[H, W]`` and ``counts``, a list of lengths.
    """
    flat = mask.flatten(order='F')
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    return dict(size=list(mask.shape), counts=[0, *counts] if flat[0] else counts)


def _write_digits(root, split, digits, size, seed):
    first = np.concatenate(
        [np.flatnonzero(digits.labels == d)[: PER_CLASS[split]] for d in range(10)]
    )
    for index, place, path in _single_digits(root, split, digits):
        if index in first:
            rng = np.random.default_rng([seed, 0, digits.ids[index], place])
            image = paint_digit(digits, index, size, rng)
            Image.fromarray(image).save(path)


def _write_anywhere(root, split, digits, seed, size, side):
    for index, place, path in _single_digits(root, split, digits):
        # 3: canvases draw from 1 and 2.
        rng = np.random.default_rng([seed, 3, digits.ids[index], place])
        image = place_digit(digits, index, size, side, rng)
        Image.fromarray(image).save(path)


def _single_digits(root, split, digits):
    """Make the class folders, and yield index, place and file of every image."""
    for label in range(10):
        (root / split / str(label)).mkdir(parents=True)
    for index, (label, row) in enumerate(zip(digits.labels, digits.ids, strict=True)):
        for place in range(PLACES[split]):
            yield index, place, root / split / str(label) / f'{row:04d}_{place}.png'


def _write_canvases(root, split, digits, count, size, seed):
    images = root / 'ade/images' / SPLITS[split]
    maps = root / 'ade/annotations' / SPLITS[split]
    photos = root / f'coco/{split}2017'
    for folder in (images, maps, photos, root / 'coco/annotations'):
        folder.mkdir(parents=True, exist_ok=True)
    records, instances = [], []
    for index in range(count):
        rng = np.random.default_rng([seed, 1 + (split == 'val'), index])
        canvas = paint_canvas(digits, size, rng)
        name = f'{split}_{index:05d}'
        Image.fromarray(canvas.image).save(images / f'{name}.jpg', quality=92)
        shutil.copyfile(images / f'{name}.jpg', photos / f'{name}.jpg')
        Image.fromarray(label_map(canvas)).save(maps / f'{name}.png')
        records.append(dict(id=index, file_name=f'{name}.jpg', height=size, width=size))
        instances += _instances(canvas, index, len(instances))
    content = dict(
        info=dict(description='handwritten digits of scikit-learn on painted paper'),
        images=records,
        annotations=instances,
        categories=[dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)],
    )
    path = root / f'coco/annotations/instances_{split}2017.json'
    path.write_text(json.dumps(content))


def _instances(canvas, image_id, first):
    """Return COCO records of the digits; ids count from 1, boxes are x, y, w, h."""
    records = []
    for mask, digit, row in zip(canvas.masks, canvas.labels, canvas.ids, strict=True):
        ys, xs = np.nonzero(mask)
        x, y = int(xs.min()), int(ys.min())
        records.append(
            dict(
                id=first + len(records) + 1,
                image_id=image_id,
                category_id=int(digit) + 1,
                bbox=[x, y, int(xs.max()) - x + 1, int(ys.max()) - y + 1],
                area=int(mask.sum()),
                iscrowd=0,
                segmentation=run_lengths(mask),
                digit_row=int(row),
            )
        )
    return records


def main() -> None:
    """Write the images and print where they are."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('root', help='folder to write to')
    parser.add_argument('--train', type=int, default=60, help='training canvases')
    parser.add_argument('--val', type=int, default=96, help='validation canvases')
    args = parser.parse_args()
    # An exit, unlike the signal itself, removes unfinished files.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        written = write_quickstart(args.root, args.train, args.val)
    except FileExistsError as error:
        sys.exit(f'error: {error}')
    print(f'{"wrote" if written else "already there:"} {args.root}')


if __name__ == '__main__':
    main()
