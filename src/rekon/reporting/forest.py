"""A claim's interval as a small inline drawing: zero, margin, measured difference, paper's difference."""

from __future__ import annotations

import math

from markupsafe import Markup

from rekon.reporting.scorecard import Difference

WIDTH, HEIGHT, EDGE = 220, 34, 8


def forest(difference: Difference, margin: float) -> Markup:
    """Inline SVG; positive (the claim's direction) is to the right."""
    numbers = [difference.mean, difference.low, difference.high, difference.paper, margin]
    known = [abs(value) for value in numbers if value is not None and math.isfinite(value)]
    span = 1.1 * max([*known, 1e-9])

    def x(value: float) -> str:
        return f"{WIDTH / 2 + value / span * (WIDTH / 2 - EDGE):.1f}"

    middle = HEIGHT / 2
    parts = [f'<line class="zero" x1="{x(0)}" x2="{x(0)}" y1="3" y2="{HEIGHT - 3}"/>']
    if margin:
        parts.append(f'<line class="margin" x1="{x(margin)}" x2="{x(margin)}" y1="3" y2="{HEIGHT - 3}"/>')
    if math.isfinite(difference.low):
        parts.append(
            f'<line class="interval" x1="{x(difference.low)}" x2="{x(difference.high)}" y1="{middle}" y2="{middle}"/>'
        )
    if math.isfinite(difference.mean):
        parts.append(f'<circle class="mean" cx="{x(difference.mean)}" cy="{middle}" r="4.5"/>')
    if difference.paper is not None:
        parts.append(f'<path class="paper" d="M{x(difference.paper)} 3 l5 6 l-5 6 l-5 -6 z"/>')
    words = f"measured {difference.mean:.3g}, interval {difference.low:.3g} to {difference.high:.3g}"
    opening = f'<svg class="forest" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{words}">'
    return Markup(opening + "".join(parts) + "</svg>")
