"""Refuse label maps that do not fit the images, the classes or the tokens.

Refused before the first step, for pipelines with ``LoadLabelMap``:

* a step that moves an image without its map, or one in the wrong order: not an error
  of the host at all, the run would learn the labels of other places;
* maps, the steps that read them, and heads with different numbers of classes;
* maps pooled to another grid than that of the tokens they label;
* images without a map where none may be missing, or maps of other images altogether.

What is loaded or pooled for nobody is a warning.
"""

from collections.abc import Callable, Iterator
from logging import Logger

from mmcv.transforms import BaseTransform
from torch import nn
from torch.utils.data import Dataset

from mmtlalign.compat.wrappers import walk_datasets
from mmtlalign.errors import InputError
from mmtlalign.tracing.trace import token_grid
from mmtlalign.validation.classes import Heads

# Steps that hold others.
HOLDERS = ('Compose', 'RandomApply', 'RandomChoice')
# Steps of the hosts that show another part of an image, or show it elsewhere, and
# what to write instead.
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
# Those that leave a label of the whole crop as right as any label of an image.
MILD = ('AutoAugment', 'RandAugment', 'RandomFlip', 'Rotate', 'Shear', 'Translate')
CROP = 'RandomResizedCropWithMap'
POLICIES = {
    'skip': 'others are drawn in their place',
    'hard label': 'each has its label in every cell',
}
MAKER = 'tools/dataset_converters/make_label_maps.py'


def check_label_maps(
    model: nn.Module, heads: Heads, dataset: Dataset, name: str, logger: Logger
) -> None:
    """Check every pipeline that loads label maps.

    Args:
        model: Of any host, without wrappers.
        heads: Name and module of the heads that count classes.
        dataset: Of any host; wrappers are opened.
        name: The loader's setting, for the messages.
        logger: Warned of images without a map where the pipeline allows for them.

    Raises:
        InputError: Images have no map and none may be missing, no image has one,
            files of a store are missing or cut off, numbers of classes or of tokens
            differ, or a step moves an image without its map.
    """
    for one in walk_datasets(dataset):
        steps = list(flat_steps(getattr(one, 'pipeline', None)))
        load = next((step for step in steps if is_a(step, 'LoadLabelMap')), None)
        if load is None:
            continue
        check_order(steps, name)
        check_counts(load, steps, heads, name)
        check_grid(model, steps, name)
        unused = find_unused(steps, heads, name)
        for line in (*unused, *check_images(load, one, name)):
            logger.warning(line)


def flat_steps(pipeline: Callable | None) -> Iterator[BaseTransform]:
    """Iterate over the steps of a pipeline, and those inside of others."""
    for step in getattr(pipeline, 'transforms', []):
        for views in getattr(step, 'subroutines', ()):  # of TestTimeAug
            yield from flat_steps(views)
        if type(step).__name__ in HOLDERS:
            yield from flat_steps(step)
        else:
            yield step


def is_a(step: BaseTransform, *kinds: str) -> bool:
    """Return whether a step is of a class of these names, or of a subclass."""
    return any(kind.__name__ in kinds for kind in type(step).__mro__)


def check_order(steps: list[BaseTransform], name: str) -> None:
    """Raise InputError for a step that moves an image and leaves its map behind."""
    pooled = max((i for i, s in enumerate(steps) if is_a(s, 'PoolLabelMap')), default=0)
    named = max((i for i, s in enumerate(steps) if is_a(s, 'ReLabel')), default=0)
    for place, step in enumerate(steps):
        kind = type(step).__name__
        mild = is_a(step, *MILD)
        if kind in MOVING and not (mild and not pooled and 0 < named < place):
            remedy = 'take it out of the pipeline'
            if MOVING[kind]:
                remedy = f'write mmtlalign.{MOVING[kind]}'
            raise InputError(
                f'{name}: {kind} moves an image without its label map; {remedy}, '
                'after LoadLabelMap'
            )
        late = pooled if mild else max(pooled, named)
        if kind.endswith('WithMap') and 0 < late < place:
            raise InputError(
                f'{name}: {kind} comes after {type(steps[late]).__name__}, which has '
                'made labels of what the image showed before; exchange them'
            )


def check_counts(
    load: BaseTransform, steps: list[BaseTransform], heads: Heads, name: str
) -> None:
    """Raise InputError where maps, their readers and the heads differ in classes."""
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
                'class_ids of LoadLabelMap says which they are'
            )


def check_grid(model: nn.Module, steps: list[BaseTransform], name: str) -> None:
    """Raise InputError if maps are pooled to another grid than that of the tokens."""
    if not getattr(getattr(model, 'head', None), 'dense', False):
        return
    sized = [step for step in steps if hasattr(step, 'scale')]
    scales = {tuple(step.scale) for step in sized if is_a(step, CROP)}
    if len(scales) != 1 or not is_a(sized[-1], CROP):
        return  # not known before the first batch, and named there
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
    """Iterate over lines about what is loaded or pooled for nobody."""
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
            'an image write mmtlalign.ReLabel'
        )


def check_images(load: BaseTransform, dataset: Dataset, name: str) -> list[str]:
    """Check that the images of a data set have maps.

    Args:
        load: The ``LoadLabelMap`` of its pipeline.
        dataset: Of any host, no wrapper.
        name: The loader's setting, for the messages.

    Returns:
        A line where images have no map and the pipeline allows for it.

    Raises:
        InputError: It does not, or no image has one.
    """
    if not hasattr(dataset, 'get_data_info'):
        return []  # a stream
    numbers = range(len(dataset))
    names = [load.name(dataset.get_data_info(i)['img_path']) for i in numbers]
    missing, looked_up = load.maps.missing_maps(names)
    if not missing:
        return []
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
    return [f'{fault}; {POLICIES[load.missing]} (missing={load.missing!r})']
