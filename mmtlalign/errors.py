"""Errors that the user can fix; the tools show them without a traceback."""

import contextlib
import errno
import sys
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType


class InputError(ValueError):
    """Something the user gave is wrong: a setting, a file or the data.

    Base of all errors of this package that the user can fix. The message names the
    value, the rule that it breaks and the remedy, so that the tools can print it alone.
    """


class UnsupportedError(InputError, TypeError):
    """A network or an object is of a kind that this package does not support."""


class TraceError(InputError, RuntimeError):
    """A forward pass did not run in the way that tracing requires."""


# A write failed because the disk is full or the place is not writable.
WRITE_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
# Parts of the messages of Python and mmengine about an unknown argument or type.
MISSPELT = ('unexpected keyword argument', 'is not in the')


@contextlib.contextmanager
def short_errors(config: str) -> Iterator[None]:
    """End the program with the message of an :class:`InputError` and status 1.

    The same is done for a config key that no constructor takes, an unknown type,
    missing files of a data set or checkpoint, a failed assertion of a hook before
    training, a full disk and a killed data worker. Any other error keeps its traceback.

    Args:
        config: The config file, for the message.
    """
    from mmtlalign.compat.build_errors import explained_builds, name_near_type

    try:
        with explained_builds():
            yield
    except InputError as error:
        # An error of a data worker has the worker's traceback in front of its message.
        message = str(error).rsplit(f'{type(error).__name__}: ', 1)[-1].strip()
        end(message if config in message else f'{message} (config {config})')
    except (FileNotFoundError, NotADirectoryError) as error:
        if any(frame.f_code.co_name == 'initialize' for frame in frames(error)):
            end(
                f'config {config}: {error} It is the checkpoint of an init_cfg. Name '
                'another: --cfg-options model.backbone.init_cfg.checkpoint=FILE, or '
                'start from random weights: --cfg-options model.backbone.init_cfg=None.'
            )
        if not while_reading_data(error):
            raise
        end(
            f'{error.filename or error} does not exist (config {config}). Check the '
            'paths of the data, or move them: --cfg-options data_root=DIR'
        )
    except OSError as error:
        if error.errno not in WRITE_FAULTS:
            raise
        end(
            f'{error.filename or "a file"}: {error.strerror} (config {config}). Free '
            'disk space or correct the permissions; continue a run that has '
            'checkpoints with --resume'
        )
    except RuntimeError as error:
        # "DataLoader worker (pid ...) is killed". An error in the worker's own code
        # reads "Caught ... in DataLoader worker" and keeps its traceback.
        if not str(error).startswith('DataLoader worker'):
            raise
        end(
            f'{str(error).splitlines()[0]} (config {config}). A data worker was '
            'killed, usually for lack of memory: use fewer num_workers, a smaller '
            'batch_size, or more shared memory (/dev/shm; docker: --shm-size)'
        )
    except AssertionError as error:
        names = {frame.f_code.co_name for frame in frames(error)}
        if not str(error) or not names & {'before_run', 'before_train'}:
            raise
        end(f'config {config}: {error}')
    except (ValueError, TypeError, KeyError) as error:
        message = str(error.args[0]) if error.args else ''
        if while_building(error) and 'end should be larger than begin' in message:
            end(
                f'config {config}: {message}: a scheduler of param_scheduler begins '
                'after the training has ended. Shorten the warm-up together with the '
                'training (one epoch has room for one scheduler), such as '
                '--cfg-options param_scheduler.0.end=1 param_scheduler.1.begin=1.'
            )
        if not while_building(error) or not any(sign in message for sign in MISSPELT):
            raise
        told = name_near_type(message)
        if told == message:
            message = name_built_class(message, error)
            told = f'{message}. Correct the key or remove it.'
        end(f'config {config}: {told}')


def some_of(names: Sequence, most: int = 5) -> str:
    """Return the first ``most`` names, and how many more there are."""
    text = ', '.join(map(str, names[:most])) or 'none'
    return text + (f' and {len(names) - most} more' if len(names) > most else '')


def name_built_class(message: str, error: Exception) -> str:
    """Replace the base class that rejected a key by the class that the config names."""
    built = [
        frame.f_locals['obj_cls']
        for frame in frames(error)
        if frame.f_code.co_name == 'build_from_cfg' and 'obj_cls' in frame.f_locals
    ]
    base = message.partition('.__init__()')[0]
    if built and base in [cls.__name__ for cls in getattr(built[-1], '__mro__', ())]:
        return message.replace(base, built[-1].__name__, 1)
    return message


def frames(error: BaseException) -> list[FrameType]:
    """List the frames of an error's traceback, the innermost last."""
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)]


def while_building(error: Exception) -> bool:
    """Return whether mmengine was building an object from a config."""
    # While building a hook, mmengine raises a new error in place of the original one.
    first = error.__context__
    return any(
        frame.f_code.co_filename.endswith('mmengine/registry/build_functions.py')
        or frame.f_code.co_name.startswith('build_')
        for frame in frames(error) + (frames(first) if first else [])
    )


def while_reading_data(error: Exception) -> bool:
    """Return whether an error was raised below a data set or a metric."""
    paths = [frame.f_code.co_filename for frame in frames(error)]
    places = ('/datasets/', '/mmengine/dataset/', '/evaluation/')
    return any(place in path for path in paths for place in places)


def end(message: str) -> None:
    """Print a message and exit with status 1."""
    sys.exit(f'\nerror: {message}')
