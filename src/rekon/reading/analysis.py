"""From the key and the filled sheets to every number of a reader study."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rekon import provenance
from rekon.errors import UserError
from rekon.files import atomic_path, sha256, write_json
from rekon.reading.agreement import Agreement, agreement
from rekon.reading.differences import difference, preference
from rekon.reading.key import Key
from rekon.reading.sheet import PREFERRED, SIDES, Sheet


def analyse(
    key: Key,
    sheets: Sequence[Sheet],
    *,
    reference: str | None = None,
    test: str | None = None,
    margin: float = 0.5,
    alpha: float = 0.05,
    seed: int = 0,
) -> dict[str, Any]:
    """Differences, preferences and agreement of one test arm against the reference, as plain data for JSON.

    reference, test: by default the kit's, where it has only two arms. margin: points of the scale that the test arm
    may be worse by; alpha: error allowed to a decision, and 1 - alpha the confidence of intervals.
    Differences and the agreement between readers count the first time that a pair is shown, not its repeat, which
    serves the agreement of a reader with themselves. Raises UserError for arms that the kit does not compare, for
    two sheets of one reader, and for margin and alpha out of range.
    """
    reference, test = _arms(key, reference, test)
    if not (margin > 0 and math.isfinite(margin)):
        raise UserError(f"--margin {margin}: must be a number of points above 0.")
    if not 0 < alpha < 0.5:
        raise UserError(f"--alpha {alpha}: must lie between 0 and 0.5.")
    readers: dict[str, Sheet] = {}
    for sheet in sheets:
        if sheet.reader in readers:
            raise UserError(
                f"{sheet.path}: reader {sheet.reader!r} is also that of {readers[sheet.reader].path}; give each "
                "reader's sheet once."
            )
        readers[sheet.reader] = sheet
    assert readers, "at least one sheet"
    shown = {name: pair for name, pair in key.pairs.items() if {pair.A, pair.B} == {reference, test}}
    first = [name for name, pair in shown.items() if pair.repeat_of is None]
    again = {name: pair.repeat_of for name, pair in shown.items() if pair.repeat_of is not None}
    scores = {reader: _by_arm(key, sheet.rows, list(shown)) for reader, sheet in readers.items()}
    differences, preferences, within, between = [], [], [], []
    for reader, table in scores.items():
        paired = table.loc[first].unstack("arm")
        for criterion in key.criteria:
            both = paired[criterion].dropna()
            found = difference(
                both[reference], both[test], _subjects(key, both.index), margin=margin, alpha=alpha, seed=seed
            )
            differences.append({"reader": reader, "criterion": criterion, "pairs": len(both), **found._asdict()})
        chosen = paired[PREFERRED].dropna()
        choices = preference(chosen[test] - chosen[reference], _subjects(key, chosen.index))
        preferences.append({"reader": reader, **choices._asdict()})
        if again:
            earlier = pd.concat({name: table.loc[original] for name, original in again.items()}, names=["pair"])
            within += _agreements(key, {"reader": reader}, earlier, table.loc[list(again)], alpha, seed)
    for one, two in itertools.combinations(scores, 2):
        pair = {"reader": one, "second_reader": two}
        between += _agreements(key, pair, scores[one].loc[first], scores[two].loc[first], alpha, seed)
    return {
        "kit": key.kit,
        "dataset": key.dataset,
        "reference": reference,
        "test": test,
        "margin": margin,
        "alpha": alpha,
        "cases": len(first),
        "subjects": len({shown[name].subject for name in first}),
        "repeats": len(again),
        "readers": {
            reader: {"sheet_sha256": sha256(sheet.path), "unfilled_cells": sheet.unfilled}
            for reader, sheet in readers.items()
        },
        "differences": differences,
        "preferences": preferences,
        "between_readers": between,
        "within_readers": within,
        "code": provenance.code_fingerprint(),
    }


def write_analysis(folder: Path, results: dict[str, Any]) -> None:
    """Write analysis.json (all; null where a number is not defined) and analysis.csv (its tables, a row each)."""
    parts = ("differences", "preferences", "between_readers", "within_readers")
    frames = [pd.DataFrame([{"table": part, **row} for row in map(_flat, results[part])]) for part in parts]
    # counts stay whole numbers beside rows that have none
    table = pd.concat([frame.convert_dtypes() for frame in frames if not frame.empty])
    with atomic_path(folder / "analysis.csv") as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    write_json(folder / "analysis.json", _no_nan(results))


def _arms(key: Key, reference: str | None, test: str | None) -> tuple[str, str]:
    """The two arms to compare, which the kit must have shown against each other."""
    reference = reference or key.reference
    if test is None:
        others = key.tests if reference == key.reference else (key.reference,)
        if len(others) > 1:
            raise UserError(f"--test: the kit has several test arms; name one of {', '.join(others)}.")
        test = others[0]
    if {reference, test} not in [{key.reference, arm} for arm in key.tests]:
        listed = ", ".join(repr(arm) for arm in key.tests)
        raise UserError(
            f"--reference {reference} --test {test}: the kit does not show them against each other; it shows "
            f"{key.reference!r} against {listed}."
        )
    return reference, test


def _by_arm(key: Key, rows: pd.DataFrame, pairs: list[str]) -> pd.DataFrame:
    """Scores of some pairs by (pair, arm) instead of (pair, side): here the blinding ends."""
    found = rows.loc[[(pair, side) for pair in pairs for side in SIDES]]
    arms = [getattr(key.pairs[pair], side) for pair, side in found.index]
    found.index = pd.MultiIndex.from_arrays([found.index.get_level_values("pair"), arms], names=["pair", "arm"])
    return found.sort_index()


def _agreements(
    key: Key, who: dict[str, str], first: pd.DataFrame, second: pd.DataFrame, alpha: float, seed: int
) -> list[dict[str, Any]]:
    """Agreement per criterion of two readings, each by (pair, arm)."""
    found = []
    for criterion in key.criteria:
        both = pd.DataFrame({"first": first[criterion], "second": second[criterion]}).dropna()
        subjects = _subjects(key, both.index.get_level_values("pair"))
        one: Agreement = agreement(both["first"], both["second"], subjects, alpha=alpha, seed=seed)
        values = one._asdict() | {"linear": one.linear._asdict(), "quadratic": one.quadratic._asdict()}
        found.append({**who, "criterion": criterion, **values})
    return found


def _subjects(key: Key, pairs: pd.Index) -> list[str]:
    return [key.pairs[pair].subject for pair in pairs]


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Columns of a row: a mapping gives one per key, `quadratic_low`."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        flat |= {f"{name}_{key}": of for key, of in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _no_nan(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _no_nan(of) for key, of in value.items()}
    if isinstance(value, list):
        return [_no_nan(of) for of in value]
    return None if isinstance(value, float) and math.isnan(value) else value
