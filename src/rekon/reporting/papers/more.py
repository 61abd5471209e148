"""MoRE: one network for seven anatomies and contrasts, its experts, and what they have come to be for."""

from __future__ import annotations

from pathlib import Path

from rekon.config.base import check
from rekon.config.more import Decay, ExpertsModel
from rekon.more.inspection import Inspection, read_inspection
from rekon.reporting.comparisons import compare
from rekon.reporting.figures import routing, sizes
from rekon.reporting.figures.curves import Group
from rekon.reporting.figures.errors import Score
from rekon.reporting.figures.style import Drawn
from rekon.reporting.metrics import METRICS
from rekon.reporting.papers.base import Facts, Paper, Tables
from rekon.reporting.papers.dpm_results import score, views_of
from rekon.reporting.papers.ueps import device
from rekon.reporting.sources import Sources
from rekon.reporting.tables import ZERO_FILLED

OURS = "more"
TABLE = (ZERO_FILLED, "e2e-varnet", "promptmr-plus", OURS)  # of Table I
# whose routing over training is drawn: all with as many experts
ROUTERS = (OURS, "top-1", "one-router", "no-balance", "no-sparsity", "no-z", "no-noise", "no-cache")
NETWORKS = (OURS, "e2e-varnet", "promptmr-plus", "dense-2", "dense-1")
ARMS = (
    OURS,
    "top-1",
    "experts-2",
    "experts-2-top-1",
    "experts-7",
    "experts-7-top-1",
    "one-router",
    "no-balance",
    "no-sparsity",
    "no-z",
    "no-noise",
    "no-cache",
)
READINGS = "src/rekon/more/READINGS.md"  # what the paper leaves open, and what was taken
PSNR = METRICS["psnr"]


def figures(sources: Sources, study: str, tables: Tables, out: Path) -> list[Drawn]:
    """Sizes and times, usage, embeddings, routing over training; those without their input are left out."""
    drawn = [_sizes(sources, study, out / f"{study}-sizes.svg")]
    found = _inspection(sources, study)
    if found and found.routing is not None and found.points_S2 is not None:
        title = sources.title(f"{study}/{found.routing.run}")
        drawn.append(routing.draw_usage(found.routing, title, out / f"{study}-usage.svg"))
        drawn.append(routing.draw_embedding(found.routing, found.points_S2, title, out / f"{study}-embedding.svg"))
    drawn.append(_training(sources, study, out / f"{study}-routing.svg"))
    return [figure for figure in drawn if figure is not None]


def _sizes(sources: Sources, study: str, path: Path) -> Drawn | None:
    found = _inspection(sources, study)
    if found is None or not found.sizes.runs:
        return None
    networks = [
        sizes.Network(
            sources.title(f"{study}/{run}"), int(total), int(active), _score(sources, study, run, "milliseconds")
        )
        for run, total, active in zip(found.sizes.runs, found.sizes.parameters, found.sizes.active, strict=True)
    ]
    return sizes.draw(networks, device(sources, study), path)


def _training(sources: Sources, study: str, path: Path) -> Drawn | None:
    histories = {}
    for run in ROUTERS:
        rows = sources.history(f"{study}/{run}") if (study, run) in sources.plan.recipes else []
        if any("val_nmi" in row for row in rows):
            histories[sources.title(f"{study}/{run}")] = rows
    if not histories:
        return None
    first = next(run for run in ROUTERS if (study, run) in sources.plan.recipes)
    return routing.draw_training(histories, sources.plan.recipes[study, first].model["experts"], path)


def findings(sources: Sources, study: str, tables: Tables) -> list[str]:
    """Gains over zero-filled and between methods, what experts are for, collapse, cost; as far as measured."""
    return [
        *_gains(sources, study),
        *_routing(sources, study),
        *_collapses(sources, study),
        *_cost(sources, study),
    ]


def _gains(sources: Sources, study: str) -> list[str]:
    views = views_of(sources, study, OURS)
    found = {run: one for run in TABLE if (one := _score(sources, study, run, "psnr"))}
    if OURS not in found or ZERO_FILLED not in found:
        return []
    base = found.pop(ZERO_FILLED)
    parts = [
        f"{sources.title(f'{study}/{run}')} {PSNR.text(one.mean - base.mean, sign=True)} dB"
        for run, one in found.items()
    ]
    sentences = [
        f"Over zero-filled ({PSNR.text(base.mean)} dB), mean over the slices of all seven modalities: "
        f"{'; '.join(parts)}."
    ]
    made = compare(sources, study, f"{study}/{OURS}", f"{study}/e2e-varnet", views, "psnr")
    if made:
        theirs = sources.studies[study].published.get("table1", {}).values()
        known = [(row["psnr"].get(OURS), row["psnr"].get("e2e-varnet")) for row in theirs]
        printed = [ours - dense for ours, dense in known if ours is not None and dense is not None]
        paper = f"; in the paper {PSNR.text(sum(printed) / len(printed), sign=True)} dB" if printed else ""
        sentences.append(
            f"Experts against one decoder, the same cascades: {PSNR.text(made.mean, sign=True)} dB "
            f"({PSNR.text(made.low, sign=True)} … {PSNR.text(made.high, sign=True)}, {made.subjects} subjects){paper}."
        )
    return sentences


def _routing(sources: Sources, study: str) -> list[str]:
    found = _inspection(sources, study)
    if found is None or found.routing is None:
        return []
    seen = found.routing
    information, chance = seen.information_R, seen.chance_R
    return [
        f"Specialisation of {sources.title(f'{study}/{seen.run}')} on {len(seen.labels_S)} test slices: normalised "
        f"mutual information of the experts that a cascade chooses, as a set, with the modality, mean over "
        f"{len(information)} cascades, {information.mean():.2f} ({chance.mean():.2f} by chance; 1: every "
        "modality has experts of its own, always the same). Mean "
        f"entropy of the gates {seen.gate_entropy_R.mean():.2f} nats, of the loads "
        f"{seen.load_entropy_R.mean():.2f} (1: all alike)."
    ]


def _collapses(sources: Sources, study: str) -> list[str]:
    """Runs whose validation was flagged when their weights were kept or at the end, and the inspected one."""
    found = _inspection(sources, study)
    seen = found.routing if found else None
    fallen = []
    for _, run in sources.plan.trained(study, "experts"):
        rows = [row for row in sources.history(f"{study}/{run}") if "val_collapsed" in row]
        kept = ((sources.provenance(f"{study}/{run}") or {}).get("best") or {}).get("step")
        moments = {row["step"]: "at the kept weights" for row in rows if row["step"] == kept}
        moments |= {row["step"]: "at the last validation" for row in rows[-1:] if row["step"] != kept}
        parts = [
            f"{moments[row['step']]}, step {row['step']}, {row['val_collapsed_routers']:.0f} of its routers, largest "
            f"share {100 * row['val_largest_share']:.0f} %"
            for row in rows
            if row["step"] in moments and row["val_collapsed"]
        ]
        if seen is not None and seen.run == run and seen.collapsed_R.any():
            parts.append(f"on test slices, {seen.collapsed_R.sum()} of {len(seen.collapsed_R)} routers")
        if parts:
            fallen.append(f"{sources.title(f'{study}/{run}')} ({'; '.join(parts)})")
    if not fallen:
        return []
    return [
        "COLLAPSED, more than 90 % of all samples of a router to one expert: "
        f"{'; '.join(fallen)}. What such a run says of experts it says of fewer than it has."
    ]


def _cost(sources: Sources, study: str) -> list[str]:
    found = _inspection(sources, study)
    if found is None:
        return []
    parts = []
    for run, total, active in zip(found.sizes.runs, found.sizes.parameters, found.sizes.active, strict=True):
        time = _score(sources, study, run, "milliseconds")
        if run in TABLE and time:
            parts.append(
                f"{sources.title(f'{study}/{run}')} {_thousands(total)} parameters, {_thousands(active)} active, "
                f"{time.mean:.3g} ms a slice"
            )
    return [f"Cost: {'; '.join(parts)}."] if parts else []


def methods(sources: Sources, study: str) -> Facts:
    """Data, baselines, the router's settings, early stopping, collapse, what is open."""
    facts = [
        ("Reference", "root sum of squares over coils of the fully sampled images, on the networks' matrix."),
        (
            "Modalities",
            "the contrast labels of the sets, brain and knee in one training set. The router never sees them.",
        ),
        (
            "Baselines",
            "E2EVarNet is the same network with one decoder per cascade, without normalisation layers; PromptMR-plus "
            "has prompts and adaptive input on top, at the same widths, one slice at a time and without history "
            "features. All are trained alike.",
        ),
    ]
    recipe = sources.plan.recipes.get((study, OURS))
    if recipe is not None and recipe.training is not None:
        model = check(ExpertsModel, recipe.model, f"recipe of {study}/{OURS}, section 'model'")
        assert model.router is not None, "the paper's method routes"
        length = f"{recipe.training.steps} steps" if recipe.training.steps else f"{recipe.training.epochs} epochs"
        patience = recipe.training.patience
        facts += [
            (
                "Router",
                f"{model.cascades} cascades with {model.experts} experts each, {model.router.top_k} per sample; inputs "
                f"of {model.router.cache} recent steps join its losses; weights of Eq. 7: balance "
                f"{_decay(model.router.balance)}, sparsity {model.router.sparsity:g}, z {model.router.z:g}; noise on "
                f"the choice {_decay(model.router.noise)}.",
            ),
            (
                "Training length",
                f"at most {length} with batch {recipe.training.batch}, ended after {patience} validations in a row "
                "without a better one; the best weights are kept."
                if patience
                else f"{length} with batch {recipe.training.batch}; the best weights are kept.",
            ),
        ]
    return [
        *facts,
        (
            "Collapse",
            "a router that sends more than 90 % of all samples to one expert, although it could choose, is flagged: in "
            "the findings (validation at the kept weights and at the end, test slices), in the heat map and in "
            "metrics.jsonl (val_collapsed).",
        ),
        ("What the paper leaves open", f"the readings taken stand in {READINGS}; numbers depend on them."),
    ]


def _score(sources: Sources, study: str, run: str, metric: str) -> Score | None:
    views = views_of(sources, study, run)
    return score(sources, study, run, views[0], metric) if views else None


def _inspection(sources: Sources, study: str) -> Inspection | None:
    path = sources.inspection(study)
    return read_inspection(path) if path.exists() else None


def _decay(decay: Decay | None) -> str:
    return f"{decay.start:g} to {decay.end:g}" if decay else "none"


def _thousands(number: int) -> str:
    return f"{number:,}".replace(",", " ")


IMAGE, LOSS = "loss of the image and of routers", "loss of the image"
PAPER = Paper(
    figures,
    findings,
    methods,
    pictured=(*TABLE, "top-1"),
    curves=(
        Group("Training: Table I and dense networks", ("experts",), IMAGE, LOSS, runs=NETWORKS, name="networks"),
        Group("Training: number of experts, parts of the router", ("experts",), IMAGE, LOSS, runs=ARMS, name="arms"),
    ),
    tables=("table1",),
)
