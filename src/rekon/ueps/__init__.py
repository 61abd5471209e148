"""UEPS: Robust and Efficient MRI Reconstruction (Zhou et al.): the method, in reading order.

The problem (Eqs. 1-4): each coil i measures k_i = F(S_i m) + noise on the sampled columns of k-space; wanted is
RSS(F^-1 k_1, ..., F^-1 k_N), the root sum of squares of the fully sampled coil images.

`cascade.py`   the pieces of one step: the soft data consistency DC_eta (Eqs. 9, 16) and the k-space expansion P that
               fills the new border with measurements (Eq. 17)
`unrolled.py`  UE, every coil on its own (Eqs. 10-13); with a schedule of growing matrices, UEP (Eqs. 14-18); with
               row-sparse attention in its ViT (Sec. 3.4, rekon.nn.attention), UEPS. `build` makes any rung of Table 2
`varnet.py`    what UE is held against: E2EVarNet, the cascade that reduces coils to one image with sensitivity maps,
               denoises it and expands it again (Eqs. 5-8), as the authors re-implemented it

The rungs of Table 2 are config/studies/ueps.yaml; sizes at the paper's scale: E2EVarNet 115,887,614 parameters, UE-UNet
124,097,548, UE-ViT, UEP-ViT and UEPS 121,399,812.
"""
