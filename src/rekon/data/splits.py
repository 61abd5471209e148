"""Which of the files that are there belong to a split: a pure function of their sorted names, written with its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rekon.config.sources import SplitRule
from rekon.errors import UserError
from rekon.files import write_text

LISTS = Path("config/splits")  # of the names that are committed


@dataclass(frozen=True)
class SplitList:
    """The files of a split, by name below its raw folder."""

    names: tuple[str, ...]
    expected: int | None  # how many there should be; None: nobody knows

    @property
    def sha256(self) -> str:
        """Names the list: SHA-256 of its names, a line each."""
        return hashlib.sha256("".join(f"{name}\n" for name in self.names).encode()).hexdigest()


def draw(present: Sequence[str], rule: SplitRule | None, lists: Path = LISTS) -> SplitList:
    """The files of a split among those `present`; all without a rule.

    A list takes what it names, by name without folders; a count takes the first ones, or draws them with the rule's
    seed. Equal names give equal splits, in whatever order and folders they come. Files that are not there yet are not
    in the list: `expected` tells.
    """
    ordered = sorted(present, key=lambda name: (Path(name).name, name))
    if rule is None:
        return SplitList(tuple(ordered), None)
    if rule.names is not None:
        wanted = set(read_names(rule.names, lists))
        return SplitList(tuple(name for name in ordered if Path(name).name in wanted), len(wanted))
    count = len(ordered) if rule.count is None else min(rule.count, len(ordered))
    if rule.seed is None:
        return SplitList(tuple(ordered[:count]), rule.volumes)
    seed = rule.seed
    chosen = set(sorted(ordered, key=lambda name: _rank(seed, name))[:count])
    return SplitList(tuple(name for name in ordered if name in chosen), rule.volumes)


def read_names(name: str, lists: Path = LISTS) -> list[str]:
    """Names of a committed list; lines that start with # are not names."""
    try:
        lines = (lists / name).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"{lists / name}: no such list of volumes; name another under 'names' of the split.") from None
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _rank(seed: int, name: str) -> str:
    """A place that looks random. Of the name alone: no library's generator matters, and a file that is not there moves
    no other."""
    return hashlib.sha256(f"split/{seed}/{Path(name).name}".encode()).hexdigest()


def write_split(path: Path, place: str, found: SplitList, rule: SplitRule | None, present: int) -> None:
    """Write a split's list: what it is, what was left open, its hash, its names. place: set/split."""
    if not found.names:
        raise UserError(f"{path.parent}: none of the {present} files there belongs to {place}; see {LISTS}.")
    how = "all"
    if rule is not None and rule.names:
        how = f"those that {LISTS / rule.names} names"
    elif rule is not None and rule.count:
        how = f"{rule.count}, " + ("the first by name" if rule.seed is None else f"drawn with seed {rule.seed}")
    head = [f"{place}: {len(found.names)} of {present} files", f"rule: {how}"]
    if found.expected is not None:
        head.append(f"expected: {found.expected}")
    if rule is not None and rule.open:
        head.append(f"left open by the paper: {' '.join(rule.open.split())}")
    head.append(f"sha256 of the names: {found.sha256}")
    write_text(path, "".join(f"# {line}\n" for line in head) + "".join(f"{name}\n" for name in found.names))


def read_split(path: Path | str) -> SplitList:
    """The list that `write_split` wrote; UserError when its names are not those its hash is of."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the rule draw_split first.") from None
    heads = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# ") and ": " in line)
    expected = heads.get("expected", "")
    names = tuple(line for line in lines if line.strip() and not line.startswith("#"))
    found = SplitList(names, int(expected) if expected.isdigit() else None)
    if heads.get("sha256 of the names") != found.sha256:
        raise UserError(f"{path}: its names were changed after they were drawn; delete it and run again.")
    return found
