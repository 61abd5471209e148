"""What made a result: code, data, seeds, versions, machine, time. Local commands only; no network, no environment
variables, no host names."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import rekon
from rekon.files import sha256

_PACKAGES = (
    "torch", "numpy", "scipy", "h5py", "safetensors", "scikit-image", "sigpy", "nibabel", "nilearn", "pandas",
    "pydantic", "snakemake",
)  # fmt: skip
_HASH = re.compile(r"^[0-9a-f]{64}$")


def describe(
    rule: str,
    inputs: Mapping[str, Path | str],
    *,
    seeds: Mapping[str, int] | None = None,
    started: float | None = None,
    device: str = "cpu",
    **more: Any,
) -> dict[str, Any]:
    """Provenance of a result as plain data, for its run.json.

    rule: what ran. inputs: name to path, or to a SHA-256 that is known already. started: time.time() at the start.
    device: as torch names it; its model is looked up. more: further fields, as they are.
    Works outside git and without git. Raises OSError when an input cannot be read.
    """
    now = time.time()
    start = now if started is None else started
    return {
        "rule": rule,
        "git": git(),
        "code": code_fingerprint(),
        "versions": versions(),
        "device": device_name(device),
        "inputs": {name: digest(value) for name, value in sorted(inputs.items())},
        "seeds": dict(seeds or {}),
        "started": stamp(start),
        "ended": stamp(now),
        "seconds": round(now - start, 3),
        "peak_memory_mb": peak_memory_mb(),
        "peak_gpu_memory_mb": peak_gpu_memory_mb(),
        **more,
    }


def digest(value: Path | str) -> str:
    """SHA-256 of the file `value`, or `value` itself if it is one."""
    return str(value) if _HASH.match(str(value)) else sha256(value)


@cache
def code_fingerprint(folder: Path | None = None) -> str:
    """SHA-256 over names and bytes of the package's Python files, as they are on the disk when first asked."""
    root = folder or Path(rekon.__file__).parent
    digest_of_all = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest_of_all.update(
            f"{path.relative_to(root).as_posix()}\0".encode() + hashlib.sha256(path.read_bytes()).digest()
        )
    return digest_of_all.hexdigest()


@cache
def git(folder: Path | None = None) -> dict[str, Any] | None:
    """Commit of the package's repository, whether files differ from it, and a hash of the difference.

    None where the package is not under version control, or git is not installed.
    """
    root = folder or Path(rekon.__file__).parent
    if (
        _git(root, "ls-files", "--error-unmatch", ".") is None
    ):  # an installed copy may lie in somebody else's repository
        return None
    top = _git(root, "rev-parse", "--show-toplevel")
    commit = _git(root, "rev-parse", "HEAD")
    if top is None or commit is None:
        return None
    tree = Path(top.decode().strip())
    changed = _git(tree, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv") or b""
    listing = _git(tree, "ls-files", "--others", "--exclude-standard", "-z") or b""
    untracked = sorted(name for name in listing.decode(errors="surrogateescape").split("\0") if name)
    difference = hashlib.sha256(changed)
    for name in untracked:
        content = tree / name
        difference.update(os.fsencode(name) + b"\0")
        if content.is_file():
            difference.update(sha256(content).encode())
    dirty = bool(changed or untracked)
    return {"commit": commit.decode().strip(), "dirty": dirty, "diff_sha256": difference.hexdigest() if dirty else None}


def _git(folder: Path, *arguments: str) -> bytes | None:
    # no optional locks: jobs run side by side, and `git status` would want to refresh the index
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, timeout=30, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def versions() -> dict[str, str]:
    """Versions of Python, the platform and the packages that numbers can depend on."""
    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def device_name(device: str = "cpu") -> str:
    """The model of a device: `cuda (NVIDIA A100-SXM4-80GB)`, `cpu (AMD EPYC 7R13 Processor)`."""
    if device.startswith("cuda"):
        import torch

        return f"cuda ({torch.cuda.get_device_name(torch.device(device))})"
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"cpu ({model})"


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)  # bytes there, kB on Linux


def peak_gpu_memory_mb() -> float | None:
    """Largest memory of tensors on the GPU so far, MB; None where torch has touched none. Imports nothing."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return round(torch.cuda.max_memory_allocated() / 1e6, 1)


def stamp(seconds: float) -> str:
    """A time (seconds since 1970) in UTC, ISO 8601, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
