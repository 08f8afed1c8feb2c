"""Fetch a file over the network: checked, tried again, never left half."""

import time
import urllib.request
from pathlib import Path

from mmtlalign.errors import InputError
from tools.dataset_converters.prepare.archives import (
    CHUNK,
    Progress,
    check_md5,
    check_room,
)


def fetch(
    address: str, path: Path, md5: str, tries: int = 3, wait: float = 3.0
) -> None:
    """Download a file.

    Args:
        address (str): URL.
        path (Path): Where it goes; written under another name until it is whole.
        md5 (str): Checksum.
        tries (int): How often. Defaults to 3.
        wait (float): Seconds between two tries. Defaults to 3.

    Raises:
        InputError: If it cannot be had, or is another file.
    """
    part = path.with_name(f'{path.name}.part')
    for number in range(1, tries + 1):
        try:
            transfer(address, part)
            fault = check_md5(part, md5)
        except OSError as error:
            # Of the network: refused, no such host, cut, 404. Of the disk: ours.
            if not part.parent.is_dir():
                raise
            fault = str(error) or type(error).__name__
        if not fault:
            part.rename(path)
            return
        part.unlink(missing_ok=True)
        if number < tries:
            time.sleep(wait)
    raise InputError(
        f'{address} could not be downloaded in {tries} tries ({fault}). Get '
        f'{path.name} (md5 {md5}) in another way, put it into a folder DIR, and run '
        'this again with --archives DIR'
    )


def transfer(address: str, path: Path) -> None:
    """Copy what an address answers into a file."""
    with urllib.request.urlopen(address, timeout=30) as answer:
        total = int(answer.headers.get('Content-Length') or 0)
        check_room(path.parent, total)
        progress = Progress(f'downloading {path.name}', total)
        with path.open('wb') as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                progress.add(len(chunk))
    if total and progress.done != total:
        raise ConnectionError(f'{progress.done} of {total} bytes came')
    progress.draw('\n')
