"""What do more experts cost? Parameters, work and time of MoRE against the number of experts N, at fixed K.

    python benchmarks/experts.py                    # two cascades on this machine's GPU, else one CPU thread
    python benchmarks/experts.py --size 320 --coils 15 --cascades 12 --top-k 1 2

One sample, as in the paper. `sample` is its reconstruction, `step` a training step without its optimiser: the way
forward and the way back. FLOPs are counted, not timed, for the sample's own experts; times are the fastest of several
runs, with untrained weights. Sparse for real means that from N = K on neither FLOPs nor times grow with N, while
parameters do.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from rekon.config.more import ExpertsModel, RouterSettings, SensitivitySettings
from rekon.more.network import UnrolledExperts, build, size

EXPERTS = (1, 2, 4, 7, 16)


def milliseconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Fastest of several runs after a warm-up (the minimum is what the machine can do when nothing else runs)."""
    work()
    best = float("inf")
    for _ in range(repeats):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return 1e3 * best


def counted(work: Callable[[], object]) -> float:
    """Multiplications and additions of convolutions and matrix products, in 1e9."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def made(options: argparse.Namespace, experts: int, top_k: int) -> UnrolledExperts:
    torch.manual_seed(0)
    model = ExpertsModel(
        modalities={"any": ("any",)}, cascades=options.cascades, experts=experts,
        router=RouterSettings(top_k=top_k) if experts > 1 else None,
        sensitivity=SensitivitySettings(channels=8, pools=4 if options.size >= 64 else 2),
    )  # fmt: skip
    return build(model, (options.size, options.size)).to(options.device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--coils", type=int, default=4)
    parser.add_argument("--cascades", type=int, default=2)
    parser.add_argument("--experts", type=int, nargs="+", default=list(EXPERTS))
    parser.add_argument("--top-k", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {options.threads} thread(s)"
    print(f"PyTorch {torch.__version__}, {name}, {options.cascades} cascades, {options.size} x {options.size}")
    print(
        f"{'K':>3} {'N':>4} {'parameters':>12} {'active':>12} {'sample GFLOP':>12} {'step GFLOP':>11} "
        f"{'sample ms':>10} {'step ms':>9}"
    )
    generator = torch.Generator().manual_seed(0)
    kspace = torch.randn(1, options.coils, options.size, options.size, dtype=torch.complex64, generator=generator)
    kspace, mask = kspace.to(device), torch.rand(1, options.size, generator=generator).to(device) < 0.3
    for top_k in options.top_k:
        for experts in sorted({count for count in options.experts if count == 1 or count >= top_k}):
            network = made(options, experts, top_k)

            def sample(network: UnrolledExperts = network) -> None:
                with torch.inference_mode():
                    network(kspace, mask)

            def step(network: UnrolledExperts = network) -> None:
                network.zero_grad(set_to_none=True)
                network(kspace, mask).image.square().mean().backward()

            total, active = size(network)
            times = [milliseconds(work, device, options.repeats) for work in (sample, step)]
            flops = [counted(work) for work in (sample, step)]
            print(
                f"{top_k:>3} {experts:>4} {total:>12,} {active:>12,} {flops[0]:>12.3f} {flops[1]:>11.3f} "
                f"{times[0]:>10.1f} {times[1]:>9.1f}",
                flush=True,
            )
        print()


if __name__ == "__main__":
    main()
