"""Where the files of a set stand against the catalogue: present, missing, broken, and what to do next.

Nothing is changed. The normalisation constant of what was converted is computed again from the volumes, and compared
with the manifest's and with the one that UEPS's authors published (`rekon.data.constant`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rekon.config import Dataset
from rekon.config.base import Split
from rekon.config.counts import Expected, expected
from rekon.config.sources import SplitRule
from rekon.data.check_files import largest, problem, volume_problem
from rekon.data.constant import far_off, published_constant
from rekon.data.download_set import RECORD, damaged
from rekon.data.listing import raw_files
from rekon.data.splits import LISTS, draw, read_names
from rekon.files import read_json, sha256

# ready: all that is needed is there. made: the workflow makes it. partial: some files are missing. broken: some cannot
# be used. surplus: more than there should be. suspect: converted, but not to the published scale. absent: none is there
State = Literal["ready", "made", "partial", "broken", "surplus", "suspect", "absent"]
SAME = 1e-6  # two sums of the same numbers differ by less


@dataclass(frozen=True)
class Wanted:
    """A split that a scale uses. wanted: only the first so many volumes."""

    dataset: str
    split: Split
    entry: Dataset
    rule: SplitRule | None = None
    expected: Expected | None = None
    wanted: int | None = None
    names: tuple[str, ...] = ()  # of volumes, where they are known beforehand

    @property
    def place(self) -> str:
        return f"{self.dataset}/{self.split}"


@dataclass
class Found:
    """What there is of a split."""

    wanted: Wanted
    raw: int = 0  # raw files that belong to the split
    expected: int | None = None
    surplus: int = 0  # raw files beyond those that were published
    missing: list[str] = field(default_factory=list)  # names, where they are known
    broken: dict[str, str] = field(default_factory=dict)  # file -> what is wrong
    converted: int | None = None  # volumes in the manifest; None: there is no manifest
    left_out: dict[str, str] = field(default_factory=dict)  # raw file -> why it was not converted
    constant: float | None = None  # mean over volumes of max(RSS)
    published: float | None = None
    to_come: float = 0.0  # bytes that are still to be fetched and converted, about
    listed: str = ""  # file with which the workflow remembers what there was; "" before it looked
    state: State = "ready"
    next: str = ""

    @property
    def ok(self) -> bool:
        return self.state in ("ready", "made")

    def plain(self) -> dict[str, Any]:
        """As data, for programs."""
        values = {name: value for name, value in vars(self).items() if name != "wanted"}
        return {"dataset": self.wanted.dataset, "split": self.wanted.split, "ok": self.ok, **values}


def check_split(
    wanted: Wanted, scale: str, root: Path, quick: bool = False, say: Callable[[str], None] = lambda text: None
) -> Found:
    """Look at one split. scale: whose manifest; quick: reads no array and no checksum; say: told what is looked at."""
    found = Found(wanted, expected=wanted.expected.volumes if wanted.expected else None)
    _converted(found, root / "runs" / scale / "data" / wanted.dataset / f"{wanted.split}.json", root, quick, say)
    if wanted.entry.source in ("simulated", "joined"):
        how = "simulates it" if wanted.entry.source == "simulated" else "joins it of the sets it is made of"
        return _conclude(found, scale) if found.broken else _done(found, "made", f"nothing: the workflow {how}")
    _raw(found, root, quick, say)
    _compare(found)
    return _conclude(found, scale)


def _converted(found: Found, path: Path, root: Path, quick: bool, say: Callable[[str], None]) -> None:
    """What the manifest says, and whether the volumes that it names are there and whole."""
    found.published = published_constant(found.wanted.entry, found.wanted.split)
    if not path.exists():
        return
    content: dict[str, Any] = read_json(path)
    found.converted, found.constant = len(content["volumes"]), float(content["mean_max"])
    found.left_out = dict(content.get("left_out", {}))
    values: list[float] = []  # max(RSS) of the volumes, read again
    for volume in content["volumes"]:
        where = root / volume["path"]
        if not where.exists():
            continue  # converted k-space may be purged once everything is made from it
        if not quick:
            say(volume["path"])
        if why := volume_problem(where) or ("" if quick or sha256(where) == volume["sha256"] else "changed since"):
            found.broken[volume["path"]] = why
        elif not quick:
            values.append(largest(where))
    if len(values) == found.converted:
        found.constant, noted = sum(values) / len(values), found.constant
        if abs(found.constant - noted) > SAME * noted:
            found.broken[path.relative_to(root).as_posix()] = (
                f"its 'mean_max' is {noted:.6g}, that of its volumes {found.constant:.6g}; delete it"
            )


def _raw(found: Found, root: Path, quick: bool, say: Callable[[str], None]) -> None:
    """Raw files against the catalogue: names, structure, checksums where somebody states them."""
    wanted, entry = found.wanted, found.wanted.entry
    folder, lists = root / "raw" / wanted.dataset / wanted.split, root / LISTS
    memory = f"raw/{wanted.place}/{RECORD if entry.fetch else 'INDEX.txt'}"
    found.listed = memory if (root / memory).exists() else ""
    if entry.source == "download":
        files = {file.path: file for file in entry.files if not wanted.names or file.volume in wanted.names}
        found.expected = len(files)
        found.missing = [name for name in files if not (folder / name).is_file()]
        present = [name for name in files if name not in found.missing]
        for name in present if not quick else []:
            if not sha256(folder / name).startswith(files[name].sha256):
                found.broken[name] = "its SHA-256 is not the catalogue's"
    else:
        every = raw_files(folder, entry)
        drawn = draw(every, wanted.rule, lists).names
        present = list(drawn[: wanted.wanted])
        whole = expected(entry.published.get(wanted.split), wanted.rule)
        found.surplus = max(len(drawn) - whole.volumes, 0) if whole else 0
        if wanted.rule is not None and wanted.rule.names:
            there = {Path(name).name for name in present}
            found.missing = [
                name for name in read_names(wanted.rule.names, lists)[: wanted.wanted] if name not in there
            ]
        if not quick:
            wrong = damaged(folder, say)
            found.broken |= {name: "changed since it was fetched" for name in wrong if name in present}
    found.raw = len(present)
    for name in present:
        if not quick:
            say(f"{wanted.place}/{name}")
        known = name in found.broken or name in found.left_out  # conversion has told already, and went on without
        if not known and (why := problem(folder / name, entry, quick)):
            found.broken[name] = why


def _compare(found: Found) -> None:
    """Bytes to come, and whether the constant is near the published one."""
    wanted = found.wanted
    whole = wanted.entry.published.get(wanted.split)
    if whole is None or wanted.expected is None:
        return
    share = max(wanted.expected.volumes - found.raw, 0) / whole.volumes
    if found.converted is None:
        found.to_come = share * whole.gigabytes * 1e9 + whole.canonical_bytes(wanted.expected.slices)


def _done(found: Found, state: State, text: str) -> Found:
    found.state, found.next = state, text
    return found


def _conclude(found: Found, scale: str) -> Found:
    """The state, and in one line what to do next."""
    entry = found.wanted.entry
    run = f"snakemake --cores 4 --configfile config/{scale}.yaml data"
    if found.listed:  # what was listed once is not looked at again unless asked for
        run += f" --forcerun {found.listed}"
    access = f"{(entry.access or '').strip().rstrip('.')}; then {run}"
    total = "?" if found.expected is None else str(found.expected)
    if found.broken:
        name, why = next(iter(found.broken.items()))
        more = f" (and {len(found.broken) - 1} more)" if found.broken.keys() - {name} else ""
        return _done(found, "broken", f"replace {name}: {why.rstrip('.')}{more}; then {run}")
    fetched = entry.source == "download" or (
        entry.fetch is not None and entry.fetch.kind in ("zenodo", "dataverse", "mridata")
    )
    done = None if found.converted is None else found.converted + len(found.left_out)
    complete = done is not None and (found.expected is None or done >= found.expected)
    if not complete and found.raw == 0:
        return _done(found, "absent", f"{run} fetches it" if fetched else access)
    if not complete and found.expected is not None and found.raw < found.expected:
        few = f"; missing: {', '.join(found.missing[:3])}{', …' if found.missing[3:] else ''}" if found.missing else ""
        how = f"{run} fetches the rest" if fetched else access
        return _done(found, "partial", f"{found.raw} of {total} files are there{few}; {how}")
    if found.surplus:
        more = f"{found.surplus} files more than the split has: take those that are not of it out of its folder"
        return _done(found, "surplus", f"{more}; then {run}")
    if found.constant is not None and (why := far_off(found.constant, found.published)):
        return _done(found, "suspect", why)
    if found.left_out:
        name, why = next(iter(found.left_out.items()))
        return _done(found, "ready", f"{len(found.left_out)} left out; {name}: {why.rstrip('.')}")
    return _done(found, "ready", "nothing" if found.converted is not None else run)
