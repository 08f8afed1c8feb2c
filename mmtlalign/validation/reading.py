"""Patch how the hosts' data sets read folders, lists and COCO files.

The hosts take ``.ipynb_checkpoints`` for a class and a byte-order mark for a part of
the first name, silently leave out pictures of another suffix, and number labels by
the categories of a file instead of the names of the classes. The functions by which
their data sets read are replaced while a data set is built.
"""

import contextlib
import logging
import os.path as osp
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

from mmengine.fileio.backends import LocalBackend
from mmengine.logging import print_log
from torch.utils.data import Dataset

from mmtlalign.compat.image_files import PICTURES, is_hidden
from mmtlalign.compat.wrappers import walk_datasets
from mmtlalign.datasets.coco_entries import check_masks, find_masks_off_boxes
from mmtlalign.datasets.coco_file import UNUSED, count_dropped, open_coco
from mmtlalign.errors import InputError, some_of
from mmtlalign.validation.coco import mask_loaders

# Number of lines of a list that are checked.
LINES = 10_000


class Listing:
    """The files that were found while a data set was built.

    Attributes:
        counts: Suffix of pictures, case preserved, to their number.
        examples: Suffix to the path of the first of them.
        texts: Path to content of the text files that were read.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.texts: dict[str, str] = {}

    def add(self, path: str) -> None:
        """Count a file if it is a picture."""
        suffix = osp.splitext(path)[1]
        if suffix.lower() in PICTURES:
            self.counts[suffix] += 1
            self.examples.setdefault(suffix, path)

    def describe(self, suffixes: Iterable[str] | None = None) -> str:
        """Return a text with the suffixes, their numbers and examples."""
        suffixes = self.counts if suffixes is None else suffixes
        return ', '.join(
            f'{self.counts[s]} {s} (such as {self.examples[s]})' for s in suffixes
        )


@contextlib.contextmanager
def host_reading(listing: Listing) -> Iterator[None]:
    """Replace how the hosts read files while the context is open.

    * Hidden files and folders are skipped.
    * A byte-order mark and blank last lines of a list are removed.
    * Labels of COCO files follow the names of the classes, and annotations that are
      left out are logged.
    """
    list_folder, read_text = LocalBackend.list_dir_or_file, LocalBackend.get_text

    def list_visible(
        self: LocalBackend,
        dir_path: str,
        list_dir: bool = True,
        list_file: bool = True,
        suffix: str | tuple[str, ...] | None = None,
        recursive: bool = False,
    ) -> Iterator[str]:
        for path in list_folder(self, dir_path, list_dir, list_file, None, recursive):
            if is_hidden(path):
                continue
            if list_file:
                listing.add(path)
            if suffix is None or path.endswith(suffix):
                yield path

    def read_clean(self: LocalBackend, filepath: str, *args: Any, **kwargs: Any) -> str:
        try:
            text = read_text(self, filepath, *args, **kwargs).removeprefix('\ufeff')
        except UnicodeDecodeError as error:
            raise InputError(
                f"'{filepath}' is not UTF-8 text ({error}); save it as UTF-8"
            ) from error
        if str(filepath).endswith('.json'):
            return text
        text = text.rstrip() + '\n' if text.strip() else ''
        listing.texts[str(filepath)] = text
        return text

    with contextlib.ExitStack() as stack:
        exchange = partial(_exchange, stack)
        exchange(LocalBackend, 'list_dir_or_file', list_visible)
        exchange(LocalBackend, 'get_text', read_clean)
        if 'mmdet' in sys.modules:
            sets = import_module('mmdet.datasets')
            loaders = {
                sets.CocoDataset: load_by_name,
                sets.LVISV05Dataset: load_lvis,
                sets.LVISV1Dataset: load_lvis,
                sets.XMLDataset: load_xml,
            }
            for kind, load in loaders.items():
                exchange(kind, 'load_data_list', method(load, kind.load_data_list))
        yield


def method(function: Callable, *given: Any) -> Callable:
    """Return a method that calls ``function(*given, self)``."""
    return lambda self: function(*given, self)


def _exchange(
    stack: contextlib.ExitStack, owner: Any, name: str, new: Callable
) -> None:
    stack.callback(setattr, owner, name, vars(owner)[name])
    setattr(owner, name, new)


def load_by_name(load: Callable, dataset: Dataset) -> list[dict]:
    """Load a COCO data set with labels by name, and log what is left out.

    Raises:
        InputError: The content of the file is wrong.
    """
    opened = []

    def open_file(path: str) -> Any:
        opened.append(open_coco(type(dataset).COCOAPI, path))
        return opened[0]

    dataset.COCOAPI = open_file
    try:
        data_list = load(dataset)
    finally:
        del dataset.COCOAPI
    coco = opened[0]
    if coco.is_detection:
        classes = dataset.metainfo['classes']
        dropped = count_dropped(coco.dataset, dataset.ann_file, classes)
        tell((*coco.notices, *dropped))
        if mask_loaders(dataset):
            path = f"'{dataset.ann_file}'"
            check_masks(coco.dataset, path)
            away = find_masks_off_boxes(coco.dataset['annotations'])
            tell([f'{path}: {away}'] if away else [])
    return data_list


def load_lvis(load: Callable, dataset: Dataset) -> list[dict]:
    """Load an LVIS data set, and log what is left out.

    Raises:
        InputError: No annotation is left.
    """
    try:
        module = import_module('lvis')
    except ImportError:  # mmdet's own error explains it
        return load(dataset)
    opened, host = [], module.LVIS

    def open_file(path: str) -> Any:
        opened.append(host(path))
        return opened[0]

    with contextlib.ExitStack() as stack:
        _exchange(stack, module, 'LVIS', open_file)
        data_list = load(dataset)
    content = opened[0].dataset
    names = [category['name'] for category in content['categories']]
    tell(count_dropped(content, dataset.ann_file, names))
    return data_list


def load_xml(load: Callable, dataset: Dataset) -> list[dict]:
    """Load a data set of XML files, such as Pascal VOC's, and log what is left out.

    Raises:
        InputError: No object is left.
    """
    names: Counter[str] = Counter()
    parse = dataset._parse_instance_info

    def count(tree: Any, *args: Any, **kwargs: Any) -> list[dict]:
        names.update(one.findtext('name') for one in tree.findall('object'))
        return parse(tree, *args, **kwargs)

    dataset._parse_instance_info = count
    try:
        data_list = load(dataset)
    finally:
        del dataset._parse_instance_info
    unknown = [name for name in names if name not in dataset.cat2label]
    if unknown:
        left_out = sum(names[name] for name in unknown)
        line = (
            f"'{dataset.ann_file}': {left_out} of {names.total()} objects are left "
            f'out, {UNUSED}: {some_of(unknown)}'
        )
        if left_out == names.total():
            raise InputError(
                f'{line}. None is left: set metainfo=dict(classes=…) of the data set'
            )
        tell([line])
    return data_list


def tell(lines: Iterable[str]) -> None:
    """Log lines about what is left out, as warnings unless it may be intended."""
    for line in lines:
        level = logging.INFO if UNUSED in line else logging.WARNING
        print_log(line, logger='current', level=level)


def tell_left_out(dataset: Dataset, listing: Listing) -> None:
    """Warn of pictures that a data set leaves out because of their suffix."""
    accepted: set[str] = set()
    for one in walk_datasets(dataset):
        accepted.update(getattr(one, 'extensions', ()))
        if hasattr(one, 'img_suffix'):
            endings = one.img_suffix
            endings = [endings] if isinstance(endings, str) else endings
            accepted.update(osp.splitext(f'x{ending}')[1] for ending in endings)
            folders = getattr(one, 'data_prefix', {})
            pictures, masks = (folders.get(k) for k in ('img_path', 'seg_map_path'))
            if masks and pictures and masks.startswith(pictures):
                accepted.add(osp.splitext(f'x{one.seg_map_suffix}')[1])
    # mmpretrain compares in lower case, mmseg does not.
    lower = any(hasattr(one, 'extensions') for one in walk_datasets(dataset))
    left = [s for s in listing.counts if (s.lower() if lower else s) not in accepted]
    option = 'extensions' if lower else 'img_suffix'
    if accepted and left:
        print_log(
            f'{sum(listing.counts[s] for s in left)} of {sum(listing.counts.values())} '
            f'images are left out: {listing.describe(left)}, as the data set reads '
            f'{", ".join(sorted(accepted))}; set {option} of the data set to read them',
            logger='current',
            level=logging.WARNING,
        )


def find_bad_line(texts: dict[str, str]) -> str:
    """Explain the first bad line of a list of images and labels; '' without one."""
    for path, text in texts.items():
        for number, line in enumerate(text.splitlines()[:LINES], 1):
            name, _, label = line.strip().rpartition(' ')
            if label.lstrip('-').isdigit() and name[-1:] not in ('', ','):
                continue
            what = f'line {number} of {path!r} is {line[:60]!r}'
            if not line.strip():
                return f'{what}, blank: remove it'
            comma = ' (not a comma or a tab)' if ',' in line or '\t' in line else ''
            return (
                f'{what}, but each line must be the path of an image, a space{comma} '
                'and the number of its class: write "a/b.png 0"; without labels, set '
                'with_label=False'
            )
    return ''
