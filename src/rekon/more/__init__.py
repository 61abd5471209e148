"""MoRE: a mixture of reconstruction experts inside an unrolled network (Li et al., 2026), in reading order.

One network for seven anatomies and contrasts: every cascade has one encoder and several decoders, and a router sends
each sample to a few of them. The others are not computed. What the paper leaves open, and how it is read here, stands
on one page: READINGS.md.

The network
    unet                  encoder, bottleneck and decoder of channel attention blocks
    router                features -> gate -> the best few experts, with noise while training (Eqs. 3-6, 8)
    experts               one cascade's denoiser: the mixture, sparse for real
    network               the cascades around it (Eq. 2), and its dense baselines as settings of the same model
Its training
    balance               the router's three losses (Eq. 7), and the inputs it remembers
    objective             one training step, validation, the state that a resumed run needs
Its use
    reconstructor         multi-coil k-space -> image
    specialisation        numbers of who does what: load, collapse, mutual information with the modality
    inspect, inspection   a test set's routes and embeddings, as arrays
"""
