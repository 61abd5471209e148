"""A made-up workspace: results, runs and an inspection for a plan, without any training. Numbers are invented."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from scipy.ndimage import gaussian_filter, zoom
from skimage.data import shepp_logan_phantom

from rekon.config import ExactMaskSettings, Recipe
from rekon.dpm.inspection import Case, PriorDraws
from rekon.dpm.inspection import Inspection as DpmInspection
from rekon.dpm.inspection import write_inspection as write_dpm_inspection
from rekon.dpm.uncertainty import calibration, posterior
from rekon.evaluation.metrics import score
from rekon.evaluation.panel import Panel, write_panels
from rekon.evaluation.score import COLUMNS
from rekon.files import write_json, write_text
from rekon.more.inspection import Inspection as MoreInspection
from rekon.more.inspection import Routing, Sizes
from rekon.more.inspection import write_inspection as write_more_inspection
from rekon.nas import inspection as nas
from rekon.nas.inspection import write_inspection as write_nas_inspection
from rekon.physics.patterns import make_exact_mask, write_exact_mask
from rekon.plan import Plan, plan
from rekon.provenance import code_fingerprint
from rekon.reporting.sources import Sources
from rekon.ueps.inspection import Attention, CoilMaps, Inspection, Runtime, write_inspection

ROOT = Path(__file__).resolve().parents[2]
LEVEL = {
    "classical/zero-filled": 25.0, "classical/sense": 28.0, "ueps/e2e-varnet": 31.0, "ueps/ue-unet": 32.0,
    "ueps/ue-vit": 31.6, "ueps/uep-vit": 31.65, "ueps/ueps": 31.7,
    "nas/zero-filled": 20.0, "nas/unet": 23.0, "nas/e2e-varnet": 25.0, "nas/base": 24.0, "nas/distilled": 24.5,
    "dpm/zero-filled": 20.0, "dpm/sense": 24.0, "dpm/l1-wavelet": 25.0, "dpm/e2e-varnet": 24.5, "dpm/pretrained": 26.0,
    "dpm/full": 27.6, "dpm/flair": 27.5, "dpm/fine-tuned": 27.2, "dpm/few": 25.5, "dpm/joint": 26.5,
    "dpm/tune-5e-4-650": 27.0, "dpm/tune-5e-4-1250": 27.4, "dpm/tune-5e-4-2500": 26.2, "dpm/tune-1e-5-1250": 27.3,
    "dpm/tune-1e-5-2500": 27.35, "dpm/reference-loop": 27.3, "dpm/dds": 27.1, "dpm/dds-warm": 27.25,
    "dpm/stroke-zero-filled": 23.0, "dpm/stroke-sense": 27.0, "dpm/stroke-pretrained": 28.0, "dpm/stroke-tuned": 29.0,
    "dpm/stroke-few": 28.2, "more/zero-filled": 21.0, "more/e2e-varnet": 24.5, "more/promptmr-plus": 24.8,
    "more/more": 25.1, "more/top-1": 24.9,
}  # fmt: skip
CONTRASTS = ("AXT1", "AXT2", "AXFLAIR", "AXT1POST")
SEVEN = (*CONTRASTS, "AXT1PRE", "CORPDFS_FBK", "CORPD_FBK")
ABSENT = "no pretrained alexnet: list it under 'backbones' of the scale"
MILLISECONDS = {
    "classical/zero-filled": 0.6, "classical/sense": 60.0, "ueps/e2e-varnet": 12.0, "ueps/ue-unet": 40.0,
    "ueps/ue-vit": 55.0, "ueps/uep-vit": 28.0, "ueps/ueps": 30.0, "dpm/reference-loop": 700.0, "dpm/fine-tuned": 80.0,
    "dpm/dds": 110.0, "dpm/dds-warm": 40.0,
}  # fmt: skip


PUBLISHED = """
contrasts: {T1: [AXT1, AXT1POST], T2: [AXT2], FLAIR: [AXFLAIR]}
not_run: {mambarecon: {title: MambaRecon, reason: no implementation here}}
published:
  table1:
    fastmri-brain@es-x/T1:
      psnr: {mambarecon: 24.09, distilled: 24.61}
      lpips_alex: {mambarecon: 0.30, distilled: 0.16}
    fastmri-brain@es-x/T2:
      psnr: {mambarecon: 19.63, distilled: 19.16}
      lpips_alex: {mambarecon: 0.32, distilled: 0.24}
  table5:
    fastmri-brain@es-x/T1: {psnr: {base: 24.0, distilled: 24.5}, ssim: {base: 75, distilled: 76}}
    fastmri-brain@es-x/T2: {psnr: {base: 18.0, distilled: 19.0}, ssim: {base: 54, distilled: 58}}
    fastmri-brain@gaussian/T1: {psnr: {base: 27.0, distilled: 27.2}, ssim: {base: 80, distilled: 81}}
    fastmri-brain@radial/T1: {psnr: {base: 25.0, distilled: 25.5}, ssim: {base: 77, distilled: 78}}
  runtime:
    fastmri-brain: {milliseconds: {mambarecon: 500.0, distilled: 244.1}}
claims:
  - {text: first, source: Table 5, better: distilled, worse: base, datasets: fastmri-brain@es-x}
  - text: second
    source: Table 5
    better: distilled
    worse: base
    datasets: [fastmri-brain@es-x, fastmri-brain@radial]
  - {text: third, source: Table 1, better: distilled, worse: base, metric: lpips_alex, datasets: fastmri-brain@es-x}
  - {text: fourth, source: Sec. 4.3, better: distilled, worse: forward-kl, datasets: id}
"""


def demo_plan(scale: str = "demo") -> Plan:
    return plan(yaml.safe_load((ROOT / "config" / f"{scale}.yaml").read_text()), ROOT)


def small_plan() -> Plan:
    """The demo's NAS study alone, with fewer runs and patterns, and numbers of a made-up paper."""
    document, runs = demo_plan().document(), ["zero-filled", "aqvae", "base", "teacher", "distilled"]
    nas, scale = document["scale"]["studies"]["nas"], document["scale"]
    nas |= {"only": runs, "runs": {name: change for name, change in nas["runs"].items() if name in runs}}
    nas["all"]["sampling"] |= {"patterns": ["es-x", "radial"]}
    scale["studies"] = {"nas": nas}
    scale["datasets"] = {"sim-fastmri-brain": scale["datasets"]["sim-fastmri-brain"]}
    scale["evaluation"] |= {"id": ["sim-fastmri-brain"], "ood": []}
    document["studies"]["nas"] |= yaml.safe_load(PUBLISHED)
    return Plan.from_document(document, "small")


def dpm_plan() -> Plan:
    """The demo's stroke study with two cells of the grid and a sampler that the demo has no time for, and the run of
    another study whose weights it takes; nothing else."""
    document = demo_plan().document()
    scale = document["scale"]
    ueps, dpm = scale["studies"]["ueps"], scale["studies"]["dpm"]
    ueps |= {"only": ["e2e-varnet"], "runs": {"e2e-varnet": ueps["runs"]["e2e-varnet"]}}
    more = {
        "tune-5e-4-1250": {"training": {"steps": 24, "learning_rate": 0.01}},
        "tune-1e-5-1250": {"training": {"steps": 24, "learning_rate": 0.0005}},
        "dds": copy.deepcopy(dpm["runs"]["dds-warm"]),
    }
    more["dds"]["model"]["sampler"] |= {"steps": 24, "sigma_max": 5.0}
    dpm |= {"only": [*dpm["only"], *more], "runs": dpm["runs"] | more}
    scale["studies"] = {"ueps": ueps, "dpm": dpm}
    return Plan.from_document(document, "stroke")


def workspace(root: Path, made: Plan, *, subjects: int | None = None, slices: int = 2, size: int = 48) -> Sources:
    """Fill `root` with results of every run on every test set, under every pattern that it is scored with."""
    sources = Sources(made, root)
    scale = made.scale.scale
    order = {dataset: number for number, dataset in enumerate(made.scale.datasets)}
    for study, name, dataset in made.scored():
        run, recipe = f"{study}/{name}", made.recipes[study, name]
        count = subjects or made.scale.datasets[dataset].test or (9 if made.joined(dataset) else 3)
        reference = made.catalogue[dataset].reference
        masks = [(mask.pattern, mask.acceleration) for mask in recipe.scored]
        rows = pd.concat(
            [fake_rows(dataset, run, count, slices, 1.5 * order[dataset], reference, *mask) for mask in masks]
        )
        write_text(sources.result(run, dataset), rows.to_csv(index=False))
        pictures = {f"{p}-R{r}": fake_panel(dataset, run, size, reference, p) for p, r in masks}
        write_panels(sources.result(run, dataset, ".npz"), pictures)
        record = provenance("evaluate", {"manifest": "a" * 64, "mask": "c" * 64})
        write_json(sources.result(run, dataset, ".json"), record)
    for index, (study, name) in enumerate(made.trained()):
        run = f"{study}/{name}"
        record = provenance("train", {"train": "a" * 64, "validation": "b" * 64, "mask": "c" * 64})
        if index == 1:
            record |= {"code": "0" * 64, "git": {"commit": "deadbeef" * 5, "dirty": True, "diff_sha256": "1" * 64}}
        write_json(sources.record(run, "run.json"), record)
        measure = "val_mae" if made.recipes[study, name].kind in ("unrolled", "image_unet") else "val_loss"
        routed = made.recipes[study, name].model.get("router") is not None
        write_text(sources.record(run, "metrics.jsonl"), history(index, measure, routed=routed))
    if "ueps" in made.scale.studies:
        write_inspection(sources.inspection("ueps"), fake_inspection(*sources.datasets("ueps")[:2], size))
    if "nas" in made.scale.studies:
        write_nas_inspection(sources.inspection("nas"), fake_nas_inspection(sources.datasets("nas")[0]))
        for path, (settings, matrix) in made.masks.items():
            if isinstance(settings, ExactMaskSettings):
                write_exact_mask(root / path, make_exact_mask(settings, matrix))
    if "more" in made.scale.studies:
        write_more_inspection(sources.inspection("more"), fake_more_inspection(made))
    if "dpm" in made.scale.studies:
        write_dpm_inspection(sources.inspection("dpm"), fake_dpm_inspection())
        for study, name in made.recipes:
            if study == "dpm" and made.tuned(study, name):
                write_json(sources.record(f"dpm/{name}", "zeta.json"), fake_sweep(made.recipes[study, name]))
        write_json(root / f"runs/{scale}/data/sim-fastmri-brain/train.json", fake_manifest())
    assert (root / "results" / scale).is_dir()
    return sources


def level(run: str, pattern: str = "") -> float:
    """Mean PSNR of a run, dB; runs without a place in LEVEL get one from their name."""
    known = LEVEL.get(run, 24 + hash_(run) % 40 / 10)
    return known + {"gaussian": 2.0, "radial": 1.0}.get(pattern, 0.0)


def fake_rows(
    dataset: str, run: str, subjects: int, slices: int, shift: float, reference: bool = True,
    pattern: str = "equispaced", acceleration: int = 4,
) -> pd.DataFrame:  # fmt: skip
    """Subjects differ by about 2 dB, slices by 0.5 dB, runs by their level with a little interaction."""
    shared = np.random.default_rng(abs(hash_(dataset)))
    own = np.random.default_rng(abs(hash_(dataset + run + pattern)))
    empty = dict.fromkeys(("lpips_alex", "lpips_vgg", "dists"))
    contrasts = SEVEN if dataset.endswith("-seven") else CONTRASTS
    rows = []
    for subject in range(subjects):
        base = level(run, pattern) - shift + 2 * shared.standard_normal() + 0.15 * own.standard_normal()
        for index in range(slices):
            psnr = base + 0.5 * shared.standard_normal() + 0.1 * own.standard_normal()
            rows.append(
                {
                    "dataset": dataset, "volume": f"v{subject:04d}", "subject": f"{dataset}-s{subject}", "slice": index,
                    "contrast": contrasts[subject % len(contrasts)], "pattern": pattern, "acceleration": acceleration,
                    "effective_acceleration": 3.2 if acceleration == 4 else acceleration, "coils": 8,
                    "psnr": psnr if reference else None, "ssim": 1 - 10 ** (-psnr / 25) if reference else None,
                    "nmse": 10 ** (-psnr / 15) if reference else None,
                    "nrmse": 10 ** (-psnr / 30) if reference else None, **empty,
                    "milliseconds": MILLISECONDS.get(run, 20.0) * (1 + 0.05 * own.standard_normal()),
                    "reason": "" if reference else "no reference: prospectively undersampled",
                    "perceptual_reason": ABSENT if run.startswith("nas/") else "", "note": "",
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def fake_panel(dataset: str, run: str, size: int, reference: bool = True, pattern: str = "") -> Panel:
    target = picture(size)
    noise = np.random.default_rng(abs(hash_(run))).standard_normal(target.shape)
    scale = 10 ** (-level(run, pattern) / 20)
    made = np.abs(target + scale * gaussian_filter(noise, 1) * 3).astype(np.float32)
    zero_filled = gaussian_filter(target, (0, 2)).astype(np.float32)
    if run.endswith("/zero-filled"):
        made = zero_filled
    if not reference:
        return Panel("v0000", 1, made, zero_filled, float(made.max()))
    return Panel("v0000", 1, made, zero_filled, 1.0, target, score(target, made, 1.0))


def picture(size: int) -> np.ndarray:
    image = shepp_logan_phantom()
    return np.clip(zoom(image, size / len(image), order=1), 0, 1).astype(np.float32)


def provenance(rule: str, inputs: dict[str, str]) -> dict:
    return {
        "rule": rule, "git": {"commit": "01234567" * 5, "dirty": False, "diff_sha256": None},
        "code": code_fingerprint(), "versions": {"python": "3.11.9", "torch": "2.13.0"}, "device": "cpu (Made Up CPU)",
        "inputs": inputs, "seeds": {"seed": 42}, "started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:01:00Z",
        "seconds": 60.0, "peak_memory_mb": 812.5, "peak_gpu_memory_mb": None,
    }  # fmt: skip


def history(seed: int, measure: str = "val_mae", steps: int = 300, routed: bool = False) -> str:
    random = np.random.default_rng(seed)
    lines = []
    for step in range(10, steps + 1, 10):
        line = {"step": step, "loss": 0.2 / step**0.5 * float(np.exp(0.1 * random.standard_normal()))}
        if step % 60 == 0:
            line[measure] = 0.21 / step**0.5 * (1 + 0.05 * seed)
            if routed:
                line |= {"val_routing_entropy": 1.2, "val_load_entropy": 0.9, "val_nmi": step / steps / 2}
                line["val_nmi_chance"] = 0.1
                line |= {"val_collapsed": 0.0, "val_collapsed_routers": 0.0, "val_largest_share": 0.6}
        if routed:
            line |= {"router_entropy": 1.38 - step / 1000, "load_entropy": 0.95}
        lines.append(json.dumps(line))
    return "\n".join(lines) + "\n"


def more_plan() -> Plan:
    """The demo's mixture-of-experts study alone."""
    document = demo_plan().document()
    scale = document["scale"]
    scale["studies"] = {"more": scale["studies"]["more"]}
    return Plan.from_document(document, "more")


def fake_more_inspection(made: Plan) -> MoreInspection:
    """Five slices of each modality, two routers of four experts: the first knows modalities, the second little."""
    random = np.random.default_rng(3)
    names = tuple(sorted(made.recipes["more", "more"].model["modalities"]))
    labels = np.repeat(np.arange(len(names)), 5)
    logits = random.normal(size=(len(labels), 2, 4)) + 3 * np.stack([np.eye(4)[labels % 4], np.zeros((35, 4))], 1)
    gates = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    embedding = random.normal(size=(len(labels), 2, 3)).astype(np.float32)
    runs = tuple(run for _, run in made.trained("more"))
    sizes = Sizes(runs, np.full(len(runs), 135_000), np.full(len(runs), 91_000))
    routing = Routing(
        "more", "sim-fastmri-seven", tuple(f"v{n:04d}" for n in labels), (0,) * len(labels), names, labels, embedding,
        gates.astype(np.float32), gates >= np.sort(gates, axis=2)[..., -2:-1], 135_000, 91_000,
    )  # fmt: skip
    return MoreInspection(sizes, routing, embedding[:, -1, :2])


def fake_nas_inspection(dataset: str) -> nas.Inspection:
    random = np.random.default_rng(1)
    levels, runs, steps = ("32", "16", "8", "4", "2", "FS"), ("base", "distilled"), np.linspace(0.5, 0.2, 5)
    usage = random.poisson(40 * np.exp(-np.arange(64) / 12), (6, 64))
    return nas.Inspection(
        dataset, 18, 4,
        nas.Codebook(levels, usage),
        nas.Accuracy(runs, levels[1:], np.stack([steps, steps + 0.02]), np.stack([0.6 * steps, 0.7 * steps]),
                     np.full(5, 0.1), 1 / 64),
        nas.Divergence(runs, levels[1:], np.stack([steps, 0.5 * steps])),
        nas.Ceiling(("es-x", "es-y", "gaussian", "radial"), np.array([31.0, 31.1, 32.0, 31.4]),
                    np.array([20.0, 20.2, 23.0, 22.0])),
        nas.Timing(runs, np.array([0.11, 0.12]), "cpu (Made Up CPU)"),
    )  # fmt: skip


def fake_dpm_inspection(size: int = 24, sure: float = 1.0) -> DpmInspection:
    """Draws that are as wide as their error; sure: how much narrower they are."""
    random = np.random.default_rng(2)
    truth = picture(size)

    def case(run: str, dataset: str, acceleration: int) -> Case:
        centre = truth + 0.05 * random.standard_normal(truth.shape)
        draws = centre + 0.05 / sure * random.standard_normal((8, *truth.shape))
        one = posterior(draws, truth)
        return Case(run, dataset, acceleration, "v0000", 1, one, 4, 0.05, calibration([one], floor=0.05))

    images = np.abs(truth + 0.2 * random.standard_normal((2, 3, 3, size, size))).astype(np.float32)
    seen = np.array([[False, True, True], [True, False, False]])
    labels, runs = ("FLAIR", "T1", "T2"), ("pretrained", "fine-tuned")
    return DpmInspection(
        PriorDraws(runs, labels, seen, images, np.stack([truth] * 3), 20),
        (
            case("fine-tuned", "sim-fastmri-flair", 4), case("fine-tuned", "sim-fastmri-flair", 6),
            case("stroke-tuned", "sim-stroke", 2),
        ),
    )  # fmt: skip


def fake_sweep(recipe: Recipe) -> dict:
    """A zeta.json whose second weight is best."""
    settings = recipe.model["sampler"]
    zetas, rs = settings["tuning"]["zetas"], recipe.accelerations
    rows = [
        {"acceleration": r, "zeta": zeta, "nrmse": 0.1 + 0.01 * r + 0.02 * abs(place - 1), "slices": 3}
        for r in rs
        for place, zeta in enumerate(zetas)
    ]
    best = {str(r): zetas[1] for r in rs}
    made = {"format": "rekon-zeta-1", "run": recipe.run, "dataset": recipe.data.validation, "settings": settings}
    return made | {"subjects": ["a", "b"], "rows": rows, "best": best}


def fake_manifest() -> dict:
    """Volumes of a training split, as far as counting subjects needs them."""
    contrasts = ("AXFLAIR", "AXT1", "AXT1POST", "AXT2") * 4
    return {"volumes": [{"subject": f"s{n}", "contrast": contrast} for n, contrast in enumerate(contrasts)]}


def fake_inspection(first: str, second: str, size: int) -> Inspection:
    image = picture(size)
    y, x = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size), indexing="ij")

    def maps(shift: float) -> np.ndarray:
        angles = 2 * np.pi * np.arange(4) / 4 + shift
        coils = np.stack([np.exp(-((x - np.cos(a)) ** 2 + (y - np.sin(a)) ** 2)) for a in angles])
        return (coils / np.sqrt((coils**2).sum(0))).astype(np.complex64)

    inside = np.where(image > 0, 1, np.nan)
    similarity = (np.abs((maps(0) * maps(0.4)).sum(0)) * inside).astype(np.float32)
    grid = (12, 12)
    scores = np.full((3, *grid), 0.002, np.float32)
    queries = np.array([[3, 4], [6, 6], [8, 3]])
    for query, (row, column) in enumerate(queries):
        scores[query, row] += 0.04
        scores[query, row, column] += 0.1
        scores[query] /= scores[query].sum()
    patches = np.array([9, 36, 144, 576, 2304])
    times = np.stack([0.8 * patches**e + 3 for e in (0.95, 0.8, 0.7)])
    times[0, -1] = np.nan
    shifts = ((first, 0.1), (second, 0.4))
    shown = (0, 2, 5, 7)
    return Inspection(
        tuple(CoilMaps(name, "v0000", 1, 8, shown, image, maps(0), maps(s), similarity) for name, s in shifts),
        Attention(
            first, "v0000", 1, image, queries, scores, np.array([0.3, 0.5, 0.6, 0.4], np.float32),
            np.array([0.26, 0.24, 0.2, 0.25], np.float32), np.array([0.25, 0.25], np.float32),
        ),
        Runtime(("UE", "UEP", "UEPS"), (96, 96), patches, times, "cpu (Made Up CPU)"),
    )  # fmt: skip


def hash_(text: str) -> int:
    """A hash that is the same in every process."""
    return int.from_bytes(text.encode()[-8:], "little") % (2**32)
