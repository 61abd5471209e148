"""Everything a scale plans: sets, runs, evaluations, masks, and where their files lie. The Snakefile asks nothing else.

Pure functions over config; the only I/O is reading config/*.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from rekon.config import (
    Catalogue,
    EvaluationSettings,
    ExactMaskSettings,
    MaskSettings,
    Recipe,
    Scale,
    Study,
)
from rekon.config.backbones import PERCEPTUAL, Backbones
from rekon.config.base import check, load
from rekon.config.datasets import Split
from rekon.config.more import ExpertsModel, refuse_clipping
from rekon.config.nas import TokenizerModel
from rekon.config.sources import SplitFile
from rekon.errors import UserError
from rekon.planned import PlannedSets
from rekon.recipe import merge, resolve

CLASSICAL = "classical"  # the study whose runs stand in every paper's tables


class Plan(PlannedSets):
    """Everything the Snakefile asks: sets, runs, paths and the parameters of each job."""

    def __init__(
        self,
        scale: Scale,
        catalogue: Catalogue,
        studies: dict[str, Study],
        backbones: Backbones,
        split_files: Mapping[str, SplitFile] | None = None,
    ) -> None:
        super().__init__(scale, catalogue, split_files)
        self.studies, self.backbones = studies, backbones
        self._check_datasets()
        self.recipes = {
            (study, run): resolve(scale, study, self.studies[study], run)
            for study in scale.studies
            for run in self._selected(study)
        }
        for (study, run), recipe in self.recipes.items():
            self._check_recipe(f"{study}/{run}", recipe)

    # --- runs -------------------------------------------------------------------------------------------------
    def runs(self, study: str) -> list[str]:
        return [run for (of, run) in self.recipes if of == study]

    def trained(self, study: str | None = None, kind: str | None = None) -> list[tuple[str, str]]:
        return [
            key
            for key, recipe in self.recipes.items()
            if recipe.training and study in (None, key[0]) and kind in (None, recipe.kind)
        ]

    @cached_property
    def masks(self) -> dict[str, tuple[MaskSettings | ExactMaskSettings, tuple[int, int]]]:
        """Path of every mask artefact -> its settings and matrix."""
        return self.masks_of(*self.scale.studies)

    def masks_of(self, *studies: str) -> dict[str, tuple[MaskSettings | ExactMaskSettings, tuple[int, int]]]:
        """`masks`, as far as these studies use them."""
        return {
            mask.path(recipe.data.size): (mask, recipe.data.size)
            for (study, _), recipe in self.recipes.items()
            if study in studies
            for mask in recipe.masks
        }

    @cached_property
    def mapped(self) -> list[tuple[str, Split]]:
        """Splits (set, split) whose coil maps some run reads: SENSE, and whatever works on coil-combined images."""
        found: dict[tuple[str, Split], None] = {}
        for study, _, dataset in self.scored():
            if any(self.uses_maps(recipe) for (of, _), recipe in self.recipes.items() if of == study):
                found[dataset, "test"] = None
        for recipe in self.recipes.values():
            if recipe.training and on_images(recipe):
                found |= {(recipe.data.train, "train"): None, (recipe.data.validation, "validation"): None}
            elif self.tuned(recipe.study, recipe.run):
                found[recipe.data.validation, "validation"] = None
        return list(found)

    def scored(self, study: str | None = None) -> list[tuple[str, str, str]]:
        """(study, run, test set) of every evaluation."""
        return [
            (of, run, dataset)
            for (of, run), recipe in self.recipes.items()
            if study in (None, of) and reconstructs(recipe)
            for dataset in self.evaluation(of).datasets
            if recipe.data.test is None or dataset in recipe.data.test
        ]

    def evaluation(self, study: str) -> EvaluationSettings:
        """How a study is scored: the scale's settings, then what the paper and the scale change for it."""
        value = merge(self.scale.evaluation.model_dump(mode="json"), self.studies[study].evaluation)
        value = merge(value, self.scale.studies[study].evaluation)
        source = f"config (study {study} at scale {self.scale.scale}), section 'evaluation'"
        return check(EvaluationSettings, value, source)

    def tuned(self, study: str, run: str) -> bool:
        """Whether settings of a run's use are searched for on validation data before it is scored."""
        recipe = self.recipes[study, run]
        return recipe.kind == "diffusion" and recipe.model["sampler"]["tuning"] is not None

    def weights_of(self, study: str, run: str) -> tuple[str, str] | None:
        """The run whose weights a run is used with: itself, or its parent `weights`; None if nothing is trained."""
        recipe = self.recipes[study, run]
        if recipe.training:
            return study, run
        return recipe.parent("weights") if "weights" in recipe.parents else None

    def uses_maps(self, recipe: Recipe) -> bool:
        """Whether scoring a run reads coil maps."""
        combined = recipe.data.reference == "combined" or recipe.kind == "diffusion"
        return bool(recipe.sampling) or combined or recipe.model.get("method") in ("sense", "l1-wavelet")

    def inspected(self, study: str) -> list[str]:
        """Runs whose insides the report shows; none unless all that the study names are trained at this scale."""
        wanted = self.studies[study].inspected if study in self.studies else ()
        return list(wanted) if set(wanted) <= {run for _, run in self.trained(study)} else []

    def test_sets(self, study: str) -> list[str]:
        """Sets that a study is scored on; none where this scale leaves the study out."""
        return list(self.evaluation(study).datasets) if study in self.studies else []

    def backbones_of(self, recipe: Recipe) -> list[str]:
        """Pretrained networks that training a run needs."""
        if recipe.kind != "tokenizer":
            return []
        model = check(TokenizerModel, recipe.model, f"recipe of {recipe.study}/{recipe.run}, section 'model'")
        names = [model.pretrained, model.discriminator and model.discriminator.backbone]
        names += PERCEPTUAL[model.perceptual.replace("-", "_")] if model.losses.perceptual else ()
        return [name for name in names if name]

    def perceptual_backbones(self, study: str) -> list[str]:
        """Pretrained networks behind a study's metrics, as far as this scale has them."""
        wanted = {name for metric in self.evaluation(study).perceptual for name in PERCEPTUAL[metric]}
        return sorted(wanted & set(self.scale.backbones))

    # --- reports ----------------------------------------------------------------------------------------------
    @property
    def reports(self) -> str:
        """Folder of the published report: the demo's is the one that stands in the repository."""
        return "reports" if self.scale.scale == "demo" else f"reports/{self.scale.scale}"

    @property
    def papers(self) -> list[str]:
        """Studies of this scale that reproduce a paper."""
        return [study for study in self.scale.studies if study != CLASSICAL]

    def tables(self, study: str) -> list[str]:
        """Names of a study's CSV files under tables/: one for each table of the paper."""
        return [f"{study}-{table}.csv" for table in self.studies[study].published or ("results",)]

    def document(self) -> dict[str, Any]:
        """The whole plan as plain data, for runs/<scale>/plan.json; `from_document` is its inverse."""
        files = {name: file for name, file in self.split_files.items() if file.of & set(self.scale.datasets)}
        splits = {name: file.model_dump(mode="json") for name, file in files.items()}
        return {
            "scale": self.scale.model_dump(mode="json", exclude={"mirror"}),
            "studies": {name: study.model_dump(mode="json") for name, study in self.studies.items()},
            "datasets": {name: self.catalogue[name].model_dump(mode="json") for name in self.scale.datasets},
            "backbones": {name: self.backbones[name].model_dump(mode="json") for name in self.scale.backbones},
            **({"splits": splits} if splits else {}),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any], source: str) -> Plan:
        """Plan from what `document` gave; UserError naming `source` when it does not validate."""
        studies = {name: check(Study, value, source) for name, value in document["studies"].items()}
        catalogue = check(Catalogue, document["datasets"], source)
        backbones = check(Backbones, document["backbones"], source)
        splits = {name: check(SplitFile, value, source) for name, value in document.get("splits", {}).items()}
        return cls(check(Scale, document["scale"], source), catalogue, studies, backbones, splits)

    def _selected(self, study: str) -> list[str]:
        only, known = self.scale.studies[study].only, self.studies[study].runs
        for run in (*(only or ()), *self.scale.studies[study].runs):
            if run not in known:
                raise UserError(
                    f"config/{self.scale.scale}.yaml: key 'studies.{study}' names the unknown run {run!r}; "
                    f"known are {', '.join(known)}."
                )
        return [run for run in known if only is None or run in only]

    def _check_datasets(self) -> None:
        for name in self.scale.datasets:
            if name not in self.catalogue:
                raise UserError(
                    f"config/{self.scale.scale}.yaml: key 'datasets': unknown set {name!r}; "
                    f"describe it in config/datasets.yaml or choose one of {', '.join(sorted(self.catalogue.root))}."
                )
            self._check_parts(name)
        for name in self.scale.backbones:
            if name not in self.backbones:
                raise UserError(
                    f"config/{self.scale.scale}.yaml: key 'backbones': unknown network {name!r}; describe it in "
                    f"config/backbones.yaml or choose one of {', '.join(sorted(self.backbones.root))}."
                )
        for study in self.scale.studies:
            for name in self.evaluation(study).datasets:
                if name not in self.scale.datasets or self.scale.datasets[name].test == 0:
                    raise UserError(
                        f"config (study {study} at scale {self.scale.scale}): section 'evaluation' names {name!r}, "
                        "which has no test volumes under 'datasets' of the scale."
                    )

    def _check_parts(self, name: str) -> None:
        key = f"config/{self.scale.scale}.yaml: key 'datasets.{name}"
        for split in self.splits(name) if self.joined(name) else ():
            if getattr(self.scale.datasets[name], split) is not None:
                raise UserError(f"{key}.{split}': a joined set takes what its parts give; write null or 0.")
            if not self.parts(name, split):
                raise UserError(f"{key}.{split}': the set has no such split in config/datasets.yaml; write 0.")
            for dataset, needed in self.parts(name, split):
                if dataset not in self.scale.datasets or getattr(self.scale.datasets[dataset], needed) == 0:
                    raise UserError(f"{key}.{split}': needs 'datasets.{dataset}.{needed}' above 0.")

    def _check_recipe(self, name: str, recipe: Recipe) -> None:
        source = f"config (study {name} at scale {self.scale.scale})"
        for role, parent in recipe.parents.items():
            found = self.recipes.get(recipe.parent(role))
            if found is None or not found.training:
                raise UserError(f"{source}: key 'parents.{role}': {parent!r} is no run trained at this scale.")
            if found is recipe:
                raise UserError(f"{source}: key 'parents.{role}': a run cannot be its own parent.")
        if stray := set(recipe.data.test or ()) - set(self.evaluation(recipe.study).datasets):
            raise UserError(f"{source}: key 'data.test': {min(stray)!r} is no test set of the study at this scale.")
        if recipe.training:
            for backbone in self.backbones_of(recipe):
                if backbone not in self.scale.backbones:
                    raise UserError(
                        f"{source}: training needs the pretrained network {backbone!r}; list it under 'backbones' of "
                        "the scale, or switch off in 'model' what asks for it."
                    )
        for split in ("train", "validation"):
            dataset = getattr(recipe.data, split)
            if dataset not in self.scale.datasets:
                raise UserError(f"{source}: key 'data.{split}': {dataset!r} is not under 'datasets' of the scale.")
            if recipe.training and getattr(self.scale.datasets[dataset], split) == 0:
                raise UserError(f"{source}: {dataset!r} has no {split} volumes; raise 'datasets.{dataset}.{split}'.")
        mapped = [recipe.data.train, recipe.data.validation] if recipe.training and on_images(recipe) else []
        if self.uses_maps(recipe):
            mapped += recipe.data.test or self.evaluation(recipe.study).datasets
        if joined := next(filter(self.joined, mapped), None):
            raise UserError(f"{source}: reads coil maps, which the joined set {joined!r} has not; name its parts.")
        if recipe.kind == "experts" and recipe.training:
            refuse_clipping(check(ExpertsModel, recipe.model, f"{source}, section 'model'"), recipe.training, source)
        schedule = recipe.model.get("schedule")
        if schedule and tuple(recipe.data.size) != (schedule[-1], schedule[-1]):
            raise UserError(
                f"{source}: key 'model.schedule' ends at {schedule[-1]}, but 'data.size' is {recipe.data.size}."
            )
        vit = recipe.model.get("vit")
        if vit and any(n % vit["patch"] for n in recipe.data.size):
            raise UserError(f"{source}: key 'data.size' {recipe.data.size} is no multiple of the patch {vit['patch']}.")


def on_images(recipe: Recipe) -> bool:
    """Whether a run is trained on coil-combined images, which `calibrate` makes."""
    return recipe.sampling is not None or recipe.kind == "diffusion"


def reconstructs(recipe: Recipe) -> bool:
    """Whether a run turns measured data into images: tokenizers and privileged teachers do not, and are not scored."""
    if recipe.kind == "tokenizer":
        return False
    return (recipe.model.get("context") or {}).get("image", "measured") == "measured"


def plan(config: Mapping[str, Any], root: Path | str = ".") -> Plan:
    """Validate a scale (the mapping Snakemake parsed) with the catalogue and the studies it names."""
    folder = Path(root) / "config"
    name = config.get("scale", "?")
    scale = check(Scale, dict(config), f"config/{name}.yaml")
    catalogue = load(Catalogue, folder / "datasets.yaml")
    studies = {}
    for study in scale.studies:
        path = folder / "studies" / f"{study}.yaml"
        if not path.exists():
            raise UserError(f"config/{name}.yaml: key 'studies.{study}': there is no {path}.")
        studies[study] = load(Study, path)
    splits = {path.stem: load(SplitFile, path) for path in sorted((folder / "splits").glob("*.yaml"))}
    return Plan(scale, catalogue, studies, load(Backbones, folder / "backbones.yaml"), splits)


def scoring(settings: EvaluationSettings) -> dict[str, Any]:
    """What of the evaluation settings changes a score; adding a test set must not rerun the others."""
    used = settings.model_dump(mode="json", include={"data_range", "crop", "perceptual"})
    return used if used["perceptual"] else {"data_range": used["data_range"], "crop": used["crop"]}
