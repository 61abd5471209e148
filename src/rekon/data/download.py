"""Published files, fetched: from a local mirror or over HTTP, resumed, retried, checked, and named only when complete.

The bytes grow in a hidden file beside the final name (`.NAME.part`). It survives failures and kills, so that the next
attempt asks only for the rest; the final name appears by an atomic rename after the SHA-256 was found right.
What a URL carries behind its path (a signature, a token) appears in no message and no log.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO

import httpx

from rekon.config import Dataset, RemoteFile
from rekon.data.progress import Progress
from rekon.errors import UserError
from rekon.files import atomic_path, sha256, write_text

LONGEST_WAIT = 600.0  # seconds; a server that asks for more is not worth waiting for
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}  # statuses that another attempt may mend
SUFFIXES = {"matlab-kspace": (".mat",), "npz-image": (".npz",), "npy-kspace": (".npy",)}  # of formats; others are HDF5

_wait = time.sleep


class _TryAgain(Exception):
    """An attempt that failed in a way that another one may mend. `after`: seconds the server asked us to wait."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


@dataclass(frozen=True)
class Published:
    """A file that somebody publishes: what messages call it, where it is, and what its bytes must be."""

    name: str
    url: str
    mirror: str  # path below a mirror's folder
    sha256: str | None  # or its first digits; None: not known


def download(
    dataset_name: str, file: RemoteFile, out: Path, mirror: Path | str | None = None, retries: int = 5
) -> None:
    """Put `file` under the name `out`, complete and with the catalogue's SHA-256, or raise; see `fetch`.

    In the mirror it is `<file.mirror>`, or `<dataset_name>/<file.path>` where the catalogue names no other place.
    """
    name = f"{file.path!r} of data set {dataset_name!r}"
    fetch(Published(name, file.url, file.mirror or f"{dataset_name}/{file.path}", file.sha256), out, mirror, retries)


def fetch(file: Published, out: Path, mirror: Path | str | None = None, retries: int = 5) -> str:
    """Put `file` under the name `out`, complete and with its SHA-256, or raise. Returns the SHA-256 found.

    The mirror comes first; a file that is not there is fetched from its URL. `retries` counts the attempts after the
    first one that bring nothing new; an attempt that gets further than any before it starts the count anew. A file
    whose SHA-256 is not known is taken when it surely is whole: in one piece of known length, or the same twice.

    Raises UserError, one sentence, when the mirror is no folder, the address cannot be reached or refuses, what comes
    is not the file meant, the disk is full, or another process fetches the same file.
    """
    out = Path(out)
    if file.sha256 and out.is_file() and (found := sha256(out)).startswith(file.sha256):
        return found
    if mirror is not None and (found := _copy(file, out, Path(mirror))):
        return found
    # these two log every request's whole URL, query string included
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with _part(out) as (part, handle), Progress(out.name) as progress, _client() as client:
        found = _fetch(client, file, part, handle, retries, progress)
        os.fsync(handle.fileno())
        part.replace(out)
    return found


def check_manual(dataset_name: str, dataset: Dataset, split: str, folder: Path) -> list[str]:
    """List the files of a set that people fetch themselves: sorted names below `folder`, written to folder/INDEX.txt.

    Only files with the suffix of the set's format count, hidden ones do not. Raises UserError, with the catalogue's
    words on how to get access, when there are none.
    """
    folder = Path(folder)
    suffixes = SUFFIXES.get(dataset.format, (".h5", ".hdf5"))
    # people link their archive's folders, so links are followed
    every = [Path(base, name) for base, _, names in os.walk(folder, followlinks=True) for name in names]
    shown = {path.relative_to(folder).as_posix(): path for path in every}
    shown = {name: path for name, path in shown.items() if not any(part.startswith(".") for part in name.split("/"))}
    names = sorted(name for name, path in shown.items() if path.suffix.lower() in suffixes)
    if not names:
        others = len(shown.keys() - {"INDEX.txt"})
        state = f"{others} files but none that ends in" if others else "no file that ends in"
        raise UserError(
            f"{folder}: holds {state} {' or '.join(suffixes)}; data set {dataset_name!r} has to be fetched by hand and "
            f"its {split} files put (unpacked) there: {(dataset.access or '').strip().rstrip('.')}."
        )
    try:
        write_text(folder / "INDEX.txt", "".join(f"{name}\n" for name in names))
    except OSError as error:
        raise UserError(
            f"{folder}: INDEX.txt cannot be written there ({error.strerror}); link the files instead of the folder."
        ) from None
    return names


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
        found = sha256(temporary)
        if not found.startswith(file.sha256 or ""):
            raise UserError(
                f"{source}: SHA-256 is {found}, but the catalogue has {file.sha256} for {file.name}; "
                "replace the file in the mirror, or leave 'mirror' out to fetch it from its URL."
            )
    _part_name(out).unlink(missing_ok=True)
    return found


def _fetch(
    client: httpx.Client, file: Published, part: Path, handle: IO[bytes], retries: int, progress: Progress
) -> str:
    """Fill `part` until its SHA-256 is the one wanted, and return it."""
    address = _public(file.url)
    furthest, failures = handle.seek(0, 2), 0
    previous = ""  # digest of a whole body that was not, or perhaps not, the file
    while True:
        try:
            whole, hint = _attempt(client, file.url, handle, progress)
            found = sha256(part)
            # Pieces of two versions of a file, or a server that answers Range wrongly, make wrong wholes.
            # So a file is the server's only if it came in one piece of known length, or the same twice.
            served = whole or found == previous
            if served if file.sha256 is None else found.startswith(file.sha256):
                return found
            handle.truncate(0)
            if served:
                raise UserError(
                    f"{address}: SHA-256 of what came is {found}, but the catalogue has {file.sha256} for "
                    f"{file.name}{hint}; fetch the file by other means and name its "
                    "folder with 'mirror', or mend 'url' or 'sha256' in the catalogue."
                )
            previous = found
            raise _TryAgain("what came may not be whole; starting over")
        except _TryAgain as problem:
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
            _wait(pause)


def _attempt(client: httpx.Client, url: str, handle: IO[bytes], progress: Progress) -> tuple[bool, str]:
    """One request for what is missing, written as it comes.

    Returns whether it was the whole file, surely untruncated, and a hint on what else the body may be (mostly none).
    Raises _TryAgain for what may pass, UserError for what will not.
    """
    offset = handle.seek(0, 2)
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    try:
        with client.stream("GET", url, headers=headers) as response:
            status = response.status_code
            if status == 416 and offset:  # nothing lies behind the offset: the part is whole, or not of this file
                return False, ""
            if status in TRANSIENT:
                raise _TryAgain(f"status {status}", _retry_after(response.headers.get("retry-after")))
            if status not in (200, 206):
                raise UserError(f"{_public(url)}: {_refusal(status)}; or put the file into a mirror and set 'mirror'.")
            encoded = response.headers.get("content-encoding", "identity") != "identity"
            if status == 200:  # the whole file, whether or not we asked for the rest
                if offset:
                    handle.truncate(0)
                offset = 0
            elif encoded or not _starts_at(response.headers.get("content-range", ""), offset):
                handle.truncate(0)
                raise _TryAgain("the server sent another range than asked for; starting over")
            length = response.headers.get("content-length")
            progress.begin(offset, offset + int(length) if length and length.isdigit() and not encoded else None)
            handle.seek(offset)
            for piece in response.iter_bytes() if encoded else response.iter_raw():
                rest = memoryview(piece)
                while rest:  # an unbuffered file may take less than it is given
                    rest = rest[handle.write(rest) :]
                progress.advance(len(piece))
            html = "html" in response.headers.get("content-type", "")
            framed = length is not None or "chunked" in response.headers.get("transfer-encoding", "")
            return status == 200 and framed, " (a web page came, perhaps to log in)" if html else ""
    except httpx.TimeoutException:
        raise _TryAgain("no answer in time") from None
    except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects, UnicodeError) as error:
        raise UserError(
            f"{_public(url)}: not an address that can be fetched ({type(error).__name__}); mend 'url' in the "
            "catalogue, or put the file into a folder and name that with 'mirror'."
        ) from None
    except httpx.HTTPError as error:
        why = "no connection" if isinstance(error, httpx.ConnectError) else "the connection broke"
        raise _TryAgain(why) from None


@contextmanager
def _part(out: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """The hidden file that grows, open for reading and writing, held against other processes."""
    part = _part_name(out)
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


def _client() -> httpx.Client:
    # identity: ranges and lengths must count the file's own bytes
    headers = {"Accept-Encoding": "identity", "User-Agent": "rekon"}
    return httpx.Client(follow_redirects=True, headers=headers, timeout=httpx.Timeout(60.0, connect=15.0))


def _part_name(out: Path) -> Path:
    return out.with_name(f".{out.name}.part")


def _public(url: str) -> str:
    """The address without user, password, query string and fragment."""
    scheme, _, rest = url.split("#")[0].split("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def _refusal(status: int) -> str:
    match status:
        case 401 | 403:
            return f"access refused (status {status}); a signed link may have expired: renew 'url' in the catalogue"
        case 404 | 410:
            return f"no file there (status {status}); look for its new address and mend 'url' in the catalogue"
        case _:
            return f"the server answered with status {status}; mend 'url' in the catalogue"


def _starts_at(content_range: str, offset: int) -> bool:
    return content_range.replace(" ", "").lower().startswith(f"bytes{offset}-")


def _retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After header: a number, or a date."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_WAIT) if seconds == seconds else None


def _say(text: str) -> None:
    with Progress("") as progress:
        progress.note(text)
