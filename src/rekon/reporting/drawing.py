"""All figures of a report, by name."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from rekon.files import write_json
from rekon.reporting.figures import attention, coilmaps, curves, ladder, panel, runtime, tradeoff
from rekon.reporting.figures.style import Drawn
from rekon.reporting.sources import CLASSICAL, Sources
from rekon.ueps.inspection import Inspection, read_inspection

LOSS, VALIDATION = "loss", "val_mae"  # what training logs under


def build_figures(sources: Sources, study: str, table: pd.DataFrame, out: Path) -> list[Drawn]:
    """Draw every figure of a study that its results allow into `out`, and list them in <study>.json there.

    `table`: `rekon.reporting.tables.published_table` of the study. Returns them in the report's order. Figures without
    their input (nothing evaluated, no inspection) are left out.
    """
    drawn: list[Drawn] = []
    for dataset in sources.datasets:
        if (pictures := panel.strip(sources, study, dataset)) is not None:
            drawn.append(panel.draw(pictures, out / f"{study}-panel-{dataset}.webp"))
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
    histories = {sources.title(run): rows for run in sources.runs(study) if (rows := sources.history(run))}
    if histories:
        drawn.append(curves.draw(histories, out / f"{study}-curves.svg", LOSS, VALIDATION))
    write_json(out / f"{study}.json", [vars(figure) for figure in drawn])
    return drawn


def device(sources: Sources, study: str) -> str:
    """What the study's learned runs were timed on; "several devices" where they differ."""
    found = {
        str(record["device"])
        for run in sources.runs(study)
        if not run.startswith(f"{CLASSICAL}/")
        for dataset in sources.datasets
        if (record := sources.evaluation(run, dataset)) and record.get("device")
    }
    return found.pop() if len(found) == 1 else "several devices" if found else "unknown device"
