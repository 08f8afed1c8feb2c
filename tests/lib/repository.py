"""Where the files of this repository are, and its tools as modules."""

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def tool(name: str) -> ModuleType:
    """Load a script of tools/: `tool('benchmarks/benchmark').main(...)`."""
    file = ROOT / 'tools' / f'{name}.py'
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
