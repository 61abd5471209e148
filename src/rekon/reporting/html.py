"""The report: one index.html that carries its pictures and styles and works offline, on a phone too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from rekon import provenance
from rekon.errors import UserError
from rekon.files import write_text
from rekon.reporting.drawing import build_figures, strips
from rekon.reporting.figures.panel import ERROR_GAIN
from rekon.reporting.methods import dataset_facts, method_facts, run_facts
from rekon.reporting.papers import paper
from rekon.reporting.parts import (
    claim_context,
    figure_context,
    others_context,
    strip_context,
    table_context,
    title_of,
    unmeasured,
)
from rekon.reporting.scorecard import FEWEST_SUBJECTS, Outcome, counts, scorecard
from rekon.reporting.sources import Sources
from rekon.reporting.tables import published_table, table_name, tables_of
from rekon.reporting.volumes import volume_facts

TEMPLATES = Path(__file__).parent / "templates"


def build_report(sources: Sources, out: Path) -> Path:
    """Draw the figures into out/figures and write out/index.html; returns its path.

    Tables are linked as out/tables/*.csv, which `build_tables` and `build_scorecard` write.
    Raises UserError when nothing was evaluated yet.
    """
    scored = [(f"{study}/{run}", dataset) for study, run, dataset in sources.plan.scored()]
    if not any(sources.result(run, dataset).exists() for run, dataset in scored):
        raise UserError(f"results/{sources.plan.scale.scale}: nothing was evaluated yet; run `snakemake` first.")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    outcomes = scorecard(sources)
    tested = dict.fromkeys(dataset for study in sources.studies for dataset in sources.datasets(study))
    page = environment.get_template("index.html.j2").render(
        scale=sources.plan.scale,
        style=(TEMPLATES / "style.css").read_text(encoding="utf-8"),
        counts=counts(outcomes),
        claims=len(outcomes),
        fewest=FEWEST_SUBJECTS,
        error_gain=ERROR_GAIN,
        datasets=dataset_facts(sources),
        volumes=volume_facts(sources),
        runs=run_facts(sources),
        code=provenance.code_fingerprint(),
        git=provenance.git(),
        studies=[study_context(sources, name, outcomes, out / "figures") for name in sources.studies],
        simulated=[name for name in tested if name.startswith("sim-")],
    )
    path = out / "index.html"
    write_text(path, page)
    return path


def study_context(sources: Sources, study: str, outcomes: list[Outcome], figures: Path) -> dict[str, Any]:
    """What the template needs of one paper."""
    config = sources.studies[study]
    order = {table: place for place, table in enumerate(paper(study).tables)}
    names = sorted(tables_of(sources, study), key=lambda table: order.get(table or "", len(order)))
    tables: dict[str | None, pd.DataFrame] = {table: published_table(sources, study, table) for table in names}
    drawn = build_figures(sources, study, tables, figures)
    own = [outcome for outcome in outcomes if outcome.study == study]
    return {
        "name": study,
        "config": config,
        "short": paper(study).short or config.title.split(":")[0],
        "counts": counts(own),
        "claims": [claim_context(sources, outcome) for outcome in own],
        "unmeasured": unmeasured(own),
        "findings": paper(study).findings(sources, study, tables),
        "tables": [
            {
                **table_context(sources, study, table, numbers, paper(study).words.get(table or "", {})),
                "title": title_of(table),
                "csv": f"tables/{table_name(study, table)}",
            }
            for table, numbers in tables.items()
        ],
        "others": others_context(sources, study),
        "notes": {sources.title(run): notes for run in sources.scored(study) if (notes := sources.notes(run))},
        "strips": [strip_context(found) for found in strips(sources, study)],
        "figures": {
            section: [figure_context(figure, figures) for figure in drawn if figure.section == section]
            for section in ("ladder", "inside", "training")
        },
        "methods": method_facts(sources, study),
    }
