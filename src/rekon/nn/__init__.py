"""Network blocks that at least two studies use. They know nothing about k-space.

channels   complex images as two real channels and back
unet       fastMRI's U-Net, and its normalising wrapper
rope       rotary position embedding on a token grid
attention  which token sees which (one exact definition), and interchangeable kernels that compute it
vit        the vision transformer of UEPS
"""
