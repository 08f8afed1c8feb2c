"""Data sets: their published contents, and how a folder is checked and made."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mmtlalign.errors import InputError
from tools.dataset_converters.prepare.archives import Archives, download, md5_fault
from tools.dataset_converters.prepare.check_report import CheckReport
from tools.output import open_console


@dataclass(frozen=True)
class DataSet:
    """A data set in the layout that the configs of this project expect.

    Attributes:
        title: Its name.
        root: Folder in the configs, relative to the project.
        source: Its official source.
        published: Published numbers, for ``check`` and ``build``.
        check: ``check(report, published)``; writes nothing.
        build: ``build(folder, archives, published)``; fills an empty folder.
        downloads: File name to (address, md5), where a program may download it.
        archives: Archives that ``build`` takes, in words.
    """

    title: str
    root: str
    source: str
    published: dict
    check: Callable[[CheckReport, dict], None]
    build: Callable[[Path, Archives, dict], None] | None = None
    downloads: dict[str, tuple[str, str]] | None = None
    archives: str = ''


def check_data_set(
    data: DataSet, root: Path, subset: bool = False, full: bool = False
) -> bool:
    """Check a data folder and print a table; write nothing.

    Args:
        data: What should be there.
        root: Data folder.
        subset: Whether fewer images and classes than published are allowed.
        full: Whether to decode every file rather than a sample.

    Returns:
        Whether the check has passed.
    """
    report, console = CheckReport(Path(root), subset, full), open_console()
    console.print(f'{data.title} in {root}')
    if report.root.is_dir():
        data.check(report, data.published)
        report.show(console)
    else:
        console.print('  not there')
    if report.rows and report.passed:
        part = 'A part of the published data, in order.'
        console.print(part if report.is_part else 'All in order.')
        return True
    console.print(f'\nWhere to get it: {data.source}')
    return False


def make_data_set(
    data: DataSet,
    root: Path,
    archives: Path | None = None,
    address: str | None = None,
    wait: float = 3.0,
) -> None:
    """Make a data folder from archives, or from the network.

    Args:
        data: What to make.
        root: Data folder; must not exist.
        archives: Folder with the archives; None downloads what may be downloaded.
        address: Address to use instead of the official ones, such as a local mirror;
            the md5 of the files must be the same.
        wait: Seconds between two attempts of a download.

    Raises:
        InputError: The archives are missing, damaged or too large, or the data folder
            exists.
    """
    if data.build is None or (archives is None and not data.downloads):
        ways = f'Archives: {data.archives}. ' if data.archives else ''
        then = ''
        if data.build:
            then = '. Put them into a folder DIR and run this again with --archives DIR'
        raise InputError(
            f'{root} does not exist, and this tool cannot download {data.title}. '
            f'{ways}From: {data.source}{then}'
        )
    with new_folder(Path(root)) as part:
        folder = Path(archives) if archives else part / '.downloads'
        folder.mkdir(exist_ok=True)
        for name, (official, md5) in (data.downloads or {}).items():
            if archives is None:
                url = f'{address.rstrip("/")}/{name}' if address else official
                download(url, folder / name, md5, wait=wait)
            elif (folder / name).exists():
                fault = md5_fault(folder / name, md5)
                if fault:
                    raise InputError(
                        f'{folder / name} is not the published file: {fault}; '
                        f'download it again from {official}'
                    )
        data.build(part, Archives(folder, data.source), data.published)
        if archives is None:
            shutil.rmtree(folder)


@contextlib.contextmanager
def new_folder(root: Path) -> Iterator[Path]:
    """Yield a folder to fill, which is renamed to ``root`` if there is no error.

    It is made beside ``root``, hence on the same disk, as ``<root>.part-…``. After any
    error, including Ctrl-C and SystemExit, it is removed and there is no ``root``.

    Args:
        root: Must not exist.

    Raises:
        InputError: ``root`` exists, or a killed run left a part behind.
    """
    root = Path(os.path.abspath(root))
    _refuse_existing(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    left = sorted(root.parent.glob(f'{root.name}.part-*'))
    if left:
        names = ' '.join(map(str, left))
        raise InputError(
            f'{left[0]} exists: another run is making {root}, or one was killed. If '
            f'none is running: rm -r {names}'
        )
    part = Path(tempfile.mkdtemp(prefix=f'{root.name}.part-', dir=root.parent))
    try:
        os.chmod(part, 0o777 & ~_umask())  # mkdtemp allows the owner alone
        yield part
        _refuse_existing(root)
        os.rename(part, root)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _refuse_existing(root: Path) -> None:
    if os.path.lexists(root):
        raise InputError(
            f'{root} already exists and is never overwritten; move it, or choose '
            'another folder with --root DIR'
        )


def _umask() -> int:
    """Return the mask of this process, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
