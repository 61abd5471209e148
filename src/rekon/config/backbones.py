"""config/backbones.yaml: pretrained networks that others publish, and which metric needs which of them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, RootModel, model_validator

from rekon.config.base import Name, Strict

# metric on deep features -> what it is computed with: the network, then the metric's own weights
PERCEPTUAL: dict[str, tuple[str, str]] = {
    "lpips_alex": ("alexnet", "lpips-alex"),
    "lpips_vgg": ("vgg16", "lpips-vgg"),
    "dists": ("vgg16", "dists"),
}


class Backbone(Strict):
    """One published file of weights; fetched, it is raw/backbones/<name>.safetensors."""

    title: str
    url: str = Field(pattern=r"^https?://")
    # of the published file: whole, or as many first digits as its publisher states; null: not stated, and not checked
    sha256: str | None = Field(pattern=r"^[0-9a-f]{8,64}$")
    licence: str
    purpose: str  # one phrase
    format: Literal["pth", "bin", "safetensors"]
    keep: tuple[str, ...] = ()  # beginnings of the names of the tensors that are used; none given: all
    mirror: str | None = None  # path below `--config mirror=DIR`; default: backbones/<name>/<file name of the URL>

    @property
    def file(self) -> str:
        """Name that the publisher gave the file."""
        return self.url.split("#")[0].split("?")[0].rpartition("/")[2]

    @model_validator(mode="after")
    def _named(self) -> Backbone:
        if not self.file:
            raise ValueError(f"'url' {self.url!r} must end in a file name")
        if self.mirror is not None and (self.mirror.startswith("/") or ".." in self.mirror.split("/")):
            raise ValueError(f"'mirror' {self.mirror!r} must stay below the mirror's folder")
        return self


class Backbones(RootModel[dict[str, Backbone]]):
    """All pretrained networks by name."""

    @model_validator(mode="after")
    def _names(self) -> Backbones:
        for name in self.root:
            if not Name.match(name):
                raise ValueError(f"backbone name {name!r}: use letters, digits, '.', '_' and '-'")
        return self

    def __getitem__(self, name: str) -> Backbone:
        return self.root[name]

    def __contains__(self, name: object) -> bool:
        return name in self.root
