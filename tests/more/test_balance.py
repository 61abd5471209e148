"""The router's losses against numbers worked out by hand, their decays, and the inputs a router remembers."""

import math

import mixtures
import pytest
import torch

from rekon.config.more import Decay, RouterSettings
from rekon.more.balance import Cache, batch_losses, losses
from rekon.more.router import Route, Router, choose

LOGITS = torch.tensor([[math.log(2), 0.0, 0.0], [0.0, 0.0, math.log(6)]])  # gates 1/2 1/4 1/4 and 1/8 1/8 3/4
GATES = torch.tensor([[1 / 2, 1 / 4, 1 / 4], [1 / 8, 1 / 8, 3 / 4]])


def route(logits, chosen, inputs=None):
    inputs = torch.zeros(len(logits), 18, 4, 4) if inputs is None else inputs
    return Route(inputs, torch.empty(0), logits, torch.tensor(chosen), torch.empty(0))


def test_losses_are_those_worked_out_by_hand():
    terms = losses(LOGITS, torch.tensor([0.5, 0.0, 0.5]))
    torch.testing.assert_close(terms["balance"], torch.tensor([0.375, 0.4375]))  # 1/4 + 1/8; 1/16 + 3/8
    half, second = 1.5 * math.log(2), 0.75 * math.log(2) + 0.75 * math.log(4 / 3)
    torch.testing.assert_close(terms["sparsity"], torch.tensor([half, second]))
    torch.testing.assert_close(terms["z"], torch.tensor([math.log(4) ** 2, math.log(8) ** 2]))


def test_no_gradient_goes_through_the_shares():
    share = torch.tensor([0.5, 0.25, 0.25], requires_grad=True)
    logits = LOGITS.clone().requires_grad_()
    losses(logits, share)["balance"].sum().backward()
    assert share.grad is None
    expected = GATES * (share.detach() - (GATES * share.detach()).sum(1, keepdim=True))  # softmax's derivative
    torch.testing.assert_close(logits.grad, expected)


def test_what_each_loss_wants():
    logits = torch.tensor([[1.0, 0.0, -1.0]], requires_grad=True)
    popular = torch.tensor([1.0, 0.0, 0.0])
    wants = {}
    for name in ("balance", "sparsity", "z"):
        logits.grad = None
        losses(logits, popular)[name].sum().backward()
        wants[name] = -logits.grad[0]
    assert wants["balance"][0] < 0 < wants["balance"][2], "away from the popular expert"
    assert wants["sparsity"][0] > 0 > wants["sparsity"][2], "surer of what it prefers"
    assert (wants["z"] < 0).all(), "smaller numbers"


def test_batch_losses_are_means_over_samples_routers_and_kept_inputs():
    torch.manual_seed(0)
    routers = [Router(18, 3, RouterSettings(top_k=1, hidden=4, embedding=5)) for _ in range(2)]
    routes = [
        route(LOGITS, [[True, False, False], [False, False, True]]),
        route(LOGITS.flip(0), [[False, False, True], [False, False, True]]),
    ]
    cache = Cache(4)
    cache.items = torch.randn(3, 2, 18, 4, 4)
    noise = torch.randn(4, 2, 3)
    terms, share = batch_losses(routers, routes, cache, noise)
    expected = {"balance": [], "sparsity": [], "z": []}
    for number, router in enumerate(routers):
        kept = router.logits(router.embed(cache.items[:, number]))
        chosen = choose(kept.softmax(1), 1, noise[:3, number])  # two samples, three kept inputs
        counts = routes[number].chosen_MN.sum(0) + chosen.sum(0)
        torch.testing.assert_close(share[number], counts / 5)
        made = losses(torch.cat([routes[number].logits_MN, kept]), counts / 5)
        for name, values in made.items():
            expected[name].append(values.mean())
    for name, (first, second) in expected.items():
        torch.testing.assert_close(terms[name], (first + second) / 2)


def test_shares_count_choices_and_sum_to_one():
    router = Router(18, 3, RouterSettings(top_k=2, hidden=4, embedding=5))
    routes = [route(LOGITS, [[True, True, False], [False, True, True]])]
    terms, share = batch_losses([router], routes, Cache(0), None)
    assert share.tolist() == [[0.25, 0.5, 0.25]]
    torch.testing.assert_close(terms["balance"], torch.tensor((0.3125 + 0.28125) / 2))


def test_kept_inputs_teach_the_router_as_it_is_now():
    torch.manual_seed(0)
    router, cache = Router(18, 3, RouterSettings(top_k=1, hidden=4, embedding=5)), Cache(2)
    cache.items = torch.randn(2, 1, 18, 4, 4)
    terms, _ = batch_losses([router], [route(LOGITS, [[True, False, False]] * 2)], cache, None)
    terms["sparsity"].backward()
    assert all(parameter.grad is not None for parameter in router.parameters())


def test_cache_is_first_in_first_out():
    cache = Cache(3)
    for step in range(3):
        values = torch.tensor([2.0 * step, 2.0 * step + 1])[:, None, None, None]
        chosen = [[True, False, False]] * 2
        cache.push([route(LOGITS, chosen, values), route(LOGITS, chosen, values + 100)])
    assert cache.items.flatten(2).squeeze(2).tolist() == [[3, 103], [4, 104], [5, 105]]
    other = Cache(3)
    other.restore(cache.state(), torch.device("cpu"))
    assert torch.equal(other.items, cache.items)


def test_a_cache_of_none_keeps_nothing():
    cache = Cache(0)
    cache.push([route(LOGITS, [[True, False, False]] * 2)])
    assert len(cache) == 0 and cache.state() == {}


@pytest.mark.parametrize(
    ("law", "halfway"),
    [("geometric", 0.1), ("linear", 0.505)],
)
def test_decay(law, halfway):
    decay = Decay(start=1.0, end=0.01, law=law)
    assert [decay.at(share) for share in (0, 0.5, 1)] == pytest.approx([1.0, halfway, 0.01])


def test_defaults_are_the_paper_s():
    settings = mixtures.ExpertsModel(modalities={"all": ("AXT1",)})
    router = settings.router
    assert (settings.cascades, settings.widths) == (12, (16, 20, 24, 28))
    assert (router.noise.start, router.noise.end) == (1.0, 0.01)
    assert (router.balance.start, router.balance.end) == (0.1, 0.001)
    assert (router.sparsity, router.z, router.blocks) == (0.005, 0.001, 2)
