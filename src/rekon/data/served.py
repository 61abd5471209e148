"""Which version of a file a part of it is from: what its server said, kept beside the part.

With it the rest of a file without a checksum can be asked for after a failure or a kill, and is known to fit: a server
sends it only if the file is still the same one (If-Range, RFC 9110), and the whole has the length that was announced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rekon.errors import UserError
from rekon.files import read_json, write_json

_TOTAL = re.compile(r"^bytes\s*(?:\d+\s*-\s*\d+|\*)\s*/\s*(\d+)$", re.IGNORECASE)  # of Content-Range


@dataclass(frozen=True)
class Served:
    """A version of a file. validator: its ETag, or else its date; "" where the server states neither."""

    validator: str = ""
    total: int | None = None  # bytes of the whole file

    def together(self, other: Served) -> Served:
        """What is known when bytes of `other` follow those of this version; nothing where they may be of two files."""
        # with a date for If-Range, the rest may come without it
        unsaid = not other.validator and not self.validator.startswith('"')
        totals = {self.total, other.total} - {None}
        same = (self.validator == other.validator or unsaid) and len(totals) < 2
        return Served(self.validator, next(iter(totals), None)) if same else Served()

    def whole(self, length: int) -> bool:
        """Whether so many bytes of this version are surely all of it."""
        return bool(self.validator) and length == self.total


def served(headers: Mapping[str, str], status: int) -> Served:
    """The version that an answer of status 200, 206 or 416 is about."""
    etag = headers.get("etag", "").strip()
    # a weak ETag names files of equal meaning, not of equal bytes
    validator = etag if etag.startswith('"') else headers.get("last-modified", "").strip()
    if status == 200:
        length = headers.get("content-length", "") if "content-encoding" not in headers else ""
        return Served(validator, int(length) if length.isdigit() else None)
    found = _TOTAL.match(headers.get("content-range", "").strip())
    return Served(validator, int(found[1]) if found else None)


class Memory:
    """What is known of the version of a part, in a file beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Served:
        """What was noted; nothing known where there is no note."""
        try:
            return Served(**read_json(self.path))
        except (UserError, TypeError):
            return Served()

    def write(self, version: Served) -> None:
        """Note a version, where it can be recognised again."""
        if version.validator:
            write_json(self.path, asdict(version))
        else:
            self.forget()

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
