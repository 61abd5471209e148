"""What do the caches save? Seconds per image of decoding with kept keys and values, and with everything recomputed.

    python benchmarks/decoding.py            # the paper's size, on a GPU if there is one (CPU: minutes, 4 GB)
    python benchmarks/decoding.py --small    # the demo's size, in seconds

Decoding is the way from the measured image's tokens to those of all levels, argmax, one image at a time: context
features, then five levels. Recomputing runs the whole network, from the image on, for every level: what one would do
without caches. Both give the same tokens, which is checked. Weights are random, which makes no difference to the time.
Requirement: with caches at most a third of the time. The ways take turns, so that a busy machine slows all of them;
printed are medians, and besides what comes before and after (tokenizer, decoder).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from rekon.config.nas import ContextSettings, DecodingSettings, TokenizerModel, TransformerModel
from rekon.nas.generate import rollout, rollout_by_recomputing
from rekon.nas.tokenizer import Tokenizer
from rekon.nas.transformer import ScaleTransformer

SMALL = (
    TokenizerModel(channels=16, multipliers=(1, 2, 2), latent=16, vocabulary=256, condition=64),
    TransformerModel(depth=4, width=96, heads=4, context=ContextSettings(features=("mid", 1))),
)
TARGET = 1 / 3


def timed(work: Callable[[], list[torch.Tensor]], device: torch.device) -> tuple[float, torch.Tensor]:
    """Time of a call, and all ids it gave."""
    _wait(device)
    start = time.perf_counter()
    found = work()
    _wait(device)
    return time.perf_counter() - start, torch.cat(found, dim=1)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="the demo's size")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device(options.device)
    sizes, model = SMALL if options.small else (TokenizerModel(), TransformerModel())
    side = sizes.factor * sizes.grids[-1]
    tokenizer = Tokenizer(sizes, (side, side)).to(device).eval()
    transformer = ScaleTransformer(model, tokenizer).to(device).eval()
    count = sum(p.numel() for p in transformer.parameters()) / 1e6
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {options.threads} thread(s)"
    print(f"PyTorch {torch.__version__}, {name}, float32; {side} x {side}, {count:.1f} M parameters with the encoder")

    look = transformer.context
    assert look is not None, "both sizes have cross-attention"
    image = torch.randn(1, side, side, dtype=torch.complex64, device=device)
    pattern = torch.zeros(1, dtype=torch.long, device=device)
    first = tokenizer.tokenise_level(image, 0, pattern)

    def context() -> list[torch.Tensor]:
        return look({"measured": image}, pattern)

    def cached() -> list[torch.Tensor]:
        return rollout(transformer, tokenizer, first, pattern, context(), DecodingSettings())

    def recomputed() -> list[torch.Tensor]:
        return rollout_by_recomputing(transformer, tokenizer, first, pattern, context, DecodingSettings())

    def around() -> list[torch.Tensor]:
        tokenizer.decode(tokenizer.fuse([tokenizer.contribution(first, 0)]))
        return [tokenizer.tokenise_level(image, 0, pattern)]

    ways = {"with caches": cached, "recomputed": recomputed, "around it": around}
    ids = {label: timed(work, device)[1] for label, work in ways.items()}  # the first round warms up
    rounds = [{label: timed(work, device)[0] for label, work in ways.items()} for _ in range(options.repeats)]
    median = {label: statistics.median(one[label] for one in rounds) for label in ways}
    for label, value in median.items():
        note = " (tokenizer and decoder)" if label == "around it" else ""
        print(f"  {label:<12} {value:8.3f} s per image{note}")
    ratio = median["with caches"] / median["recomputed"]
    same = float((ids["with caches"] == ids["recomputed"]).float().mean())
    verdict = "met" if ratio <= TARGET else "MISSED"
    print(f"  ratio        {ratio:8.3f}   (requirement: at most {TARGET:.3f}: {verdict}); {same:.2%} equal tokens")


if __name__ == "__main__":
    main()
