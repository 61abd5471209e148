"""Which slices of a split a run sees: so many subjects of each contrast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rekon.errors import UserError


class Named(Protocol):
    """A slice by the name of its volume."""

    @property
    def volume(self) -> str: ...


class Slices(Protocol):
    """What a selection is made from: `ImageSet` and `SliceSet` alike."""

    @property
    def path(self) -> Path: ...
    @property
    def items(self) -> Sequence[Named]: ...
    @property
    def volumes(self) -> Mapping[str, Mapping[str, Any]]: ...


class Selection:
    """Slice numbers of a set, in its order. A pure function of the manifest and the arguments.

    contrasts: group -> contrasts of the set that belong to it. subjects: group -> how many subjects of it are seen,
    counted in the manifest's order; None: all. A group that is not there is not seen; `subjects` None: every group
    is. A subject counts in each group it has volumes of.
    Raises UserError where a group is unknown, has fewer subjects than asked for, or nothing is left.
    """

    def __init__(
        self, slices: Slices, contrasts: Mapping[str, Sequence[str]], subjects: Mapping[str, int | None] | None = None
    ) -> None:
        wanted = dict.fromkeys(contrasts) if subjects is None else dict(subjects)
        if unknown := sorted(set(wanted) - set(contrasts)):
            raise UserError(
                f"key 'data.select': no contrast group {unknown[0]!r}; known are {', '.join(sorted(contrasts))}."
            )
        self.subjects: dict[str, tuple[str, ...]] = {}  # group -> subjects seen, in the manifest's order
        group_of = {contrast: group for group in wanted for contrast in contrasts[group]}
        present: dict[str, dict[str, None]] = {group: {} for group in wanted}
        for entry in slices.volumes.values():
            if entry["contrast"] in group_of:
                present[group_of[entry["contrast"]]][entry["subject"]] = None
        for group, count in wanted.items():
            found = list(present[group])
            if count is not None and count > len(found):
                raise UserError(
                    f"key 'data.select.{group}': asks for {count} subjects, {slices.path} has {len(found)}; ask for "
                    "fewer, or raise the number of volumes."
                )
            self.subjects[group] = tuple(found[:count])
        seen = {
            name: group_of[entry["contrast"]]
            for name, entry in slices.volumes.items()
            if entry["contrast"] in group_of and entry["subject"] in self.subjects[group_of[entry["contrast"]]]
        }
        self.indices = [index for index, item in enumerate(slices.items) if item.volume in seen]
        self.groups = [seen[slices.items[index].volume] for index in self.indices]  # of each slice
        if not self.indices:
            raise UserError(f"{slices.path}: no slices of {', '.join(sorted(wanted)) or 'any contrast'} to see.")

    def __len__(self) -> int:
        return len(self.indices)
