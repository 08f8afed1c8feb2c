"""Errors that a user can mend, shown without a traceback by the tools."""

import contextlib
import sys

__all__ = ['InputError', 'short_errors']


class InputError(ValueError):
    """Something the user gave is wrong: a setting, a file or the data.

    The message names the value, the rule and the remedy, so that the tools
    can print it alone.
    """


@contextlib.contextmanager
def short_errors():
    """End the program with the message of an :class:`InputError`, status 1.

    Anything else keeps its traceback.
    """
    try:
        yield
    except InputError as error:
        # An error of a data worker arrives with the worker's traceback in
        # front of the message.
        message = str(error).rsplit(f'{type(error).__name__}: ', 1)[-1]
        sys.exit(f'\nerror: {message.strip()}')
