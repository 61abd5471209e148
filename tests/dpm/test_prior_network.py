"""The U-Net: sizes, counts, labels."""

import pytest
import torch
from priors import model
from torch.nn.functional import interpolate

from rekon.config.dpm import DiffusionModel
from rekon.dpm.network import Block, UNet, positions, resize
from rekon.dpm.prior import one_hot
from rekon.errors import UserError


def count(**changes):
    with torch.device("meta"):
        network = UNet(DiffusionModel(**({"contrasts": {"T1": ("AXT1",)}} | changes)))
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("changes", "parameters"),
    [
        ({}, 64_670_722),
        ({"blocks": 4}, 101_750_786),
        ({"attention": (4,)}, 65_461_762),  # 192 x 192, where level 4 is 12 x 12
        ({"contrasts": {name: (name,) for name in "abcde"}}, 64_670_722 + 4 * 128),
    ],
)
def test_authors_size(changes, parameters):
    assert count(**changes) == parameters


@pytest.mark.parametrize("size", [(32, 32), (36, 52), (17, 30), (5, 64)])
def test_any_matrix(size):
    network = lively(multipliers=(1, 2, 2, 2), attention=(1,))
    x = torch.randn(2, 2, *size)
    output = network(x, torch.zeros(2), torch.zeros(2, 3))
    assert output.shape == x.shape
    alone = network(x[:1], torch.zeros(1), torch.zeros(1, 3))
    torch.testing.assert_close(alone, output[:1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("old", "new"), [((8, 8), (4, 4)), ((9, 13), (4, 6)), ((4, 6), (9, 13)), ((5, 5), (10, 5))])
def test_resize_is_bilinear(old, new):
    x = torch.randn(2, 3, *old)
    torch.testing.assert_close(resize(x, new), interpolate(x, new, mode="bilinear", align_corners=False))
    assert resize(x, None) is x


def test_at_the_start_a_block_is_its_skip_path():
    block = Block(8, 8, 16, True, 0.0, False)
    x = torch.randn(1, 8, 6, 6)
    torch.testing.assert_close(block(x, torch.randn(1, 16)), x / 2, atol=1e-3, rtol=1e-3)


def test_positions_are_sines_then_cosines():
    noise = torch.tensor([0.0, 0.7])
    code = positions(noise, 8)
    torch.testing.assert_close(code[0], torch.tensor([0.0] * 4 + [1.0] * 4))
    torch.testing.assert_close(code[1, 0], torch.sin(noise[1]))
    torch.testing.assert_close(code[1, 7], torch.cos(noise[1] / 10000))


def test_noise_contrast_and_augmentation_all_matter():
    network = lively()
    x, zero = torch.randn(1, 2, 16, 16), torch.zeros(1, 3)
    plain = network(x, torch.zeros(1), zero)
    assert not torch.allclose(plain, network(x, torch.ones(1), zero))
    assert not torch.allclose(plain, network(x, torch.zeros(1), torch.eye(3)[:1]))
    assert not torch.allclose(plain, network(x, torch.zeros(1), zero, torch.ones(1, 7)))
    torch.testing.assert_close(plain, network(x, torch.zeros(1), zero, torch.zeros(1, 7)))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_labels_are_withheld_in_training_only(share):
    embedding = lively(label_dropout=share).embedding
    noise, label = torch.zeros(2000), torch.eye(3)[:1].expand(2000, -1)
    torch.manual_seed(0)
    kept, without = embedding(noise[:1], label[:1], None), embedding(noise[:1], 0 * label[:1], None)
    torch.testing.assert_close(embedding(noise, label, None), kept.expand(2000, -1))
    embedding.train()
    made = embedding(noise, label, None)
    is_without = torch.isclose(made, without, atol=1e-5).all(1)
    is_kept = torch.isclose(made, kept, atol=1e-5).all(1)
    assert bool((is_without ^ is_kept).all())
    assert float(is_without.float().mean()) == pytest.approx(share, abs=0.04)


def test_a_label_is_a_group_of_contrasts():
    settings = model()
    assert settings.labels == ("FLAIR", "T1", "T2"), "sorted: a recipe's keys are"
    assert one_hot(settings, "AXT1").tolist() == one_hot(settings, "AXT1PRE").tolist() == [0, 1, 0]
    assert one_hot(settings, "CORPD").tolist() == [0, 0, 0]


def test_config_mistakes():
    from rekon.config.base import check

    for section, message in (
        ({"contrasts": {"a": ["AXT1"], "b": ["AXT1"]}}, "'AXT1' has two labels"),
        ({"contrasts": {"a": ["AXT1"]}, "channels": 10}, "'channels' must be a multiple of 4"),
        ({"contrasts": {"a": ["AXT1"]}, "attention": [7]}, "levels from 0 to 6"),
        ({"contrasts": {"a": ["AXT1"]}, "sampler": {"sigma_min": 9.0}}, "smaller than 'sigma_max'"),
    ):
        with pytest.raises(UserError, match=message):
            check(DiffusionModel, section, "test")


def test_settings_survive_json():
    settings = model(sampler={"zeta": {4: 0.5, 6: 2.0}})
    assert DiffusionModel.model_validate_json(settings.model_dump_json()) == settings
    assert [settings.sampler.weight(r) for r in (2, 4, 5, 6, 8, None)] == [0.5, 0.5, 0.5, 2.0, 2.0, 0.5]


def lively(**changes):
    """A network whose residual branches are not silent, in evaluation."""
    torch.manual_seed(0)
    network = UNet(model(**changes)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network
