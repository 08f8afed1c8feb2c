"""One row for each backbone that can be traced, one file for each kind.

A file has ``ROWS``, name to :class:`Row`, and ``HOOKS``, what its oracle needs
(see ``oracles.py``).
"""

import importlib
import pkgutil

ROWS, HOOKS = {}, {}
for _file in sorted(m.name for m in pkgutil.iter_modules(__path__)):
    if _file != 'row':
        _module = importlib.import_module(f'{__name__}.{_file}')
        assert not ROWS.keys() & _module.ROWS.keys()
        ROWS.update(_module.ROWS)
        HOOKS.update(_module.HOOKS)
