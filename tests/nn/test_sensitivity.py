"""Coil maps from the autocalibration samples."""

import pytest
import torch
from torch import nn

from rekon.config import MaskSettings
from rekon.nn.sensitivity import SensitivityNetwork, acs_mask, broadcast_mask
from rekon.nn.unet import NormUnet
from rekon.physics.coils import rss
from rekon.physics.fft import fft2c, ifft2c
from rekon.physics.masks import make_mask

SIZE = (32, 32)
MASK = broadcast_mask(torch.from_numpy(make_mask(MaskSettings(center_fraction=0.2), 32).columns)[None])


class Silent(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)


def kspace(coils=3):
    return torch.randn(2, coils, *SIZE, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("start", ["network", "ones", "acs"])
def test_maps_have_rss_one_and_coils_without_data_none(start):
    torch.manual_seed(0)
    network = SensitivityNetwork(NormUnet(2, 2), start)
    measured = torch.cat([kspace(), torch.zeros(2, 1, *SIZE)], dim=1) * MASK
    maps = network(measured, MASK)
    torch.testing.assert_close(rss(maps), torch.ones(2, *SIZE))
    assert not maps[:, 3].any()


def test_what_a_silent_network_starts_from():
    measured = kspace(4) * MASK
    assert torch.allclose(SensitivityNetwork(Silent(), "ones")(measured, MASK), torch.tensor(0.5 + 0j))
    images = ifft2c(measured * acs_mask(MASK))
    classical = SensitivityNetwork(Silent(), "acs")(measured, MASK)
    torch.testing.assert_close(classical, images / rss(images)[:, None])
    assert not SensitivityNetwork(Silent(), "network")(measured, MASK).any()


def test_smooth_maps_are_found_without_training():
    down, across = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in SIZE], indexing="ij")
    true = torch.stack([torch.exp(-((down - a) ** 2) - (across - b) ** 2) for a, b in ((1, 0), (-1, 0), (0, 1))])
    true = (true / rss(true))[None].to(torch.complex64)
    found = SensitivityNetwork(Silent(), "acs")(fft2c(true) * MASK, MASK)
    assert float((found.conj() * true).sum(1).abs().mean()) > 0.97


def test_only_the_autocalibration_samples_are_looked_at():
    torch.manual_seed(0)
    network, measured = SensitivityNetwork(NormUnet(2, 2)), kspace() * MASK
    outer = MASK & ~acs_mask(MASK)
    assert outer.any()
    assert torch.equal(network(measured + 5 * outer, MASK), network(measured, MASK))


def test_autocalibration_is_the_run_around_the_centre():
    mask = broadcast_mask(torch.from_numpy(make_mask(MaskSettings(), 320).columns)[None])
    assert acs_mask(mask)[0, 0, 0].nonzero().flatten().tolist() == list(range(147, 173))
    spokes = torch.eye(9, dtype=torch.bool) | torch.eye(9, dtype=torch.bool).flip(1)
    spokes[3:6, 3:6] = True
    assert acs_mask(spokes[None, None])[0, 0].nonzero().min() == 3
