"""Encoder and decoder: VAR's architecture and names, labels through FiLM, features by resolution."""

import pytest
import torch
from torch import nn

from rekon.nas.blocks import norm
from rekon.nas.decoder import Decoder
from rekon.nas.encoder import Encoder

LABELS = {"levels": 6, "patterns": 5, "condition": 8}
SMALL = {"channels": 8, "multipliers": (1, 2, 2), "blocks": 2, "latent": 4}
PAPER = {"channels": 160, "multipliers": (1, 1, 2, 2, 4), "blocks": 2, "latent": 32}


def count(parameters):
    return sum(p.numel() for p in parameters)


@pytest.fixture(scope="module")
def paper():
    with torch.device("meta"):
        return Encoder(**PAPER, **LABELS | {"condition": 512}), Decoder(**PAPER)


def small(**changes):
    torch.manual_seed(0)
    return Encoder(**SMALL | changes, **LABELS)


def example(batch=2, side=16):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, side, side, generator=generator)


def test_paper_size(paper):
    encoder, decoder = paper
    added = {name: p for name, p in encoder.named_parameters() if ".film." in name or name.startswith("labels.")}
    film = [p for name, p in added.items() if ".film." in name]
    assert count(encoder.parameters()) - count(added.values()) == 44_107_872
    assert count(film) == 4_596_480
    assert len(film) == 2 * 12, "ten blocks on the way down and two in the middle"
    assert count(decoder.parameters()) == 64_653_923


def test_names_and_shapes_are_those_of_var(paper):
    encoder, decoder = paper
    shapes = {f"encoder.{k}": tuple(v.shape) for k, v in encoder.state_dict().items()}
    shapes |= {f"decoder.{k}": tuple(v.shape) for k, v in decoder.state_dict().items()}
    expected = {
        "encoder.conv_in.weight": (160, 3, 3, 3),
        "encoder.down.0.block.1.norm2.weight": (160,),
        "encoder.down.2.block.0.nin_shortcut.weight": (320, 160, 1, 1),
        "encoder.down.4.block.0.nin_shortcut.bias": (640,),
        "encoder.down.3.downsample.conv.weight": (320, 320, 3, 3),
        "encoder.down.4.attn.1.qkv.weight": (1920, 640, 1, 1),
        "encoder.mid.attn_1.proj_out.weight": (640, 640, 1, 1),
        "encoder.norm_out.weight": (640,),
        "encoder.conv_out.weight": (32, 640, 3, 3),
        "decoder.conv_in.weight": (640, 32, 3, 3),
        "decoder.mid.block_2.conv2.bias": (640,),
        "decoder.up.3.block.0.nin_shortcut.weight": (320, 640, 1, 1),
        "decoder.up.1.block.0.nin_shortcut.weight": (160, 320, 1, 1),
        "decoder.up.4.attn.2.norm.bias": (640,),
        "decoder.up.1.upsample.conv.weight": (160, 160, 3, 3),
        "decoder.norm_out.bias": (160,),
        "decoder.conv_out.weight": (3, 160, 3, 3),
    }
    assert {key: shapes.get(key) for key in expected} == expected
    for absent in ("down.4.downsample", "down.3.attn", "up.0.upsample", "up.3.attn", "down.1.block.0.nin_shortcut"):
        assert not any(absent in key for key in shapes), absent
    # 324 of VAR's, less 8 of phi, 2 of the quantiser, 4 of its convolutions before and after
    assert sum(".film." not in key and ".labels." not in key for key in shapes) == 324 - 14


def test_labels_do_nothing_before_training_and_something_after():
    encoder, x = small(), example()
    level, pattern = torch.tensor([0, 5]), torch.tensor([3, 4])
    other = encoder(x, level.flip(0), pattern.flip(0))
    assert torch.equal(encoder(x, level, pattern), other)
    for module in encoder.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.1)
    assert not torch.equal(encoder(x, level, pattern), other)
    assert not torch.equal(encoder(x, level, pattern), encoder(x, level, pattern.flip(0)))


def test_film_scales_and_shifts_the_second_norm():
    block = small().down[0].block[0]
    label, x = torch.randn(2, 8), torch.randn(2, 8, 6, 6)
    nn.init.normal_(block.film.weight)
    h = block.norm2(block.conv1(torch.nn.functional.silu(block.norm1(x))))
    scale, shift = (torch.nn.functional.silu(label) @ block.film.weight.T).chunk(2, dim=1)
    h = h * (1 + scale[..., None, None]) + shift[..., None, None]
    torch.testing.assert_close(block(x, label), x + block.conv2(torch.nn.functional.silu(h)))


def test_features_by_resolution():
    encoder, x, label = small(), example(), torch.tensor([0, 1])
    features = encoder.features(x, label, label)
    assert {key: tuple(value.shape) for key, value in features.items()} == {
        0: (2, 8, 16, 16), 1: (2, 16, 8, 8), 2: (2, 16, 4, 4), "mid": (2, 16, 4, 4),
    }  # fmt: skip
    torch.testing.assert_close(features["mid"], encoder.mid(features[2], encoder.labels(label, label)))


@pytest.mark.parametrize("multipliers", [(1, 2), (1, 1, 2), (1, 1, 2, 2, 4)])
def test_any_number_of_resolutions(multipliers):
    factor = 2 ** (len(multipliers) - 1)
    label = torch.zeros(1, dtype=torch.int64)
    z = small(multipliers=multipliers)(example(1, 32), label, label)
    assert z.shape == (1, 4, 32 // factor, 32 // factor)
    assert Decoder(**SMALL | {"multipliers": multipliers})(z).shape == (1, 3, 32, 32)


def test_images_of_a_batch_do_not_mix():
    encoder, x = small(), example(3)
    level, pattern = torch.tensor([0, 1, 2]), torch.tensor([2, 1, 0])
    alone = [encoder(x[i : i + 1], level[i : i + 1], pattern[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(encoder(x, level, pattern), torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_groups():
    assert [norm(c).num_groups for c in (160, 320, 640, 128, 48, 32, 16, 6, 3)] == [32, 32, 32, 32, 12, 8, 4, 1, 1]
