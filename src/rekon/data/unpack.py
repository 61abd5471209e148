"""Archives, unpacked: nothing leaves the target folder, nothing partial gets a final name, what is there stays."""

from __future__ import annotations

import hashlib
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from rekon.errors import UserError
from rekon.files import atomic_path

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz")
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, RuntimeError, OSError)


class Damaged(UserError):
    """No archive, or not all of one: another copy may do."""


def is_archive(name: str) -> bool:
    """Whether a file of this name is unpacked."""
    return name.lower().endswith(ENDINGS)


def unpack(archive: Path, folder: Path, suffixes: tuple[str, ...]) -> dict[str, str]:
    """Put the regular files with one of `suffixes` into `folder`, without the archive's own folders.

    Returns name -> SHA-256. A file that is there with the right size is kept. Links, devices and hidden files are left
    out. Raises Damaged for an archive that is damaged, UserError for one that names a place outside itself or holds two
    files of one name.
    """
    found: dict[str, str] = {}
    try:
        for member, size, handle in _members(archive):
            path = PurePosixPath(member.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
                raise UserError(f"{archive}: holds {member!r}, a place outside the archive; do not trust this file.")
            if handle is None or path.suffix.lower() not in suffixes or path.name.startswith("."):
                continue
            if path.name in found:
                raise UserError(f"{archive}: holds two files called {path.name!r}; unpack it by hand.")
            found[path.name] = _put(handle, size, folder / path.name)
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:  # of this machine, not of the archive
            raise
        raise Damaged(f"{archive}: damaged ({type(error).__name__}); delete it and run again.") from None
    return found


def _members(archive: Path) -> Iterator[tuple[str, int, IO[bytes] | None]]:
    """Name, size and content of every member but folders; no content where it is no regular file."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as file:
            room = shutil.disk_usage(archive.parent).free
            if (size := sum(one.file_size for one in file.infolist())) > room:
                raise UserError(f"{archive}: needs {size / 1e9:.1f} GB unpacked, {room / 1e9:.1f} GB are free.")
            for one in file.infolist():
                kind = one.external_attr >> 28  # of Unix: 8 is a regular file, 0 is not told
                if not one.is_dir():
                    with file.open(one) as handle:
                        yield one.filename, one.file_size, handle if kind in (0, 8) else None
        return
    # a stream: the archives are a hundred gigabytes, and are read once
    with tarfile.open(archive, "r|*") as tar:
        for entry in tar:
            if not entry.isdir():
                yield entry.name, entry.size, tar.extractfile(entry) if entry.isreg() else None


def _put(handle: IO[bytes], size: int, out: Path) -> str:
    """Write a member, or read what is there; returns its SHA-256."""
    if out.is_file() and out.stat().st_size == size:
        with out.open("rb") as there:
            return hashlib.file_digest(there, "sha256").hexdigest()
    digest, written = hashlib.sha256(), 0
    with atomic_path(out) as temporary, temporary.open("wb") as target:
        while block := handle.read(2**20):
            digest.update(block)
            written += target.write(block)
        if written != size:
            raise EOFError
    return digest.hexdigest()
