"""Scoring: metrics with one definition each, a reconstructor on a data set, means with their uncertainty.

Knows no model and no data set: a reconstructor is a callable, a data set a sequence of slices.

    metrics        PSNR, SSIM, NMSE of one slice
    perceptual     LPIPS and DISTS, on pretrained networks
    likeness       those of them that a study asks for, of one slice
    reconstructor  what scoring asks of a method
    score          a method on a data set: a row per sampling and slice
    panel          one slice's pictures per sampling, kept beside the rows
    statistics     mean, standard deviation, bootstrap over subjects, paired differences
"""
