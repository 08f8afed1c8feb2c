"""Label maps must fit the images, the classes and the tokens: checked at the start.

In mid-epoch it would be late, and a step of the host that moves an image without
its map is no error at all: the run would learn the labels of other places.
"""

from collections.abc import Iterator

from mmtlalign.errors import InputError
from mmtlalign.tracing.attach import token_grid
from mmtlalign.validation.samples import inside

# Steps that hold others.
HOLDERS = ('Compose', 'RandomApply', 'RandomChoice')
# Steps of the hosts that show another part of an image, or show it elsewhere, and
# what to write instead.
MOVES = dict(
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


def check_label_maps(model, heads: list, dataset, name: str, logger) -> None:
    """Check every pipeline that loads label maps.

    Args:
        model (nn.Module): Of any host, without wrappers.
        heads (list): Name and module of the heads that count classes.
        dataset (Dataset): Of any host; wrappers are followed.
        name (str): The loader's setting, for the messages.
        logger (logging.Logger): Told of images without a map where the pipeline
            allows for them.

    Raises:
        InputError: If images have no map and none may be missing, if no image has
            one, if files of a store are missing or cut off, if numbers of classes or
            of tokens differ, or if a step moves an image without its map.
    """
    for inner in inside(dataset):
        check_label_maps(model, heads, inner, name, logger)
    steps = list(flat(getattr(dataset, 'pipeline', None)))
    load = next((s for s in steps if is_a(s, 'LoadLabelMap')), None)
    if load is None:
        return
    check_moves(steps, name)
    check_counts(load, steps, heads, name)
    check_grid(model, steps, name)
    for line in (*unread(steps, heads, name), *images_without(load, dataset, name)):
        logger.warning(line)


def flat(pipeline) -> Iterator:
    """The steps of a pipeline, with those inside of others."""
    for step in getattr(pipeline, 'transforms', []):
        if type(step).__name__ in HOLDERS:
            yield from flat(step)
        else:
            yield step


def is_a(step, *kinds: str) -> bool:
    """Whether a step is of a class of these names, or of one made from it."""
    return any(kind.__name__ in kinds for kind in type(step).__mro__)


def check_moves(steps: list, name: str) -> None:
    """Raise for a step that moves an image and leaves its map where it was."""
    pooled = max((i for i, s in enumerate(steps) if is_a(s, 'PoolLabelMap')), default=0)
    named = max((i for i, s in enumerate(steps) if is_a(s, 'ReLabel')), default=0)
    for place, step in enumerate(steps):
        kind = type(step).__name__
        mild = is_a(step, *MILD)
        if kind in MOVES and not (mild and not pooled and 0 < named < place):
            remedy = 'take it out of the pipeline'
            if MOVES[kind]:
                remedy = f'write mmtlalign.{MOVES[kind]}'
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


def check_counts(load, steps: list, heads: list, name: str) -> None:
    """Raise where maps, the steps that read them and the heads differ in classes."""
    counts = {
        f'{type(step).__name__} of its pipeline': step.num_classes
        for step in steps
        if is_a(step, 'PoolLabelMap', 'ReLabel')
    }
    counts |= {f'model.{path}': head.num_classes for path, head in heads}
    for who, count in counts.items():
        if count != load.num_classes:
            raise InputError(
                f'{name}: LoadLabelMap gives maps of {load.num_classes} classes, but '
                f'{who} has num_classes={count}. Set both to the number of classes of '
                "the data set; where the annotator's are more or in another order, "
                'class_ids of LoadLabelMap says which they are'
            )


def check_grid(model, steps: list, name: str) -> None:
    """Raise if maps are pooled to another grid than that of the tokens they label."""
    if not getattr(getattr(model, 'head', None), 'dense', False):
        return
    sized = [step for step in steps if hasattr(step, 'scale')]
    scales = {tuple(step.scale) for step in sized if is_a(step, CROP)}
    if len(scales) != 1 or not is_a(sized[-1], CROP):
        return  # not known before the first batch, and named there
    try:
        grid = token_grid(model.backbone, *scales)
    except TypeError:
        return  # a backbone of one's own
    for step in steps:
        if is_a(step, 'PoolLabelMap') and step.size != tuple(grid):
            high, wide = scales.pop()
            raise InputError(
                f'{name}: PoolLabelMap has size={step.size}, but '
                f'{type(model.backbone).__name__} makes {grid[0]}x{grid[1]} tokens of '
                f'crops of {high}x{wide} pixels. Set size={tuple(grid)}'
            )


def unread(steps: list, heads: list, name: str) -> Iterator[str]:
    """What is loaded or pooled for nobody, a line each."""
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


def images_without(load, dataset, name: str) -> list[str]:
    """Look up the images of a data set.

    Args:
        load (LoadLabelMap): The step of its pipeline.
        dataset (Dataset): Of any host, no wrapper.
        name (str): The loader's setting, for the messages.

    Returns:
        list[str]: A line where images have no map and the pipeline allows for it.

    Raises:
        InputError: If it does not, or if no image has one.
    """
    if not hasattr(dataset, 'get_data_info'):
        return []  # a stream
    numbers = range(len(dataset))
    names = [load.name(dataset.get_data_info(i)['img_path']) for i in numbers]
    missing, looked_up = load.maps.missing_maps(names)
    if not missing:
        return []
    said = (
        f'{name}: {len(missing)} of {looked_up} images'
        f'{f" looked up, of {len(names)}," if looked_up < len(names) else ""} have no '
        f'label map in {load.maps.root} (such as {", ".join(missing[:3])})'
    )
    if len(missing) == looked_up:
        raise InputError(
            f'{said}: none has. Correct root and image_root of LoadLabelMap, or make '
            'maps with tools/dataset_converters/make_label_maps.py'
        )
    if load.missing == 'error':
        raise InputError(
            f'{said}. Make maps with tools/dataset_converters/make_label_maps.py, or choose '
            "missing='skip' or missing='hard label' in LoadLabelMap"
        )
    return [f'{said}; {POLICIES[load.missing]} (missing={load.missing!r})']
