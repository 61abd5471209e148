"""What a kind of run hands over, and the files its factories get."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rekon.config import Recipe
from rekon.errors import UserError

if TYPE_CHECKING:
    import torch

    from rekon.evaluation.reconstructor import Reconstructor
    from rekon.training.objective import Objective


@dataclass(frozen=True)
class Trained:
    """Weights a run is used with: its own (None for methods without), and those of other runs by role.

    tuned: settings of its use that were searched for on validation data.
    """

    weights: Path | None = None
    parents: Mapping[str, Path] = field(default_factory=dict)
    tuned: Path | None = None


@dataclass(frozen=True)
class Sources:
    """Files a run is trained from. Masks and coil maps lie where the recipe says."""

    train: Path  # manifests
    validation: Path
    parents: Mapping[str, Path] = field(default_factory=dict)  # role -> weights
    tokens: Mapping[str, Path] = field(default_factory=dict)  # split -> cached tokens
    backbones: Mapping[str, Path] = field(default_factory=dict)  # pretrained networks

    def named(self, recipe: Recipe) -> dict[str, Path]:
        """Every file by the name that run.json gives it."""
        masks = {mask.path(recipe.data.size) for mask in recipe.masks}
        files = {"train": self.train, "validation": self.validation}
        files |= {"mask" if len(masks) == 1 else f"mask.{path}": Path(path) for path in sorted(masks)}
        for group, members in (("parent", self.parents), ("tokens", self.tokens), ("backbone", self.backbones)):
            files |= {f"{group}.{name}": path for name, path in members.items()}
        return files


@dataclass(frozen=True)
class Kind:
    """Factories of a kind of run; None where it is not used for reconstruction, or nothing is trained."""

    reconstructor: Callable[[Recipe, Trained, torch.device], Reconstructor] | None
    objective: Callable[[Recipe, Sources, torch.device], Objective] | None = None


def maps_folder(manifest: Path) -> Path:
    """Where `calibrate` puts the maps of a manifest's split (runs/<scale>/data/<set>/<split>.json)."""
    return Path("data/maps") / manifest.parent.name / manifest.stem


def parent(recipe: Recipe, files: Mapping[str, Path], role: str) -> Path:
    """Weights of the parent in a role; UserError when the recipe or the command lacks it."""
    if role not in files:
        lacking(recipe, f"a parent in the role {role!r}; give --parent {role}=WEIGHTS")
    return files[role]


def lacking(recipe: Recipe, what: str) -> NoReturn:
    """UserError: the run needs something."""
    raise UserError(f"{recipe.study}/{recipe.run}: needs {what}.")
