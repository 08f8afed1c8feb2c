"""Unpack archives that came from elsewhere: checked names, progress, room first.

Only regular files are ever written, under names that were checked, and with the
modes of this user; a link or a device in an archive is an error. That is stricter
than tarfile's ``data`` filter, which Python 3.11.2 and before do not have.
"""

import hashlib
import shutil
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from lzma import LZMAError
from pathlib import Path, PurePosixPath

from mmtlalign.errors import InputError

CHUNK = 1 << 20
# What the readers raise for a damaged archive; OSError also for the disk.
DAMAGE = (EOFError, OSError, LZMAError, zlib.error, tarfile.TarError)
DAMAGE += (zipfile.BadZipFile,)
# Pictures hardly shrink by compression; raw numbers by less than this.
COMPRESSED = 2.0


class Progress:
    """How much is done, on one line of a terminal.

    Args:
        title (str): Stands in front.
        total (int): Bytes or files in all; 0 if not known.
        stream (TextIO): Where to draw. Defaults to standard error.
        unit (str): ``'MB'`` counts bytes, any other word things. Defaults to 'MB'.
    """

    def __init__(self, title: str, total: int, stream=None, unit: str = 'MB'):
        self.title, self.total, self.done, self.unit = title, total, 0, unit
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.shown = time.monotonic()

    def add(self, size: int) -> None:
        """Count; draw ten times a second, in a log file twice a minute."""
        self.done += size
        now = time.monotonic()
        if now - self.shown > (0.1 if self.live else 30):
            self.shown = now
            self.draw()

    def draw(self, end: str = '') -> None:
        """Draw the line; with ``end='\\n'`` it stays."""
        share = f'{min(1, self.done / self.total):4.0%}' if self.total else ''
        done = self.done / 1e6 if self.unit == 'MB' else self.done
        line = f'{self.title}  {share}  {done:,.0f} {self.unit}'
        self.stream.write(f'\r{line}{end}' if self.live else f'{line}\n')
        self.stream.flush()


class Archives:
    """A folder in which the user keeps archives.

    Args:
        folder (Path): The folder.
        source (str): Where the archives come from, for the message.
    """

    def __init__(self, folder: Path, source: str):
        self.folder, self.source = Path(folder), source

    def find(self, *names: str) -> list[Path]:
        """The archives of these names.

        Args:
            *names (str): File names or patterns such as ``camvid*.tar*``.

        Raises:
            InputError: If one is not there; all that are missing are named.
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
    into: Path,
    place: Callable[[str], str | None],
    nested: bool = False,
) -> int:
    """Unpack the regular files of a zip or tar archive.

    Args:
        archive (Path): The file; tar may be compressed.
        into (Path): The folder that is made; nothing is written outside.
        place (Callable): Name in the archive -> name below ``into``; None leaves
            the member out.
        nested (bool): Tars inside a tar are unpacked too, their members called
            ``<name of the tar>/<name>``. Defaults to False.

    Returns:
        int: How many files were written.

    Raises:
        InputError: If a name leads outside, a member is no file, or the archive is
            damaged.
    """
    exact = zipfile.is_zipfile(archive) or archive.suffix == '.tar'
    total = unpacked_size(archive) if exact else 0
    progress = Progress(f'unpacking {archive.name}', total)
    count = 0
    try:
        for name, stream in members(archive, nested):
            target = place(name)
            if target is None:
                continue
            if stream is None:
                raise InputError(
                    f"{archive}: '{name}' is a link or a device, which no data set "
                    'needs; get the archive from its official page'
                )
            write(stream, safe_path(into, target, archive), progress)
            count += 1
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno:
            raise  # of the disk, not of the archive; gzip's own have no number
        raise InputError(
            f'{archive} is damaged ({type(error).__name__}: {error}); download it again'
        ) from error
    progress.draw('\n')
    return count


def members(archive, nested: bool = False) -> Iterator[tuple]:
    """Name and stream of every member that is no folder; None for what is no file.

    Args:
        archive (Path | BinaryIO): A path, or the stream of a tar inside a tar.
        nested (bool): As :func:`unpack` says.
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


def safe_path(into: Path, name: str, archive: Path) -> Path:
    """The path of a member below a folder.

    Raises:
        InputError: If the name is absolute or climbs out.
    """
    pure = PurePosixPath(name)
    if pure.is_absolute() or '..' in pure.parts or '\\' in name or not pure.parts:
        raise InputError(
            f"{archive}: '{name}' leads out of the folder that is unpacked to; get the "
            'archive from its official page'
        )
    return into.joinpath(*pure.parts)


def write(stream, path: Path, progress: Progress | None = None) -> None:
    """Write a stream to a file, its folders made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('wb') as file:
        while chunk := stream.read(CHUNK):
            file.write(chunk)
            if progress:
                progress.add(len(chunk))


def unpacked_size(archive: Path) -> int:
    """Bytes that an archive takes unpacked; of compressed tars an upper guess."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            return sum(info.file_size for info in opened.infolist())
    factor = 1 if archive.suffix == '.tar' else COMPRESSED
    return int(archive.stat().st_size * factor)


def check_room(folder: Path, need: int, free: Callable | None = None) -> None:
    """Raise unless a disk has room.

    Args:
        folder (Path): On the disk.
        need (int): Bytes.
        free (Callable, optional): Bytes free on the disk of a folder.

    Raises:
        InputError: If not.
    """
    there = (free or (lambda path: shutil.disk_usage(path).free))(folder)
    if there < need:
        raise InputError(
            f'{folder} has {there / 1e9:,.1f} GB free, but {need / 1e9:,.1f} GB are '
            'needed; make room, or choose another disk with --root DIR'
        )


def check_md5(path: Path, md5: str) -> str:
    """What is wrong with a file's checksum; empty if nothing is."""
    digest = hashlib.md5()
    with Path(path).open('rb') as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    found = digest.hexdigest()
    return '' if found == md5 else f'md5 {found}, not {md5}'
