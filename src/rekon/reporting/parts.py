"""Parts of the report as its template takes them: numbers as text, pictures as addresses that need no file."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from rekon.evaluation.score import PERCEPTUAL
from rekon.plan import CLASSICAL
from rekon.reporting.figures.panel import Strip, caption, title
from rekon.reporting.figures.style import Drawn, webp
from rekon.reporting.forest import forest
from rekon.reporting.metrics import METRICS
from rekon.reporting.scorecard import Outcome
from rekon.reporting.sources import AVERAGE, Sources
from rekon.reporting.tables import BESIDE, NOT_EVALUATED, cells, measured, others_of
from rekon.reporting.views import View

TILE_QUALITY = 80
Row = dict[str, Any]  # of a table


def claim_context(sources: Sources, outcome: Outcome) -> dict[str, Any]:
    """A row of the scorecard as text and a small drawing."""
    shown, overall = outcome.shown, outcome.overall
    unit = f" {shown.points}" if shown.unit else ""
    return {
        "outcome": outcome,
        "css": outcome.verdict.replace(" ", "-"),
        "better": _name(sources, outcome.better),
        "worse": _name(sources, outcome.worse),
        "paper": _claimed(sources, outcome),
        "measured": f"{shown.text(overall.mean, sign=True)}{unit}" if overall else "–",
        "interval": f"{shown.text(overall.low, sign=True)} … {shown.text(overall.high, sign=True)}" if overall else "",
        "quantity": f"{shown.name} advantage" if shown.higher_is_better else f"{shown.name} saved",
        "forest": forest(overall, outcome.claim.threshold) if overall else "",
        "each": [
            (title(View.parse(part.dataset)), f"{shown.text(part.mean, sign=True)}{unit}",
             f"{shown.text(part.low, sign=True)} … {shown.text(part.high, sign=True)}", part.subjects,
             shown.text(part.paper, sign=True))
            for part in outcome.each
        ],
    }  # fmt: skip


def prints(published: Mapping[str, Any]) -> bool:
    """Whether a paper's tables (one, or several by name) hold a number, and not words alone."""
    return any(prints(value) if isinstance(value, Mapping) else value is not None for value in published.values())


def _claimed(sources: Sources, outcome: Outcome) -> str:
    """The paper's difference; that it has only words, where it prints no number at all."""
    if outcome.paper is None:
        published = sources.studies[outcome.study].published
        return "in words" if published and not prints(published) else "–"
    unit = f" {outcome.shown.points}" if outcome.shown.unit else ""
    return f"{outcome.shown.text(outcome.paper, sign=True)}{unit}"


def unmeasured(outcomes: list[Outcome]) -> dict[str, list[str]]:
    """Reason -> claims that were not measured for it."""
    found: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.verdict == "not measured":
            found.setdefault(outcome.why, []).append(outcome.claim.text)
    return found


def table_context(
    sources: Sources, study: str, table: str | None, numbers: pd.DataFrame, words: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A published table with ours: per view and metric one cell per run, as text.

    words: run -> what the paper says of it where it prints no number. A column of which there is neither a number nor
    a word is left out, and named under `left_out`.
    """
    config, rows = sources.studies[study], cells(numbers)
    said = {sources.named(run, study): text for run, text in (words or {}).items()}
    every = list(dict.fromkeys(run for _, _, run in rows))
    valued = {run for (_, _, run), row in rows.items() if row["mean"] == row["mean"] or row["paper"] == row["paper"]}
    runs = [run for run in every if run in valued or run in said or not _absent(sources, study, run)]
    printed = {metric for values in config.published.get(table or "", {}).values() for metric in values}
    metrics = [metric for metric in dict.fromkeys(numbers["metric"]) if metric in printed]
    if not metrics:
        metrics = [metric for metric in dict.fromkeys(numbers["metric"]) if metric != "nmse"]
    groups = []
    for view in dict.fromkeys(name for name, _, _ in rows):
        lines = []
        for metric in metrics:
            part = [rows[view, metric, run] for run in runs]
            if all(row["mean"] != row["mean"] and row["paper"] != row["paper"] for row in part):
                continue
            up = METRICS[metric].higher_is_better
            learned = [i for i, run in enumerate(runs) if sources.learned(run)]
            best = {key: _best([(i, part[i][key]) for i in learned], up) for key in ("mean", "paper")}
            decimals = _decimals([row[key] for row in part for key in ("paper", "paper_std")])
            lines.append((METRICS[metric], [_cell(metric, row, best, i, decimals) for i, row in enumerate(part)]))
        if lines:
            part = [rows[view, metric, run] for metric in metrics for run in runs]
            heading = "Average over the zero-shot sets" if view == AVERAGE else title(View.parse(view))
            groups.append({**part[0], "heading": heading, "lines": lines, "notes": _notes(part, metrics[0])})
    parts = {
        View.parse(name).part.partition(", ")[0] for name in config.published.get(table or "", {}) if name != AVERAGE
    }
    beside = [METRICS[metric].name for metric in BESIDE if metric in set(numbers["metric"]) - set(metrics)]
    return {
        "runs": [
            {"title": sources.title(run), "plain": not sources.learned(run), "absent": _absent(sources, study, run)}
            for run in runs
        ],
        "part": parts.pop() if len(parts) == 1 else "",
        "groups": groups,
        "words": [said.get(run, "") for run in runs] if said else [],
        "wordless": bool(config.published.get(table or "")) and not prints(config.published[str(table)]),
        "left_out": [sources.title(run) for run in every if run not in runs],
        "beside": " and ".join(beside),
        "empty": _empty(rows, metrics, runs),
    }


def others_context(sources: Sources, study: str) -> dict[str, Any]:
    """Arms that the paper's tables do not have: mean PSNR and SSIM per view, beside nothing. Empty where none ran."""
    runs = [run for run in others_of(sources, study) if not run.startswith(f"{CLASSICAL}/")]
    lines = []
    for view in sources.pictured(study):
        for metric in ("psnr", "ssim"):
            found = [measured(sources, study, run, view, metric)[0] for run in runs]
            if any(found):
                factor = METRICS[metric].factor
                texts = [METRICS[metric].text(one.mean * factor if one else None) for one in found]
                lines.append((title(view), METRICS[metric].label, texts))
    return {"runs": [sources.title(run) for run in runs], "lines": lines}


def strip_context(found: Strip) -> dict[str, Any]:
    """A panel's tiles as data URIs."""
    tiles = [
        {
            "title": tile.title,
            "lines": tile.lines,
            "image": data_uri(webp(tile.image, TILE_QUALITY), "webp"),
            "error": data_uri(webp(tile.error, TILE_QUALITY), "webp") if tile.error is not None else None,
        }
        for tile in found.tiles
    ]
    height, width = found.tiles[0].image.shape
    return {
        "strip": found,
        "title": title(found.view),
        "simulated": found.view.dataset.startswith("sim-"),
        "tiles": tiles,
        "caption": caption(found),
        "ratio": f"{width} / {height}",
    }


def figure_context(figure: Drawn, folder: Path) -> dict[str, Any]:
    """A figure as a data URI, with its words."""
    path = folder / figure.file
    uri = svg_uri(path.read_text(encoding="utf-8")) if path.suffix == ".svg" else data_uri(path.read_bytes(), "webp")
    return {**vars(figure), "uri": uri}


def svg_uri(text: str) -> str:
    """An SVG as an address that needs no file: escaped, which takes a fifth less than base64."""
    compact = re.sub(r">\s+<", "><", text)
    return f"data:image/svg+xml,{quote(compact, safe=' =:/;,()-_.~!*+?')}"


def data_uri(content: bytes, kind: str) -> str:
    """Bytes of a picture as an address that needs no file."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def title_of(table: str | None) -> str:
    """`table2` as people write it, `supp-table1` too."""
    if table is None:
        return "Results"
    name = table.removeprefix("supp-")
    name = f"Table {name.removeprefix('table')}" if name.startswith("table") else name.capitalize()
    return f"Supp. {name}" if table.startswith("supp-") else name


def _name(sources: Sources, run: str) -> str:
    study, _, name = run.partition("/")
    config = sources.plan.studies.get(study)
    return sources.title(run) if config and (name in config.runs or name in config.not_run) else run


def _absent(sources: Sources, study: str, run: str) -> str:
    """Why a column has the paper's numbers alone; empty for runs of this scale."""
    of, name = run.split("/")
    if of == study and name in sources.studies[study].not_run:
        return f"not run: {sources.studies[study].not_run[name].reason}"
    return "" if (of, name) in sources.plan.recipes else NOT_EVALUATED


def _cell(metric: str, row: Row, best: dict[str, int | None], index: int, decimals: int) -> dict[str, Any]:
    shown = METRICS[metric]
    paper = shown._replace(decimals=min(decimals, shown.decimals))
    known = row["mean"] == row["mean"]
    return {
        "mean": shown.text(row["mean"]),
        "std": shown.text(row["std"]) if known and row["dataset"] != AVERAGE else "",
        "interval": f"{shown.text(row['low'])} … {shown.text(row['high'])}" if row["low"] == row["low"] else "",
        "paper": paper.text(row["paper"]) if row["paper"] == row["paper"] else "",
        "paper_std": paper.text(row["paper_std"]) if row["paper_std"] == row["paper_std"] else "",
        "best": best["mean"] == index,
        "paper_best": best["paper"] == index,
        "reason": row["reason"],
    }


def _decimals(values: list[float]) -> int:
    """Decimals that the paper prints: what it rounded away must not look like zeros."""
    return max((len(f"{value:.6f}".rstrip("0").partition(".")[2]) for value in values if value == value), default=0)


def _notes(part: list[Row], metric: str) -> list[str]:
    """What a view's heading says of it."""
    first = part[0]
    average = first["dataset"] == AVERAGE
    subjects, slices = (max(row[key] for row in part) for key in ("subjects", "slices"))
    reasons = {row["reason"] for row in part if row["metric"] == metric and not row["reason"].startswith("not run")}
    notes = [] if average else [str(first["distribution"])]
    if first["stands_for"]:
        notes.append(f"stands for {first['stands_for']}")
    if subjects:
        notes.append(f"{subjects} subject{'s' if subjects > 1 else ''}, {slices} slice{'s' if slices > 1 else ''}")
    if len(reasons) == 1 and "" not in reasons and metric not in PERCEPTUAL:
        notes += reasons
    return notes + (["paper: its ten out-of-distribution sets"] if average else [])


def _empty(rows: dict[tuple[str, str, str], Row], metrics: list[str], runs: list[str]) -> dict[str, str]:
    """Metrics of which no cell of ours has a value though others have, with the reason."""
    found = {}
    for metric in metrics:
        part = [row for (_, name, run), row in rows.items() if name == metric and run in runs]
        reasons = [row["reason"] for row in part if not row["reason"].startswith(("not run", NOT_EVALUATED))]
        if reasons and all(reasons) and all(row["mean"] != row["mean"] for row in part):
            found[METRICS[metric].name] = reasons[0]
    return found


def _best(values: list[tuple[int, float]], higher: bool) -> int | None:
    """Index of the best known value; the first of equals."""
    known = [(value if higher else -value, -index) for index, value in values if value == value]
    return -max(known)[1] if known else None
