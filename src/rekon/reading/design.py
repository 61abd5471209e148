"""Which pair is shown when, and which arm is on which side: a pure function of seed, cases and arms."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

from rekon.randomness import generator

MOST_REPEATS = 0.5  # repeats come from the first half of the pairs

Shown = tuple[tuple[str, str], int | None]  # (test arm, case), and where it was shown before


class Presentation(NamedTuple):
    """A pair as shown: image A on the left, image B on the right."""

    case: str
    a: str  # the arm that made image A
    b: str
    repeat_of: int | None = None  # position of the first presentation of the same pair


def design(
    cases: Collection[str], reference: str, tests: Sequence[str], seed: int, repeats: float = 0.0
) -> list[Presentation]:
    """Every case of every test arm against the reference, in random order, some of them twice.

    repeats: share of the pairs shown twice, 0 to 0.5. They are drawn from the first half of the order and come again
    in its last part, with at least a quarter of the pairs between: too late to remember.
    Sides: an arm is as often on the left as on the right, up to one, among the pairs and among the repeats.
    The order in which cases or test arms are given does not matter.
    """
    assert cases and tests and reference not in tests and len(set(tests)) == len(tests), (reference, tests)
    assert 0 <= repeats <= MOST_REPEATS, repeats
    pairs = [(test, case) for test in sorted(tests) for case in sorted(cases)]
    order = [pairs[index] for index in generator(seed, "reader-study order").permutation(len(pairs))]
    half = math.ceil(len(order) / 2)
    between = (len(order) - half) // 2
    count = min(math.floor(repeats * len(order) + 0.5), half)
    random = generator(seed, "reader-study repeats")
    originals: list[Shown] = [(pair, None) for pair in order]
    again: list[Shown] = [(order[index], int(index)) for index in random.choice(half, count, replace=False)]
    last = originals[half + between :] + again
    shown = originals[: half + between] + [last[index] for index in random.permutation(len(last))]
    reference_left = _sides([(test, first is not None) for (test, _), first in shown], seed)
    return [
        Presentation(case, reference if left else test, test if left else reference, first)
        for ((test, case), first), left in zip(shown, reference_left, strict=True)
    ]


def _sides(groups: Sequence[tuple[str, bool]], seed: int) -> list[bool]:
    """True: the reference is on the left; balanced within each group, over each first field, and over all.

    Left and right alternate along the sorted groups, so any stretch of neighbouring groups is balanced up to one;
    within a group they are then shuffled.
    """
    left = bool(generator(seed, "reader-study first side").integers(2))
    sides: dict[int, bool] = {}
    for index, group in enumerate(sorted(set(groups))):
        members = [position for position, of in enumerate(groups) if of == group]
        for member in generator(seed, "reader-study sides", index=index).permutation(len(members)):
            sides[members[member]], left = left, not left
    return [sides[position] for position in range(len(groups))]
