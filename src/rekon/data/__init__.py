"""From raw files to slices: readers, the canonical volume, normalisation, and the torch data set.

Conversion code imports no torch; only `slices` does.
"""
