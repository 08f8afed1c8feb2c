"""One row for each backbone that can be traced, one file for each kind.

A file has ``ROWS``, name to :class:`Row`, and ``HOOKS``, what its oracle needs
(see ``oracles.py``). ``EVERY`` is all of them, ``ROWS`` those with attention. Without
mmdet, as on a machine that only measures, its rows are left out.
"""

import importlib
import pkgutil

EVERY, HOOKS = {}, {}
for _file in sorted(m.name for m in pkgutil.iter_modules(__path__)):
    if _file != 'row':
        try:
            _module = importlib.import_module(f'{__name__}.{_file}')
        except ModuleNotFoundError as error:
            if (error.name or '').partition('.')[0] != 'mmdet':
                raise
            continue
        assert not EVERY.keys() & _module.ROWS.keys()
        EVERY.update(_module.ROWS)
        HOOKS.update(_module.HOOKS)
ROWS = {name: row for name, row in EVERY.items() if row.learnt_weights is None}
