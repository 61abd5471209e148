"""The report: one index.html that carries its pictures and styles and works offline, on a phone too."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import Any

import jinja2

from rekon import provenance
from rekon.errors import UserError
from rekon.files import write_text
from rekon.reporting.drawing import build_figures
from rekon.reporting.figures.panel import ERROR_GAIN, Strip, caption, strip
from rekon.reporting.figures.style import Drawn, webp
from rekon.reporting.forest import forest
from rekon.reporting.methods import dataset_facts, method_facts, run_facts
from rekon.reporting.metrics import METRICS
from rekon.reporting.scorecard import FEWEST_SUBJECTS, Outcome, counts, scorecard
from rekon.reporting.sources import AVERAGE, CLASSICAL, Sources
from rekon.reporting.tables import cells, published_table, table_name, tables_of

TEMPLATES = Path(__file__).parent / "templates"
SHOWN = ("psnr", "ssim", "milliseconds")  # of the table; NMSE stands in the CSV
TILE_QUALITY = 80
Rows = dict[tuple[str, str, str], dict[str, Any]]  # of a table, by set, metric and run


def build_report(sources: Sources, out: Path) -> Path:
    """Draw the figures into out/figures and write out/index.html; returns its path.

    Tables are linked as out/tables/*.csv, which `build_tables` and `build_scorecard` write.
    Raises UserError when nothing was evaluated yet.
    """
    names = [(run, dataset) for study in sources.studies for run in sources.runs(study) for dataset in sources.datasets]
    if not any(sources.result(run, dataset).exists() for run, dataset in names):
        raise UserError(f"results/{sources.plan.scale.scale}: nothing was evaluated yet; run `snakemake` first.")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    outcomes = scorecard(sources)
    page = environment.get_template("index.html.j2").render(
        scale=sources.plan.scale,
        style=(TEMPLATES / "style.css").read_text(encoding="utf-8"),
        counts=counts(outcomes),
        claims=len(outcomes),
        fewest=FEWEST_SUBJECTS,
        error_gain=ERROR_GAIN,
        methods=method_facts(sources),
        datasets=dataset_facts(sources),
        runs=run_facts(sources),
        code=provenance.code_fingerprint(),
        git=provenance.git(),
        studies=[study_context(sources, name, outcomes, out / "figures") for name in sources.studies],
        simulated=[name for name in sources.datasets if name.startswith("sim-")],
    )
    path = out / "index.html"
    write_text(path, page)
    return path


def study_context(sources: Sources, study: str, outcomes: list[Outcome], figures: Path) -> dict[str, Any]:
    """What the template needs of one paper."""
    table = tables_of(sources, study)[0]
    numbers = published_table(sources, study, table)
    drawn = build_figures(sources, study, numbers, figures)
    rows = cells(numbers)
    return {
        "name": study,
        "config": sources.studies[study],
        "claims": [claim_context(sources, outcome) for outcome in outcomes if outcome.study == study],
        "findings": findings(sources, study, rows),
        "table": table_context(sources, study, rows),
        "table_title": title_of(table),
        "csv": f"tables/{table_name(study, table)}",
        "strips": [strip_context(found) for name in sources.datasets if (found := strip(sources, study, name))],
        "figures": {
            section: [figure_context(figure, figures) for figure in drawn if figure.section == section]
            for section in ("ladder", "inside", "training")
        },
    }


def claim_context(sources: Sources, outcome: Outcome) -> dict[str, Any]:
    """A row of the scorecard as text and a small drawing."""
    shown, overall = outcome.shown, outcome.overall
    unit = f" {shown.unit}" if shown.unit else ""
    return {
        "outcome": outcome,
        "css": outcome.verdict.replace(" ", "-"),
        "better": sources.title(outcome.better) if _planned(sources, outcome.better) else outcome.better,
        "worse": sources.title(outcome.worse) if _planned(sources, outcome.worse) else outcome.worse,
        "paper": f"{shown.text(outcome.paper, sign=True)}{unit}" if outcome.paper is not None else "–",
        "measured": f"{shown.text(overall.mean, sign=True)}{unit}" if overall else "–",
        "interval": f"{shown.text(overall.low, sign=True)} … {shown.text(overall.high, sign=True)}" if overall else "",
        "quantity": f"{shown.name} advantage" if shown.higher_is_better else f"{shown.name} saved",
        "forest": forest(overall, outcome.claim.margin) if overall else "",
        "each": [
            (part.dataset, f"{shown.text(part.mean, sign=True)}{unit}", f"{shown.text(part.low, sign=True)} … "
             f"{shown.text(part.high, sign=True)}", part.subjects, shown.text(part.paper, sign=True))
            for part in outcome.each
        ],
    }  # fmt: skip


def findings(sources: Sources, study: str, rows: Rows) -> list[str]:
    """Two or three sentences: the order of the rungs here and in the paper, and what learning gained."""
    learned = [run for run in sources.runs(study) if not run.startswith(f"{CLASSICAL}/")]
    sentences = []
    for key, intro in (("mean", "Measured here, average over the zero-shot sets"), ("paper", "In the paper")):
        values = {run: rows[AVERAGE, "psnr", run][key] for run in learned}
        known = sorted((run for run in learned if values[run] == values[run]), key=lambda run: -values[run])
        if known:
            order = " > ".join(f"{sources.title(run)} {values[run]:.2f}" for run in known)
            sentences.append(f"{intro}, by mean PSNR in dB: {order}.")
    base = f"{CLASSICAL}/zero-filled"
    for dataset in sources.plan.scale.evaluation.id:
        if (dataset, "psnr", base) not in rows:
            continue
        gains = [rows[dataset, "psnr", run]["mean"] - rows[dataset, "psnr", base]["mean"] for run in learned]
        gains = [gain for gain in gains if gain == gain]
        if gains:
            sentences.append(
                f"On {dataset}, in distribution, the learned rungs lie {min(gains):.1f} to {max(gains):.1f} dB above "
                "zero-filled reconstruction."
            )
            sense = rows.get((dataset, "psnr", f"{CLASSICAL}/sense"), {}).get("mean", math.nan)
            best = max(learned, key=lambda run: _known(rows[dataset, "psnr", run]["mean"]))
            sentences.append(_against_sense(sources.title(best), rows[dataset, "psnr", best]["mean"] - sense))
    return [sentence for sentence in sentences if sentence]


def _against_sense(best: str, lead: float) -> str:
    """How the best learned rung stands to SENSE, which needs no training; empty when SENSE was not evaluated."""
    if math.isnan(lead):
        return ""
    side = "above" if lead > 0 else "below"
    return f"There, the best of them, {best}, lies {abs(lead):.1f} dB {side} ESPIRiT-SENSE, which needs no training."


def _known(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def table_context(sources: Sources, study: str, rows: Rows) -> dict[str, Any]:
    """The published table with ours: per set and metric one cell per run, as text."""
    runs = sources.runs(study)
    groups = []
    for dataset in dict.fromkeys(name for name, _, _ in rows):
        first = rows[dataset, SHOWN[0], runs[0]]
        lines = []
        for metric in SHOWN:
            part = [rows[dataset, metric, run] for run in runs]
            if all(row["mean"] != row["mean"] and row["paper"] != row["paper"] for row in part):
                continue
            learned = [i for i, run in enumerate(runs) if not run.startswith(f"{CLASSICAL}/")]
            up = METRICS[metric].higher_is_better
            best = {key: _best([(i, part[i][key]) for i in learned], up) for key in ("mean", "paper")}
            lines.append((METRICS[metric], [_cell(metric, row, best, i) for i, row in enumerate(part)]))
        notes = _notes([rows[dataset, metric, run] for metric in SHOWN for run in runs])
        groups.append({**first, "lines": lines, "notes": notes})
    return {"runs": [(run, sources.title(run), run.startswith(f"{CLASSICAL}/")) for run in runs], "groups": groups}


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
    return {"strip": found, "tiles": tiles, "caption": caption(found), "ratio": f"{width} / {height}"}


def figure_context(figure: Drawn, folder: Path) -> dict[str, Any]:
    """A figure as a data URI, with its words."""
    kind = "svg+xml" if figure.file.endswith(".svg") else "webp"
    return {**vars(figure), "uri": data_uri((folder / figure.file).read_bytes(), kind)}


def data_uri(content: bytes, kind: str) -> str:
    """Bytes of a picture as an address that needs no file."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def title_of(table: str | None) -> str:
    """`table2` as people write it."""
    if table is None:
        return "Results"
    return f"Table {table.removeprefix('table')}" if table.startswith("table") else table


def _cell(metric: str, row: dict[str, Any], best: dict[str, int | None], index: int) -> dict[str, Any]:
    shown = METRICS[metric]
    known = row["mean"] == row["mean"]
    return {
        "mean": shown.text(row["mean"]),
        "std": shown.text(row["std"]) if known else "",
        "interval": f"{shown.text(row['low'])} … {shown.text(row['high'])}" if row["low"] == row["low"] else "",
        "paper": shown.text(row["paper"]) if row["paper"] == row["paper"] else "",
        "paper_std": shown.text(row["paper_std"]) if row["paper_std"] == row["paper_std"] else "",
        "best": best["mean"] == index,
        "paper_best": best["paper"] == index,
        "reason": row["reason"],
    }


def _notes(part: list[dict[str, Any]]) -> list[str]:
    """What a set's heading says of it."""
    first = part[0]
    average = first["dataset"] == AVERAGE
    subjects, slices = (max(row[key] for row in part) for key in ("subjects", "slices"))
    reasons = {row["reason"] for row in part if row["metric"] == SHOWN[0]}
    notes = [] if average else [str(first["distribution"])]
    if first["stands_for"]:
        notes.append(f"stands for {first['stands_for']}")
    if subjects:
        notes.append(f"{subjects} subject{'s' if subjects > 1 else ''}, {slices} slice{'s' if slices > 1 else ''}")
    if len(reasons) == 1 and "" not in reasons:
        notes += reasons
    return notes + (["paper: its ten out-of-distribution sets"] if average else [])


def _best(values: list[tuple[int, float]], higher: bool) -> int | None:
    """Index of the best known value; the first of equals."""
    known = [(value if higher else -value, -index) for index, value in values if value == value]
    return -max(known)[1] if known else None


def _planned(sources: Sources, run: str) -> bool:
    study, _, name = run.partition("/")
    return study in sources.plan.studies and name in sources.plan.studies[study].runs
