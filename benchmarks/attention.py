"""Which attention kernel is fastest here? Prints kernel x grid, forward and forward + backward.

    python benchmarks/attention.py                 # this machine's GPU if there is one, else one CPU thread
    python benchmarks/attention.py --device cpu --threads 2 --batch 1 --no-flex

The last column says how the kernel's forward + backward (forward, where there is no backward) compares with dense
scaled dot-product attention. The default per device, `rekon.nn.attention.default_kernel`, is read off this table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from rekon.nn.attention import Kernel, attend, default_kernel, plan

# token grid, heads, head width: demo sizes, then UEPS's cascades at 128, 256 and 320 with patch 8
CASES = (
    ((12, 12), 4, 24),
    ((24, 24), 4, 24),
    ((16, 16), 8, 64),
    ((20, 20), 8, 64),
    ((32, 32), 8, 64),
    ((40, 40), 8, 64),
)


def milliseconds(work: Callable[[], object], device: torch.device, repeats: int = 7) -> float:
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


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(
    kernel: Kernel, grid: tuple[int, int], qkv: list[Tensor], rows: int | None, backward: bool
) -> tuple[float, float | None]:
    """Milliseconds of (forward, forward + backward)."""
    device = qkv[0].device
    how = plan(grid, rows, device, kernel, backward)

    def forward() -> Tensor:
        return attend(*qkv, how)

    def both() -> tuple[Tensor, ...]:
        return torch.autograd.grad(forward().sum(), qkv)

    values = [x.detach() for x in qkv]  # FlexAttention on a CPU refuses tensors that want gradients
    once = milliseconds(lambda: attend(*values, how), device)
    return once, milliseconds(both, device) if backward else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=4, help="images, that is slices x coils")
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--flex", action=argparse.BooleanOptionalAction, default=True, help="on a CPU: uncompiled")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {options.threads} thread(s)"
    print(f"PyTorch {torch.__version__}, {name}, {dtype}, batch {options.batch}, rows {options.rows}\n")
    print(f"{'grid':>8} {'heads':>7} {'kernel':>8} {'fwd ms':>9} {'fwd+bwd ms':>11} {'/ dense':>8}")
    kernels: list[Kernel] = ["masked", "gather", "flex"] if options.flex else ["masked", "gather"]
    for grid, heads, width in CASES:
        shape = (options.batch, grid[0] * grid[1], heads, width)
        qkv = [torch.randn(shape, device=device, dtype=dtype).transpose(1, 2).requires_grad_() for _ in range(3)]
        dense = measure("dense", grid, qkv, None, True)
        results = {"dense": dense}
        for kernel in kernels:
            results[kernel] = measure(kernel, grid, qkv, options.rows, kernel != "flex" or device.type != "cpu")
        for kernel_name, (forward, both) in results.items():
            ratio = both / dense[1] if both and dense[1] else forward / dense[0]
            shown = f"{both:11.2f}" if both else f"{'none':>11}"
            size = f"{grid[0]}x{grid[1]}"
            print(f"{size:>8} {f'{heads}x{width}':>7} {kernel_name:>8} {forward:9.2f} {shown} {ratio:8.2f}", flush=True)
        trained = {name: both for name, (_, both) in results.items() if both and name != "dense"}
        best, used = min(trained, key=trained.__getitem__), default_kernel(device.type, grid)
        verdict = "is the default" if best == used else f"but the default is {used} ({trained[used]:.2f} ms)"
        print(f"{'':8} {'':7} fastest: {best} ({verdict})\n", flush=True)


if __name__ == "__main__":
    main()
