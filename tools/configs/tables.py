"""The tables of the READMEs below configs/: recipes of a folder, and the whole matrix.

A table stands between `<!-- table: NAME, … -->` and `<!-- end -->`; `TABLES` says what
makes it. All is read from the names, the headers and the metafiles.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from tools.configs.headers import read_header
from tools.configs.metafiles import COLLECTIONS, data_of, parameters_in, recipes_of

MARKS = re.compile(r'(<!-- table: (\w+), .*?-->\n).*?(<!-- end -->)', re.DOTALL)
NONE = '·'
# How a name begins -> column of the matrix, and what the column does not say.
METHODS = {
    'tlalign': ('TL-Align', ''),
    'transmix': ('TransMix', ''),
    'transmix-official-switch': ('TransMix', 'official switch'),
    'cutmix': ('plain mixing', ''),
    'cutmix-official-switch': ('plain mixing', 'official switch'),
    'token-label': ('Token Labeling', ''),
    'tlalign-token-label': ('Token Labeling', 'with TL-Align'),
    'mixtoken': ('MixToken', ''),
    'relabel': ('ReLabel', ''),
    'relabel-cutmix': ('ReLabel', 'with CutMix'),
    'esvit': ('EsViT', ''),
    'dino': ('DINO', ''),
}
STARTS = dict(in1k='ImageNet-1k', beit="BEiT's pretraining")
PLAIN = 'own recipe'
PRETRAINING = ('tlalign', 'transmix', 'cutmix', 'token_labeling', 'relabel', 'esvit')
PRETRAINING += ('dhvt', 'pvt', 'caswin')
DOWNSTREAM = {
    'segmentation': r'(?P<net>.+?)(-ln)?_(?P<by>.+?)-in1k-pre_(?P<what>.+?)_.*',
    'detection': r'(?P<what>.+?)_(?P<net>.+?)_(?P<by>.+?)-pre_.*-(?P<time>\w+)_coco',
    'transfer': r'(?P<net>.+?)_(?P<by>.+?)-in1k-pre_(?P<what>\w+)-1000e_.*',
    'esvit/linear_probe': r'(?P<net>.+?)_(?P<by>.+?)-in1k-pre_(?P<what>linear)-.*',
}


def pages(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield (path, text) of every README, with the tables of today."""
    for page in sorted((root / 'configs').glob('**/README.md')):
        text = page.read_text(encoding='utf-8')

        def fill(found: re.Match, folder: Path = page.parent) -> str:
            return f'{found[1]}\n{TABLES[found[2]](folder)}\n\n{found[3]}'

        yield page, MARKS.sub(fill, text)


def recipes(folder: Path) -> str:
    """Return the recipes of a folder: what is quoted, what we measured, how large."""
    sizes = parameters_in(folder / 'metafile.yml')
    rows = []
    for path in recipes_of(folder):
        header = read_header(path)
        measured = NONE if header.measured == 'no.' else header.measured.rstrip('.')
        link = f'[{path.stem}]({path.relative_to(folder).as_posix()})'
        size = f'{sizes[path.stem] / 1e6:.1f} M'
        rows.append([link, header.expected.rstrip('.'), measured, size])
    return table(['recipe', 'expected', 'measured by us', 'parameters'], rows)


def pretraining(configs: Path) -> str:
    """Return networks by methods: what pretrains, on which data."""
    cells = defaultdict(lambda: defaultdict(list))
    for folder in PRETRAINING:
        for path in sorted((configs / folder).glob('*.py')):
            method, _, rest = path.stem.partition('_')
            if method not in METHODS:
                method, rest = '', path.stem
            network, _, run = rest.partition('_')
            column, note = METHODS.get(method, (PLAIN, ''))
            data = data_of(path.stem) + resolution(path.stem)
            start = re.match(r'(\w+)-pre_', run)
            # EsViT after DINO is one schedule of two phases.
            if start and start[1] in STARTS:
                data += f', from {STARTS[start[1]]}'
            name = f'{length(run)} {note}'.strip()
            cells[f'`{network}`', data][column].append(link(name, path, configs))
    columns = dict.fromkeys(column for column, _ in METHODS.values())
    return matrix(cells, ['network', 'data'], [PLAIN, *columns])


def transfer(folder: Path) -> str:
    """Return pretrained networks by the data sets of configs/transfer."""
    return downstream(folder.parent, ['transfer'], folder)


def downstream(
    configs: Path, folders: Iterable[str] = DOWNSTREAM, page: Path | None = None
) -> str:
    """Return pretrained networks by tasks.

    Args:
        configs: The folder configs/.
        folders: Those below it whose recipes are listed.
        page: Folder of the page, which links begin at; configs if None.
    """
    cells, columns = defaultdict(lambda: defaultdict(list)), {}
    for folder in folders:
        for path in sorted((configs / folder).glob('*.py')):
            said = re.fullmatch(DOWNSTREAM[folder], path.stem).groupdict('')
            column, _, note = data_of(path.stem).partition(', ')
            name = ' '.join(f'{said["what"]} {said.get("time", "")} {note}'.split())
            row = f'`{said["net"]}`', METHODS[said['by']][0]
            columns[column] = None
            cells[row][column].append(link(name, path, page or configs))
    return matrix(cells, ['network', 'pretrained by'], list(columns))


def resolution(stem: str) -> str:
    """Return the side of pictures that a name says: ` at 384 px`."""
    side = re.search(r'-(\d+)px$', stem)
    return f' at {side[1]} px' if side else ''


def length(run: str) -> str:
    """Return how long a run is: `300e`."""
    epochs = re.search(r'(\d+e)_', run)
    return epochs[1] if epochs else 'short'


def link(name: str, path: Path, base: Path) -> str:
    """Return a link to a recipe from a folder."""
    return f'[{name}]({path.relative_to(base).as_posix()})'


def matrix(cells: dict, names: list[str], columns: list[str]) -> str:
    """Return a table of links: (row) -> column -> links."""
    rows = [
        [*row, *(', '.join(found.get(column, [NONE])) for column in columns)]
        for row, found in sorted(cells.items())
    ]
    return table([*names, *columns], rows)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return lines of Markdown."""
    lines = [head, ['---'] * len(head), *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def folders(configs: Path) -> str:
    """Return every folder, what it is, and how many recipes it has."""
    rows = []
    for folder in COLLECTIONS:
        title = (configs / folder / 'README.md').read_text(encoding='utf-8')
        name = title.partition('\n')[0].removeprefix('# ')
        count = str(len(recipes_of(configs / folder)))
        rows.append([f'[{folder}]({folder}/README.md)', name, count])
    return table(['folder', 'what', 'recipes'], rows)


TABLES = dict(
    downstream=downstream,
    folders=folders,
    pretraining=pretraining,
    recipes=recipes,
    transfer=transfer,
)
