"""Next-acceleration-scale prediction (NAS, arXiv 2605.19354): the method, in reading order.

The reconstruction of a 32-fold undersampled slice is a row of token maps, Q_32, Q_16, ..., Q_2, Q_FS, each predicted
from all before it (Eq. 2). What the paper leaves open, and how it is read here, stands on one page: READINGS.md.

Images at several accelerations
    inputs                a slice under one pattern: x_32, ..., x_2, x_FS
Sec. 4.1, Supp. 9: the tokenizer (AQ-VAE)
    blocks, encoder, decoder   VAR's convolutional networks; the encoder is told acceleration and pattern (FiLM)
    codebook, resize           nearest code, rotation trick, moving averages; area and bicubic resizing
    tokenizer                  six images -> six token maps -> their mean -> one image
    discriminator, losses      what trains it (Eq. 3)
    tokenizer_objective        one training step
    pretrained                 VAR's weights by key and shape
Sec. 4.2: the transformer
    tokens                     the fixed tokenizer's ids, cached and verified
    attention, context         block-causal self-attention, cross-attention to encoder features
    transformer                the history of scales in, logits of the next scale out
    transformer_objective      teacher forcing; with random prefixes and the full image it trains the teacher
    generate                   scale by scale with a key-value cache: argmax, multinomial, top-k and top-p
Sec. 4.3: on-policy privileged distillation
    distil_objective           the student's own rollouts, judged by the teacher (Eq. 4)
Use
    reconstructor              measured k-space -> Q_32 -> ... -> Q_FS -> image
    baseline                   U-Net on the same inputs
    inspect, inspection        codebook use, token accuracy, divergence from the teacher
"""
