"""What the report takes from a paper's module: functions of the artefacts and of the study's tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from rekon.reporting.figures.curves import Group
from rekon.reporting.figures.style import Drawn
from rekon.reporting.sources import Sources

Tables = Mapping[str | None, pd.DataFrame]  # name in config -> `rekon.reporting.tables.published_table`
Facts = list[tuple[str, str]]  # term, text


def _nothing(*_: Any) -> list[Any]:
    return []


@dataclass(frozen=True)
class Paper:
    """Of a study without a module of its own: nothing beyond what all have."""

    figures: Callable[[Sources, str, Tables, Path], list[Drawn]] = _nothing  # draws into a folder
    findings: Callable[[Sources, str, Tables], list[str]] = _nothing  # sentences for the top of the page
    methods: Callable[[Sources, str], Facts] = _nothing  # definitions of its own
    short: str = ""  # name in headings; what stands before the colon of its title, if empty
    pictured: tuple[str, ...] = ()  # runs in the picture panels; all that have pictures, if empty
    curves: tuple[Group, ...] = ()  # training curves
    tables: tuple[str, ...] = ()  # names of its tables in the report's order; those not named come behind
    # table -> run -> what the paper says there of a method, where our source has words and no number
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
