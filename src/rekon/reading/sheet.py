"""The score sheet: a CSV with a row per image, and its reading, which accepts nothing doubtful.

reader, kit, pair, side (A left, B right), a column per criterion (1 to 5), preferred (1: this image is the better one
of its pair, 0: it is not; 0 in both: no preference).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from rekon.errors import UserError

if TYPE_CHECKING:
    from rekon.reading.key import Key

SIDES = ("A", "B")
SCORES = (1, 2, 3, 4, 5)
PREFERRED = "preferred"
READER = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")


class Criterion(NamedTuple):
    """What is scored, and what the ends of the scale mean."""

    label: str
    lowest: str  # 1
    highest: str  # 5


CRITERIA = {
    "structural_delineation": Criterion("Structural delineation", "structures unclear", "all structures clear"),
    "overall_quality": Criterion("Overall image quality", "of no use", "excellent"),
    "snr": Criterion("Signal-to-noise ratio", "noise hides anatomy", "no visible noise"),
    "sharpness": Criterion("Sharpness", "heavily blurred", "all edges crisp"),
    "artefacts": Criterion("Artefacts", "severe, they hide anatomy", "none"),
}


@dataclass(frozen=True)
class Sheet:
    """A reader's scores; NaN where a cell is empty.

    rows: index (pair, side); float columns: the criteria, `preferred`.
    """

    path: Path
    reader: str
    rows: pd.DataFrame

    @property
    def unfilled(self) -> int:
        """Number of empty cells."""
        return int(self.rows.isna().to_numpy().sum())


def columns(criteria: Sequence[str]) -> list[str]:
    """Header of a sheet."""
    return ["reader", "kit", "pair", "side", *criteria, PREFERRED]


def empty_sheet(kit: str, pairs: Iterable[str], criteria: Sequence[str]) -> str:
    """CSV text with a row per pair and side, to be filled in."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns(criteria))
    blank = [""] * (len(criteria) + 1)
    writer.writerows(["", kit, pair, side, *blank] for pair in pairs for side in SIDES)
    return text.getvalue()


def read_sheet(path: Path | str, key: Key, *, incomplete: bool = False) -> Sheet:
    """Read a filled sheet of the kit that `key` opens.

    Rows may stand in any order, and be separated by semicolons, as some spreadsheets do. incomplete: allow empty
    cells. Raises UserError for the first problem: file, row as a spreadsheet counts it, remedy.
    """
    found: dict[tuple[str, str], int] = {}
    values: list[list[float]] = []
    reader = ""
    empty: list[str] = []
    for number, row in _rows(Path(path), columns(key.criteria)):
        where = f"{path}: row {number}"
        reader = _reader(where, row["reader"], reader)
        place = _place(where, row, key)
        if place in found:
            raise UserError(
                f"{where}: pair {place[0]}, side {place[1]} is in row {found[place]} already; delete one of the two."
            )
        found[place] = number
        values.append([_value(where, name, row[name]) for name in (*key.criteria, PREFERRED)])
        empty += [f"row {number}, {name!r}" for name in (*key.criteria, PREFERRED) if row[name] == ""]
    missing = [(pair, side) for pair in key.pairs for side in SIDES if (pair, side) not in found]
    if missing:
        pair, side = missing[0]
        raise UserError(
            f"{path}: no row for pair {pair}, side {side}{_more(missing)}; copy what is missing from the kit's "
            "sheet.csv, and leave its cells empty if it was not read."
        )
    rows = pd.DataFrame(
        values, columns=[*key.criteria, PREFERRED], index=pd.MultiIndex.from_tuples(found, names=["pair", "side"])
    ).loc[[(pair, side) for pair in key.pairs for side in SIDES]]
    twice = [pair for pair in key.pairs if all(rows.loc[(pair, side), PREFERRED] == 1 for side in SIDES)]
    if twice:
        pair = twice[0]
        raise UserError(
            f"{path}: row {found[pair, 'B']}: both images of pair {pair} are 'preferred'; put 0 for one, or for both "
            "if there is no preference."
        )
    if empty and not incomplete:
        raise UserError(
            f"{path}: {empty[0]} is empty{_more(empty)}; fill it in, or analyse what is there with --incomplete."
        )
    return Sheet(Path(path), reader, rows)


def _rows(path: Path, wanted: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and stripped cells by column; blank lines are skipped."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets put a mark at the start
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8; save the sheet as CSV (UTF-8).") from None
    head = text.partition("\n")[0]
    lines = csv.reader(io.StringIO(text), delimiter=";" if ";" in head else ",")
    header = [cell.strip() for cell in next(lines, [])]
    if sorted(header) != sorted(wanted):
        raise UserError(f"{path}: row 1: {_mismatch(header, wanted)}; the header must be that of the kit's sheet.csv.")
    for row in lines:
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if len(cells) != len(header):
            raise UserError(
                f"{path}: row {lines.line_num}: {len(cells)} cells instead of {len(header)}; repair the row, as in the "
                "kit's sheet.csv."
            )
        yield lines.line_num, dict(zip(header, cells, strict=True))


def _mismatch(header: list[str], wanted: list[str]) -> str:
    for name in wanted:
        if name not in header:
            return f"column {name!r} is missing"
    for name in header:
        if name not in wanted:
            return f"column {name!r} does not belong"
    return f"column {next(name for name in header if header.count(name) > 1)!r} is there twice"


def _reader(where: str, name: str, before: str) -> str:
    if not READER.match(name):
        raise UserError(
            f"{where}: 'reader' is {name!r}; put the reader's code into every row, letters and digits only."
        )
    if before and name != before:
        raise UserError(f"{where}: 'reader' is {name!r} after {before!r}; keep one sheet per reader.")
    return name


def _place(where: str, row: dict[str, str], key: Key) -> tuple[str, str]:
    """Pair and side of a row, which must be of this kit."""
    if row["kit"] != key.kit:
        raise UserError(
            f"{where}: 'kit' is {row['kit']!r} but the key is that of {key.kit!r}; take the key that was made with "
            "this sheet."
        )
    pair = row["pair"].zfill(len(next(iter(key.pairs))))  # spreadsheets drop leading zeros
    if pair not in key.pairs:
        raise UserError(f"{where}: 'pair' {row['pair']!r} is not in the key; restore it from the kit's sheet.csv.")
    if row["side"] not in SIDES:
        raise UserError(f"{where}: 'side' is {row['side']!r} and must be A or B; restore it from the kit's sheet.csv.")
    return pair, row["side"]


def _value(where: str, name: str, cell: str) -> float:
    allowed = (0, 1) if name == PREFERRED else SCORES
    if cell == "":
        return float("nan")
    if cell not in map(str, allowed):
        listed = ", ".join(map(str, allowed[:-1]))
        raise UserError(f"{where}: {name!r} is {cell!r} and must be {listed} or {allowed[-1]}; correct the cell.")
    return float(cell)


def _more(items: Sequence[object]) -> str:
    return f" (and {len(items) - 1} more)" if len(items) > 1 else ""
