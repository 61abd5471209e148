"""Diffusion prior for accelerated MRI (stroke MRI by pre-training and fine-tuning, arXiv 2603.13007)."""
