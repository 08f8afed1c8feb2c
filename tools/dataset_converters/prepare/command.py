"""Check a data folder, or make it: the one procedure of all data sets."""

import shutil
from pathlib import Path

from mmtlalign.errors import InputError
from tools.dataset_converters.prepare.archives import Archives, check_md5
from tools.dataset_converters.prepare.data_set import DataSet
from tools.dataset_converters.prepare.download import fetch
from tools.dataset_converters.prepare.findings import Findings
from tools.dataset_converters.prepare.folders import new_folder


def check(data: DataSet, root: Path, subset: bool = False, full: bool = False) -> bool:
    """Check a data folder and print a table; write nothing.

    Args:
        data (DataSet): What should be there.
        root (Path): The folder.
        subset (bool): Whether fewer images and classes than published are fine.
            Defaults to False.
        full (bool): Decode every file rather than a sample. Defaults to False.

    Returns:
        bool: Whether all is as it should be.
    """
    look = Findings(Path(root), subset, full)
    print(f'{data.title} in {root}')
    if look.root.is_dir():
        data.check(look, data.facts)
        print(look.table())
    else:
        print('  not there')
    if look.rows and look.good:
        part = any(row.verdict == 'part' for row in look.rows)
        print('A part of the published data, in order.' if part else 'All in order.')
        return True
    print(f'\nWhere to get it: {data.source}')
    return False


def make(
    data: DataSet,
    root: Path,
    archives: Path | None = None,
    address: str | None = None,
    wait: float = 3.0,
) -> None:
    """Make a data folder from archives, or from the network.

    Args:
        data (DataSet): What to make.
        root (Path): The folder; must not exist.
        archives (Path, optional): A folder with the archives; None downloads those
            that may be downloaded.
        address (str, optional): Where the files lie instead of their official
            addresses, such as a mirror of one's own; md5 must be the same.
        wait (float): Seconds between two tries of a download. Defaults to 3.

    Raises:
        InputError: If the archives are not there, damaged or too large, or if the
            folder exists.
    """
    if data.build is None or (archives is None and not data.downloads):
        ways = f'Archives: {data.archives}. ' if data.archives else ''
        then = ''
        if data.build:
            then = '. Put them into a folder DIR and run this again with --archives DIR'
        raise InputError(
            f'{root} does not exist, and {data.title} cannot be downloaded by a '
            f'program. {ways}From: {data.source}{then}'
        )
    with new_folder(Path(root)) as part:
        folder = Path(archives) if archives else part / '.downloads'
        folder.mkdir(exist_ok=True)
        for name, (official, md5) in (data.downloads or {}).items():
            if archives is None:
                here = f'{address.rstrip("/")}/{name}' if address else official
                fetch(here, folder / name, md5, wait=wait)
            elif (folder / name).exists():
                fault = check_md5(folder / name, md5)
                if fault:
                    raise InputError(
                        f'{folder / name} is not the published file: {fault}; '
                        f'download it again from {official}'
                    )
        data.build(part, Archives(folder, data.source), data.facts)
        if archives is None:
            shutil.rmtree(folder)
