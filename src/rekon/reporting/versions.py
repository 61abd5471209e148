"""Which data and weights stand behind a result: DVC pointers, made and compared.

`data.dvc` and `weights.dvc` hold one hash for a whole folder: the MD5 of a JSON list of its files and their MD5s. The
same hash is computed here for a chosen list of files, without DVC's cache and without a copy, so that a run can say
whether what it just made equals what is committed, whatever else lies in the folder.

DVC's cache holds copies, never links: through a link, a change of the content escapes Snakemake and spoils the cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import yaml

from rekon.errors import UserError
from rekon.files import write_text

# What `dvc init` would set up, and what differs from its defaults on purpose.
SETTINGS = {
    ".dvc/config": "[core]\n    analytics = false\n    check_update = false\n    autostage = false\n"
    "[cache]\n    type = copy\n",
    ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
    ".dvcignore": "# files that are still being written\n.*.part*\n",
}
REMOTE = "store"  # name of the remote that `version` sets up, in .dvc/config.local, which is never committed


@dataclass(frozen=True)
class Comparison:
    """A folder's files against its pointer. Names are relative to the folder."""

    pointer: str
    folder: str
    equal: bool
    files: int  # compared
    missing: tuple[str, ...] = ()  # in the pointer, not in the folder (or not among the files asked for)
    extra: tuple[str, ...] = ()  # the other way round
    different: tuple[str, ...] = ()  # in both, with other contents
    listed: bool = True  # whether the pointer's list of files was at hand: without it, only the hash can be compared

    def __str__(self) -> str:
        if self.equal:
            return f"{self.folder}: equals {self.pointer} ({self.files} files, byte for byte)"
        parts = [
            f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if names[3:] else ''})"
            for what, names in (("different", self.different), ("missing", self.missing), ("extra", self.extra))
            if names
        ]
        if not self.listed:
            parts.append("the hash is another; which files differ is not known here, as the list is not in the cache")
        return f"{self.folder}: differs from {self.pointer} ({self.files} files here): {'; '.join(parts)}"


def version(
    folders: Sequence[str] = ("data", "weights"), remote: str | None = None, root: Path | str = "."
) -> dict[str, str]:
    """Record folders in pointers at the repository's top level, and push them to `remote` where one is given.

    One `dvc add` for all folders, because DVC's lock lets only one call through. `remote` is anything DVC takes: a
    folder, s3://..., ssh://... Returns the hash of each folder. Raises UserError when a folder is empty or DVC fails.
    """
    root = Path(root)
    for folder in folders:
        if not any(path.is_file() for path in (root / folder).rglob("*")):
            raise UserError(f"{folder}/: holds no file to version; run the workflow first, for example `make demo`.")
    for name, text in SETTINGS.items():
        if not (root / name).exists():
            write_text(root / name, text)
    _dvc(root, "add", *folders)
    if remote is not None:
        _dvc(root, "remote", "add", "--local", "--force", "--default", REMOTE, remote)
        _dvc(root, "push", *(f"{folder}.dvc" for folder in folders))
    return {folder: _pointed(root / f"{folder}.dvc", None) for folder in folders}


def dir_hash(hashes: Mapping[str, str]) -> str:
    """DVC 3's hash of a folder, from the MD5 of each of its files by relative path (with '/')."""
    listing = [{"md5": hashes[name], "relpath": name} for name in sorted(hashes)]
    return _md5(json.dumps(listing, sort_keys=True).encode()) + ".dir"


def file_hashes(folder: Path | str, relpaths: Iterable[str]) -> dict[str, str]:
    """MD5 of those of `relpaths` that exist below `folder`."""
    found = {}
    for name in sorted({PurePosixPath(name).as_posix() for name in relpaths}):
        path = Path(folder) / name
        if path.is_file():
            with path.open("rb") as handle:
                found[name] = hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return found


def compare(
    pointer: Path | str, folder: Path | str, relpaths: Iterable[str], revision: str | None = "HEAD"
) -> Comparison:
    """Say whether the files `relpaths` below `folder` are what `pointer` records, and if not, which differ.

    The pointer is read as committed in `revision`, so that a `dvc add` in between does not compare a folder with
    itself; from the file where it is not committed, or `revision` is None. Raises UserError when there is no pointer.
    """
    pointer, folder = Path(pointer), Path(folder)
    names = {PurePosixPath(name).as_posix() for name in relpaths}
    hashes = file_hashes(folder, names)
    expected = _pointed(pointer, revision)
    absent = tuple(sorted(names - hashes.keys()))
    if not absent and dir_hash(hashes) == expected:
        return Comparison(pointer.name, folder.name, True, len(hashes))
    listing = _listing(pointer.parent, expected)
    if listing is None:
        return Comparison(pointer.name, folder.name, False, len(hashes), missing=absent, listed=False)
    both = hashes.keys() & listing.keys()
    return Comparison(
        pointer.name,
        folder.name,
        False,
        len(hashes),
        missing=tuple(sorted({*absent, *(listing.keys() - hashes.keys())})),
        extra=tuple(sorted(hashes.keys() - listing.keys())),
        different=tuple(sorted(name for name in both if hashes[name] != listing[name])),
    )


def _pointed(pointer: Path, revision: str | None) -> str:
    """The hash in a pointer."""
    text = None
    if revision is not None:
        # ./ makes the path relative to the folder git is called in
        command = ["git", "-C", str(pointer.parent), "show", f"{revision}:./{pointer.name}"]
        try:
            shown = subprocess.run(command, capture_output=True, text=True, check=False)
            text = shown.stdout if shown.returncode == 0 else None
        except OSError:  # no git, or no such folder
            pass
    try:
        value = yaml.safe_load(pointer.read_text(encoding="utf-8") if text is None else text)
        return str(value["outs"][0]["md5"])
    except FileNotFoundError:
        raise UserError(
            f"{pointer}: no such DVC pointer; make it with `rekon version {pointer.stem}`, or restore it with git."
        ) from None
    except (yaml.YAMLError, KeyError, IndexError, TypeError):
        raise UserError(f"{pointer}: not a DVC pointer (no outs[0].md5); restore it with git.") from None


def _listing(root: Path, expected: str) -> dict[str, str] | None:
    """The pointer's list of files, from the local cache: relative path -> MD5. None when it is not there."""
    path = root / ".dvc" / "cache" / "files" / "md5" / expected[:2] / expected[2:]
    try:
        return {entry["relpath"]: entry["md5"] for entry in json.loads(path.read_text(encoding="utf-8"))}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _dvc(root: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "dvc", *arguments]
    environment = {**os.environ, "DVC_NO_ANALYTICS": "true"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = next((line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")), "unknown error")
        reason = re.sub(r"://[^/@\s]+@", "://***@", reason)  # a remote's password
        raise UserError(f"dvc {arguments[0]} failed in {root.resolve()}: {reason.rstrip('.')}.")


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
