"""The tables of the READMEs, of docs/backbones.md and of docs/model_zoo.md.

They list the recipes of a folder, networks by methods and by tasks, and the costs of
networks. A table is between `<!-- table: NAME, … -->` and `<!-- end -->`; `TABLES` has
the function that makes it. All content is read from names, headers and metafiles.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from tools.analysis_tools.published_costs import NOTES, kind_of, notes, published
from tools.configs.headers import read_header
from tools.configs.metafiles import COLLECTIONS, DATA, costs_in, data_of, recipes_of

MARKS = re.compile(r'(<!-- table: (\w+), .*?-->\n).*?(<!-- end -->)', re.DOTALL)
NONE = '·'
# Prefix of a name -> column of the matrix, and what else to write in the cell.
METHODS = {
    'tlalign': ('TL-Align', ''),
    'transmix': ('TransMix', ''),
    'transmix-official-switch': ('TransMix', 'official switch'),
    'cutmix': ('plain mixing', ''),
    'cutmix-official-switch': ('plain mixing', 'official switch'),
    'transmix-dino': ('TransMix', "DINO's attention"),
    'transmix-supervised': ('TransMix', "a supervised network's"),
    'transmix-distilled': ('TransMix', "a distilled network's"),
    'transmix-ema': ('TransMix', 'of its own average'),
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
COSTS = ['parameters', 'GMAC']
# Methods whose networks are those of the papers, and methods without a head.
OWN = ('', 'tlalign', 'transmix', 'token-label')
WITHOUT_HEAD = ('esvit', 'dino')
PRETRAINING = ('tlalign', 'transmix', 'cutmix', 'token_labeling', 'relabel', 'esvit')
PRETRAINING += ('dhvt', 'pvt', 'caswin')
DOWNSTREAM = {
    'segmentation': r'(?P<net>.+?)(-ln)?_(?P<by>.+?)-in1k-pre_(?P<what>.+?)_.*',
    'detection': r'(?P<what>.+?)_(?P<net>.+?)_(?P<by>.+?)-pre_.*-(?P<time>\w+)_coco',
    'transfer': r'(?P<net>.+?)_(?P<by>.+?)-in1k-pre_(?P<what>\w+)-1000e_.*',
    'esvit/linear_probe': r'(?P<net>.+?)_(?P<by>.+?)-in1k-pre_(?P<what>linear)-.*',
}


def pages(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield (path, text) of every page with tables, with the tables made anew."""
    others = [root / 'docs' / 'backbones.md', root / 'docs' / 'model_zoo.md']
    for page in [*sorted((root / 'configs').glob('**/README.md')), *others]:
        text = page.read_text(encoding='utf-8')
        folder = root / 'configs' if page in others else page.parent

        def fill(found: re.Match, folder: Path = folder) -> str:
            return f'{found[1]}\n{TABLES[found[2]](folder)}\n\n{found[3]}'

        yield page, MARKS.sub(fill, text)


def recipes(folder: Path) -> str:
    """Return the recipes of a folder with quoted and measured results and costs."""
    costs = costs_in(folder / 'metafile.yml')
    classify = any('FLOPs' in cost for cost in costs.values())
    rows = []
    for path in recipes_of(folder):
        header = read_header(path)
        measured = header.measured.rstrip('.')
        measured = NONE if measured == 'not yet' else measured
        link = f'[{path.stem}]({path.relative_to(folder).as_posix()})'
        cells = cost_cells(costs[path.stem])[: 1 + classify]
        rows.append([link, header.expected.rstrip('.'), measured, *cells])
    head = ['recipe', 'expected', 'measured by us', *COSTS[: 1 + classify]]
    return table(head, rows)


def cost_cells(cost: dict[str, int]) -> list[str]:
    """Return the cells of :data:`COSTS`."""
    macs = cost.get('FLOPs')
    return [f'{cost["Parameters"] / 1e6:.1f} M', f'{macs / 1e9:.3g}' if macs else NONE]


def pretraining(configs: Path) -> str:
    """Return networks by methods of pretraining, with their data and costs."""
    cells = defaultdict(lambda: defaultdict(list))
    runs = list(pretraining_runs(configs))
    first = first_runs(runs, lambda run: (run.network, run.data))
    for run in runs:
        cost = cost_cells(first[run.network, run.data].cost)
        column, note = METHODS.get(run.method, (PLAIN, ''))
        name = f'{length(run.rest)} {note}'.strip()
        row = f'`{run.network}`', run.data, *cost
        cells[row][column].append(link(name, run.path, configs))
    columns = dict.fromkeys(column for column, _ in METHODS.values())
    return matrix(cells, ['network', 'data', *COSTS], [PLAIN, *columns])


class Run(NamedTuple):
    """The parts of a pretraining recipe's name, and the cost of its network."""

    path: Path
    method: str
    network: str
    rest: str
    data: str
    cost: dict[str, int]


def pretraining_runs(configs: Path) -> Iterator[Run]:
    """Yield every recipe of pretraining."""
    for folder in PRETRAINING:
        costs = costs_in(configs / folder / 'metafile.yml')
        for path in sorted((configs / folder).glob('*.py')):
            method, _, rest = path.stem.partition('_')
            if method not in METHODS:
                method, rest = '', path.stem
            network, _, rest = rest.partition('_')
            data = data_of(path.stem) + resolution(path.stem)
            start = re.match(r'(\w+)-pre_', rest)
            # EsViT after DINO is one schedule of two phases.
            if start and start[1] in STARTS:
                data += f', from {STARTS[start[1]]}'
            yield Run(path, method, network, rest, data, costs[path.stem])


def first_runs(
    runs: Iterable[Run], key: Callable[[Run], Hashable]
) -> dict[Hashable, Run]:
    """Return for every key the run whose network is closest to that of the paper.

    Some methods add a classifier of all tokens, and EsViT has none.
    """
    found, order = {}, list(dict.fromkeys((*OWN, *METHODS)))

    def rank(run: Run) -> tuple[bool, int]:
        return 'in1k' not in run.path.stem, order.index(run.method)

    for run in sorted(runs, key=rank):
        found.setdefault(key(run), run)
    return found


def families(configs: Path) -> str:
    """Return kinds of networks for ImageNet at 224 pixels, smallest first."""
    runs = first_runs(
        (run for run in pretraining_runs(configs) if run.method not in WITHOUT_HEAD),
        lambda run: run.network,
    )
    found = defaultdict(list)
    for network, run in runs.items():
        family = re.sub(r'-(tiny|small|medium|base|large)\b', '', network)
        if run.data.startswith(DATA['in1k']) and run.cost['Image Size'] == 224:
            found[family].append((run.cost['Parameters'], run.cost['FLOPs'], network))
    rows = []
    for family, costs in sorted(found.items()):
        parameters, macs, names = zip(*sorted(costs))
        sizes = [re.search(r'-(tiny|small|medium|base|large)\b', n) for n in names]
        rows.append(
            [
                f'`{family}`',
                ', '.join(size[1] for size in sizes if size),
                ' / '.join(f'{number / 1e6:.1f}' for number in parameters),
                ' / '.join(f'{number / 1e9:.2f}' for number in macs),
            ]
        )
    return table(['network', 'sizes', 'parameters, M', 'GMAC'], rows)


def networks(configs: Path) -> str:
    """Return networks with their costs and the published ones, and notes below."""
    runs = first_runs(
        pretraining_runs(configs), lambda run: (run.network, run.cost['Image Size'])
    )
    rows, known = [], {}
    for (network, size), run in sorted(runs.items()):
        backbone = Config.fromfile(run.path).model.backbone
        keys = notes(backbone)
        if run.method in WITHOUT_HEAD:
            keys.append('backbone')
        marks = [known.setdefault(key, len(known) + 1) for key in keys]
        quoted = published(backbone, size) or NONE
        rows.append(
            [
                f'[`{network}`](../{run.path.relative_to(configs.parent).as_posix()})',
                f'`{kind_of(backbone)}`',
                str(size),
                f'{run.cost["Parameters"] / 1e6:.3f}',
                f'{run.cost["FLOPs"] / 1e9:.3f}',
                quoted,
                ', '.join(map(str, marks)),
            ]
        )
    head = [
        'network',
        'backbone',
        'pixels',
        'parameters, M',
        'GMAC',
        'published',
        'note',
    ]
    below = (f'{number}. {NOTES[key]}' for key, number in known.items())
    return '\n'.join([table(head, rows), '', *below])


def transfer(folder: Path) -> str:
    """Return pretrained networks by the data sets of configs/transfer."""
    return downstream(folder.parent, ['transfer'], folder)


def downstream(
    configs: Path, folders: Iterable[str] = DOWNSTREAM, page: Path | None = None
) -> str:
    """Return pretrained networks by tasks.

    Args:
        configs: The folder configs/.
        folders: Folders below it whose recipes are listed.
        page: Folder of the page, to which links are relative; configs if None.
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
    """Return the image size in a name, such as ` at 384 px`."""
    side = re.search(r'-(\d+)px$', stem)
    return f' at {side[1]} px' if side else ''


def length(run: str) -> str:
    """Return the length of a run, such as `300e`."""
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
    """Return every folder with a description and its number of recipes."""
    rows = []
    for folder in COLLECTIONS:
        title = (configs / folder / 'README.md').read_text(encoding='utf-8')
        name = title.partition('\n')[0].removeprefix('# ')
        count = str(len(recipes_of(configs / folder)))
        rows.append([f'[{folder}]({folder}/README.md)', name, count])
    return table(['folder', 'what', 'recipes'], rows)


TABLES = dict(
    downstream=downstream,
    families=families,
    folders=folders,
    networks=networks,
    pretraining=pretraining,
    recipes=recipes,
    transfer=transfer,
)
