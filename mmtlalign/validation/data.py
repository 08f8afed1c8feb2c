"""Check that the data fit the model, before the first step.

Errors are, for data of mmpretrain, mmseg and mmdet:

* a data set that is empty, or too small for one whole batch;
* a head, or one-hot labels, with another number of classes than the data set;
* class names given as one string, and class names that differ between data sets
  (:mod:`mmtlalign.validation.classes`);
* masks (:mod:`mmtlalign.validation.masks`) and label maps that do not fit
  (:mod:`mmtlalign.validation.label_maps`);
* a missing file of a sample;
* a batch of one image for a batch normalization of one value per channel.

A head with too many classes would train, and be scored, without a warning. The hosts'
own checks (mmpretrain's ``ClassNumCheckHook``, mmdet's ``NumClassCheckHook``) are
assertions on every module with a ``num_classes``: mmseg has none, heads that count
something else fail, and neither files nor masks are checked.
"""

from collections.abc import Iterator
from copy import deepcopy
from logging import Logger
from typing import Any

from mmengine.dist import get_world_size
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, Dataset

from mmtlalign.checkpoint.normalisation import normalisation_of, other_normalisation
from mmtlalign.compat.wrappers import unwrap_dataset, unwrap_model
from mmtlalign.errors import InputError, some_of
from mmtlalign.validation.classes import (
    Heads,
    check_class_names,
    check_mixed_labels,
    check_single_class,
    check_topk,
    class_heads,
    has_sigmoid,
    mixes_images,
)
from mmtlalign.validation.coco import (
    check_coco_data,
    check_coco_metric,
    explain_coco_file,
)
from mmtlalign.validation.label_maps import check_label_maps
from mmtlalign.validation.listed import check_files, check_labels
from mmtlalign.validation.masks import check_masks
from mmtlalign.validation.reading import Listing, find_bad_line, host_reading
from mmtlalign.validation.samples import limit_labels, obeys_marks
from mmtlalign.validation.segmentation import check_ignored_ids, check_zero_labels


def explain_build_error(error: Exception, dataset: object, listing: Listing) -> str:
    """Explain what is wrong with a data set that could not be built.

    Returns:
        The message for the user; '' if the data are not the cause.
    """
    if not isinstance(dataset, dict) or isinstance(error, InputError):
        return ''  # built before, or explained already
    # An error of NumPy, which may be the cause of another error.
    text = f'{error} {error.__cause__}'
    empty = 'at least one array to concatenate' in text
    fault = explain_coco_file(dataset, empty)
    if fault:
        return fault
    dataset = unwrap_dataset(dataset)
    keys = ('data_root', 'data_prefix', 'ann_file')
    where = ', '.join(f'{key}={dataset[key]!r}' for key in keys if dataset.get(key))
    kind = dataset.get('type')
    if empty or text.startswith('Found 0 files'):
        return f'data set {kind} ({where}) is empty: {why_empty(dataset, listing)}'
    if text.startswith('The number of subfolders'):
        return (
            f'data set {kind} ({where}): {error} A class without a folder would shift '
            'the labels of all classes after it'
        )
    if text.startswith(('not enough values to unpack', 'invalid literal for int')):
        return find_bad_line(listing.texts)
    return ''


def why_empty(dataset: dict, listing: Listing) -> str:
    """Explain which files were looked for, and which were found instead."""
    if dataset.get('filter_cfg'):
        return (
            f'no image was found there, or filter_cfg={dataset["filter_cfg"]!r} '
            'removed all; check the paths, the suffixes and the annotation file'
        )
    if dataset.get('ann_file') and not listing.counts:
        return 'the annotation file is empty; check the path of ann_file'
    option, value = 'extensions', 'the usual suffixes of images'
    if 'Seg' in str(dataset.get('type')) or 'img_suffix' in dataset:
        option, value = 'img_suffix', '.jpg'
    value = dataset.get(option, value)
    if not listing.counts:
        return f'there is no image at all; check the paths ({option}: {value})'
    return (
        f'no file ends in {option}={value!r}, but there are {listing.describe()}; set '
        f'{option} of the data sets of training, validation and test'
    )


def check_loops(
    model: nn.Module, loops: dict[str, Any], logger: Logger, test: Any = None
) -> dict[str, Dataset]:
    """Check the data of every loop of a run, and that their classes agree.

    Args:
        model: Model of any host, also in a wrapper.
        loops: ``'train'``, ``'val'`` and ``'test'`` to loop; those without a data
            loader are skipped.
        logger: Gets warnings.
        test: Config of a test loader that is not built; its classes are compared as
            well. Defaults to None.

    Returns:
        Setting of a loader, such as ``'train_dataloader'``, to its data set.

    Raises:
        InputError: See :func:`check_data`, or classes, ids that are ignored or
            ``reduce_zero_label`` differ.
    """
    for line in find_other_normalisation(model):
        logger.warning(line)
    datasets = {}
    evaluators = {
        f'{split}_evaluator': loop.evaluator
        for split, loop in loops.items()
        if getattr(loop, 'evaluator', None) is not None
    }
    trains = hasattr(loops['train'], 'dataloader')
    check_ignored_ids(model, evaluators, trains, logger)
    for split, loop in loops.items():
        loader, name = getattr(loop, 'dataloader', None), f'{split}_dataloader'
        if loader is not None:
            check_coco_data(loader.dataset, model)
            check_data(
                model, loader, name, logger, evaluators.get(f'{split}_evaluator')
            )
            datasets[name] = loader.dataset
    if any(class_heads(unwrap_model(model))):
        together = datasets | build_test_set(test)
        check_class_names(together)
        check_zero_labels(together, logger)
    obeying = {name: obeys_marks(dataset) for name, dataset in datasets.items()}
    turned, stored = (
        [name for name, one in obeying.items() if one is value]
        for value in (True, False)
    )
    if turned and stored:
        logger.warning(
            f'Images with an EXIF orientation are rotated by {some_of(turned)} and not '
            f'by {some_of(stored)}; give LoadImageFromFile the same color_type '
            'everywhere'
        )
    return datasets


def find_other_normalisation(model: nn.Module) -> Iterator[str]:
    """Iterate over warnings about images that timm's weights do not expect."""
    model = unwrap_model(model)
    given = normalisation_of(getattr(model, 'data_preprocessor', None))
    for module in model.modules():
        trained = getattr(module, 'normalisation', None)
        fault = isinstance(trained, dict) and other_normalisation(trained, given)
        if fault:
            yield (
                f'{type(module).__name__}: its weights were {fault}; set mean and std '
                'of data_preprocessor to those of the weights'
            )


def build_test_set(loader: dict | None) -> dict[str, Dataset]:
    """Return the data set of a test loader by its setting; {} if building it fails.

    Missing or wrong files are reported when the test is run.
    """
    if not isinstance(loader, dict):
        return {}
    try:
        with host_reading(Listing()):
            return {'test_dataloader': DATASETS.build(deepcopy(loader['dataset']))}
    except Exception:
        return {}


def check_data(
    model: nn.Module,
    loader: DataLoader,
    name: str,
    logger: Logger,
    evaluator: Evaluator | None = None,
) -> None:
    """Check that a data loader gives what the heads of a model expect.

    Raises:
        InputError: There are no samples or no whole batch, a head has another number
            of classes than the data, masks cannot be class ids, label maps do not
            fit, or a metric evaluates other data.
    """
    model, dataset = unwrap_model(model), loader.dataset
    check_length(loader, name)
    heads = list(class_heads(model))
    check_classes(model, heads, dataset, name)
    check_single_class(heads)
    check_mixed_labels(model, heads)
    check_files(dataset, name)
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    check_topk(heads, evaluator, classes and len(classes), name)
    if evaluator is not None:
        check_coco_metric(evaluator, dataset, name, logger, model)
    if name.startswith('train'):
        check_batch_of_one(model, loader, name)
        if mixes_images(model) and batch_size(loader) == 1:
            logger.warning(
                f'{name}.batch_size=1: an image is mixed with another of its batch, '
                'so that nothing is mixed; use at least 2'
            )
    check_label_maps(model, heads, dataset, name, logger)
    own = {path: head for path, head in heads if name.startswith('train')}
    needs_labels = bool(own)
    one_label = 'head' in own and not has_sigmoid(own['head'])
    limit_labels(dataset, *label_range(heads), needs_labels, one_label)
    check_masks(dataset, name, logger)
    check_labels(dataset, name)


def check_length(loader: DataLoader, name: str) -> None:
    """Check that a loader has a sample and a whole batch, else raise InputError."""
    if not hasattr(loader.dataset, '__len__'):
        return  # a stream
    samples = len(loader.dataset)
    if not samples:
        raise InputError(
            f'{name}: the data set {type(loader.dataset).__name__} has no sample left; '
            'check data_root, data_prefix and ann_file, and filter_cfg, which may have '
            'removed all'
        )
    if not len(loader):
        raise InputError(
            f'{name}: {samples} samples make no batch of {loader.batch_size} with '
            f'drop_last=True; set {name}.batch_size to {samples} or less'
        )


def check_classes(model: nn.Module, heads: Heads, dataset: Dataset, name: str) -> None:
    """Check that heads and one-hot labels have as many classes as the data set.

    Raises:
        InputError: A number differs.
    """
    info = getattr(dataset, 'metainfo', None) or {}
    classes = info.get('classes')
    if classes is None:
        return
    if isinstance(classes, str):
        raise InputError(
            f'{name}: metainfo.classes is the string {classes!r}, of which each letter '
            f'would be a class; write a tuple, classes=({classes!r},)'
        )
    # Panoptic data: detection heads predict only the things.
    right = {len(classes), len(info.get('thing_classes') or classes)}
    counts = {f'model.{path}': head.num_classes for path, head in heads}
    one_hot = getattr(getattr(model, 'data_preprocessor', None), 'num_classes', None)
    if one_hot and hasattr(model, 'head'):
        counts['data_preprocessor'] = one_hot
    binary = {f'model.{path}' for path, head in heads if is_binary(head)}
    for path, count in counts.items():
        if count in right or (path in binary and right <= {1, 2}):
            continue
        shown = ', '.join(map(str, classes[:3])) + (', …' if len(classes) > 3 else '')
        raise InputError(
            f'{path}.num_classes={count}, but the data set of {name} '
            f'({type(dataset).__name__}) has {len(classes)} classes ({shown}). '
            f'Set {path}.num_classes={len(classes)}, or metainfo=dict(classes=…) of '
            'the data set, if it holds other classes'
        )


def is_binary(head: nn.Module) -> bool:
    """Return whether a segmentation head has one output for two classes."""
    return getattr(head, 'out_channels', None) == 1


def label_range(heads: Heads) -> tuple[int, set[int]]:
    """Return the number of labels that heads allow (0: no limit) and the ignored ids.

    Detection heads are left out, because mmdet makes their labels.
    """
    own = [head for path, head in heads if path.startswith(('head', 'decode_head'))]
    counts = [2 if is_binary(head) else head.num_classes for head in own]
    ids = (getattr(head, 'ignore_index', None) for head in own)
    ignored = {number for number in ids if number is not None}
    return max(counts, default=0), ignored or {255}


def batch_size(loader: DataLoader) -> int:
    """Return the batch size of a loader, or of its batch sampler; 0 if it has none."""
    return loader.batch_size or getattr(loader.batch_sampler, 'batch_size', 0)


def check_batch_of_one(model: nn.Module, loader: DataLoader, name: str) -> None:
    """Check that no batch norm in training mode gets one value per channel.

    A batch of one image would do so after pooling to 1x1, as in UPerNet and PSPNet.

    Raises:
        InputError: There is such a layer and a batch of one image.
    """
    if not hasattr(loader.dataset, '__len__'):
        return  # a stream
    size = batch_size(loader)
    endless = type(loader.sampler).__name__ == 'InfiniteSampler'
    rest = 0 if endless or loader.drop_last else len(loader.sampler) % max(size, 1)
    if 1 not in (size, rest) or get_world_size() > 1:
        return
    for path, module in model.named_modules():
        if not isinstance(module, nn.Sequential) or not len(module):
            continue
        pool = module[0]
        to_one = isinstance(pool, nn.AdaptiveAvgPool2d) and pool.output_size in (
            1,
            (1, 1),
        )
        norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
        if to_one and any(norm.training for norm in norms):
            remedy = f'set {name}.drop_last=True, or another batch_size'
            what = (
                f'the last batch of {len(loader.sampler)} samples with '
                f'batch_size={size}'
            )
            if size == 1:
                what, remedy = f'a batch with {name}.batch_size=1', 'use at least 2'
            raise InputError(
                f'{what} has one image, and {type(norms[0]).__name__} in model.{path} '
                f'needs more than one value per channel; {remedy}'
            )
