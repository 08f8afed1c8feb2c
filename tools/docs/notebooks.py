"""Run the code of a notebook, and write its outputs into it or compare them.

The cells run in one process, from the notebook's folder, as a kernel would run them:
the value of a last expression is shown, and so are the figures of matplotlib. Jupyter
itself is not needed.

::

    python tools/docs/notebooks.py docs/tutorial.ipynb            # write the outputs
    python tools/docs/notebooks.py docs/tutorial.ipynb --check    # only compare them
"""

import argparse
import ast
import base64
import contextlib
import io
import json
import math
import os
import re
import sys
from pathlib import Path

NUMBER = re.compile(r'-?\d+(?:\.\d+)?(?:e[+-]?\d+)?')
# Tolerances: processors sum in different orders, which training steps amplify.
RELATIVE, ABSOLUTE = 0.05, 0.05


def run(notebook: dict, folder: Path) -> dict:
    """Run all code cells, and return the notebook with the outputs of this run.

    Args:
        notebook: The parsed ``.ipynb``.
        folder: Folder that the code runs in.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    plt.show = lambda: None  # figures are read at the end of their cell
    names, before = {'__name__': '__main__'}, os.getcwd()
    cells, count = [], 0
    os.chdir(folder)
    try:
        for cell in notebook['cells']:
            if cell['cell_type'] == 'code':
                count += 1
                outputs = run_cell(''.join(cell['source']), names, count)
                cell = dict(cell, execution_count=count, outputs=outputs)
            cells.append(cell)
    finally:
        os.chdir(before)
    return dict(notebook, cells=cells)


def run_cell(code: str, names: dict, count: int) -> list[dict]:
    """Run one cell, and return its outputs as a notebook holds them.

    Args:
        code: Python.
        names: Variables, which the code adds to.
        count: Number of the cell among those with code.
    """
    from matplotlib import pyplot as plt

    body = ast.parse(code).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    said, value, file = io.StringIO(), None, f'<cell {count}>'
    with contextlib.redirect_stdout(said):
        exec(compile(ast.Module(body, []), file, 'exec'), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), file, 'eval'), names)
    outputs = []
    if said.getvalue():
        text = said.getvalue().splitlines(keepends=True)
        outputs.append(dict(name='stdout', output_type='stream', text=text))
    for number in plt.get_fignums():
        picture = io.BytesIO()
        plt.figure(number).savefig(picture, dpi=72, metadata=dict(Software=None))
        png = base64.b64encode(picture.getvalue()).decode()
        outputs.append(shown({'image/png': png}, output_type='display_data'))
    plt.close('all')
    if value is not None:
        text = repr(value).splitlines(keepends=True)
        result = dict(output_type='execute_result', execution_count=count)
        outputs.append(shown({'text/plain': text}, **result))
    return outputs


def shown(data: dict, **fields: object) -> dict:
    """Return an output of a notebook with data by MIME type."""
    return dict(data=data, metadata={}, **fields)


def differences(old: dict, new: dict) -> list[str]:
    """Return what differs between the outputs of two runs, cell by cell.

    Words must be equal and numbers nearly equal; pictures only have to exist.
    """
    found = []
    for number, cells in enumerate(zip(old['cells'], new['cells'], strict=True), 1):
        first, second = ([text_of(o) for o in c.get('outputs', ())] for c in cells)
        alike = len(first) == len(second) and all(map(same_text, first, second))
        if not alike:
            found.append(f'cell {number} has the output\n{second}\nbut had\n{first}')
    return found


def text_of(output: dict) -> str:
    """Return the text of an output, or a placeholder for a picture."""
    data = output.get('data', {})
    return ''.join(output.get('text') or data.get('text/plain') or sorted(data))


def same_text(first: str, second: str) -> bool:
    """Tell whether two texts have the same words and nearly the same numbers."""
    words = [NUMBER.sub('0', text) for text in (first, second)]
    numbers = [map(float, NUMBER.findall(text)) for text in (first, second)]
    return words[0] == words[1] and all(
        math.isclose(a, b, rel_tol=RELATIVE, abs_tol=ABSOLUTE) for a, b in zip(*numbers)
    )


def main() -> None:
    """Run a notebook; write its outputs, or compare them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('notebook', type=Path)
    parser.add_argument(
        '--check', action='store_true', help='write nothing, only compare the outputs'
    )
    args = parser.parse_args()
    if not args.notebook.is_file():
        parser.error(f'{args.notebook} does not exist: give the path of a notebook')
    old = json.loads(args.notebook.read_text(encoding='utf-8'))
    new = run(old, args.notebook.parent)
    if not args.check:
        text = json.dumps(new, indent=1, ensure_ascii=False)
        args.notebook.write_text(f'{text}\n', encoding='utf-8')
    elif found := differences(old, new):
        sys.exit('\n'.join(found))


if __name__ == '__main__':
    main()
