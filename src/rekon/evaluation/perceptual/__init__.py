"""Distances between images in the features of pretrained networks: LPIPS and DISTS.

Nothing here has random weights: what cannot be read from a file is not computed. Importing it imports torch.

    features   AlexNet and VGG16 up to their last convolution, by torchvision's names
    lpips      LPIPS v0.1
    dists      DISTS
"""

from rekon.evaluation.perceptual.dists import DISTS
from rekon.evaluation.perceptual.lpips import LPIPS

__all__ = ["DISTS", "LPIPS"]
