"""Views: parts of a test set, by sampling pattern and group of contrasts, written set, set@pattern, set@pattern/group.

Where one pattern is scored at several accelerations, "R4" stands in the place of the pattern. A group is one of the
study's `contrasts`. What the paper prints of a set, and what its claims are about, are views.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from rekon.errors import UserError

FORM = re.compile(r"(?P<dataset>[^@/\s]+)(@(?P<pattern>[^@/\s]+)(/(?P<group>[^@/\s]+))?)?")
PATTERNS = {
    "es-x": "ES Cartesian-X", "es-y": "ES Cartesian-Y", "gaussian": "Gaussian VD", "radial": "Radial",
}  # fmt: skip


@dataclass(frozen=True)
class View:
    """Rows of a set: all, of one pattern (or acceleration, "R4"), or of one pattern and some contrasts."""

    dataset: str
    pattern: str | None = None
    group: str | None = None

    @classmethod
    def parse(cls, text: str) -> View:
        """View from its written form; UserError for anything else."""
        found = FORM.fullmatch(text)
        if not found:
            raise UserError(f"config/studies: {text!r} names no view; write set, set@pattern or set@pattern/group.")
        return cls(**found.groupdict())

    def __str__(self) -> str:
        pattern = f"@{self.pattern}" if self.pattern else ""
        return f"{self.dataset}{pattern}" + (f"/{self.group}" if self.group else "")

    def on(self, dataset: str) -> View:
        """The same part of another set."""
        return replace(self, dataset=dataset)

    @property
    def acceleration(self) -> int | None:
        """R, where the view is at one and not of a pattern."""
        found = re.fullmatch(r"R(\d+)", self.pattern or "")
        return int(found[1]) if found else None

    def within(self, other: View) -> bool:
        """Whether this is `other` or, under the same pattern, one of its groups."""
        same = (self.dataset, self.pattern) == (other.dataset, other.pattern)
        return same and other.group in (None, self.group)

    @property
    def part(self) -> str:
        """The part in words: "ES Cartesian-X, T1", "R = 4"; empty for a whole set."""
        names = [PATTERNS.get(self.pattern, self.pattern)] if self.pattern else []
        names = [f"R = {self.acceleration}"] if self.acceleration else names
        return ", ".join([*names, self.group] if self.group else names)

    def select(self, rows: pd.DataFrame, contrasts: Mapping[str, tuple[str, ...]]) -> pd.DataFrame:
        """The view's rows among those of its set.

        A pattern at several accelerations is seen at the highest, which is the one that papers print. Raises UserError
        for a group that is not among `contrasts`.
        """
        if self.acceleration:
            rows = rows[rows["acceleration"] == self.acceleration]
        elif self.pattern:
            rows = rows[rows["pattern"] == self.pattern]
            rows = rows[rows["acceleration"] == rows["acceleration"].max()]
        if self.group:
            if self.group not in contrasts:
                raise UserError(
                    f"config/studies: view {str(self)!r}: {self.group!r} is not one of the study's 'contrasts' "
                    f"({', '.join(contrasts) or 'it has none'})."
                )
            rows = rows[rows["contrast"].isin(contrasts[self.group])]
        return rows
