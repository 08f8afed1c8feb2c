"""Keep long log records and known warnings off the console.

mmengine writes the environment, the whole config, the table of hooks and one line per
parameter with its own learning rate to the console. Here these go only to the log file
in the work directory.
"""

import importlib
import logging
import warnings

import mmengine.logging.logger
from mmengine.dist import get_world_size

# How records begin that go to the log file only.
BULK_STARTS = (
    '\n' + '-' * 60 + '\nSystem environment:',
    'Config:\n',
    'Hooks will be executed',
    'paramwise_options -- ',
    'Exp name: ',
    'Distributed training is not used, all SyncBatchNorm',
    'Name of parameter - Initialization information',
    # mmengine's own use of its old file interface.
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
)
# It warns that accumulated gradients are lost; one process alone saves them.
LOST_GRADIENTS = 'Resumed iteration number is not divisible by'
# How such records end: mmengine names every tensor of a teacher that does not learn.
BULK_ENDS = ('is skipped since its requires_grad=False',)

# (message, module) of harmless warnings that the user can do nothing about.
KNOWN_WARNINGS = (
    # Hosts and mmengine import pkg_resources; setuptools is pinned below 82.
    ('.*pkg_resources is deprecated.*', '.*'),
    # Hosts import timm by its old module paths.
    ('Importing from timm.models.* is deprecated.*', '.*'),
    # torch tells mmcv and the hosts about names that moved.
    ('.*torch.cuda.amp.* is deprecated.*', '.*'),
    # Swin and UperNet call meshgrid without `indexing`, and want its default.
    ('torch.meshgrid: in an upcoming release.*', '.*'),
    # pin_memory=True is in every host's base config, also on a CPU.
    (".*'pin_memory' argument is set as true but no accelerator.*", '.*'),
    # mmseg warns of its own default, which the recipes want, and of the old place of
    # a setting that its own data sets still use.
    ('Default ``avg_non_ignore`` is False.*', 'mmseg.*'),
    ('`reduce_zero_label` will be deprecated.*', 'mmseg.*'),
    # mmdet warns of an optional metric; the recipes use CocoMetric.
    ('faster_coco_eval is not installed.*', 'mmdet.*'),
    # One thread for each of several processes, as torchrun sets it too.
    ('Setting (OMP|MKL)_NUM_THREADS environment variable.*', 'mmengine.*'),
    # mmengine steps the schedulers by its own hooks.
    ('Detected call of `lr_scheduler.step.*', '.*'),
)
# Beginnings of what the hosts print at import about an optional data platform.
KNOWN_PRINTS = ('Could not import OneDL',)


def hide_bulk(logger: logging.Logger) -> None:
    """Keep the records of the tables above off the console; log files keep them."""
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.addFilter(_is_for_people)


def _is_for_people(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    if message.startswith(LOST_GRADIENTS):
        return get_world_size() > 1
    return not message.startswith(BULK_STARTS) and not message.endswith(BULK_ENDS)


def filter_known_warnings() -> None:
    """Silence the warnings of :data:`KNOWN_WARNINGS`; all others stay.

    The prints of :data:`KNOWN_PRINTS` are silenced, too, if no host is imported yet.
    """
    for message, module in KNOWN_WARNINGS:
        warnings.filterwarnings('ignore', message=message, module=module)
    # Hosts print by `print_log`, which has no filter.
    mmengine.logging.logger.print = _print_unknown


def _print_unknown(text: object) -> None:
    if not str(text).startswith(KNOWN_PRINTS):
        print(text)


def import_host(scope: str) -> None:
    """Import a host's data sets without the prints of :data:`KNOWN_PRINTS`.

    mmengine would import them itself, a little later.
    """
    if scope in ('mmpretrain', 'mmseg', 'mmdet'):
        filter_known_warnings()
        importlib.import_module(f'{scope}.datasets')
