"""Pictures of the report: charts as SVG, images as WebP, each with its title, caption and alternative text.

style      colours, fonts, how files are written
panel      per view: reference, zero-filled, every run, error maps x10
ladder     PSNR per rung with intervals, and the gain over the first rung beside the paper's
curves     training and validation loss
tradeoff   quality against runtime (UEPS Fig. 1)
coilmaps   coil sensitivity maps (UEPS Fig. 3)
attention  attention of query patches (UEPS Fig. 4)
runtime    runtime against the number of patches (UEPS Fig. 6)
masks      sampling patterns of a hierarchy (NAS Supp. Fig. 1)
tokens     use of the codebook, token accuracy, distance from the teacher, what the tokenizer can represent
"""
