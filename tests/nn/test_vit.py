"""The vision transformer and its rotary positions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rekon.nn.attention import plan
from rekon.nn.rope import rotate, rotation
from rekon.nn.vit import Block, ViT


def tiny(**changes):
    torch.manual_seed(0)
    settings = {"patch": 4, "width": 16, "layers": 4, "heads": 2, "hidden": 24} | changes
    vit = ViT(**settings)
    for parameter in vit.parameters():  # wake what starts at zero
        torch.nn.init.normal_(parameter, std=0.2)
    return vit


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts_of_the_paper():
    with torch.device("meta"):
        assert count(ViT(8, 512, 10, 8, 1280, rows=1)) == 30_349_952
        assert count(Block(512, 8, 1280)) == 3_021_824
        assert 4 * count(ViT(8, 256, 10, 8, 640)) + 4 == 30_553_604


def test_untrained_network_returns_zero():
    vit = ViT(4, 16, 3, 2, 24)
    assert (vit(torch.randn(2, 2, 8, 12)) == 0).all()
    loss = (vit(torch.randn(2, 2, 8, 12)) - 1).square().mean()
    loss.backward()
    assert vit.head.weight.grad.abs().max() > 0  # and can leave zero


def test_init_follows_the_authors():
    torch.manual_seed(0)
    block = Block(512, 8, 1280)
    for layer in (block.attention.query, block.attention.key, block.attention.value):
        assert layer.weight.std().item() == pytest.approx(512**-0.5, rel=0.02)
    assert block.feedforward.gate.weight.std().item() == pytest.approx(1024**-0.5, rel=0.02)
    for layer in (block.attention.out, block.feedforward.out):
        assert not layer.weight.any() and not layer.bias.any()


def test_patches_come_out_where_they_went_in():
    vit = tiny()
    for block in vit.blocks:  # silence the layers: tokens then pass one by one
        for layer in (block.attention.out, block.feedforward.out):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    x = torch.zeros(1, 2, 12, 8)
    x[..., 4:8, 4:8] = torch.randn(1, 2, 4, 4)
    changed = (vit(x) != vit(torch.zeros_like(x))).any(dim=1)[0]
    expected = torch.zeros(12, 8, dtype=torch.bool)
    expected[4:8, 4:8] = True
    assert torch.equal(changed, expected)


def test_sparse_layers_lie_between_full_ones_and_start_at_a_grid_size():
    vit = tiny(rows=1, sparse_from=16)
    device = torch.device("cpu")
    assert [how.kernel for how in vit.plans((8, 8), device)] == ["dense"] * 4
    for side in (16, 32, 40):
        kernels = [how.kernel for how in vit.plans((side, side), device)]
        assert kernels[0] == kernels[-1] == "dense"
        assert "dense" not in kernels[1:-1]
        assert {how.rows for how in vit.plans((side, side), device)[1:-1]} == {1}


@pytest.mark.parametrize("size", [(20, 12), (12, 20)])
def test_kernels_give_the_same_network(size):
    x = torch.randn(2, 2, *size)
    outputs = []
    for kernel in ("masked", "gather"):
        vit = tiny(rows=1, sparse_from=3, kernel=kernel)
        outputs.append(vit(x))
    torch.testing.assert_close(*outputs, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(outputs[0], tiny()(x), atol=1e-3)  # sparse is not full


def test_attention_maps_of_every_layer():
    vit = tiny(rows=1, sparse_from=3)
    maps = vit.attention_maps(torch.randn(3, 2, 20, 16), (2, 1))
    assert maps.shape == (3, 4, 2, 5, 4)  # images, layers, heads, grid
    torch.testing.assert_close(maps.sum((-2, -1)), torch.ones(3, 4, 2))
    assert (maps[:, 1:-1, :, [0, 4]] == 0).all() and (maps[:, [0, -1]] > 0).all()


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(2, 9),
    columns=st.integers(2, 9),
    shift=st.tuples(st.integers(0, 8), st.integers(0, 8)),
    data=st.data(),
)
def test_rope_sees_only_differences_of_position(rows, columns, shift, data):
    generator = torch.Generator().manual_seed(rows * 10 + columns)
    q, k = torch.randn(2, 24, generator=generator)
    large = rotation((rows + shift[0], columns + shift[1]), 24)

    def turned(x, row, column):
        index = row * (columns + shift[1]) + column
        return rotate(x[None], tuple(part[index : index + 1] for part in large))[0]

    place = st.tuples(st.integers(0, rows - 1), st.integers(0, columns - 1))
    a, b = data.draw(place), data.draw(place)
    here = turned(q, *a) @ turned(k, *b)
    there = turned(q, a[0] + shift[0], a[1] + shift[1]) @ turned(k, b[0] + shift[0], b[1] + shift[1])
    torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(turned(q, *a).norm(), q.norm())


def test_rope_frequencies_pairs_and_axes():
    cosine, sine = rotation((3, 4), 64)
    assert cosine.shape == sine.shape == (12, 32)
    frequency = torch.tensor([10000 ** (-2 * i / 32) for i in range(16)])
    row, column = 2, 3  # token 11
    torch.testing.assert_close(cosine[11], torch.cos(torch.cat([row * frequency, column * frequency])))
    x = torch.zeros(12, 64)
    x[:, 32] = 1.0  # first pair of the column half
    turned = rotate(x, (cosine, sine))
    torch.testing.assert_close(turned[11, 32:34], torch.tensor([math.cos(3), math.sin(3)]))  # by the column
    assert torch.equal(turned[:, :32], x[:, :32])


@pytest.mark.parametrize("kernel", ["masked", "gather"])
def test_a_layer_compiles_without_graph_breaks(kernel):
    grid, device = (5, 4), torch.device("cpu")
    block = tiny().blocks[1]
    x, turn, how = torch.randn(2, 20, 16), rotation(grid, 8), plan(grid, 1, device, kernel)
    compiled = torch.compile(block, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, turn, how), block(x, turn, how))
