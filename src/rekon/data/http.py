"""One HTTP request for what is missing of a file, and what its failures mean.

What a URL carries behind its path (a signature, a token) appears in no message and no log.
"""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import IO, Any

import httpx

from rekon.data.progress import Progress
from rekon.data.served import Memory, Served, served
from rekon.errors import UserError

LONGEST_WAIT = 600.0  # seconds; a server that asks for more is not worth waiting for
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}  # statuses that another attempt may mend
CATALOGUE = "'url' in the catalogue"  # where most addresses are from


class TryAgain(Exception):
    """An attempt that failed in a way that another one may mend. `after`: seconds the server asked us to wait."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


def client() -> httpx.Client:
    """A client for files: follows redirects, asks for bytes as they are, logs no address."""
    # these two log every request's whole URL, query string included
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # identity: ranges and lengths must count the file's own bytes
    headers = {"Accept-Encoding": "identity", "User-Agent": "rekon"}
    return httpx.Client(follow_redirects=True, headers=headers, timeout=httpx.Timeout(60.0, connect=15.0))


def attempt(
    session: httpx.Client, url: str, handle: IO[bytes], progress: Progress, memory: Memory, mend: str = CATALOGUE
) -> tuple[bool, str]:
    """One request for what is missing behind the end of `handle`, written as it comes.

    memory: of which version of the file the bytes there are; kept up to date before any are written.
    Returns whether they are now the whole file, surely untruncated and of one version, and a hint on what else the body
    may be (mostly none). Raises TryAgain for what may pass, UserError, telling to mend `mend`, for what will not.
    """
    offset = handle.seek(0, 2)
    known = memory.read() if offset else Served()
    if known.whole(offset):  # a kill came between the last byte and the final name
        return True, ""
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    if known.validator:
        headers["If-Range"] = known.validator
    try:
        with session.stream("GET", url, headers=headers) as response:
            status, said = response.status_code, served(response.headers, response.status_code)
            if status == 416 and offset:  # nothing lies behind the offset: the part is whole, or not of this file
                return known.together(said).whole(offset), ""
            _check(url, status, response.headers.get("retry-after"), mend)
            encoded = response.headers.get("content-encoding", "identity") != "identity"
            if status == 200:  # the whole file, whether or not we asked for the rest
                if offset:
                    handle.truncate(0)
                offset = 0
                memory.write(said)
            elif encoded or not _starts_at(response.headers.get("content-range", ""), offset):
                handle.truncate(0)
                raise TryAgain("the server sent another range than asked for; starting over")
            elif known.validator and not known.together(said).validator:
                handle.truncate(0)
                raise TryAgain("the file changed at the server; starting over")
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
            whole = framed if status == 200 else known.together(said).whole(handle.tell())
            return whole, " (a web page came, perhaps to log in)" if html else ""
    except httpx.HTTPError as error:
        raise _told(error, url, mend) from None
    except (httpx.InvalidURL, UnicodeError) as error:
        raise _no_address(error, url, mend) from None


def size(session: httpx.Client, url: str) -> int | None:
    """Bytes of a file, where its server says so without sending it; None where it does not, or cannot be asked."""
    try:
        answer = session.head(url)
        if answer.status_code == 200:
            return served(answer.headers, 200).total
        # a signed link may be good for GET alone: one byte is asked for, and the answer closed unread
        with session.stream("GET", url, headers={"Range": "bytes=0-0"}) as one:
            return served(one.headers, one.status_code).total if one.status_code in (200, 206) else None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError):  # told where the file itself is asked for
        return None


def get_json(url: str, mend: str = CATALOGUE, retries: int = 5) -> Any:
    """What a service answers, as JSON; UserError when it cannot be reached, refuses, or answers something else."""
    with client() as session:
        for tried in range(retries + 1):
            try:
                try:
                    answer = session.get(url, headers={"Accept": "application/json"})
                except httpx.HTTPError as error:
                    raise _told(error, url, mend) from None
                except (httpx.InvalidURL, UnicodeError) as error:
                    raise _no_address(error, url, mend) from None
                _check(url, answer.status_code, answer.headers.get("retry-after"), mend)
                return json.loads(answer.content)
            except TryAgain as problem:
                if tried == retries:
                    raise UserError(
                        f"{public(url)}: cannot be asked ({problem}, {tried + 1} attempts); check the network and run "
                        "again."
                    ) from None
                wait(problem.after if problem.after is not None else min(2.0**tried, 30.0))
            except ValueError:
                raise UserError(f"{public(url)}: answered something that is not JSON; mend {mend}.") from None
    raise AssertionError("the loop returns or raises")


def wait(seconds: float) -> None:
    """Pause between two attempts."""
    time.sleep(seconds)


def public(url: str) -> str:
    """The address without user, password, query string and fragment."""
    scheme, _, rest = url.split("#")[0].split("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def _check(url: str, status: int, after: str | None, mend: str) -> None:
    """TryAgain or UserError for a status that brings no file."""
    if status in TRANSIENT:
        raise TryAgain(f"status {status}", _retry_after(after))
    if status not in (200, 206):
        raise UserError(f"{public(url)}: {_refusal(status, mend)}; or put the file into a mirror and set 'mirror'.")


def _told(error: httpx.HTTPError, url: str, mend: str) -> TryAgain | UserError:
    """What a failed request means; the library's own words may hold the address."""
    if isinstance(error, httpx.TimeoutException):
        return TryAgain("no answer in time")
    if isinstance(error, httpx.UnsupportedProtocol | httpx.TooManyRedirects):
        return _no_address(error, url, mend)
    return TryAgain("no connection" if isinstance(error, httpx.ConnectError) else "the connection broke")


def _no_address(error: Exception, url: str, mend: str) -> UserError:
    return UserError(
        f"{public(url)}: not an address that can be fetched ({type(error).__name__}); mend {mend}, or put the file "
        "into a folder and name that with 'mirror'."
    )


def _refusal(status: int, mend: str) -> str:
    match status:
        case 401 | 403:
            return f"access refused (status {status}); a signed link may have expired: renew {mend}"
        case 404 | 410:
            return f"no file there (status {status}); look for its new address and mend {mend}"
        case _:
            return f"the server answered with status {status}; mend {mend}"


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
