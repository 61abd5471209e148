"""The files of a split of a published set: whatever a machine can fetch of them, once somebody has access.

What is there already is never fetched again, so people may as well put files below raw/ by hand. Without a network
nothing is asked for as long as the files are there. Two splits that are the same files at their source are fetched once
and linked. FETCHED.json tells where files came from, with their checksums.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rich.progress import Progress as Bar

from rekon.config import Dataset
from rekon.config.base import Split
from rekon.config.sources import Fetch, Local
from rekon.data.download import Published, digests, fetch, part_name
from rekon.data.http import client, public, size
from rekon.data.listing import raw_files, suffixes
from rekon.data.progress import bars
from rekon.data.sources import LOCAL, SourceFile, list_links, list_source
from rekon.data.unpack import Damaged, is_archive, unpack
from rekon.errors import UserError
from rekon.files import read_json, write_json

RECORD = "FETCHED.json"
KEPT = ".fetched.json"  # the same, file by file: a workflow removes what a job that failed has declared
Entry = dict[str, Any]  # of a file in the record: size, sha256, and where it is from


def download_set(
    dataset_name: str,
    split: Split,
    dataset: Dataset,
    folder: Path,
    names: Sequence[str] = (),
    *,
    local: Local | None = None,
    mirror: Path | str | None = None,
    jobs: int = 4,
) -> None:
    """Bring the files of a split below `folder`, and write folder/FETCHED.json.

    names: those wanted, where a committed list tells; () wants as many as are published. A mirror's files are at
    <dataset_name>/<name>. Each file is resumed, retried and checked as `fetch` does; a file that cannot be had is named
    after the others were fetched. Licensed files that somebody has put there are taken as they are.
    Raises UserError, with the catalogue's words on access, when there is nothing and nothing can be fetched.
    """
    folder, local = Path(folder), local or Local()
    folder.mkdir(parents=True, exist_ok=True)
    found = recorded(folder)
    for other in dataset.fetch.same(split) if dataset.fetch else ():
        _borrow(folder.parent / other, folder, dataset)
    missing = _missing(dataset, split, folder, names, found)
    if missing:
        match dataset.fetch:
            case Fetch(kind="folder", id=key) if key in local.folders:
                _link(Path(local.folders[key]).expanduser(), folder, dataset, dataset.fetch.files.get(split, "*"))
            case Fetch(kind="links", id=key) if key in local.links:
                listed = list_links(Path(local.links[key]).expanduser(), dataset.fetch.files.get(split, ""))
                _bring(dataset_name, dataset, folder, listed, found, mirror, jobs)
            case Fetch(kind="zenodo" | "dataverse" | "mridata"):
                listed = list_source(dataset.fetch, split, names)
                _bring(dataset_name, dataset, folder, listed, found, mirror, jobs)
    if not raw_files(folder, dataset):
        raise UserError(
            f"{folder}: holds no file of data set {dataset_name!r}, {split} split; "
            f"{(dataset.access or '').strip().rstrip('.')}."
        )
    _save(folder, dataset_name, found, RECORD)


def _borrow(source: Path, folder: Path, dataset: Dataset) -> None:
    """Link the files of another split that were fetched whole, where they are not in `folder` already."""
    if not (source / RECORD).exists():
        return
    present = {Path(name).name for name in raw_files(folder, dataset) if (folder / name).is_file()}
    for name in raw_files(source, dataset):
        if Path(name).name not in present and (source / name).is_file():
            link = folder / Path(name).name
            link.unlink(missing_ok=True)  # it led nowhere
            link.symlink_to((source / name).resolve())


def _missing(dataset: Dataset, split: Split, folder: Path, names: Sequence[str], found: dict[str, Entry]) -> bool:
    """Whether files are still to be fetched; none are as soon as there are as many as were published."""
    present = {Path(name).name: folder / name for name in raw_files(folder, dataset)}
    if any(name in present and present[name].stat().st_size != entry["size"] for name, entry in found.items()):
        return True
    if names:
        return not set(names) <= set(present)
    published = dataset.published.get(split)
    return published is None or len(present) < published.volumes


def _bring(
    dataset_name: str,
    dataset: Dataset,
    folder: Path,
    listed: Sequence[SourceFile],
    found: dict[str, Entry],
    mirror: Path | str | None,
    jobs: int,
) -> None:
    """Fetch what is missing of `listed`, several at a time, and unpack what are archives."""
    present = {Path(name).name: folder / name for name in raw_files(folder, dataset)}
    todo = [one for one in listed if not _there(one, present, found)]
    _room(folder, todo, dataset_name, mirror, max(1, jobs))
    problems: list[str] = []
    with bars() as bar, ThreadPoolExecutor(max(1, jobs)) as pool:

        def one(file: SourceFile) -> dict[str, Entry]:
            return _one(dataset_name, dataset, folder, file, mirror, bar)

        for file, job in [(file, pool.submit(one, file)) for file in todo]:
            try:
                found |= job.result()
                _save(folder, dataset_name, found)  # so that a kill forgets nothing
            except UserError as error:
                problems.append(f"{file.name}: {error}")
    if problems:
        raise UserError(
            f"{folder}: {len(problems)} of {len(listed)} files of {dataset_name!r} could not be fetched; the first: "
            f"{problems[0]}"
        )


def _one(
    dataset_name: str, dataset: Dataset, folder: Path, file: SourceFile, mirror: Path | str | None, bar: Bar | None
) -> dict[str, Entry]:
    """Fetch one file, unpack it if it is an archive; its entries in the record."""
    out = folder / file.name
    name = f"{file.name!r} of data set {dataset_name!r}"
    published = Published(name, file.url, f"{dataset_name}/{file.name}", None, file.md5, file.mend)
    if is_archive(file.name) and file.md5 is None and out.is_file():  # a kill came while it was unpacked
        try:
            return _unpacked(dataset, folder, file, digests(out).sha256)
        except Damaged:  # something else came under its name
            out.unlink()
    sha256 = fetch(published, out, mirror, bar=bar)
    if is_archive(file.name):
        return _unpacked(dataset, folder, file, sha256)
    return {file.name: _entry(out, sha256, public(file.url))}


def _unpacked(dataset: Dataset, folder: Path, file: SourceFile, sha256: str) -> dict[str, Entry]:
    """Unpack an archive that is there whole and remove it; entries of it and of what it held."""
    archive = folder / file.name
    members = unpack(archive, folder, suffixes(dataset))
    if not members:
        raise UserError(f"{archive}: holds no file that ends in {' or '.join(suffixes(dataset))}; mend 'fetch.files'.")
    whole = {file.name: _entry(archive, sha256, public(file.url))}
    archive.unlink()  # what it held is there, and it is as large again
    return whole | {member: _entry(folder / member, digest, file.name) for member, digest in members.items()}


def _entry(path: Path, sha256: str, origin: str) -> Entry:
    return {"size": path.stat().st_size, "sha256": sha256, "from": origin}


def _there(file: SourceFile, present: dict[str, Path], found: dict[str, Entry]) -> bool:
    """Whether a listed file, or all that was in it, is below the folder."""
    members = [name for name, entry in found.items() if entry["from"] == file.name] or [file.name]
    sizes = {name: entry["size"] for name, entry in found.items()} | ({file.name: file.size} if file.size else {})
    return all(
        name in present and sizes.get(name, present[name].stat().st_size) == present[name].stat().st_size
        for name in members
    )


def _room(folder: Path, todo: Sequence[SourceFile], dataset_name: str, mirror: Path | str | None, jobs: int) -> None:
    """UserError when the disk cannot hold what is to come, as far as its size is known or the servers tell."""
    with client() as session, ThreadPoolExecutor(jobs) as pool:

        def one(file: SourceFile) -> int:
            copy = Path(mirror) / dataset_name / file.name if mirror else None
            return file.size or (copy.stat().st_size if copy and copy.is_file() else size(session, file.url)) or 0

        sizes = dict(zip(todo, pool.map(one, todo), strict=True))
    needed = 0
    for file, whole in sizes.items():
        out = folder / file.name
        there = out if is_archive(file.name) and out.is_file() else part_name(out)
        needed += max(whole - (there.stat().st_size if there.is_file() else 0), 0)
    # what an archive holds is at least as large; until it is unpacked, both are there
    archives = [whole for file, whole in sizes.items() if is_archive(file.name)]
    needed += sum(sorted(archives)[-jobs:])
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: {needed / 1e9:.1f} GB of {dataset_name!r} are still to be fetched, {free / 1e9:.1f} GB are "
            "free; free some, or link the folder to another disk."
        )


def _link(source: Path, folder: Path, dataset: Dataset, pattern: str) -> None:
    """Link the files of somebody's folder, at any depth, under their own names; UserError where two share one."""
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; mend 'folders' in {LOCAL}.")
    wanted = [name for name in raw_files(source, dataset) if fnmatchcase(Path(name).name, pattern)]
    if not wanted:
        raise UserError(f"{source}: holds no file {pattern!r}; mend 'folders' in {LOCAL}.")
    first: dict[str, str] = {}
    for name in wanted:
        if (other := first.setdefault(Path(name).name, name)) != name:
            raise UserError(
                f"{source}: holds {other!r} and {name!r}, two files of one name; mend 'folders' in {LOCAL} to name a "
                "folder with the files of this set alone."
            )
    for name in wanted:
        link = folder / Path(name).name
        target = (source / name).resolve()
        if link.is_symlink() and link.resolve() != target:
            link.unlink()
        if not link.exists():
            link.symlink_to(target)


def recorded(folder: Path) -> dict[str, Entry]:
    """Name -> size, SHA-256 and origin of the files that were fetched into a folder; {} where nothing tells."""
    path = next((one for one in (Path(folder) / KEPT, Path(folder) / RECORD) if one.exists()), None)
    if path is None:
        return {}
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("files"), dict):
        raise UserError(f"{path}: key 'files' is missing; delete the file and run again.")
    files: dict[str, Entry] = content["files"]
    return files


def damaged(folder: Path, say: Callable[[str], None] = lambda name: None) -> list[str]:
    """Names of fetched files whose bytes are no longer those that were fetched; reads them all."""
    wrong = []
    for name, entry in recorded(folder).items():
        path = Path(folder) / name
        if path.is_file():
            say(name)
            if path.stat().st_size != entry["size"] or digests(path).sha256 != entry["sha256"]:
                wrong.append(name)
    return wrong


def _save(folder: Path, dataset_name: str, found: dict[str, Entry], *also: str) -> None:
    try:
        for name in (KEPT, *also):
            write_json(folder / name, {"dataset": dataset_name, "files": found})
    except OSError as error:
        raise UserError(
            f"{folder}: {RECORD} cannot be written there ({error.strerror}); link the files instead of the folder."
        ) from None
