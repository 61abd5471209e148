"""config/studies/*.yaml: a base recipe, and per run only what differs from it."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from rekon.config.base import Name, Strict


class StudyRun(Strict):
    """A run of a study: `delta` is merged into the base, key by key; lists and null replace."""

    title: str
    note: str = ""  # what the run shows, one phrase
    delta: dict[str, Any] = Field(default_factory=dict)


class Claim(Strict):
    """One statement of the paper that the scorecard checks: `better` is expected to beat `worse`."""

    text: str
    source: str  # table, figure or section
    better: str  # run
    worse: str  # run
    metric: str = "psnr"
    datasets: tuple[str, ...] | str = "all"  # "id", "ood", "all" or names
    margin: float = 0.0  # smallest difference that counts, in the metric's unit


class Study(Strict):
    """A paper."""

    title: str
    paper: str  # reference
    base: dict[str, Any]
    runs: dict[str, StudyRun] = Field(min_length=1)
    claims: tuple[Claim, ...] = ()
    # the paper's own numbers: table -> data set -> metric -> run -> value
    published: dict[str, dict[str, dict[str, dict[str, float]]]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names(self) -> Study:
        for name in self.runs:
            if not Name.match(name):
                raise ValueError(f"run name {name!r}: use letters, digits, '.', '_' and '-'")
        for claim in self.claims:
            for run in (claim.better, claim.worse):
                if "/" not in run and run not in self.runs:
                    raise ValueError(f"claim {claim.text!r} names the unknown run {run!r}")
        return self
