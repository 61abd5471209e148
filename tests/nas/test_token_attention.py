"""Attention on unit-length queries and keys: the definition, the blocks, the cache."""

import math

import pytest
import torch

from rekon.nas.attention import Cache, CrossAttention, SelfAttention, attend, block_mask

ENDS = (4, 9, 18)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(kind, *sizes):
    torch.manual_seed(0)
    layer = kind(*sizes)
    with torch.no_grad():
        for bias in (layer.q_bias, layer.v_bias):
            bias.normal_()
        layer.sharpness.copy_(torch.tensor([0.5, 7.0]).view(1, 2, 1, 1))  # the second beyond the cap
    return layer.eval()


def test_mask_is_causal_between_scales_and_full_within():
    mask = block_mask((1, 3, 4))
    assert mask.int().tolist() == [[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1]]


def test_blocks_equal_the_mask():
    q, k, v = random(3, 2, 2, ENDS[-1], 8)
    expected = (q @ k.mT).masked_fill(~block_mask(ENDS), -torch.inf).softmax(-1) @ v
    torch.testing.assert_close(attend(q, k, v, ENDS), expected)


def test_earlier_keys_are_seen_by_all():
    q, k, v = random(3, 2, 2, ENDS[-1], 8)
    torch.testing.assert_close(attend(q[:, :, 9:], k, v, (9,)), attend(q, k, v, ENDS)[:, :, 9:])


def test_self_attention_is_its_formula():
    layer, x = made(SelfAttention, 6, 2), random(1, 4, 6)
    q, k, v = (x @ w.T for w in layer.qkv.weight.chunk(3))
    heads = []
    for head, sharpness in enumerate((0.5, math.log(100))):
        at = slice(3 * head, 3 * head + 3)
        a, b, c = (q + layer.q_bias)[0, :, at], k[0, :, at], (v + layer.v_bias)[0, :, at]
        cosine = (a / a.norm(dim=1, keepdim=True)) @ (b / b.norm(dim=1, keepdim=True)).T
        heads.append((math.exp(sharpness) * cosine).softmax(-1) @ c)
    expected = layer.proj(torch.cat(heads, 1))
    torch.testing.assert_close(layer(x, (4,))[0], expected)


def test_initial_sharpness_is_four():
    layer = SelfAttention(6, 2)
    torch.testing.assert_close(layer.sharpness.exp(), torch.full((1, 2, 1, 1), 4.0))


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_length_of_queries_and_keys_says_nothing(scale):
    layer, x = made(SelfAttention, 6, 2), random(1, 4, 6)
    with torch.no_grad():
        layer.q_bias.zero_()
        before = layer(x, (4,))
        layer.qkv.weight[:12] *= scale
        torch.testing.assert_close(layer(x, (4,)), before)


def test_cache_goes_on_where_it_ended():
    layer, x, cache = made(SelfAttention, 6, 2), random(2, ENDS[-1], 6), Cache()
    whole = layer(x, ENDS)
    parts = [layer(x[:, a:b], (b - a,), cache) for a, b in zip((0, *ENDS), ENDS, strict=False)]
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    assert cache.held[0].shape == (2, 2, ENDS[-1], 3)


def test_cross_attention_sees_all_context_and_no_order_of_it():
    layer, x, context = made(CrossAttention, 6, 2, 5), random(2, 7, 6), random(2, 11, 5, seed=1)
    out = layer(x, layer.keys_values(context))
    assert out.shape == (2, 7, 6)
    torch.testing.assert_close(layer(x, layer.keys_values(context.flip(1))), out)
    for token in range(11):
        changed = context.clone()
        changed[:, token] += 1
        assert not torch.allclose(layer(x, layer.keys_values(changed)), out)
    # every token for itself: what others ask makes no difference
    torch.testing.assert_close(layer(x[:, :3], layer.keys_values(context)), out[:, :3])


def test_parameters_at_the_papers_size():
    with torch.device("meta"):
        sizes = [
            sum(p.numel() for p in layer.parameters())
            for layer in (
                SelfAttention(1024, 16),
                CrossAttention(1024, 16, 640),
                CrossAttention(1024, 16, 320),
            )
        ]
    assert sizes == [3 * 1024**2 + 2 * 1024 + 16 + 1024**2 + 1024, 3_410_960, 2_755_600]


def test_half_precision_follows():
    layer, x, cache = made(SelfAttention, 6, 2), random(2, ENDS[-1], 6), Cache()
    cross = made(CrossAttention, 6, 2, 5)
    with torch.autocast("cpu", torch.bfloat16):
        halved = layer(x, ENDS)
        last = [layer(x[:, a:b], (b - a,), cache) for a, b in zip((0, *ENDS), ENDS, strict=False)][-1]
        across = cross(x, cross.keys_values(random(2, 11, 5)))
    assert halved.dtype == last.dtype == across.dtype == torch.bfloat16
    torch.testing.assert_close(halved.float(), layer(x, ENDS), atol=0.05, rtol=0.05)
    torch.testing.assert_close(last, halved[:, -last.shape[1] :], atol=0.05, rtol=0.05)
