"""The key of a reader study: which arm is behind which image. Readers never see it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from rekon.config.base import Strict, check
from rekon.errors import UserError
from rekon.files import read_json
from rekon.reading.sheet import empty_sheet


class Pair(Strict):
    """One pair as shown."""

    case: str  # <volume>/<slice>
    subject: str
    A: str  # the arm that made image A, on the left
    B: str
    window: float  # magnitude shown white in both images; 0 is black
    repeat_of: str | None = None  # the pair that shows the same two images for the first time


class Key(Strict):
    """What opens the blinding, and what made the kit."""

    format: Literal[1] = 1
    kit: str  # id, also in every row of the sheet
    dataset: str
    unit: str  # of the magnitudes
    seed: int
    repeats: float
    reference: str
    tests: tuple[str, ...]
    criteria: tuple[str, ...]
    brightness: dict[str, float]  # test arm -> its median ratio of 99.5th percentiles to the reference
    images: dict[str, str]  # arm -> SHA-256 of its file
    sheet_sha256: str  # of the kit's empty sheet
    pairs: dict[str, Pair]

    @model_validator(mode="after")
    def _consistent(self) -> Key:
        if not self.pairs:
            raise ValueError("'pairs' is empty")
        for name, pair in self.pairs.items():
            if self.reference not in (pair.A, pair.B) or not {pair.A, pair.B} & set(self.tests):
                raise ValueError(f"pair {name!r} must show {self.reference!r} against one of 'tests'")
            if pair.repeat_of is not None and pair.repeat_of not in self.pairs:
                raise ValueError(f"pair {name!r} repeats {pair.repeat_of!r}, which is not among 'pairs'")
        return self


def sheet_hash(kit: str, pairs: list[str], criteria: tuple[str, ...]) -> str:
    """SHA-256 of the empty sheet with these pairs."""
    return hashlib.sha256(empty_sheet(kit, pairs, criteria).encode()).hexdigest()


def read_key(path: Path | str) -> Key:
    """Read a key; UserError when it is missing, not a key, or no longer fits the sheet it was made with."""
    key = check(Key, read_json(path), str(path))
    if sheet_hash(key.kit, list(key.pairs), key.criteria) != key.sheet_sha256:
        raise UserError(
            f"{path}: 'kit', 'pairs' or 'criteria' no longer give the sheet of 'sheet_sha256', so the key was edited "
            "or mixed with another; take the key as `rekon reader-study make` wrote it."
        )
    return key
