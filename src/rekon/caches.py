"""Where libraries keep what they compile: below a job's temporary folder, and not in its user's home."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# of torch.compile, of Triton, of torch's own kernels for complex numbers, of CUDA's driver
CACHES = {
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "PYTORCH_KERNEL_CACHE_PATH": "torch",
    "CUDA_CACHE_PATH": "cuda",
}


def keep_below_tmpdir() -> None:
    """Tell this process' libraries, and those of the processes that it starts, where to keep what they compile.

    Snakemake gives jobs the folder of their resource `tmpdir` (environment variable TMPDIR). What the user has set
    stays. Makes no folder: the libraries do.
    """
    folder = Path(tempfile.gettempdir()) / f"rekon-{os.getuid()}"  # a node's folder may be everybody's
    for name, part in CACHES.items():
        os.environ.setdefault(name, str(folder / part))
