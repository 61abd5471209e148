"""Starts a tokenizer from VAR's VQ-VAE (Supp. 9): everything but the codebook and the conditioning pathway."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from rekon import safetensors
from rekon.errors import UserError
from rekon.nas.tokenizer import Tokenizer

log = logging.getLogger(__name__)

_PHI = "quantize.quant_resi.qresi_ls."
# the codebook starts anew (Supp. 9), and VAR's usage statistics are of its own ten scales
_UNUSED = {"quantize.embedding.weight", "quantize.ema_vocab_hit_SV"}


@dataclass(frozen=True)
class Report:
    """What became of the tensors."""

    loaded: tuple[str, ...]  # the tokenizer's keys that now hold VAR's values
    skipped: tuple[str, ...]  # the file's keys that serve nothing here, or have another shape
    missing: tuple[str, ...]  # the tokenizer's keys that keep their own start: codebook, labels, FiLM, and wrong shapes

    def __str__(self) -> str:
        return f"{len(self.loaded)} tensors loaded, {len(self.skipped)} skipped, {len(self.missing)} not in the file"


def load_var(tokenizer: Tokenizer, path: Path) -> Report:
    """Fill `tokenizer`, by name and shape, from VAR's VQ-VAE in a .safetensors file; logs one line.

    Raises UserError where nothing in the file fits.
    """
    given, _ = safetensors.read(path)
    wanted = tokenizer.state_dict()
    names = {source: _name(source) for source in given}
    fitting = {
        name: given[source]
        for source, name in names.items()
        if name in wanted and wanted[name].shape == given[source].shape
    }
    if not fitting:
        raise UserError(
            f"{path}: holds no tensor that fits the tokenizer; give the weights of VAR's VQ-VAE, or set key "
            "'model.pretrained: null'."
        )
    tokenizer.load_state_dict(wanted | fitting)
    report = Report(
        tuple(sorted(fitting)),
        tuple(sorted(source for source, name in names.items() if name not in fitting)),
        tuple(sorted(set(wanted) - set(fitting))),
    )
    log.info("%s: %s.", path, report)
    return report


def _name(source: str) -> str | None:
    """VAR's name of a tensor as the tokenizer's; None for what is left behind."""
    if source in _UNUSED:
        return None
    return source.replace(_PHI, "phis.")
