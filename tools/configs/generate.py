"""Write the generated files of configs/, and the tables of the READMEs.

    python tools/configs/generate.py            # write
    python tools/configs/generate.py --check    # say what is not up to date

* recipes: derived.py (a method on another recipe), transfer.py (a table of choices);
* metafile.yml of every folder and model-index.yml, from configs and their headers;
* the tables of the READMEs, between their markers.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

# Imports of PyTorch come after the command line is read.

ROOT = Path(__file__).resolve().parents[2]
METHODS = ('tlalign', 'transmix', 'cutmix', 'mixtoken')


def generate(root: Path, count: bool = True) -> Iterator[tuple[Path, str]]:
    """Yield (path, text) of every generated file, each after what it builds on.

    Args:
        root: Folder of the repository.
        count: Whether to count the parameters of every model anew, which takes a
            minute, or to take them from the existing metafiles.
    """
    from tools.configs.derived import derived_recipes
    from tools.configs.metafiles import metafiles
    from tools.configs.tables import pages
    from tools.configs.transfer import transfer_recipes

    for method in METHODS:
        yield from derived_recipes(root / 'configs', method)
    yield from transfer_recipes(root / 'configs')
    yield from metafiles(root, count)
    yield from pages(root)


def leftovers(root: Path, written: set[Path]) -> list[Path]:
    """Return generated recipes that are in no table any more."""
    from tools.configs.headers import MARK

    recipes = (root / 'configs').rglob('*.py')
    marked = (p for p in recipes if p.read_text(encoding='utf-8').startswith(MARK))
    return sorted(set(marked) - written)


def main(arguments: list[str] | None = None) -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='write nothing; fail if a file is not up to date',
    )
    parser.add_argument(
        '--keep-counts',
        action='store_true',
        help='keep the parameter counts instead of counting again',
    )
    options = parser.parse_args(arguments)
    written, stale = set(), []
    for path, text in generate(ROOT, not options.keep_counts):
        written.add(path)
        if path.is_file() and path.read_text(encoding='utf-8') == text:
            continue
        stale.append(path)
        if not options.check:
            path.write_text(text, encoding='utf-8')
    old = leftovers(ROOT, written)
    for path in [*stale, *old]:
        print(path.relative_to(ROOT))
    for path in () if options.check else old:
        path.unlink()
    if options.check and (stale or old):
        sys.exit('Not up to date: run python tools/configs/generate.py.')


if __name__ == '__main__':
    main()
