"""What tracking tells about a run: read from the files a training or an evaluation left, without any tracker.

A record has a path that names it for ever and a hash of all its files, so that a tracker can tell new from known.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rekon.errors import UserError
from rekon.files import fingerprint, read_json, read_yaml, sha256

FORMAT = 1  # of a record: raise it when old ones in a tracker should be replaced
SCORES = ("psnr", "ssim", "nmse", "lpips_alex", "lpips_vgg", "dists", "milliseconds")


class Point(NamedTuple):
    """A metric's value at a step; `seconds` since the run's start."""

    name: str
    value: float
    step: int
    seconds: float


@dataclass(frozen=True)
class Record:
    """A training or evaluation run."""

    path: str  # runs/<scale>/<study>/<run>, or results/<scale>/<study>/<run>/<dataset>
    kind: Literal["training", "evaluation"]
    name: str
    experiment: str  # <scale>/<study>: what is compared with each other
    parent: str | None  # path of the training run that an evaluation belongs to
    params: dict[str, str]
    points: list[Point]
    tags: dict[str, str]
    artefacts: tuple[Path, ...]
    started: float  # seconds since 1970
    ended: float
    content: str  # hash of all files


def training(folder: Path | str) -> Record:
    """Record of runs/<scale>/<study>/<run>/ (recipe.yaml, metrics.jsonl, run.json).

    Raises UserError naming the file that is missing or damaged.
    """
    folder = Path(folder)
    scale, study, run = _names(folder, "runs")
    recipe, provenance = _recipe(folder / "recipe.yaml"), _mapping(folder / "run.json")
    history = lines(folder / "metrics.jsonl")
    seconds = _number(provenance.get("seconds")) or 0.0
    length = _length(history)
    points = points_of(history, seconds)
    for name in sorted({point.name for point in points if point.name.startswith("val_")}):
        best = min((point for point in points if point.name == name and math.isfinite(point.value)), default=None,
                   key=lambda point: point.value)  # fmt: skip
        if best:
            points.append(Point(f"best_{name}", best.value, best.step, seconds))
    points += [Point(f"run/{name}", value, length, seconds) for name, value in _numbers(provenance).items()]
    files = (folder / "recipe.yaml", folder / "metrics.jsonl", folder / "run.json")
    started, ended = _times(provenance, files[1], seconds)
    return Record(
        path=f"runs/{scale}/{study}/{run}",
        kind="training",
        name=run,
        experiment=f"{scale}/{study}",
        parent=None,
        params=flat(recipe),
        points=points,
        tags=_tags("training", scale, study, run, recipe, provenance),
        artefacts=files,
        started=started,
        ended=ended,
        content=_content(files),
    )


def evaluation(scores: Path | str, aggregation: str = "slice") -> Record:
    """Record of results/<scale>/<study>/<run>/<dataset>.csv with its .npz and .json, and the run's recipe.

    Metrics are the set's means as the tables print them (`aggregation`: over slices or volumes), their standard
    deviation and 95 % interval; where a set is scored under several patterns, the mean under each as well. An
    evaluation belongs to the run whose weights it used. Raises UserError naming the file that is missing or damaged.
    """
    import pandas as pd

    from rekon.evaluation.statistics import summarise

    scores = Path(scores).with_suffix(".csv")
    scale, study, run = _names(scores.parent, "results")
    dataset = scores.stem
    own = Path("runs", scale, study, run)
    recipe_path = scores.parents[4] / own / "recipe.yaml"
    recipe, provenance = _recipe(recipe_path), _mapping(scores.with_suffix(".json"))
    try:
        text = {"volume": str, "subject": str, "reason": str, "contrast": str, "pattern": str}
        rows = pd.read_csv(scores, dtype=text)
        values: dict[str, float] = {"slices": float(len(rows)), "subjects": float(rows["subject"].nunique())}
        for metric in SCORES:
            summary = summarise(rows, metric, aggregation=aggregation)
            named = {"": summary.mean, "_std": summary.std, "_low": summary.low, "_high": summary.high}
            if rows["pattern"].nunique() > 1:
                named |= {
                    f"/{pattern}": summarise(part, metric, aggregation=aggregation).mean
                    for pattern, part in rows.groupby("pattern")
                }
            values |= {f"{metric}{end}": value for end, value in named.items() if math.isfinite(value)}
        reasons = sorted(set(rows["reason"].dropna()))
    except FileNotFoundError:
        raise UserError(f"{scores}: no such file; run the evaluation again.") from None
    except (ValueError, KeyError) as error:
        raise UserError(f"{scores}: not a table of scores ({error}); delete it and run the evaluation again.") from None
    seconds = _number(provenance.get("seconds")) or 0.0
    values |= {f"run/{name}": value for name, value in _numbers(provenance).items()}
    files = tuple(path for path in (scores, scores.with_suffix(".npz"), scores.with_suffix(".json")) if path.exists())
    started, ended = _times(provenance, scores, seconds)
    tags = _tags("evaluation", scale, study, run, recipe, provenance)
    tags |= {"dataset": dataset, "aggregation": aggregation, "parent_run": _weights(recipe, own) or own.as_posix()}
    return Record(
        path=f"results/{scale}/{study}/{run}/{dataset}",
        kind="evaluation",
        name=f"{run} on {dataset}",
        experiment=f"{scale}/{study}",
        parent=_weights(recipe, own),
        params=flat(recipe) | {"dataset": dataset},
        points=[Point(name, value, 0, seconds) for name, value in values.items()],
        tags=tags | ({"reason": "; ".join(reasons)} if reasons else {}),
        artefacts=(recipe_path, *files),
        started=started,
        ended=ended,
        content=fingerprint([_content((recipe_path, *files)), aggregation]),
    )


def lines(path: Path) -> list[dict[str, Any]]:
    """Lines of a metrics.jsonl, each with a 'step'; a last line without its end (still being written) is left out.

    The training room has a reader too, but importing that room costs the seconds that importing torch takes.
    """
    rows: list[dict[str, Any]] = []
    try:
        text = path.read_text(encoding="utf-8")
        for line in text[: text.rfind("\n") + 1].splitlines():
            row = json.loads(line)
            rows.append(row | {"step": int(row["step"])})
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; train the run first.") from None
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{path}: line {len(rows) + 1} is no JSON object with a 'step'; train the run again.") from None
    return rows


def points_of(history: list[dict[str, Any]], seconds: float) -> list[Point]:
    """All numbers of a history. A line without a time of its own gets its share of the run's `seconds`."""
    length = _length(history)
    points = {}
    for row in history:
        after = _number(row.get("seconds"))
        if after is None:
            after = seconds * row["step"] / length
        for name, value in _numbers(row).items():
            if name != "step":
                points[name, row["step"]] = Point(name, value, row["step"], after)  # the last of a step counts
    return list(points.values())


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings as dotted keys and text, lists as one value: `{"model": {"vit": None}}` -> `model.vit: none`."""
    leaves: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            leaves |= flat(value, f"{prefix}{key}.")
        else:
            items = ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else value
            leaves[f"{prefix}{key}"] = "none" if items is None else str(items)
    return leaves


def parents(recipe: Mapping[str, Any]) -> dict[str, str]:
    """Role -> run that a recipe builds on."""
    return dict(recipe.get("parents") or {})


def mask_hash(inputs: Mapping[str, Any]) -> str:
    """Hash of the mask among a run's inputs, or of all of them, named mask.<path>; empty without any."""
    masks = {name: _hash(value) for name, value in inputs.items() if name == "mask" or name.startswith("mask.")}
    return next(iter(masks.values()), "") if len(masks) < 2 else fingerprint(masks)


def _weights(recipe: Mapping[str, Any], own: Path) -> str | None:
    """Path of the training run whose weights an evaluation used: its own or, with other decoding, a parent's."""
    if recipe.get("training"):
        return own.as_posix()
    parent = parents(recipe).get("weights")
    return (own.parent / parent).as_posix() if parent else None


def _tags(kind: str, scale: str, study: str, run: str, recipe: Mapping, provenance: Mapping) -> dict[str, str]:
    git = provenance.get("git") or {}
    inputs = {name: _hash(value) for name, value in (provenance.get("inputs") or {}).items()}
    data = {name: value for name, value in inputs.items() if name in ("train", "validation", "manifest", "data")}
    rule = provenance.get("rule") or ("evaluate" if kind == "evaluation" else f"train_{recipe.get('kind')}")
    tags = {
        "stage": kind,
        "scale": scale,
        "study": study,
        "run": run,
        "kind": recipe.get("kind"),
        "rule": rule,
        "git_commit": git.get("commit"),
        "mlflow.source.git.commit": git.get("commit"),
        "git_dirty": str(bool(git.get("dirty"))).lower() if "dirty" in git else None,
        "git_diff": git.get("diff_sha256") or git.get("diff"),
        "code": provenance.get("code"),
        "data_hash": next(iter(data.values())) if len(data) == 1 else fingerprint(data) if data else None,
        "mask_hash": mask_hash(inputs),
        "parent_run": ", ".join(f"runs/{scale}/{study}/{parent}" for parent in parents(recipe).values()),
        "mlflow.note.content": recipe.get("title"),
        "mlflow.source.name": "rekon",
        "mlflow.source.type": "LOCAL",
    }
    tags |= {f"parent.{role}": f"runs/{scale}/{study}/{parent}" for role, parent in parents(recipe).items()}
    tags |= {f"input.{name}": value for name, value in inputs.items() if not name.startswith("mask.")}
    return {name: _hash(value) for name, value in tags.items() if value not in (None, "")}


def _names(folder: Path, root: str) -> tuple[str, str, str]:
    parts = folder.absolute().parts
    if len(parts) < 5 or parts[-4] != root:
        raise UserError(f"{folder}: expected a folder {root}/<scale>/<study>/<run>; give one of those.")
    return parts[-3], parts[-2], parts[-1]


def _recipe(path: Path) -> dict[str, Any]:
    value = read_yaml(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a recipe; delete it and run the workflow again.")
    return value


def _mapping(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a mapping; delete it and run the workflow again.")
    return value


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): number for name, value in values.items() if (number := _number(value)) is not None}


def _length(history: list[dict[str, Any]]) -> int:
    return max((row["step"] for row in history), default=0) or 1


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _hash(value: Any) -> str:
    """Text of a hash, whether it stands alone or in a mapping with its path."""
    if isinstance(value, Mapping):
        return str(value.get("hash") or value.get("sha256") or fingerprint(dict(value)))
    return str(value)


def _times(provenance: Mapping[str, Any], file: Path, seconds: float) -> tuple[float, float]:
    """Start and end: as provenance says, else by the file's age."""
    for key in ("start", "started"):
        value = provenance.get(key)
        try:
            start = _number(value) or datetime.fromisoformat(str(value)).timestamp()
        except ValueError:
            continue
        return start, start + seconds
    end = file.stat().st_mtime
    return end - seconds, end


def _content(files: tuple[Path, ...]) -> str:
    return fingerprint({"format": FORMAT, **{path.name: sha256(path) for path in files}})
