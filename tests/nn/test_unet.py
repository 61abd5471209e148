"""fastMRI's U-Net and its normalising wrapper."""

import pytest
import torch

from rekon.nn.channels import as_channels, as_complex
from rekon.nn.unet import NormUnet, Unet


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("channels", "expected"),
    [(16, 1.94e6), (18, 2.454e6), (30, 6.817e6), (32, 7.756e6), (60, 27.27e6), (64, 31.02e6)],
)
def test_parameter_counts(channels, expected):
    with torch.device("meta"):
        assert count(Unet(channels, 4)) == pytest.approx(expected, rel=5e-4)
        assert count(NormUnet(channels, 4)) == count(Unet(channels, 4))
        assert count(Unet(64, 4)) == 31_024_386  # x 4 + 4 etas = UE-UNet's 124,097,548


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (16, 30)])
def test_any_size_is_kept(size):
    assert Unet(4, 3)(torch.randn(2, 2, *size)).shape == (2, 2, *size)
    assert NormUnet(4, 3)(torch.randn(2, 2, *size)).shape == (2, 2, *size)


def test_paper_size_on_the_meta_device():
    with torch.device("meta"):
        assert Unet(64, 4)(torch.empty(15, 2, 320, 320)).shape == (15, 2, 320, 320)


def test_norm_unet_follows_scale_and_offset():
    torch.manual_seed(0)
    net = NormUnet(4, 2)
    x = torch.randn(2, 2, 24, 20)
    scale, offset = torch.tensor([3.0, 0.5]).reshape(1, 2, 1, 1), torch.tensor([-1.0, 4.0]).reshape(1, 2, 1, 1)
    torch.testing.assert_close(net(x * scale + offset), net(x) * scale + offset, atol=1e-4, rtol=1e-4)


def test_norm_unet_of_nothing_is_nothing():
    net = NormUnet(4, 2)
    x = torch.zeros(1, 2, 16, 16, requires_grad=True)
    y = net(x)
    y.sum().backward()
    assert y.abs().max() < 1e-30 and x.grad.isfinite().all()


def test_samples_do_not_see_each_other():
    torch.manual_seed(0)
    net, x = NormUnet(4, 2), torch.randn(3, 2, 16, 16)
    torch.testing.assert_close(net(x)[1:2], net(x[1:2]))


def test_complex_to_channels_and_back():
    x = torch.randn(3, 5, 4, dtype=torch.complex64)
    channels = as_channels(x)
    assert torch.equal(channels[:, 0], x.real) and torch.equal(channels[:, 1], x.imag)
    assert torch.equal(as_complex(channels), x)
    assert as_complex(channels.bfloat16()).dtype == torch.complex64
