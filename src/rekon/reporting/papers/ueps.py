"""UEPS: an ablation ladder from E2EVarNet, scored on unseen data sets."""

from __future__ import annotations

import math
from pathlib import Path

from rekon.plan import CLASSICAL
from rekon.reporting.figures import attention, coilmaps, ladder, runtime, tradeoff
from rekon.reporting.figures.curves import Group
from rekon.reporting.figures.style import Drawn
from rekon.reporting.papers.base import Facts, Paper, Tables
from rekon.reporting.sources import AVERAGE, Sources
from rekon.reporting.tables import cells
from rekon.ueps.inspection import Inspection, read_inspection


def figures(sources: Sources, study: str, tables: Tables, out: Path) -> list[Drawn]:
    """The paper's figures, from the results and the inspection; those without their input are left out."""
    drawn: list[Drawn] = []
    table = next(iter(tables.values()))
    if (table["mean"].notna() & (table["metric"] == "psnr")).any():
        drawn.append(ladder.draw(sources, study, table, out / f"{study}-ladder.svg"))
        drawn.append(tradeoff.draw(sources, study, table, out / f"{study}-tradeoff.svg", device(sources, study)))
    path = sources.inspection(study)
    inspection = read_inspection(path) if path.exists() else Inspection()
    if inspection.maps:
        drawn.append(coilmaps.draw(inspection.maps, out / f"{study}-coil-maps.webp"))
    if inspection.attention:
        drawn.append(attention.draw(inspection.attention, out / f"{study}-attention.webp"))
    if inspection.runtime:
        drawn.append(runtime.draw(inspection.runtime, out / f"{study}-runtime.svg"))
    return drawn


def device(sources: Sources, study: str) -> str:
    """What the study's learned runs were timed on; "several devices" where they differ."""
    found = {
        str(record["device"])
        for run in filter(sources.learned, sources.runs(study))
        for dataset in sources.datasets(study)
        if (record := sources.evaluation(run, dataset)) and record.get("device")
    }
    return found.pop() if len(found) == 1 else "several devices" if found else "unknown device"


def findings(sources: Sources, study: str, tables: Tables) -> list[str]:
    """Two or three sentences: the order of the rungs here and in the paper, and what learning gained."""
    rows = cells(next(iter(tables.values())))
    learned = [run for run in sources.scored(study) if sources.learned(run)]
    sentences = []
    for key, intro in (("mean", "Measured here, average over the zero-shot sets"), ("paper", "In the paper")):
        values = {run: rows[AVERAGE, "psnr", run][key] for run in learned}
        known = sorted((run for run in learned if values[run] == values[run]), key=lambda run: -values[run])
        if known:
            order = " > ".join(f"{sources.title(run)} {values[run]:.2f}" for run in known)
            sentences.append(f"{intro}, by mean PSNR in dB: {order}.")
    base = f"{CLASSICAL}/zero-filled"
    for dataset in sources.settings(study).id:
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


def methods(sources: Sources, study: str) -> Facts:
    """What only this paper's numbers need to know."""
    return [
        ("Reference", "root sum of squares over coils of the fully sampled images, on the networks' matrix."),
        (
            "ESPIRiT-SENSE",
            "its maps come from the 24 × 24 centre of fully sampled data, where the mask's own centre may be narrower: "
            "this favours SENSE. Computing them is not in its runtime.",
        ),
    ]


def _against_sense(best: str, lead: float) -> str:
    """How the best learned rung stands to SENSE, which needs no training; empty when SENSE was not evaluated."""
    if math.isnan(lead):
        return ""
    side = "above" if lead > 0 else "below"
    return f"There, the best of them, {best}, lies {abs(lead):.1f} dB {side} ESPIRiT-SENSE, which needs no training."


def _known(value: float) -> float:
    return -math.inf if math.isnan(value) else value


LOSS = "mean absolute error (normalised image)"
PAPER = Paper(
    figures,
    findings,
    methods,
    curves=(Group("Training curves", ("unrolled",), LOSS, LOSS, validation="val_mae"),),
)
