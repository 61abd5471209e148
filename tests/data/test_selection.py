"""Which slices a run sees."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from rekon.data.selection import Selection
from rekon.errors import UserError

GROUPS = {"T1": ("AXT1", "AXT1PRE"), "T2": ("AXT2",), "FLAIR": ("AXFLAIR",)}
# name, subject, contrast, slices; anna has two volumes of one group
VOLUMES = [
    ("a", "anna", "AXT1", 2), ("b", "ben", "AXT2", 3), ("c", "anna", "AXT1PRE", 1), ("d", "dora", "AXFLAIR", 2),
    ("e", "emil", "AXT1", 1), ("f", "anna", "AXFLAIR", 1), ("g", "gus", "KNEE", 4),
]  # fmt: skip


@pytest.fixture
def slices():
    return SimpleNamespace(
        path=Path("train.json"),
        volumes={name: {"subject": subject, "contrast": contrast} for name, subject, contrast, _ in VOLUMES},
        items=[SimpleNamespace(volume=name, slice=i) for name, _, _, count in VOLUMES for i in range(count)],
    )


def names(selection, slices):
    return "".join(slices.items[index].volume for index in selection.indices)


def test_everything_of_the_known_groups_without_a_choice(slices):
    selection = Selection(slices, GROUPS)
    assert names(selection, slices) == "aabbbcddef"
    assert selection.groups == ["T1"] * 2 + ["T2"] * 3 + ["T1"] + ["FLAIR"] * 2 + ["T1", "FLAIR"]
    assert len(selection) == 10


@pytest.mark.parametrize(
    ("subjects", "seen"),
    [
        ({"T1": 1}, "aac"),  # subjects are counted, not volumes
        ({"T1": None}, "aace"),
        ({"T1": 2, "FLAIR": 1}, "aacdde"),  # anna's FLAIR is not the first
        ({"FLAIR": None, "T2": 0}, "ddf"),
    ],
)
def test_subjects_are_counted_in_the_order_of_the_manifest(slices, subjects, seen):
    assert names(Selection(slices, GROUPS, subjects), slices) == seen


def test_fewer_subjects_are_a_part_of_more(slices):
    few, many = (set(Selection(slices, GROUPS, {"T1": n, "T2": None}).indices) for n in (1, 2))
    assert few < many


def test_who_is_seen_is_told(slices):
    assert Selection(slices, GROUPS, {"T1": 1, "FLAIR": None}).subjects == {"T1": ("anna",), "FLAIR": ("dora", "anna")}


def test_mistakes(slices):
    with pytest.raises(UserError, match=r"no contrast group 'PD'; known are FLAIR, T1, T2"):
        Selection(slices, GROUPS, {"PD": 1})
    with pytest.raises(UserError, match=r"select.T2': asks for 2 subjects, train.json has 1"):
        Selection(slices, GROUPS, {"T2": 2})
    with pytest.raises(UserError, match="no slices of T2 to see"):
        Selection(slices, GROUPS, {"T2": 0})
