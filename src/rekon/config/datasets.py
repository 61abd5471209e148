"""config/datasets.yaml: what each data set is, where it comes from, and how it is read."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, RootModel, SerializerFunctionWrapHandler, model_serializer, model_validator

from rekon.config.base import Name, Split, Strict
from rekon.config.sources import Fetch, Published
from rekon.config.stack import Stack


class Sequence(Strict):
    """A pulse sequence; times in ms, flip angle in degrees."""

    # mp2rage_first: the first of mp2rage's two trains is read; ti and flip are the second one's for both
    kind: Literal["spin_echo", "inversion_recovery", "gradient_echo", "mprage", "mp2rage", "mp2rage_first"]
    tr: float = Field(gt=0)
    te: float = Field(gt=0)
    ti: float | None = Field(default=None, gt=0)
    flip: float = Field(default=90.0, gt=0, le=180)
    contrast_agent: bool = False  # gadolinium: shortens T1 of vessels, skin and lesions
    fat_saturation: bool = False

    @model_validator(mode="after")
    def _needs_ti(self) -> Sequence:
        if self.kind in ("inversion_recovery", "mprage", "mp2rage", "mp2rage_first") and self.ti is None:
            raise ValueError(f"a sequence of kind {self.kind!r} needs 'ti', the inversion time in ms")
        return self


class Simulation(Strict):
    """How a simulated set is acquired. Lengths in mm, matrix sizes (readout, phase encoding) in samples."""

    phantom: Literal["brain", "knee"]
    field: float = Field(gt=0)  # T: sets relaxation times, off-resonance and noise
    sequences: dict[str, Sequence]  # contrast -> sequence; subject i gets contrast i modulo their number
    fov: tuple[float, float]  # of the reconstructed image (readout, phase encoding)
    matrix: tuple[int, int]  # of the reconstructed image
    phase_lines: int  # acquired phase encodings; the rest of matrix[1] is zero-padded in k-space
    oversampling: int = Field(default=2, ge=1)  # of the readout
    repetitions: int = Field(default=1, ge=1, le=99)  # of each scan, a file each, where the format has them
    slices: int = Field(ge=1)
    slice_gap: float = Field(gt=0)  # distance between slice centres
    thickness: float = Field(gt=0)
    coils: tuple[int, ...] = Field(min_length=1)  # subject i gets coils[i modulo length]
    coil_distance: float = Field(gt=0)  # of the coil loops' centres from the isocentre
    cohort: str | None = None  # sets of one cohort scan the same subjects, in the same pose, with the same coils
    lesion: Literal["stroke"] | None = None  # that every subject has: an acute infarct
    snr: float = Field(gt=0)  # brightest tissue over noise standard deviation in the fully sampled RSS image, about
    seed: int = 0

    @model_validator(mode="after")
    def _sizes(self) -> Simulation:
        if any(n % 2 or n < 16 for n in self.matrix):
            raise ValueError("'matrix' needs even sizes of at least 16")
        if not 8 <= self.phase_lines <= self.matrix[1]:
            raise ValueError("'phase_lines' must lie between 8 and the second size of 'matrix'")
        if not self.sequences:
            raise ValueError("'sequences' needs at least one contrast")
        if self.lesion == "stroke" and self.phantom != "brain":
            raise ValueError("'lesion: stroke' needs 'phantom: brain'")
        return self

    @model_serializer(mode="wrap")
    def _without_absent(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A set without a lesion or repetitions is written without the key: its files are not made again because others
        have one."""
        value: dict[str, Any] = plain(self)
        for name, absent in (("cohort", None), ("lesion", None), ("repetitions", 1)):
            if value[name] == absent:
                del value[name]
        return value


class RemoteFile(Strict):
    """One file of a published set; `volume` is the canonical volume it becomes."""

    volume: str = Field(pattern=Name.pattern)
    path: str  # below raw/<dataset>/<split>/, and below the mirror's folder of the same name as `mirror`
    url: str = Field(pattern=r"^https?://")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    contrast: str
    subject: str
    mirror: str | None = None  # path below `--config mirror=DIR`; default: <dataset>/<path>

    @model_validator(mode="after")
    def _stays_below(self) -> RemoteFile:
        for name in (self.path, self.mirror or self.path):
            if name.startswith("/") or ".." in name.split("/"):
                raise ValueError(f"path {name!r} must stay below its folder")
        return self


class Part(Strict):
    """What a joined set takes of another one: a split of it, or of that split a share of every contrast's subjects.

    Subjects are counted in an order that looks random and follows from their names; those between the shares `low` and
    `high` are taken, so that 0 to 0.5 and 0.5 to 1 are the two halves.
    """

    dataset: str
    split: Split
    low: float = Field(default=0.0, ge=0, lt=1)
    high: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _order(self) -> Part:
        if self.low >= self.high:
            raise ValueError("'low' must be smaller than 'high'")
        return self


class Dataset(Strict):
    """A data set: identity, format and how its volumes are normalised and fitted to the networks' matrix."""

    title: str
    # manual: needs a licence or a form, see `access`; joined: made of other sets, see `parts`
    source: Literal["simulated", "download", "manual", "joined"]
    format: Literal["fastmri", "matlab-kspace", "npz-image", "npy-kspace", "cc359", "ahead", "stanford-fse", "m4raw"]
    licence: str
    anatomy: Literal["brain", "knee", "mixed"]
    view: Literal["axial", "sagittal", "coronal", "mixed"]
    vendor: str
    field_strength: float | str  # T
    role: str  # what the set is for, one phrase
    stands_for: str | None = None  # the real set that a simulated one imitates
    homepage: str | None = None
    access: str | None = None  # manual sets: how to get the files
    citation: str | None = None
    # divide k-space by: the mean over volumes of max(RSS) | each volume's own max(RSS) | this number (UEPS E.3)
    normalisation: Literal["mean_max", "volume_max"] | float = "mean_max"
    # to the networks' matrix: crop or reflect-pad the image (UEPS) | first crop k-space, so that the whole field of
    # view fits
    fit: Literal["crop", "downsample"] = "crop"
    reference: bool = True  # False: prospectively undersampled, can be reconstructed but not scored
    # where scans were repeated (m4raw), the image to score with: of the repetition itself | mean of all repetitions'
    target: Literal["single-rep", "multi-rep"] = "single-rep"
    stack: Stack | None = None  # of 3D files (cc359, ahead); default: every slice, as the file has them
    simulation: Simulation | None = None
    files: tuple[RemoteFile, ...] = ()
    parts: dict[Split, tuple[Part, ...]] = Field(default_factory=dict)
    fetch: Fetch | None = None  # manual sets: where a machine finds the files, once somebody has access
    published: dict[Split, Published] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _without_usual(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A set with files of its own, scored by them, is written without the keys that say so: its files are not made
        again because other sets are joined or averaged."""
        value: dict[str, Any] = plain(self)
        usual: dict[str, Any] = {"parts": {}, "stack": None, "target": "single-rep", "fetch": None, "published": {}}
        return {key: one for key, one in value.items() if key not in usual or one != usual[key]}

    @model_validator(mode="after")
    def _complete(self) -> Dataset:
        if (self.source == "simulated") != (self.simulation is not None):
            raise ValueError("'simulation' belongs to, and is needed by, sets with 'source: simulated'")
        if self.source == "simulated" and self.format in ("matlab-kspace", "npz-image", "npy-kspace"):
            raise ValueError(f"simulated sets cannot be written in 'format: {self.format}'; choose fastmri")
        if self.target == "multi-rep" and self.format != "m4raw":
            raise ValueError("'target: multi-rep' needs a format with repetitions, 'format: m4raw'")
        if self.simulation is not None and self.simulation.repetitions > 1 and self.format != "m4raw":
            raise ValueError("'repetitions' needs a format that has them, 'format: m4raw'")
        if self.source == "download" and not self.files:
            raise ValueError("a set with 'source: download' needs 'files'")
        if self.source == "manual" and not self.access:
            raise ValueError("a set with 'source: manual' needs 'access', how to get it")
        if self.source != "manual" and (self.fetch or self.published):
            raise ValueError("'fetch' and 'published' belong to sets with 'source: manual'")
        if (self.source == "joined") != bool(self.parts):
            raise ValueError("'parts' belongs to, and is needed by, sets with 'source: joined'")
        names = [file.volume for file in self.files]
        if len(set(names)) != len(names):
            raise ValueError("two of 'files' have the same 'volume'")
        return self


class Catalogue(RootModel[dict[str, Dataset]]):
    """All data sets by name; those of simulated sets, and of what is joined of them, start with 'sim-', no others."""

    @model_validator(mode="after")
    def _names(self) -> Catalogue:
        for name, entry in self.root.items():
            if not Name.match(name):
                raise ValueError(f"data set name {name!r}: use letters, digits, '.', '_' and '-'")
            members = {part.dataset for parts in entry.parts.values() for part in parts}
            for member in sorted(members):
                if member not in self.root or self.root[member].parts:
                    raise ValueError(f"data set {name!r}: 'parts' names {member!r}, which is no set with own files")
            simulated = {self.root[member].source == "simulated" for member in members or {name}}
            if simulated != {name.startswith("sim-")}:
                raise ValueError(f"data set {name!r}: simulated sets, and only they, are named 'sim-…'")
        return self

    def __getitem__(self, name: str) -> Dataset:
        return self.root[name]

    def __contains__(self, name: object) -> bool:
        return name in self.root
