"""Pretrained networks that others publish: fetched, checked, and kept as safetensors.

Published weights are mostly PyTorch pickles, which can run code when opened. Here they are opened once, by a loader
that refuses everything but tensors and plain containers; whatever reads them later reads safetensors.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from rekon import safetensors
from rekon.config import Backbone
from rekon.data.download import Published, fetch
from rekon.data.progress import Progress
from rekon.errors import UserError

FORMAT = "rekon-backbone-1"


def fetch_backbone(name: str, backbone: Backbone, out: Path, mirror: Path | str | None = None) -> str:
    """Write the tensors of a published file to `out` (safetensors), and return the published file's SHA-256.

    The mirror comes first, as for data sets: `<backbone.mirror>` there, or `backbones/<name>/<its file name>`. Tensors
    keep their names; the header holds where they are from, with the SHA-256 of the whole published file, which is
    checked as far as it is known beforehand. A file that was fetched before is not fetched again.
    Raises UserError, one sentence, when the file cannot be had, is another one, or holds anything but named tensors.
    """
    out = Path(out)
    if found := _fetched(backbone, out):
        return found
    published = out.with_name(f".{name}.{backbone.file}")
    place = backbone.mirror or f"backbones/{name}/{backbone.file}"
    found = fetch(Published(f"backbone {name!r}", backbone.url, place, backbone.sha256), published, mirror)
    about = {
        "format": FORMAT, "name": name, "title": backbone.title, "licence": backbone.licence,
        "url": backbone.url.split("?")[0], "keep": " ".join(backbone.keep), "source_sha256": found,
    }  # fmt: skip
    safetensors.write(out, _tensors(name, backbone, published), about)
    published.unlink()
    if backbone.sha256 is None:
        with Progress("") as progress:
            progress.note(f"{out}: nobody states the SHA-256 of {backbone.file}; what came has {found}, unchecked")
    return found


def _fetched(backbone: Backbone, out: Path) -> str:
    """SHA-256 of the published file that `out` was made from, if it is this backbone's and undamaged; else ""."""
    if backbone.sha256 is None or not out.is_file():
        return ""
    try:
        _, about = safetensors.read(out)
    except UserError:
        return ""
    found = about.get("source_sha256", "")
    same = about.get("format") == FORMAT and about.get("keep") == " ".join(backbone.keep)
    return found if same and found.startswith(backbone.sha256) else ""


def _tensors(name: str, backbone: Backbone, published: Path) -> dict[str, Tensor]:
    """The tensors that `backbone.keep` asks for."""
    content: object
    if backbone.format == "safetensors":
        content, _ = safetensors.read(published)
    else:
        try:
            # The only place where a pickle is opened, because that is how these weights are published. weights_only
            # admits tensors and plain containers, and nothing that could run.
            content = torch.load(published, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError):
            content = None
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(
            f"{published}: holds something else than named tensors, or is damaged; mend 'url' or 'format' of backbone "
            f"{name!r} in config/backbones.yaml, or delete the file and fetch it again."
        )
    kept = {key: value for key, value in content.items() if key.startswith(backbone.keep or "")}
    if not kept:
        raise UserError(
            f"{published}: no tensor's name starts with {' or '.join(backbone.keep)}; mend 'keep' of backbone "
            f"{name!r} in config/backbones.yaml."
        )
    return kept
