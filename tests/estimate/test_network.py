"""Costs of networks: against counts by hand, and the sizes that are published."""

from __future__ import annotations

from pathlib import Path

import cohort
import pytest
import torch
import yaml
from torch import nn

from rekon.config import DataSettings, Recipe, TrainingSettings
from rekon.estimate.cost import Linear, key, read_costs
from rekon.estimate.network import _Fused, _Kept, _place, measure
from rekon.plan import plan

ROOT = Path(__file__).resolve().parents[2]


def unet(**model) -> Recipe:
    settings = TrainingSettings(steps=4, batch=2, learning_rate=1e-3, validations=1)
    return Recipe(
        scale="tiny", study="nas", run="unet", title="unet", kind="image_unet", seed=42, model=model,
        sampling=cohort.sampling(), training=settings,
        data=DataSettings(train="sim-tiny", validation="sim-tiny", size=cohort.SIZE),
    )  # fmt: skip


def test_a_small_convolutional_network_counted_by_hand():
    """fastMRI's U-Net with 4 channels and one pooling at 32 x 32, 2 x (side^2 x in x out) operations per pixel."""
    convolutions = [  # pixels, kernel, in, out
        (32 * 32, 9, 2, 4), (32 * 32, 9, 4, 4), (16 * 16, 9, 4, 8), (16 * 16, 9, 8, 8),
        (16 * 16, 4, 8, 4),  # transposed, 2 x 2: every pixel of its input makes four
        (32 * 32, 9, 8, 4), (32 * 32, 9, 4, 4), (32 * 32, 1, 4, 2),
    ]  # fmt: skip
    by_hand = sum(2 * pixels * kernel * inside * outside for pixels, kernel, inside, outside in convolutions)
    cost = measure(unet(channels=4, pools=1), {})
    assert cost.forward == Linear(by_hand)
    # training: forwards, and back to weights and inputs; the image itself wants no gradient
    first = 2 * 32 * 32 * 9 * 2 * 4
    assert cost.train == Linear(3 * by_hand - first)
    assert 2.8 < cost.train.fixed / cost.forward.fixed <= 3.0
    assert cost.parameters == sum(kernel * i * o for _, kernel, i, o in convolutions) + 2  # the last one has a bias


def test_activations_counted_by_hand():
    """Autograd keeps the input of each layer of a perceptron, the first one's too, and ReLU its output."""
    network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    kept = _Kept({_place(p) for p in network.parameters()})
    with kept.watched():
        network(torch.zeros(3, 8)).sum().backward()
    assert kept.most == 4 * (3 * 8 + 3 * 16)  # ReLU's output and the second layer's input are one block
    assert kept.now == 0


def test_fused_attention_keeps_no_scores():
    q, k, v = (torch.zeros(1, 2, 64, 8, requires_grad=True) for _ in range(3))
    kept = _Kept(set())
    with kept.watched(), _Fused():
        torch.nn.functional.scaled_dot_product_attention(q, k, v).sum().backward()
    assert kept.most == 4 * 4 * q.numel()  # queries, keys, values and the output; scores would be 64 x 64 x 2
    assert q.grad is not None and q.grad.shape == q.shape


# --- the papers' sizes ----------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def full():
    return plan(yaml.safe_load((ROOT / "config/full.yaml").read_text()), ROOT)


def test_the_record_holds_the_papers_sizes(full):
    costs = read_costs()

    def of(study: str, run: str):
        return costs[key(full.recipes[study, run], full.recipes)]

    assert of("nas", "e2e-varnet").parameters == 29_936_966
    assert of("dpm", "pretrained").parameters == 64_671_234
    film_and_labels, encoder, unused = 4_596_480 + 11 * 512, 44_107_872, 2 * 640 + (640 * 32 * 9 + 32)
    # the tokenizer's weights: VAR's numbers, what is new, and the codebook's moving averages
    assert of("nas", "aqvae").published == 108_948_355 + film_and_labels + 4096 * 32 + 4096 + 1
    assert of("nas", "base").parameters == 358_907_392 + encoder + film_and_labels - unused
    assert of("nas", "base").published == of("nas", "base").parameters
    assert of("nas", "no-cross-attention").parameters == 358_907_392 - 49_332_480
    assert of("nas", "frozen-encoder").parameters == 358_907_392
    assert of("nas", "distilled").held > of("nas", "teacher").parameters + 108_948_355
    assert of("dpm", "pretrained").held == of("dpm", "pretrained").parameters  # their average


def test_the_record_is_of_todays_code(full):
    recipe = full.recipes["nas", "unet"]
    assert read_costs()[key(recipe, full.recipes)] == measure(recipe, full.recipes)
