"""Hooks of mkdocs: for links out of ``docs/``, for notebooks, and for the API.

A page of ``docs/`` may link to any file of the repository, as on GitHub. The site has a
page for each of these files below ``repository/``, so that it is complete without
GitHub and without a network. Notebooks become pages with their stored outputs. The
pages below ``reference/`` are made from docstrings, which are read without an import.

mkdocs calls the functions whose names begin with ``on_``.
"""

import base64
import json
import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / 'mmtlalign'
LINK = re.compile(r'(?<=\]\()(?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?(?=\))')
LANGUAGES = {'.py': 'python', '.sh': 'bash', '.yml': 'yaml', '.cff': 'yaml'}
# Source files are left out of the search, where they would hide the other pages.
UNSEARCHED = '---\nsearch:\n  exclude: true\n---\n'
# These pages rank below the guides in the search.
BELOW = '---\nsearch:\n  boost: 0.5\n---\n'


# --- files of the repository ------------------------------------------------------


def site_uri(path: str) -> str:
    """Return the source of the page that shows a file of the repository.

    Args:
        path: Path of a file or folder, from the root of the repository.

    Returns:
        Path relative to ``docs/``, as in mkdocs, of an existing or generated page.
    """
    if path.startswith('docs/'):
        path = path.removeprefix('docs/')
        return f'{path}.md' if path.endswith('.ipynb') else path
    if (ROOT / path).is_dir():
        path = f'{path}/README.md'
    return f'repository/{path}' if path.endswith('.md') else f'repository/{path}.md'


def linked(text: str, file: str) -> list[str]:
    """Return the paths, from the root, that a Markdown file links to."""
    found = (posixpath.join(posixpath.dirname(file), m[1]) for m in LINK.finditer(text))
    return [posixpath.normpath(path) for path in found]


def relink(text: str, file: str) -> str:
    """Point the links of a Markdown file of the repository at pages of the site."""
    here = posixpath.dirname(site_uri(file))

    def replace(match):
        path = posixpath.join(posixpath.dirname(file), match[1])
        target = site_uri(posixpath.normpath(path))
        return posixpath.relpath(target, here or '.') + (match[2] or '')

    return LINK.sub(replace, text)


def source_page(path: str) -> str:
    """Return a page that shows a file or lists a folder, as Markdown."""
    file = ROOT / path
    if file.is_dir():
        names = sorted(p.name + '/' * p.is_dir() for p in file.iterdir())
        names = [name for name in names if not name.startswith(('.', '__'))]
        return f'{UNSEARCHED}# {path}/\n\n' + ''.join(f'* `{name}`\n' for name in names)
    text = file.read_text(encoding='utf-8')
    if file.suffix == '.md':
        return relink(text, path)
    language = LANGUAGES.get(file.suffix, 'text')
    return f'{UNSEARCHED}# {path}\n\n````` {language} linenums="1"\n{text}`````\n'


def repository_pages(first: list[str]) -> dict[str, str]:
    """Return the pages of all files outside of ``docs/`` that are linked to.

    Args:
        first: Paths of the Markdown files to start from, relative to the root.

    Returns:
        Markdown of each page by its `site_uri`.
    """
    pages, seen, todo = {}, set(), list(first)
    while todo:
        path = todo.pop()
        uri = site_uri(path)
        if uri in seen or not (ROOT / path).exists():
            continue
        seen.add(uri)
        if (ROOT / path / 'README.md').exists():
            path = f'{path}/README.md'
        if not path.startswith('docs/'):
            pages[uri] = source_page(path)
        if path.endswith('.md'):
            todo += linked((ROOT / path).read_text(encoding='utf-8'), path)
    return pages


# --- notebooks --------------------------------------------------------------------


def notebook_page(notebook: dict, name: str) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and its pictures by their file names.

    Args:
        notebook: The parsed ``.ipynb``.
        name: Its file name, which the page links to.
    """
    parts, pictures = [], {}
    for cell in notebook['cells']:
        text = ''.join(cell['source'])
        parts.append(
            text if cell['cell_type'] == 'markdown' else fenced(text, 'python')
        )
        for output in cell.get('outputs', ()):
            data = output.get('data', {})
            if 'image/png' in data:
                picture = f'{Path(name).stem}_{len(pictures) + 1}.png'
                pictures[picture] = base64.b64decode(data['image/png'])
                parts.append(f'![Output of the cell above]({picture})')
            else:
                said = output.get('text') or data['text/plain']
                parts.append(fenced(''.join(said), 'text'))
    title, _, rest = '\n\n'.join(parts).partition('\n')
    return f'{title}\n\n*[The notebook]({name}), run by the tests.*\n{rest}\n', pictures


def fenced(text: str, language: str) -> str:
    """Return a block of code or output."""
    return f'```{language}\n{text.rstrip()}\n```'


# --- reference --------------------------------------------------------------------


def reference_pages() -> dict[str, str]:
    """Return a page for each package, with its modules, as mkdocstrings reads it."""
    pages = {}
    for folder in sorted({file.parent for file in PACKAGE.rglob('*.py')}):
        modules = [file for file in sorted(folder.glob('*.py')) if has_names(file)]
        if folder == PACKAGE or not modules:
            continue
        package = '.'.join(folder.relative_to(PACKAGE.parent).parts)
        names = ['.'.join(m.relative_to(ROOT).with_suffix('').parts) for m in modules]
        title = package.removeprefix('mmtlalign.')
        text = f'{BELOW}# {package}\n\n' + ''.join(f'::: {name}\n\n' for name in names)
        pages[f'reference/{title}.md'] = text
    return pages


def has_names(file: Path) -> bool:
    """Tell whether a module defines a public function or class."""
    public = re.search(r'^(?:class|def) [A-Za-z]', file.read_text(), re.MULTILINE)
    return file.stem != '__init__' and public is not None


# --- mkdocs -----------------------------------------------------------------------


def on_config(config):
    """List the pages of the reference where ``nav`` says ``reference/``."""
    for section in config.nav:
        for pages in section.values():
            if 'reference/' in pages:
                at = pages.index('reference/')
                pages[at : at + 1] = [{'Modules': list(reference_pages())}]
    return config


def on_files(files, config):
    """Add the pages that are made from other files."""
    from mkdocs.structure.files import File

    docs = Path(config.docs_dir)
    made = {}
    for file in docs.rglob('*.ipynb'):
        uri = file.relative_to(docs).as_posix()
        notebook = json.loads(file.read_text(encoding='utf-8'))
        made[f'{uri}.md'], pictures = notebook_page(notebook, file.name)
        folder = posixpath.dirname(uri)
        made |= {posixpath.join(folder, name): data for name, data in pictures.items()}
    pages = [f'docs/{p.relative_to(docs).as_posix()}' for p in docs.rglob('*.md')]
    made |= repository_pages(['README.md', *pages]) | reference_pages()
    for uri, content in made.items():
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    """Point the links of a page of ``docs/`` at pages of the site."""
    if page.file.generated_by:
        return markdown
    return relink(markdown, f'docs/{page.file.src_uri}')


def on_page_content(html, page, config, files):
    """Remove the Sphinx roles of docstrings, such as ``:class:``."""
    return re.sub(r':(?:attr|class|data|func|meth|mod):(?=<code>)', '', html)
