"""Lookup, rotation trick, moving averages, usage."""

import math

import pytest
import torch
import torch.multiprocessing as multiprocessing

from rekon.nas.codebook import Codebook, perplexity, rotate_to, usage


def book(codes, **changes):
    codes = torch.as_tensor(codes)
    made = Codebook(len(codes), codes.shape[1], **{"decay": 0.75, "epsilon": 1e-5} | changes)
    made.embedding.copy_(codes)
    made.embedding_sum.copy_(codes)
    return made


def test_nearest():
    torch.manual_seed(0)
    codes, z = torch.randn(7, 3), torch.randn(50, 3)
    assert torch.equal(book(codes).nearest(z), torch.cdist(z, codes).argmin(1))
    same = book([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
    assert same.nearest(torch.tensor([[1.0, 0.1]])).tolist() == [0], "the first of equals"


@pytest.mark.parametrize("channels", [2, 5])
def test_rotation_trick_returns_the_code_and_its_jacobian_is_a_scaled_rotation(channels):
    torch.manual_seed(channels)
    z, q = torch.randn(2, 1, channels, dtype=torch.float64)
    assert torch.equal(rotate_to(z, q), q)
    jacobian = torch.autograd.functional.jacobian(lambda v: rotate_to(v, q), z)[0, :, 0]
    z_hat, q_hat = z[0] / z.norm(), q[0] / q.norm()
    w = (z_hat + q_hat) / (z_hat + q_hat).norm()
    identity = torch.eye(channels, dtype=torch.float64)
    rotation = identity - 2 * torch.outer(w, w) + 2 * torch.outer(q_hat, z_hat)
    torch.testing.assert_close(rotation @ rotation.T, identity)
    torch.testing.assert_close(jacobian, q.norm() / z.norm() * rotation)
    torch.testing.assert_close(jacobian @ z[0], q[0])


def test_rotation_trick_falls_back_to_straight_through():
    z = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 2.0], [1.0, 0.0]], requires_grad=True)
    q = torch.tensor([[-2.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 2.0]])
    gradient = torch.tensor([[3.0, 5.0]]).expand(4, 2)
    rotate_to(z, q).backward(gradient)
    torch.testing.assert_close(z.grad[:3], gradient[:3])
    torch.testing.assert_close(z.grad[3], torch.tensor([10.0, -6.0]))  # a quarter turn back, twice as long


def test_one_update_by_hand():
    codebook = book([[0.0, 0.0], [4.0, 0.0]], decay=0.75)
    z = torch.tensor([[1.0, 0.0], [1.0, 2.0], [3.0, 0.0]])
    ids = codebook.nearest(z)
    assert ids.tolist() == [0, 0, 1]
    assert codebook.update(z, ids).tolist() == [2, 1]
    torch.testing.assert_close(codebook.cluster_size, torch.tensor([1.25, 1.0]))
    torch.testing.assert_close(codebook.embedding_sum, torch.tensor([[0.5, 0.5], [3.75, 0.0]]))
    smoothed = (torch.tensor([1.25, 1.0]) + 1e-5) / (2.25 + 2e-5) * 2.25
    torch.testing.assert_close(codebook.embedding, codebook.embedding_sum / smoothed[:, None])


def test_an_unused_code_stays_where_it_is_as_long_as_its_average_counts():
    codebook = book([[0.0, 1.0], [5.0, 5.0]], decay=0.9)
    for _ in range(10):
        codebook.update(torch.tensor([[0.0, 1.0]]), torch.tensor([0]))
    torch.testing.assert_close(codebook.embedding[1], torch.tensor([5.0, 5.0]), rtol=1e-3, atol=0)


def test_codes_converge_to_the_means_of_their_vectors():
    torch.manual_seed(0)
    centres = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 3.0]])
    codebook = book(centres + 0.5)
    for _ in range(60):
        z = centres.repeat(20, 1) + 0.01 * torch.randn(60, 2)
        codebook.update(z, codebook.nearest(z))
    torch.testing.assert_close(codebook.embedding, centres, rtol=0, atol=0.02)


def test_initialised_with_different_vectors_of_the_batch():
    z = torch.arange(40.0).reshape(20, 2)
    codebook = book(torch.zeros(8, 2))
    assert not codebook.initialised
    torch.manual_seed(3)
    codebook.initialise(z)
    assert codebook.initialised
    chosen = {tuple(code) for code in codebook.embedding.tolist()}
    assert len(chosen) == 8
    assert chosen <= {tuple(vector) for vector in z.tolist()}
    assert torch.equal(codebook.embedding, codebook.embedding_sum)
    torch.manual_seed(4)
    other = book(torch.zeros(8, 2))
    other.initialise(z)
    assert not torch.equal(other.embedding, codebook.embedding)
    codebook.initialise(z[:3])  # fewer vectors than codes
    assert {tuple(code) for code in codebook.embedding.tolist()} == {tuple(vector) for vector in z[:3].tolist()}


def test_everything_is_in_the_state():
    codebook = book(torch.randn(4, 2))
    codebook.initialise(torch.randn(9, 2))
    codebook.update(torch.randn(9, 2), torch.arange(9) % 4)
    copy = book(torch.zeros(4, 2))
    copy.load_state_dict(codebook.state_dict())
    z = torch.randn(9, 2)
    for one in (codebook, copy):
        one.update(z, one.nearest(z))
    assert all(torch.equal(a, b) for a, b in zip(codebook.buffers(), copy.buffers(), strict=True))
    assert not list(codebook.parameters()), "no gradient reaches it"


def test_usage_and_perplexity():
    ids = torch.tensor([[0, 1], [1, 3]])
    assert usage(ids, 5).tolist() == [1, 2, 0, 1, 0]
    assert float(perplexity(usage(ids, 5))) == pytest.approx(2 ** (0.25 * 2 + 0.25 * 2 + 0.5 * 1))
    assert float(perplexity(torch.ones(16))) == pytest.approx(16)
    assert float(perplexity(torch.tensor([0.0, 7.0]))) == 1
    assert math.isnan(perplexity(torch.zeros(3)))


def _process(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(rank)
    codebook = book(torch.zeros(4, 2))
    codebook.initialise(torch.arange(12.0).reshape(6, 2) + 100 * rank)
    torch.save(codebook.embedding.clone(), folder / f"start{rank}.pt")
    codebook.embedding.copy_(torch.tensor([[0.0, 0], [1, 0], [2, 0], [3, 0]]))
    codebook.embedding_sum.copy_(codebook.embedding)
    z = torch.tensor([[0.0, 1], [1, 1], [2, 1], [3, 1], [0, 2], [1, 2]])[rank::2]
    codebook.update(z, codebook.nearest(z))
    torch.save(codebook.embedding, folder / f"end{rank}.pt")
    torch.distributed.destroy_process_group()


def test_processes_share_one_codebook(tmp_path):
    multiprocessing.spawn(_process, (tmp_path,), nprocs=2)
    start, end = ([torch.load(tmp_path / f"{name}{rank}.pt") for rank in (0, 1)] for name in ("start", "end"))
    assert torch.equal(*start)
    assert torch.equal(*end)
    assert (start[0][0::2] < 100).all() and (start[0][1::2] >= 100).all(), "each process gives its share of codes"
    whole = book([[0.0, 0], [1, 0], [2, 0], [3, 0]])
    z = torch.tensor([[0.0, 1], [1, 1], [2, 1], [3, 1], [0, 2], [1, 2]])
    whole.update(z, whole.nearest(z))
    torch.testing.assert_close(end[0], whole.embedding)
