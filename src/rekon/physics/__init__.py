"""The acquisition model: centred FFT, sampling patterns, coil maps and combination, forward and adjoint operator.

Nothing here imports torch at module level except `operator`; the NumPy paths start fast (conversion, simulation).
"""
