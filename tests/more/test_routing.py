"""Router, gate, top-K with noise, and the mixture: who works on a sample, and where gradients go."""

import math

import mixtures
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rekon.config.more import RouterSettings
from rekon.more.experts import mixture
from rekon.more.network import size
from rekon.more.router import Route, Router, choose, gather_features

SETTINGS = RouterSettings(top_k=2, hidden=8, embedding=6)


def features(batch=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, width, n, n, generator=generator) for width, n in ((4, 16), (6, 8), (8, 4))]


def route(chosen, weights=None):
    chosen = torch.tensor(chosen)
    weights = chosen.float() if weights is None else torch.tensor(weights)
    return Route(torch.empty(0), torch.empty(0), weights.log(), chosen, weights)


class Counting(nn.Module):
    """An expert that multiplies by a number and notes how many samples it was given."""

    def __init__(self, factor):
        super().__init__()
        self.factor, self.seen = nn.Parameter(torch.tensor(float(factor))), []

    def forward(self, levels):
        self.seen.append([len(level) for level in levels])
        return self.factor * levels[0]


# --- what the router sees and decides -----------------------------------------------------------------------------


def test_features_are_cropped_to_the_centre_of_the_lowest_level_and_detached():
    levels = [level.requires_grad_() for level in features()]
    seen = gather_features(levels)
    assert seen.shape == (4, 18, 4, 4) and not seen.requires_grad
    assert torch.equal(seen[:, :4], levels[0][..., 6:10, 6:10])
    assert torch.equal(seen[:, 4:10], levels[1][..., 2:6, 2:6])
    assert torch.equal(seen[:, 10:], levels[2])


def test_gate_is_a_softmax_of_which_the_best_are_kept_as_printed():
    torch.manual_seed(0)
    made = Router(18, 4, SETTINGS)(features())
    gates = made.logits_MN.softmax(1)
    assert made.embedding_ME.shape == (4, 6) and made.logits_MN.shape == (4, 4)
    torch.testing.assert_close(made.weights_MN[made.chosen_MN], gates[made.chosen_MN])
    assert (made.chosen_MN.sum(1) == 2).all() and not made.weights_MN[~made.chosen_MN].any()
    assert (gates.masked_fill(~made.chosen_MN, 2).amin(1) >= gates.masked_fill(made.chosen_MN, -1).amax(1)).all()
    assert (made.weights_MN.sum(1) < 1).all()


def test_renormalised_weights_sum_to_one_and_still_teach_the_gate():
    torch.manual_seed(0)
    router = Router(18, 4, SETTINGS.model_copy(update={"top_k": 1, "renormalise": True}))
    made = router(features())
    torch.testing.assert_close(made.weights_MN.sum(1), torch.ones(4))
    made.weights_MN.sum().backward()
    assert router.gate.weight.grad.any()


def test_noise_decides_who_is_chosen_and_not_with_what_weight():
    gates = torch.tensor([[0.5, 0.3, 0.2]])
    assert choose(gates, 1).tolist() == [[True, False, False]]
    assert choose(gates, 1, torch.tensor([[0.0, 0.0, 0.31]])).tolist() == [[False, False, True]]
    assert choose(gates, 2, torch.tensor([[-0.21, 0.0, 0.0]])).tolist() == [[True, True, False]]
    torch.manual_seed(0)
    router = Router(18, 3, SETTINGS.model_copy(update={"top_k": 1}))
    noise = torch.tensor([[0.0, 0.0, 9.0]]).expand(4, 3)
    plain, noisy = router(features()), router(features(), noise)
    assert noisy.chosen_MN[:, 2].all()
    torch.testing.assert_close(noisy.weights_MN[:, 2], plain.logits_MN.softmax(1)[:, 2])


def test_equal_gates_still_choose_exactly_top_k():
    assert choose(torch.full((3, 5), 0.2), 2).sum(1).tolist() == [2, 2, 2]


def test_every_sample_is_routed_on_its_own():
    torch.manual_seed(0)
    router, levels = Router(18, 4, SETTINGS), features()
    alone = router([level[1:2] for level in levels])
    torch.testing.assert_close(router(levels).logits_MN[1:2], alone.logits_MN)


# --- sparse for real ----------------------------------------------------------------------------------------------


def test_experts_get_the_samples_that_chose_them_and_no_others():
    experts = nn.ModuleList([Counting(2), Counting(3), Counting(5)])
    levels = [torch.arange(1.0, 4.0)[:, None, None, None], torch.ones(3, 1, 1, 1)]
    out = mixture(experts, levels, route([[True, True, False], [False, True, False], [True, True, False]]))
    assert out.flatten().tolist() == [5, 6, 15]
    assert [expert.seen for expert in experts] == [[[2, 2]], [[3, 3]], []]


def test_weights_multiply_what_experts_say():
    experts = nn.ModuleList([Counting(2), Counting(3)])
    made = route([[True, False], [True, True]], [[0.5, 0.0], [0.25, 0.75]])
    assert mixture(experts, [torch.ones(2, 1, 1, 1)], made).flatten().tolist() == [1.0, 0.5 + 2.25]


def test_experts_that_nobody_chose_get_no_gradient():
    experts = nn.ModuleList([Counting(2), Counting(3)])
    mixture(experts, [torch.ones(2, 1, 1, 1)], route([[True, False], [True, False]])).sum().backward()
    assert experts[0].factor.grad is not None and experts[1].factor.grad is None


@pytest.mark.parametrize("experts", [2, 3, 7])
def test_work_does_not_grow_with_the_number_of_experts(experts):
    def work(count):
        # less the gates of two cascades: 6 numbers to `count`, once in use, and as often again for each gradient
        gates = 2 * 2 * 6 * count
        use, step = flops(mixtures.network("one", experts=count))
        return use - gates, step - 3 * gates

    assert work(experts) == work(5)


def test_each_choice_costs_one_decoder_more():
    costs = [flops(mixtures.network(router={"top_k": top_k})) for top_k in (1, 2, 3)]
    (use, step), (more_use, more_step), (most_use, most_step) = costs
    assert more_use - use == most_use - more_use > 0
    assert more_step - step == most_step - more_step == 3 * (more_use - use), "its gradients cost twice its use"


def flops(network):
    """Of a reconstruction of one sample, and of a training step with it: the way forward and the way back."""
    kspace, mask = mixtures.scan(batch=1)
    with FlopCounterMode(display=False) as use, torch.no_grad():
        network.eval()(kspace, mask)
    with FlopCounterMode(display=False) as step:
        network.train()(kspace, mask).image.square().mean().backward()
    return use.get_total_flops(), step.get_total_flops()


def test_active_parameters_are_those_of_the_chosen_experts():
    network = mixtures.network("one")
    decoder = sum(parameter.numel() for parameter in network.unets[0].decoders[0].parameters())
    counted = size(network)
    assert counted.total - counted.active == 2 * 2 * decoder
    assert size(mixtures.network("dense")).total == size(mixtures.network("dense")).active


# --- gradients ----------------------------------------------------------------------------------------------------


def split(network):
    """Gradients of routers, and of everything else, by name; absent ones are None."""
    parts = {name: parameter.grad for name, parameter in network.named_parameters()}
    return (
        {name: grad for name, grad in parts.items() if ".router." in name},
        {name: grad for name, grad in parts.items() if ".router." not in name},
    )


@pytest.mark.parametrize("name", ["more", "one", "network"])
def test_router_losses_never_reach_the_backbone(name):
    network = mixtures.network(name)
    routes = network(*mixtures.scan()).routes
    sum(route.logits_MN.logsumexp(1).square().sum() + route.weights_MN.sum() for route in routes).backward()
    routers, backbone = split(network)
    assert all(grad is None for grad in backbone.values())
    assert routers and all(grad is not None and grad.any() for grad in routers.values())


@pytest.mark.parametrize("name", ["more", "one", "network"])
def test_the_image_teaches_the_router_through_the_gate_alone(name, monkeypatch):
    network = mixtures.network(name)
    network(*mixtures.scan()).image.sum().backward()
    routers, backbone = split(network)
    assert all(grad is not None and grad.any() for grad in routers.values())
    reference = {key: grad.clone() for key, grad in backbone.items() if grad is not None}
    network.zero_grad()
    forward = Router.forward

    def closed(self, levels, noise=None):  # the gate's weights as constants
        made = forward(self, levels, noise)
        return Route(made.inputs, made.embedding_ME, made.logits_MN, made.chosen_MN, made.weights_MN.detach())

    monkeypatch.setattr(Router, "forward", closed)
    network(*mixtures.scan()).image.sum().backward()
    routers, backbone = split(network)
    assert all(grad is None for grad in routers.values())
    for key, grad in reference.items():
        assert torch.equal(grad, backbone[key]), key


def test_a_router_for_the_whole_network_decides_once():
    network = mixtures.network("network")
    routes = network(*mixtures.scan()).routes
    assert len(network.routers) == len(routes) == 1
    assert [unet.router is None for unet in network.unets] == [False, True]
    seen = []
    for unet in network.unets:
        for expert, decoder in enumerate(unet.decoders):
            decoder.register_forward_hook(lambda *_, expert=expert: seen.append(expert))
    network(*mixtures.scan(batch=1))
    assert sorted(seen[:2]) == sorted(seen[2:]), "both cascades ask the same two experts"


def test_routers_of_cascades_decide_each_on_its_own():
    network = mixtures.network("one")
    noise = torch.zeros(1, 2, 3)
    noise[0, 0, 1], noise[0, 1, 2] = 9, 9
    routes = network(*mixtures.scan(batch=1), noise).routes
    assert [route.chosen_MN[0].tolist() for route in routes] == [[False, True, False], [False, False, True]]


def test_a_gate_of_equals_is_one_nth():
    network = mixtures.network()
    for router in network.routers:
        nn.init.zeros_(router.gate.weight)
    for route in network(*mixtures.scan()).routes:
        torch.testing.assert_close(route.weights_MN.amax(1), torch.full((3,), 1 / 3))
        torch.testing.assert_close(route.logits_MN.logsumexp(1), torch.full((3,), math.log(3)))
