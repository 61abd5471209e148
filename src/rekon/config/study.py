"""config/studies/*.yaml: a base recipe, and per run only what differs from it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from rekon.config.base import Name, Strict


class StudyRun(Strict):
    """A run of a study: `delta` is merged into the base, key by key; lists and null replace."""

    title: str
    note: str = ""  # what the run shows, one phrase
    like: str | None = None  # the run it differs from; None: from the base
    delta: dict[str, Any] = Field(default_factory=dict)


class Claim(Strict):
    """One statement of the paper that the scorecard checks: `better` is expected to beat `worse`.

    relation "not worse": it is only expected to stay within `margin` of it (non-inferiority), so margin has to be > 0.
    """

    text: str
    source: str  # table, figure or section
    better: str  # run
    worse: str  # run
    metric: str = "psnr"
    datasets: tuple[str, ...] | str = "all"  # "id", "ood", "all" or names of sets or views (set@pattern/contrast)
    relation: Literal["better", "not worse"] = "better"
    # better: smallest difference that counts; not worse: largest loss that does not. In the metric's shown unit
    margin: float = 0.0

    @model_validator(mode="after")
    def _tolerance(self) -> Claim:
        if self.relation == "not worse" and self.margin <= 0:
            raise ValueError(f"claim {self.text!r}: 'relation: not worse' needs a 'margin' above 0")
        return self

    @property
    def threshold(self) -> float:
        """What the advantage of `better` is compared with."""
        return -self.margin if self.relation == "not worse" else self.margin


class NotRun(Strict):
    """A method of the paper's tables that is not run here; its row keeps the paper's numbers."""

    title: str
    reason: str


class Study(Strict):
    """A paper.

    A view is a part of a test set: `set`, `set@pattern` or `set@pattern/group`, the group being one of `contrasts`.
    """

    title: str
    paper: str  # reference
    base: dict[str, Any]
    runs: dict[str, StudyRun] = Field(min_length=1)
    claims: tuple[Claim, ...] = ()
    evaluation: dict[str, Any] = Field(default_factory=dict)  # what this paper scores otherwise than the scale says
    classical: bool = True  # whether the runs of config/studies/classical.yaml stand in its tables
    contrasts: dict[str, tuple[str, ...]] = Field(default_factory=dict)  # the paper's name -> contrasts of the sets
    not_run: dict[str, NotRun] = Field(default_factory=dict)
    inspected: tuple[str, ...] = ()  # runs whose insides the report shows
    # the paper's own numbers: table -> view -> metric -> run -> value; null where it has none to print
    published: dict[str, dict[str, dict[str, dict[str, float | None]]]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names(self) -> Study:
        for name in self.runs:
            if not Name.match(name):
                raise ValueError(f"run name {name!r}: use letters, digits, '.', '_' and '-'")
        for name, entry in self.runs.items():
            if entry.like is not None and (entry.like not in self.runs or name in self.ancestry(entry.like)):
                raise ValueError(f"run {name!r}: 'like' must name another run, and not in a circle")
        for claim in self.claims:
            for run in (claim.better, claim.worse):
                if "/" not in run and run not in self.runs and run not in self.not_run:
                    raise ValueError(f"claim {claim.text!r} names the unknown run {run!r}")
        return self

    def ancestry(self, run: str) -> list[str]:
        """The runs whose deltas make up a run, from the one next to the base to the run itself."""
        names = [run]
        while (like := self.runs[names[0]].like) is not None and like in self.runs and like not in names:
            names.insert(0, like)
        return names
