"""A recipe: everything that defines a run, resolved. Written to runs/<scale>/<study>/<run>/recipe.yaml."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from rekon.config.base import Name, Strict
from rekon.config.sampling import ExactMaskSettings, SamplingSettings


class MaskSettings(Strict):
    """A sampling pattern over the phase encodings (the last axis, W)."""

    pattern: Literal["equispaced", "equispaced_fraction", "random"] = "equispaced"
    acceleration: int = Field(default=4, ge=1)
    center_fraction: float = Field(default=0.08, gt=0, lt=1)
    offset: int | None = Field(default=1, ge=0)  # None: drawn from the seed
    seed: int = 0

    @model_validator(mode="after")
    def _offset(self) -> MaskSettings:
        if self.pattern == "equispaced" and self.offset is not None and self.offset >= self.acceleration:
            raise ValueError(f"'offset' {self.offset} must be smaller than 'acceleration' {self.acceleration}")
        return self

    @property
    def family(self) -> str:
        """Folder name: the pattern with whatever else shapes it but R and the matrix."""
        start = "" if self.pattern == "random" else f"-o{'seed' if self.offset is None else self.offset}"
        seed = "" if self.offset is not None and self.pattern != "random" else f"-s{self.seed}"
        return f"{self.pattern}-c{self.center_fraction:g}{start}{seed}"

    def path(self, size: tuple[int, int]) -> str:
        """Where the mask artefact for a matrix (H, W) lies."""
        return f"data/masks/{self.family}/R{self.acceleration}_{size[0]}x{size[1]}.h5"


class DataSettings(Strict):
    """What a run sees: sets, matrix, coils."""

    train: str
    validation: str
    size: tuple[int, int]  # networks' matrix (H readout, W phase encoding)
    max_coils: int | None = Field(default=None, ge=1)  # training only: volumes with more use a random subset
    # training only: contrast group of the model -> how many subjects of it are seen, null: all; 0, or not
    # there: none. None: everything is seen
    select: dict[str, int | None] | None = Field(default=None, min_length=1)
    contrasts: tuple[str, ...] | None = Field(default=None, min_length=1)  # scoring only; None: all
    # scoring only: test sets of the study that this run is scored on; None: all
    test: tuple[str, ...] | None = Field(default=None, min_length=1)
    # scoring only: what reconstructions are compared with, the root sum of squares over coils or |sum conj(S) x|
    reference: Literal["rss", "combined"] = "rss"

    @model_validator(mode="after")
    def _even(self) -> DataSettings:
        if any(n % 2 or n < 16 for n in self.size):
            raise ValueError("'size' needs even numbers of at least 16")
        return self


class TrainingSettings(Strict):
    """The training budget and its optimiser. Exactly one of steps and epochs."""

    steps: int | None = Field(default=None, ge=1)
    epochs: int | None = Field(default=None, ge=1)
    batch: int = Field(ge=1)  # slices per step, over all processes
    optimiser: Literal["adam", "adamw"] = "adam"
    learning_rate: float = Field(gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float | None = Field(default=1.0, gt=0)  # norm of the gradient
    clips: dict[str, float] = Field(default_factory=dict)  # by optimiser, where it is another
    # schedule, in fractions of all steps: linear warm-up, constant, cosine (or line) to the floor, constant
    warmup: float = Field(default=0.01, ge=0, le=1)
    warmup_from: float = Field(default=0.01, gt=0, le=1)  # of the learning rate
    decay_from: float = Field(default=0.65, ge=0, le=1)
    decay_until: float = Field(default=0.95, ge=0, le=1)
    decay: Literal["cosine", "linear"] = "cosine"
    floor: float = Field(default=0.1, ge=0, le=1)  # of the learning rate
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False  # torch.compile; pays on a GPU, costs about a minute of start-up
    validations: int = Field(default=10, ge=1)  # spread evenly over the run; the best one's weights are kept
    validation_slices: int | None = Field(default=None, ge=1)  # None: all
    # validations in a row without a better one after which training ends; None: never. Schedules are those of all steps
    patience: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> TrainingSettings:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give exactly one of 'steps' and 'epochs'")
        if not self.warmup <= self.decay_from <= self.decay_until:
            raise ValueError("the schedule needs warmup <= decay_from <= decay_until")
        return self


class Recipe(Strict):
    """One run. `model` is the section of its kind (for example rekon.config.ueps), validated by rekon.recipe."""

    scale: str = Field(pattern=Name.pattern)
    study: str = Field(pattern=Name.pattern)
    run: str = Field(pattern=Name.pattern)
    title: str
    kind: str  # key of the registry rekon.studies
    seed: int = Field(ge=0)
    model: dict[str, Any]
    mask: MaskSettings | None = None  # one pattern along the phase encodings, on multi-coil k-space; or
    accelerations: tuple[int, ...] = ()  # R that a run with `mask` is scored at; none given: the mask's
    sampling: SamplingSettings | None = None  # a hierarchy of patterns, on what coil-combined images would have given
    data: DataSettings
    training: TrainingSettings | None = None  # None: nothing to train
    # role -> run whose weights this one needs; of another study: "study/run"
    parents: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sampled(self) -> Recipe:
        if (self.mask is None) == (self.sampling is None):
            raise ValueError("give exactly one of 'mask' and 'sampling'")
        if self.accelerations and self.sampling:
            raise ValueError("'accelerations' belongs to 'mask'; 'sampling' has its own")
        return self

    def trained_by(self) -> dict[str, Any]:
        """What the weights depend on, as plain data.

        A prior knows neither masks nor samplers, so how it is used can change without training it again. Of other kinds
        it is everything.
        """
        plain = self.model_dump(mode="json", exclude={"title"})
        if self.kind != "diffusion":
            return plain
        for section, keys in (
            (plain, ("mask", "accelerations", "sampling")),
            (plain["data"], ("contrasts", "reference", "test")),
            (plain["model"], ("sampler",)),
        ):
            for key in keys:
                section.pop(key, None)
        return plain

    def parent(self, role: str) -> tuple[str, str]:
        """(study, run) of a parent."""
        study, _, run = self.parents[role].rpartition("/")
        return study or self.study, run

    @property
    def masks(self) -> tuple[MaskSettings | ExactMaskSettings, ...]:
        """Every mask artefact that training or scoring of this run may read."""
        if self.sampling:
            return self.sampling.masks
        assert self.mask is not None, "one of the two is given"
        others = [self.mask.model_copy(update={"acceleration": r}) for r in self.accelerations]
        return (self.mask, *(mask for mask in others if mask != self.mask))

    @property
    def scored(self) -> tuple[MaskSettings | ExactMaskSettings, ...]:
        """The masks this run is scored with, in the order of its rows."""
        if self.sampling:
            return self.sampling.scored
        return tuple(mask for mask in self.masks if not self.accelerations or mask.acceleration in self.accelerations)
