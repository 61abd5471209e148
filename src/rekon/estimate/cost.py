"""What a network takes, per slice: operations, activations, parameters. Numbers, and where they are kept; no torch.

They are measured once (`network`), and kept in a file beside this one under a name that follows from everything they
depend on, so that neither the Snakefile nor a login node has to build a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rekon.config import Recipe
from rekon.files import fingerprint, read_json, write_json

FORMAT = "rekon-costs-1"
KINDS = (
    "unrolled",
    "image_unet",
    "diffusion",
    "tokenizer",
    "transformer",
    "distilled",
    "experts",
)  # of runs, that can be measured
RECORD = Path(__file__).with_name("measured.json")
Recipes = Mapping[tuple[str, str], Recipe]
# of the model section: what changes how a run is used, not its network
_USES: dict[str, tuple[str, ...]] = {
    "diffusion": ("sampler", "augment", "ema_images", "ema_rampup", "log_sigma_mean", "log_sigma_std", "label_dropout",
                  "sigma_data", "dropout"),
    "transformer": ("decoding", "drop_path", "prefix_noise"),
    "distilled": ("decoding", "drop_path", "prefix_noise", "divergence", "temperature"),
    "experts": ("modalities",),
    "tokenizer": ("decay", "epsilon", "pretrained", "augment", "normalisation", "phi_strength", "ssim_window"),
}  # fmt: skip


class Linear(NamedTuple):
    """A number that grows with the coils of a slice: fixed + coil x coils."""

    fixed: float
    coil: float = 0.0

    def at(self, coils: float) -> float:
        return self.fixed + self.coil * coils


NOTHING = Linear(0.0)


@dataclass(frozen=True)
class Cost:
    """Of one network and its training. Operations are multiplications and additions, each counted as one (FLOP).

    train, activations: of a training step, per slice of its batch; forward: one reconstruction, of a prior one
    evaluation; guided: an evaluation of a prior and its gradient in the image; validate: one validation item; encode:
    tokens of a slice under one pattern. activations: bytes that wait for the way back, all numbers in float32.
    """

    parameters: int  # trained
    held: int  # numbers beside them in a training process' memory: frozen networks, averages, buffers
    published: int  # numbers in the weights file
    train: Linear
    forward: Linear
    validate: Linear
    activations: Linear
    guided: Linear = NOTHING
    encode: Linear = NOTHING

    @classmethod
    def from_plain(cls, value: Mapping[str, Any]) -> Cost:
        """Inverse of `plain`."""
        fields: dict[str, Any] = {
            name: Linear(*item) if isinstance(item, list) else item for name, item in value.items()
        }
        return cls(**fields)

    def plain(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return {key: list(item) if isinstance(item, tuple) else item for key, item in asdict(self).items()}


def key(recipe: Recipe, recipes: Recipes) -> str:
    """Name of everything that a run's costs depend on: its network's settings, its images, its parents' networks."""
    return fingerprint(_identity(recipe, recipes))


def read_costs(path: Path | None = None) -> dict[str, Cost]:
    """Costs by their names; empty where nothing was ever measured, or by another version."""
    path = path or RECORD
    if not path.exists():
        return {}
    content = read_json(path)
    if content.get("format") != FORMAT:
        return {}
    return {name: Cost.from_plain(value["cost"]) for name, value in content["costs"].items()}


def record_costs(scale: str, costs: Mapping[str, tuple[str, Cost]], path: Path | None = None) -> None:
    """Put the costs of a scale, each with the run it was measured for, in the place of those it had."""
    path = path or RECORD
    old = read_json(path)["costs"] if read_costs(path) else {}
    kept = {name: value for name, value in old.items() if not value["run"].startswith(f"{scale}/")}
    new = {name: {"run": run, "cost": cost.plain()} for name, (run, cost) in costs.items()}
    write_json(path, {"format": FORMAT, "costs": kept | new})


def _identity(recipe: Recipe, recipes: Recipes) -> dict[str, Any]:
    model = {name: value for name, value in recipe.model.items() if name not in _USES.get(recipe.kind, ())}
    used = ("tokenizer", "teacher")  # the other roles give first weights, of the same network
    parents = {role: _identity(recipes[recipe.parent(role)], recipes) for role in used if role in recipe.parents}
    sampling = (
        recipe.sampling.model_dump(mode="json", include={"patterns", "accelerations"}) if recipe.sampling else None
    )
    return {"kind": recipe.kind, "model": model, "size": list(recipe.data.size), "sampling": sampling} | parents
