"""What lies at a source: names, addresses, sizes and checksums, as its service lists them.

Zenodo and Dataverse list their files with MD5; mridata.org has a file per UUID and states nothing; what somebody was
sent are addresses in a file of theirs, which are secret and stay out of every message.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from rekon.config.base import Split, load
from rekon.config.sources import Fetch, Local
from rekon.data.http import get_json, public
from rekon.errors import UserError

LOCAL = Path("config/local.yaml")
ZENODO = "https://zenodo.org"
_ADDRESS = re.compile(r"https?://[^\s\"'<>]+")


@dataclass(frozen=True)
class SourceFile:
    """A file at a source. `url` may be secret; what stands in it behind the path is."""

    name: str
    url: str
    size: int | None = None  # bytes
    md5: str | None = None
    mend: str = "'fetch' in the catalogue"

    def __repr__(self) -> str:
        return f"SourceFile({self.name!r}, {public(self.url)!r}, {self.size})"


def local_settings(path: Path = LOCAL) -> Local:
    """config/local.yaml, which need not be there."""
    return load(Local, path) if path.exists() else Local()


def list_source(fetch: Fetch, split: Split, names: Sequence[str] = ()) -> list[SourceFile]:
    """The files at a public source that belong to a split, by name; asks the service.

    names: those of the split's committed list; () takes all that match the pattern. Raises UserError when the service
    cannot be asked, answers in another form, or has none of the files.
    """
    found = {"zenodo": _zenodo, "dataverse": _dataverse, "mridata": _mridata}[fetch.kind](fetch, names)
    pattern = fetch.files.get(split, "")
    chosen = [one for one in found if fnmatchcase(one.name, pattern) and (not names or one.name in names)]
    if not chosen:
        raise UserError(
            f"{fetch.server or ZENODO}: {fetch.id} has no file {pattern!r} for the {split} split; mend 'fetch.files' "
            "in the catalogue."
        )
    for one in chosen:
        if "/" in one.name or "\\" in one.name or one.name.startswith("."):
            raise UserError(
                f"{fetch.server or ZENODO}: {one.name!r} is not the name of a file; do not trust this place."
            )
    return sorted(chosen, key=lambda one: one.name)


def list_links(path: Path, pattern: str) -> list[SourceFile]:
    """Addresses that somebody was sent, in a file, as they are or inside commands; those of files like `pattern`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({type(error).__name__}); mend 'links' in {LOCAL}.") from None
    found: dict[str, SourceFile] = {}
    for url in _ADDRESS.findall(text):
        name = urlsplit(url).path.rpartition("/")[2]
        if fnmatchcase(name, pattern):  # the last one, where links were renewed below the old ones
            found[name] = SourceFile(name, url, mend=f"the addresses in {path}")
    if not found:
        raise UserError(f"{path}: has no address of a file {pattern!r}; put the links that you were sent there.")
    return [found[name] for name in sorted(found)]


def _zenodo(fetch: Fetch, names: Sequence[str]) -> list[SourceFile]:
    server = fetch.server or ZENODO
    url = f"{server}/api/records/{quote(fetch.id, safe='')}"
    with _form(url):
        return [
            SourceFile(
                one["key"],
                f"{server}/api/records/{quote(fetch.id, safe='')}/files/{quote(one['key'])}/content",
                int(one["size"]),
                _md5(one["checksum"]),
            )
            for one in get_json(url, "'fetch' in the catalogue")["files"]
        ]


def _dataverse(fetch: Fetch, names: Sequence[str]) -> list[SourceFile]:
    place = f"{fetch.server}/api/datasets/:persistentId/versions/:latest-published/files"
    url = f"{place}?persistentId={quote(fetch.id, safe=':/')}"
    with _form(url):
        listed = get_json(url, "'fetch' in the catalogue")["data"]
        return [
            SourceFile(
                one["dataFile"].get("filename") or one["label"],
                f"{fetch.server}/api/access/datafile/{int(one['dataFile']['id'])}?gbrecs=true",
                int(one["dataFile"]["filesize"]),
                _md5(one["dataFile"].get("md5") or one["dataFile"].get("checksum", {})),
            )
            for one in listed
        ]


def _mridata(fetch: Fetch, names: Sequence[str]) -> list[SourceFile]:
    assert names, "the list of UUIDs is committed"
    return [SourceFile(name, f"{fetch.server}/download/{quote(name.removesuffix('.h5'))}") for name in names]


def _md5(stated: Any) -> str | None:
    """MD5 from what a service states: "md5:...", the digits, or {"type": "MD5", "value": ...}; None for others."""
    if isinstance(stated, dict):
        stated = stated.get("value") if str(stated.get("type", "")).upper() == "MD5" else None
    digits = str(stated or "").lower().removeprefix("md5:")
    return digits if re.fullmatch(r"[0-9a-f]{32}", digits) else None


class _form:
    """Turns an answer in another form into a sentence."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KeyError | TypeError | ValueError | AttributeError):
            raise UserError(
                f"{public(self.url)}: lists its files in another form than expected; fetch them by hand, or mend "
                "'fetch' in the catalogue."
            ) from None
