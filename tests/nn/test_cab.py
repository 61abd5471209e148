"""Channel attention blocks."""

import pytest
import torch
from torch import nn

from rekon.nn.cab import CAB, ChannelAttention, cabs


@pytest.mark.parametrize(("channels", "reduction"), [(16, 1), (28, 1), (88, 4), (6, 4)])
def test_parameters(channels, reduction):
    hidden, squeezed = -(-channels // reduction), -(-channels // 4)
    counted = sum(parameter.numel() for parameter in CAB(channels, reduction).parameters())
    assert counted == 18 * channels * hidden + 2 * channels * squeezed + 1


def test_attention_scales_whole_channels_between_zero_and_one():
    torch.manual_seed(0)
    x = torch.randn(2, 8, 5, 7)
    factor = ChannelAttention(8)(x) / x
    assert ((factor > 0) & (factor < 1)).all()
    torch.testing.assert_close(factor, factor[..., :1, :1].expand_as(factor))
    silent = ChannelAttention(8)
    nn.init.zeros_(silent.excite.weight)
    torch.testing.assert_close(silent(x), x / 2)


def test_block_is_the_mean_of_its_input_and_its_branch():
    torch.manual_seed(0)
    block, x = CAB(4), torch.randn(1, 4, 6, 6)
    branch = block.attention(block.second(block.activation(block.first(x))))
    torch.testing.assert_close(block(x), (x + branch) / 2)
    nn.init.zeros_(block.second.weight)
    torch.testing.assert_close(block(x), x / 2)


@torch.no_grad()
def test_a_row_of_blocks_does_not_grow():
    torch.manual_seed(0)
    x = torch.randn(1, 16, 32, 32)
    spread = [float(cabs(16, count)(x).std()) for count in (0, 3, 6)]
    assert spread == sorted(spread, reverse=True) and spread[-1] > 0.005
    assert torch.equal(cabs(16, 0)(x), x)


def test_blocks_have_no_bias_so_nothing_comes_of_nothing():
    assert not cabs(8, 3)(torch.zeros(1, 8, 4, 4)).any()
