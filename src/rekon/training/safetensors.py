"""The file format of state and weights, under the name that this room knows it by."""

from rekon.safetensors import read, write

__all__ = ["read", "write"]
