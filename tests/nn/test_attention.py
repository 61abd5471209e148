"""One definition, interchangeable kernels."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from rekon.nn.attention import KERNELS, attend, attention_scores, default_kernel, plan, row_attention, row_mask

CPU = torch.device("cpu")
WITH_BACKWARD = ("masked", "gather")  # FlexAttention has no backward on a CPU


def tokens(grid, batch=2, heads=2, width=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, heads, grid[0] * grid[1], width, generator=generator) for _ in range(3)]


def by_hand(q, k, v, grid, rows):
    """Query by query, from the sentence: its own row and `rows` rows on each side, no wrap-around."""
    h, w = grid
    out = torch.empty_like(v)
    for row in range(h):
        seen = slice(max(row - rows, 0) * w, min(row + rows + 1, h) * w)
        for token in range(row * w, (row + 1) * w):
            scores = (q[:, :, token, None] * k[:, :, seen]).sum(-1) / q.shape[-1] ** 0.5
            out[:, :, token] = (scores.softmax(-1)[..., None] * v[:, :, seen]).sum(-2)
    return out


def test_mask_of_a_small_grid():
    mask = row_mask((4, 2), 1)
    sees = [sorted({j // 2 for j in range(8) if mask[i, j]}) for i in range(8)]
    assert sees == [[0, 1]] * 2 + [[0, 1, 2]] * 2 + [[1, 2, 3]] * 2 + [[2, 3]] * 2  # edge rows see two rows
    assert mask.sum(1).tolist() == [4, 4, 6, 6, 6, 6, 4, 4]  # every column of a row that is seen
    assert torch.equal(mask, mask.T)
    assert row_mask((4, 2), None).all()
    assert torch.equal(row_mask((3, 2), 0), torch.block_diag(*[torch.ones(2, 2)] * 3).bool())


def test_tokens_per_query_at_paper_size():
    for side, attended in ((16, 48), (32, 96), (40, 120)):
        assert row_mask((side, side), 1).sum(1).max() == attended


@settings(max_examples=30, deadline=None)
@given(h=st.integers(1, 7), w=st.integers(1, 6), rows=st.integers(0, 4), seed=st.integers(0, 99))
def test_kernels_agree_forward_and_backward(h, w, rows, seed):
    grid = (h, w)
    expected, gradients = None, None
    for kernel in WITH_BACKWARD:
        qkv = [x.requires_grad_() for x in tokens(grid, seed=seed)]
        out = row_attention(*qkv, grid, rows, kernel)
        weights = torch.linspace(-1, 1, out.numel()).reshape(out.shape)
        found = torch.autograd.grad((out * weights).sum(), qkv)
        if expected is None:
            expected, gradients = by_hand(*(x.detach() for x in qkv), grid, rows), found
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)
        for ours, theirs in zip(found, gradients, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("grid", [(5, 3), (2, 9), (12, 12), (16, 16)])
def test_flex_agrees_forward(grid):
    q, k, v = tokens(grid, width=16)
    torch.testing.assert_close(
        row_attention(q, k, v, grid, 1, "flex"), row_attention(q, k, v, grid, 1, "masked"), atol=1e-5, rtol=0
    )


def test_flex_on_a_cpu_refuses_gradients():
    q, k, v = (x.requires_grad_() for x in tokens((4, 4)))
    with pytest.raises(ValueError, match="flex"):
        row_attention(q, k, v, (4, 4), 1, "flex")


@pytest.mark.parametrize("kernel", WITH_BACKWARD)
@pytest.mark.parametrize("grid", [(4, 3), (2, 2), (5, 1)])
def test_gradients_are_the_derivatives(kernel, grid):
    qkv = [x.double().requires_grad_() for x in tokens(grid, batch=1, heads=2, width=4)]
    assert torch.autograd.gradcheck(lambda *x: row_attention(*x, grid, 1, kernel), qkv)


@pytest.mark.parametrize("kernel", KERNELS)
def test_all_rows_is_dense(kernel):
    q, k, v = tokens((5, 4))
    dense = F.scaled_dot_product_attention(q, k, v)
    for rows in (None, 4, 9):
        assert torch.equal(row_attention(q, k, v, (5, 4), rows, kernel), dense)


@pytest.mark.parametrize("kernel", WITH_BACKWARD)
def test_far_rows_have_no_influence(kernel):
    grid = (6, 4)
    q, k, v = tokens(grid)
    before = row_attention(q, k, v, grid, 1, kernel)
    k[:, :, 3 * 4 :], v[:, :, 3 * 4 :] = 1e4, 1e4  # rows 3, 4, 5
    after = row_attention(q, k, v, grid, 1, kernel)
    assert torch.equal(before[:, :, : 2 * 4], after[:, :, : 2 * 4])  # rows 0 and 1 see at most row 2
    assert (before[:, :, 2 * 4 :] != after[:, :, 2 * 4 :]).all()


def test_scores_for_pictures_are_the_weights_that_are_used():
    grid, query = (5, 3), 7
    q, k, v = tokens(grid)
    for rows in (None, 1):
        how = plan(grid, rows, CPU)
        scores = attention_scores(q, k, query, how)
        assert scores.shape == (2, 2, *grid)
        torch.testing.assert_close(scores.sum((-2, -1)), torch.ones(2, 2))
        torch.testing.assert_close(
            torch.einsum("bhn,bhnd->bhd", scores.flatten(2), v), attend(q, k, v, how)[:, :, query]
        )


def test_default_is_a_kernel_with_a_backward_everywhere():
    for device in ("cpu", "cuda", "mps"):
        for side in (8, 12, 16, 20, 40):
            assert default_kernel(device, (side, side)) in WITH_BACKWARD
