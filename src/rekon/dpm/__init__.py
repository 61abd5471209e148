"""Diffusion prior: pre-train, fine-tune on twenty subjects, sample the posterior (arXiv 2603.13007), in reading order.

A network learns what fully sampled, coil-combined images of each contrast look like, and nothing of coils or masks. So
it can be pre-trained on other contrasts and other scanners, and meets a measurement only when it reconstructs. What
the paper leaves open, and how it is read here, stands on one page: READINGS.md.

The prior
    edm, network            EDM's formulas; the DDPM++ U-Net for any matrix size
    prior                   both as one thing, with its contrast labels
    augment, ema            what training images may also look like; the averaged weights, which are the product
    objective               one training step. Fine-tuning is the same, from another run's average
    (rekon.data.selection   which subjects of which contrast a run sees: all that methods 1-6 differ in)
Its use
    sampling                images from the prior alone
    posterior               images from prior and measurement: the published loop
    faster                  the same with fewer network evaluations
    reconstructor           multi-coil k-space -> image, in its own unit
    tuning                  the data's weight by acceleration, on validation slices
    uncertainty             several draws: mean, spread, and whether the spread tells the error
    inspect, inspection     what the report shows of it, and the file that holds it
"""
