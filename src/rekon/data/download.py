"""Published files, fetched: from a local mirror or over HTTP, resumed, retried, checked, and named only when complete.

The bytes grow in a hidden file beside the final name (`.NAME.part`). It survives failures and kills, so that the next
attempt asks only for the rest; the final name appears by an atomic rename after the checksum was found right, or, where
nobody states one, when all the bytes that the server announced are there, of one version of the file (`.NAME.part.json`
tells which).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import httpx

from rekon.config import RemoteFile
from rekon.data import http
from rekon.data.http import CATALOGUE, TryAgain, public
from rekon.data.progress import Bar, Progress
from rekon.data.served import Memory
from rekon.errors import UserError
from rekon.files import atomic_path


@dataclass(frozen=True)
class Published:
    """A file that somebody publishes: what messages call it, where it is, and what its bytes must be."""

    name: str
    url: str
    mirror: str  # path below a mirror's folder
    sha256: str | None = None  # or its first digits; None: not known
    md5: str | None = None  # what some publishers state instead
    mend: str = CATALOGUE  # where the address is from: what to look at when it is wrong


class Digests(NamedTuple):
    """What a file's bytes are."""

    sha256: str
    md5: str


def download(
    dataset_name: str, file: RemoteFile, out: Path, mirror: Path | str | None = None, retries: int = 5
) -> None:
    """Put `file` under the name `out`, complete and with the catalogue's SHA-256, or raise; see `fetch`.

    In the mirror it is `<file.mirror>`, or `<dataset_name>/<file.path>` where the catalogue names no other place.
    """
    name = f"{file.path!r} of data set {dataset_name!r}"
    fetch(Published(name, file.url, file.mirror or f"{dataset_name}/{file.path}", file.sha256), out, mirror, retries)


def fetch(
    file: Published, out: Path, mirror: Path | str | None = None, retries: int = 5, bar: Bar | None = None
) -> str:
    """Put `file` under the name `out`, complete and with its checksum, or raise. Returns the SHA-256 found.

    The mirror comes first; a file that is not there is fetched from its URL. `retries` counts the attempts after the
    first one that bring nothing new; an attempt that gets further than any before it starts the count anew. A file
    whose checksum is not known is taken when it surely is whole: in one piece of known length, in pieces of one version
    that add up to its length, or the same twice.
    bar: where several files show their progress together.

    Raises UserError, one sentence, when the mirror is no folder, the address cannot be reached or refuses, what comes
    is not the file meant, the disk is full, or another process fetches the same file.
    """
    out = Path(out)
    if (file.sha256 or file.md5) and out.is_file() and not _wrong(file, found := digests(out)):
        return found.sha256
    if mirror is not None and (copied := _copy(file, out, Path(mirror))):
        return copied
    with _part(out) as (part, handle), Progress(out.name, bar) as progress, http.client() as session:
        memory = Memory(_memory_name(out))
        digest = _fetch(session, file, part, handle, memory, retries, progress)
        os.fsync(handle.fileno())
        part.replace(out)
        memory.forget()
    return digest


def digests(path: Path) -> Digests:
    """Both checksums of a file, reading it once."""
    sha, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as handle:
        while block := handle.read(2**20):
            sha.update(block)
            md5.update(block)
    return Digests(sha.hexdigest(), md5.hexdigest())


def _wrong(file: Published, found: Digests) -> str:
    """In which way the bytes are not the file's: "KIND is FOUND, but WHO has WANTED"; "" when they may be."""
    if file.sha256 and not found.sha256.startswith(file.sha256):
        return f"SHA-256 is {found.sha256}, but the catalogue has {file.sha256}"
    if file.md5 and found.md5 != file.md5.lower():
        return f"MD5 is {found.md5}, but the publisher states {file.md5}"
    return ""


def _copy(file: Published, out: Path, mirror: Path) -> str:
    """Copy from the mirror and return the SHA-256; "" when the mirror does not hold the file."""
    if not mirror.is_dir():
        raise UserError(f"{mirror}: no such folder; set 'mirror' to a folder, or leave it out to use the network.")
    source = mirror / file.mirror
    if not source.is_file():
        _say(f"{out.name}: not in the mirror ({source}), so from its URL")
        return ""
    with atomic_path(out) as temporary:
        try:
            shutil.copyfile(source, temporary)
        except PermissionError:
            raise UserError(f"{source}: may not be read; change its permissions or leave 'mirror' out.") from None
        found = digests(temporary)
        if wrong := _wrong(file, found):
            raise UserError(
                f"{source}: {wrong} for {file.name}; replace the file in the mirror, or leave 'mirror' out to fetch it "
                "from its URL."
            )
    for left in (part_name(out), _memory_name(out)):
        left.unlink(missing_ok=True)
    return found.sha256


def _fetch(
    session: httpx.Client,
    file: Published,
    part: Path,
    handle: IO[bytes],
    memory: Memory,
    retries: int,
    progress: Progress,
) -> str:
    """Fill `part` until its checksum is the one wanted, and return its SHA-256."""
    address = public(file.url)
    furthest, failures = handle.seek(0, 2), 0
    previous = ""  # digest of a whole body that was not, or perhaps not, the file
    while True:
        try:
            whole, hint = http.attempt(session, file.url, handle, progress, memory, file.mend)
            found = digests(part)
            # Pieces of two versions of a file, or a server that answers Range wrongly, make wrong wholes.
            # So a file is the server's only if it surely is one whole, or came the same twice.
            served = whole or found.sha256 == previous
            wrong = _wrong(file, found)
            if not wrong if file.sha256 or file.md5 else served:
                return found.sha256
            handle.truncate(0)
            memory.forget()
            if served:
                raise UserError(
                    f"{address}: of what came, {wrong} for {file.name}{hint}; fetch the file by other means and name "
                    f"its folder with 'mirror', or mend {file.mend}, or the checksum there."
                )
            previous = found.sha256
            raise TryAgain("what came may not be whole; starting over")
        except TryAgain as problem:
            length = handle.seek(0, 2)
            failures = 0 if length > furthest else failures + 1
            furthest = max(furthest, length)
            if failures > retries:
                raise UserError(
                    f"{address}: cannot be fetched for {file.name} ({problem}, "
                    f"{failures} attempts without progress); check the network and run again, which continues where "
                    "this stopped, or put the file into a folder and name that with 'mirror'."
                ) from None
            pause = min(2.0 ** max(failures - 1, 0), 30.0) if problem.after is None else problem.after
            progress.note(f"{problem}; next attempt in {pause:.0f} s")
            http.wait(pause)


@contextmanager
def _part(out: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """The hidden file that grows, open for reading and writing, held against other processes."""
    part = part_name(out)
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        # unbuffered: what was written is there after a kill, and a full disk shows at once
        with part.open("r+b", buffering=0) as handle:
            _hold(handle, part, out)
            try:
                yield part, handle
            finally:
                if part.exists() and part.stat().st_size == 0 and part.is_file():
                    part.unlink()
                    Memory(_memory_name(out)).forget()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"{out}: no space left on the disk while fetching; free some and run again, which continues where "
                "this stopped."
            ) from None
        if isinstance(error, PermissionError):
            raise UserError(f"{out}: its folder cannot be written; change the permissions.") from None
        raise


def _hold(handle: IO[bytes], part: Path, out: Path) -> None:
    """Lock the part; UserError when another process has it, or has just given it the final name."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = os.path.samestat(os.fstat(handle.fileno()), part.stat())
    except (BlockingIOError, FileNotFoundError):
        free = False
    except OSError:  # a file system without locks
        free = True
    if not free:
        raise UserError(f"{out}: another process is fetching this file; wait for it, or stop it.")


def part_name(out: Path) -> Path:
    """Where the bytes of a file grow until it is whole."""
    return out.with_name(f".{out.name}.part")


def _memory_name(out: Path) -> Path:
    return out.with_name(f".{out.name}.part.json")


def _say(text: str) -> None:
    with Progress("") as progress:
        progress.note(text)
