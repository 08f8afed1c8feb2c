"""Extensions of mmengine's configs: ``mmtlalign::`` paths and spaces in options."""

import argparse
import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.config import DictAction as HostDictAction

from mmtlalign.errors import InputError

SCOPE = 'mmtlalign::'


def own_root() -> Path:
    """Return the folder that contains ``configs/``, in the wheel or in the checkout.

    Raises:
        InputError: There is none.
    """
    package = Path(__file__).resolve().parents[1]
    for root in (package / '.mim', package.parent):
        if (root / 'model-index.yml').is_file():
            return root
    raise InputError(
        f'There is no model-index.yml in {package / ".mim"} nor in {package.parent}: '
        'install the wheel, or use a checkout.'
    )


def own_config(name: str) -> str:
    """Return the path of a config of this package.

    Args:
        name: Path below ``configs/``, such as ``tlalign/NAME.py``.

    Raises:
        InputError: There is none.
    """
    path = own_root() / 'configs' / name
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob('*.py'))
        listed = f'; its folder has {", ".join(near[:3])} …' if near else ''
        raise InputError(
            f"'{SCOPE}{name}' does not exist: {own_root() / 'configs'} has no "
            f'{name}{listed}. Name a file below configs/.'
        )
    return str(path)


def read_own_configs() -> None:
    """Let ``_base_ = 'mmtlalign::…'`` name a config of this package.

    mmengine supports this for a fixed list of packages, and gives the dicts of such a
    base the scope of its package. Ours are read like files beside the config, so their
    types keep the default scope of the config. A second call changes nothing.
    """
    host = Config._get_cfg_path
    if getattr(host, 'reads_own', False):
        return

    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(SCOPE):
            return own_config(cfg_path.removeprefix(SCOPE)), None
        return host(cfg_path, filename)

    get_cfg_path.reads_own = True  # type: ignore[attr-defined]
    Config._get_cfg_path = staticmethod(get_cfg_path)


class DictAction(HostDictAction):
    """mmengine's action for KEY=VALUE, which keeps the spaces of a value.

    mmengine removes spaces from every value, even from a path. Here they are removed
    only from a value in brackets. A value with dicts, such as
    ``[{'type': 'mmtlalign.FMix'}]``, is read as a Python literal.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add the options to those that were already given."""
        options = dict(getattr(namespace, self.dest) or {})
        for given in values or ():
            key, sign, value = str(given).partition('=')
            if not sign or not key.strip('.') or any(not k for k in key.split('.')):
                parser.error(
                    f"{option_string}: '{given}' is not KEY=VALUE. Write it without "
                    'spaces around the =, and a value with spaces in quotes: '
                    'data_root="/my data".'
                )
            bare = value.strip('\'"')
            if bare.startswith(('[', '{', '(')) and '{' in bare:
                try:
                    options[key] = ast.literal_eval(bare)
                except (ValueError, SyntaxError):
                    parser.error(f"{option_string}: '{given}' is not a Python value")
            elif ' ' in bare and not bare.startswith(('[', '(')):
                options[key] = bare
            else:
                try:
                    options[key] = self._parse_iterable(value)
                except (AssertionError, RecursionError):
                    parser.error(
                        f"{option_string}: '{given}' has brackets that are unbalanced "
                        'or inside a word'
                    )
        setattr(namespace, self.dest, options)
