"""Network blocks that at least two studies use. Only `sensitivity` knows what k-space is.

channels     complex images as two real channels and back
unet         fastMRI's U-Net, and its normalising wrapper
cab          channel attention blocks
sensitivity  coil maps from the autocalibration samples, and masks as networks use them
rope         rotary position embedding on a token grid
attention    which token sees which (one exact definition), and interchangeable kernels that compute it
vit          the vision transformer of UEPS
ssim         structural similarity, differentiable
"""
