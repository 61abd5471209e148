"""Rekon: accelerated-MRI papers, reproduced from raw k-space to the final tables."""

__version__ = "0.1.0"
