"""Find, download and unpack archives, with checks of names and free space.

Only regular files are written, under names that were checked. torchvision's
``extract_archive`` trusts names and links, and its ``download_url`` neither retries nor
checks the free space.
"""

import shutil
import tarfile
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from torchvision.datasets.utils import calculate_md5

from mmtlalign.compat.files import atomic_write
from mmtlalign.errors import InputError
from tools.output import track

CHUNK = 1 << 20
# Errors that the readers raise for a damaged archive; OSError may also be the disk's.
DAMAGE = (EOFError, OSError, LZMAError, zlib.error, tarfile.TarError)
DAMAGE += (zipfile.BadZipFile,)
# Highest compression ratio: images hardly shrink, and raw numbers by less than this.
COMPRESSED = 2.0


class Archives:
    """The folder with the user's archives.

    Args:
        folder: Path.
        source: Where the archives come from, for the message.
    """

    def __init__(self, folder: Path, source: str):
        self.folder, self.source = Path(folder), source

    def find(self, *names: str) -> list[Path]:
        """Return the archives of some names.

        Args:
            *names: File names, or patterns such as ``camvid*.tar*``.

        Raises:
            InputError: An archive is missing; the message names all missing ones.
        """
        hits = {name: sorted(self.folder.glob(name)) for name in names}
        missing = [name for name, hit in hits.items() if not hit]
        if missing:
            raise InputError(
                f'{self.folder} lacks {", ".join(missing)}. From: {self.source}'
            )
        return [hit[0] for hit in hits.values()]


def unpack(
    archive: Path,
    folder: Path,
    place: Callable[[str], str | None],
    nested: bool = False,
) -> int:
    """Unpack the regular files of a zip or tar archive.

    Args:
        archive: The file; a tar may be compressed.
        folder: Folder that is made; nothing is written outside.
        place: Function from a name in the archive to a name below ``folder``; None
            leaves the file out.
        nested: Whether tars inside a tar are unpacked, too, with members named
            ``<name of the tar>/<name>``.

    Returns:
        Number of files that were written.

    Raises:
        InputError: A name leads outside, a member is not a file, or the archive is
            damaged.
    """
    exact = zipfile.is_zipfile(archive) or archive.suffix == '.tar'
    total = unpacked_size(archive) if exact else 0
    count = 0
    try:
        with track(f'unpacking {archive.name}', total, in_bytes=True) as advance:
            for name, stream in members(archive, nested):
                target = place(name)
                if target is None:
                    continue
                if stream is None:
                    raise InputError(
                        f"{archive}: '{name}' is a link or a device, which the data "
                        'set does not need; get the archive from its official page'
                    )
                write_stream(stream, safe_path(folder, target, archive), advance)
                count += 1
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno:
            raise  # an error of the disk; those of gzip have no errno
        raise InputError(
            f'{archive} is damaged ({type(error).__name__}: {error}); download it again'
        ) from error
    return count


def members(
    archive: Path | BinaryIO, nested: bool = False
) -> Iterator[tuple[str, BinaryIO | None]]:
    """Yield name and stream of every member but folders; the stream of a link is None.

    Args:
        archive: Path, or the stream of a tar inside a tar.
        nested: Whether tars inside a tar are read, too.
    """
    if isinstance(archive, Path) and zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                if info.is_dir():
                    continue
                link = (info.external_attr >> 28) == 0xA
                if link:
                    yield info.filename, None
                else:
                    with opened.open(info) as stream:
                        yield info.filename, stream
        return
    given = dict(name=archive) if isinstance(archive, Path) else dict(fileobj=archive)
    with tarfile.open(mode='r|*', **given) as opened:
        for member in opened:
            if not member.isdir():
                stream = opened.extractfile(member) if member.isreg() else None
                if nested and stream and member.name.endswith('.tar'):
                    for name, inner in members(stream):
                        yield f'{Path(member.name).stem}/{name}', inner
                else:
                    yield member.name, stream


def safe_path(folder: Path, name: str, archive: Path) -> Path:
    """Return the path of a member below a folder.

    Raises:
        InputError: The name is absolute or leads outside.
    """
    pure = PurePosixPath(name)
    if pure.is_absolute() or '..' in pure.parts or '\\' in name or not pure.parts:
        raise InputError(
            f"{archive}: '{name}' points outside the folder that is unpacked to; get "
            'the archive from its official page'
        )
    return folder.joinpath(*pure.parts)


def write_stream(
    stream: BinaryIO, path: Path, advance: Callable[[int], None] = lambda size: None
) -> None:
    """Write a stream to a file, whose folders are made; ``advance`` gets the sizes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('wb') as file:
        while chunk := stream.read(CHUNK):
            file.write(chunk)
            advance(len(chunk))


def unpacked_size(archive: Path) -> int:
    """Return the unpacked bytes of an archive; a high estimate for compressed tars."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            return sum(info.file_size for info in opened.infolist())
    factor = 1 if archive.suffix == '.tar' else COMPRESSED
    return int(archive.stat().st_size * factor)


def check_free_space(folder: Path, needed: int) -> None:
    """Check that the disk of a folder has so many bytes free.

    Raises:
        InputError: It has less.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f'{folder} has {free / 1e9:,.1f} GB free, but {needed / 1e9:,.1f} GB are '
            'needed; free disk space, or choose another disk with --root DIR'
        )


def md5_fault(path: Path, md5: str) -> str:
    """Return what is wrong with a file's checksum; '' if nothing is."""
    found = calculate_md5(path)
    return '' if found == md5 else f'md5 {found}, not {md5}'


def download(url: str, path: Path, md5: str, tries: int = 3, wait: float = 3.0) -> None:
    """Download a file; ``path`` exists only once the file is complete.

    Args:
        url: Address.
        path: Path of the file.
        md5: Its checksum.
        tries: Number of attempts.
        wait: Seconds between two attempts.

    Raises:
        InputError: The download fails, or the file has another checksum.
    """
    for number in range(tries):
        if number:
            time.sleep(wait)
        try:
            with atomic_write(path) as part:
                _transfer(url, part, path.name)
                if fault := md5_fault(part, md5):
                    raise ConnectionError(fault)
            return
        except OSError as error:
            # Of the network: refused, no such host, cut, 404. Of the disk: ours.
            if not path.parent.is_dir():
                raise
            fault = str(error) or type(error).__name__
    raise InputError(
        f'{url} could not be downloaded in {tries} tries ({fault}). Get '
        f'{path.name} (md5 {md5}) in another way, put it into a folder DIR, and run '
        'this again with --archives DIR'
    )


def _transfer(url: str, path: Path, name: str) -> None:
    """Write the response of an address into a file."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        total = int(answer.headers.get('Content-Length') or 0)
        check_free_space(path.parent, total)
        with track(f'downloading {name}', total, in_bytes=True) as advance:
            write_stream(answer, path, advance)
    if total and path.stat().st_size != total:
        raise ConnectionError(f'received {path.stat().st_size} of {total} bytes')
