"""Check that label maps fit the images, the classes and the tokens.

For pipelines with ``LoadLabelMap``, errors before the first step are:

* a step that moves an image without its map, or steps in the wrong order; without this
  check the run would silently learn labels of other places;
* maps, the steps that read them, and heads with different numbers of classes;
* a store for other names of classes than the data set's, or for another order;
* maps pooled to another grid than that of the tokens they label;
* images without a map where none may be missing, or no image with a map.

Maps that no step or head uses are a warning, and so are steps of torchvision or of the
user that may move an image.
"""

from collections.abc import Iterator
from logging import Logger

import numpy as np
from mmcv.transforms import BaseTransform
from torch import nn
from torch.utils.data import Dataset

from mmtlalign.compat.image_files import read_header
from mmtlalign.compat.wrappers import STOCK, flat_steps, is_a, walk_datasets
from mmtlalign.errors import InputError, some_of
from mmtlalign.tracing.trace import token_grid
from mmtlalign.validation.classes import Heads, own_lists

# Steps of the hosts that crop an image or move its content, and what to write instead.
MOVING = dict(
    RandomFlip='FlipWithMap',
    RandAugment='RandAugmentWithMap',
    RandomResizedCrop='RandomResizedCropWithMap',
) | dict.fromkeys(
    (
        *('Albumentations', 'AutoAugment', 'CenterCrop', 'EfficientNetCenterCrop'),
        *('EfficientNetRandomCrop', 'MAERandomResizedCrop', 'Pad', 'RandomCrop'),
        *('RandomTranslatePad', 'Rotate', 'Shear', 'Translate'),
    )
)
# Steps after which one label for the whole crop is still right.
MILD = ('AutoAugment', 'RandAugment', 'RandomFlip', 'Rotate', 'Shear', 'Translate')
# Steps of torchvision that leave the content of an image in its place.
STILL = {
    *('ColorJitter', 'ConvertImageDtype', 'GaussianBlur', 'Grayscale', 'Normalize'),
    *('PILToTensor', 'RandomAdjustSharpness', 'RandomAutocontrast', 'RandomEqualize'),
    *('RandomErasing', 'RandomGrayscale', 'RandomInvert', 'RandomPosterize'),
    *('RandomSolarize', 'Resize', 'ToPILImage', 'ToTensor'),
}
CROP = 'RandomResizedCropWithMap'
POLICIES = {
    'skip': 'other images are drawn in their place',
    'hard label': 'their hard label is used in every cell',
}
# Number of images whose headers are read.
HEADERS = 200
MAKER = 'tools/dataset_converters/make_label_maps.py'


def check_label_maps(
    model: nn.Module, heads: Heads, dataset: Dataset, name: str, logger: Logger
) -> None:
    """Check every pipeline that loads label maps.

    Raises:
        InputError: Images have no map and none may be missing, no image has one,
            files of a store are missing or cut off, classes or numbers of tokens
            differ, or a step moves an image without its map.
    """
    for one in walk_datasets(dataset):
        steps = list(flat_steps(getattr(one, 'pipeline', None)))
        load = next((step for step in steps if is_a(step, 'LoadLabelMap')), None)
        if load is None:
            continue
        check_order(steps, name)
        check_counts(load, steps, heads, name)
        check_names(load, one, name)
        check_grid(model, steps, name)
        doubts = *find_unused(steps, heads, name), *find_unknown(steps, name)
        for line in (*doubts, *check_images(load, one, name)):
            logger.warning(line)


def check_order(steps: list[BaseTransform], name: str) -> None:
    """Check that no step moves an image without its map, else raise InputError."""
    pooled = max((i for i, s in enumerate(steps) if is_a(s, 'PoolLabelMap')), default=0)
    named = max((i for i, s in enumerate(steps) if is_a(s, 'ReLabel')), default=0)
    for place, step in enumerate(steps):
        kind = type(step).__name__
        mild = is_a(step, *MILD)
        if kind in MOVING and not (mild and not pooled and 0 < named < place):
            remedy = 'remove it from the pipeline'
            if MOVING[kind]:
                remedy = f'use mmtlalign.{MOVING[kind]} after LoadLabelMap'
            raise InputError(
                f'{name}: {kind} transforms an image without its label map; {remedy}'
            )
        late = pooled if mild else max(pooled, named)
        if kind.endswith('WithMap') and 0 < late < place:
            raise InputError(
                f'{name}: {kind} comes after {type(steps[late]).__name__}, which has '
                'already made labels of the untransformed image; swap the two'
            )


def check_counts(
    load: BaseTransform, steps: list[BaseTransform], heads: Heads, name: str
) -> None:
    """Check that maps, their readers and the heads have the same number of classes.

    Raises:
        InputError: The numbers differ.
    """
    counts = {
        f'{type(step).__name__} of its pipeline': step.num_classes
        for step in steps
        if is_a(step, 'PoolLabelMap', 'ReLabel')
    }
    counts |= {f'model.{path}': head.num_classes for path, head in heads}
    for owner, count in counts.items():
        if count != load.num_classes:
            raise InputError(
                f'{name}: LoadLabelMap gives maps of {load.num_classes} classes, but '
                f'{owner} has num_classes={count}. Set both to the number of classes '
                "of the data set; where the annotator's are more or in another order, "
                'select them with class_ids of LoadLabelMap'
            )


def check_names(load: BaseTransform, dataset: Dataset, name: str) -> None:
    """Check that a store is for the classes of the data set, else raise InputError."""
    lists = list(own_lists(dataset).values())
    if lists and not any(map(load.fits_classes, lists)):
        raise InputError(
            f'{name}: the label maps in {load.maps.root} were made for classes of '
            'other names, or in another order, than those of the data set '
            f'({some_of(lists[0])}). Set class_ids of LoadLabelMap: the number of the '
            "annotator's class for each class of the data set"
        )


def check_grid(model: nn.Module, steps: list[BaseTransform], name: str) -> None:
    """Check that maps are pooled to the grid of the tokens, else raise InputError."""
    if not getattr(getattr(model, 'head', None), 'dense', False):
        return
    sized = [step for step in steps if hasattr(step, 'scale')]
    scales = {tuple(step.scale) for step in sized if is_a(step, CROP)}
    if len(scales) != 1 or not is_a(sized[-1], CROP):
        return  # not known before the first batch, where it is checked
    try:
        grid = token_grid(model.backbone, *scales)
    except TypeError:
        return  # a backbone of the user's own
    for step in steps:
        if is_a(step, 'PoolLabelMap') and step.size != tuple(grid):
            high, wide = scales.pop()
            raise InputError(
                f'{name}: PoolLabelMap has size={step.size}, but '
                f'{type(model.backbone).__name__} makes {grid[0]}x{grid[1]} tokens of '
                f'crops of {high}x{wide} pixels. Set size={tuple(grid)}'
            )


def find_unused(steps: list[BaseTransform], heads: Heads, name: str) -> Iterator[str]:
    """Iterate over warnings about maps that are loaded or pooled but not used."""
    if not any(is_a(step, 'PoolLabelMap', 'ReLabel') for step in steps):
        yield (
            f'{name}: LoadLabelMap loads label maps, but neither PoolLabelMap nor '
            'ReLabel reads them'
        )
    pools = any(is_a(step, 'PoolLabelMap') for step in steps)
    if pools and not any(hasattr(head, 'maps') for _, head in heads):
        yield (
            f'{name}: PoolLabelMap makes labels of tokens, but no head of the model is '
            'known to read them (mmtlalign.TokenLabelClsHead does); for one soft label '
            'per image use mmtlalign.ReLabel'
        )


def find_unknown(steps: list[BaseTransform], name: str) -> Iterator[str]:
    """Iterate over warnings about steps that may move an image without its map."""
    for step in steps:
        # mmpretrain wraps the transforms of torchvision.
        step = getattr(step, 't', step)
        kind, package = type(step).__name__, type(step).__module__.partition('.')[0]
        if package not in STOCK and (package != 'torchvision' or kind not in STILL):
            yield (
                f'{name}: if {package}.{kind} moves the content of an image, its label '
                'map does not follow and labels other places; then remove this step'
            )


def check_images(load: BaseTransform, dataset: Dataset, name: str) -> list[str]:
    """Check that the images of a data set have maps.

    Returns:
        Warnings about images without a map, if the pipeline allows them, and about
        images with an EXIF mark.

    Raises:
        InputError: Images have no map and the pipeline does not allow it, or no image
            has one.
    """
    if not hasattr(dataset, 'get_data_info'):
        return []  # a stream
    numbers = range(len(dataset))
    names = [load.name(dataset.get_data_info(i)['img_path']) for i in numbers]
    missing, looked_up = load.maps.missing_maps(names)
    lines = find_marks(dataset, name)
    if not missing:
        return lines
    sampled = f' looked up, of {len(names)},' if looked_up < len(names) else ''
    fault = (
        f'{name}: {len(missing)} of {looked_up} images{sampled} have no label map in '
        f'{load.maps.root} (such as {", ".join(missing[:3])})'
    )
    if len(missing) == looked_up:
        raise InputError(
            f'{fault}: none has. Correct root and image_root of LoadLabelMap, or make '
            f'maps with {MAKER}'
        )
    if load.missing == 'error':
        raise InputError(
            f"{fault}. Make maps with {MAKER}, or choose missing='skip' or "
            "missing='hard label' in LoadLabelMap"
        )
    return [f'{fault}; {POLICIES[load.missing]} (missing={load.missing!r})', *lines]


def find_marks(dataset: Dataset, name: str) -> list[str]:
    """Return a warning if training turns images by an EXIF mark, else [].

    Maps of the official code, and of early versions of this package, were made of
    images as they are stored, which the files do not record.
    """
    numbers = np.unique(np.linspace(0, len(dataset) - 1, HEADERS).astype(int))
    paths = [dataset.get_data_info(int(number))['img_path'] for number in numbers]
    marked = [p for p in paths if (header := read_header(p)) and header.mark != 1]
    if not marked:
        return []
    return [
        f'{name}: {len(marked)} of {len(paths)} checked images have an EXIF '
        f'orientation, by which training rotates them (such as {marked[0]}). Label '
        'maps of an early version or of other code fit the unrotated images: '
        f'make them again with {MAKER}'
    ]
