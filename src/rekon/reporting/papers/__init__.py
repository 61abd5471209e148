"""What the report says and draws of one paper alone, a module per study; the rest is the same for all.

base  what such a module gives, and what a study without one gets
ueps  the ladder, quality against runtime, coil maps, attention, runtime against patches
nas   masks, codebook, token accuracy, divergence from the teacher
more  sizes and times, which experts work on what, routing embeddings, routing over training
dpm   methods and their differences, the fine-tuning grid, samplers, posteriors, draws from the priors; its results,
      sentences and definitions have files of their own
"""

from __future__ import annotations

from rekon.reporting.papers import dpm, more, nas, ueps
from rekon.reporting.papers.base import Paper

PAPERS = {"ueps": ueps.PAPER, "nas": nas.PAPER, "more": more.PAPER, "dpm": dpm.PAPER}


def paper(study: str) -> Paper:
    """The report's part of a study."""
    return PAPERS.get(study, Paper())
