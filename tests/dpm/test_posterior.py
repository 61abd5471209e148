"""Sampling where the answer is known: a Gaussian prior, whose denoiser, posterior and flow are exact."""

import math

import pytest
import torch
from priors import Gaussian, acquisition, measured

from rekon.dpm import faster, posterior, sampling
from rekon.dpm.edm import complex_noise
from rekon.physics.operator import SenseOperator

SIZE = (12, 10)
EVERYTHING = torch.ones(SIZE, dtype=torch.bool)
HALF = torch.arange(SIZE[1]) % 2 == 0


def noise(sigma, batch=1, seed=3):
    return sigma * complex_noise((batch, *SIZE), torch.Generator().manual_seed(seed), dtype=torch.complex128)


def solve(kind, denoise, operator, kspace, x, sigmas, zeta):
    with torch.inference_mode(False):
        return {"dps": posterior.dps, "dps-heun": faster.dps_heun, "dds": faster.dds}[kind](
            denoise, operator, kspace, x, sigmas, zeta
        )


def test_schedule_end_points():
    sigmas = sampling.schedule(300, 0.002, 5.0)
    assert len(sigmas) == 301
    assert sigmas[0] == pytest.approx(5.0) and sigmas[-2] == pytest.approx(0.002) and sigmas[-1] == 0.0
    assert all(a > b for a, b in sampling.transitions(sigmas))
    middle = ((5.0 ** (1 / 7) + 0.002 ** (1 / 7)) / 2) ** 7
    assert sampling.schedule(3, 0.002, 5.0)[1] == pytest.approx(middle)
    assert sampling.schedule(1, 0.002, 5.0) == [5.0, 0.0]


@pytest.mark.parametrize(("solver", "steps", "close"), [(sampling.euler, 1000, 3e-2), (sampling.heun, 200, 2e-3)])
def test_solvers_follow_the_flow_of_a_gaussian(solver, steps, close):
    # the exact flow keeps (x - mean) / sqrt(deviation^2 + sigma^2)
    mean, deviation, sigma_max = torch.full(SIZE, 0.3 + 0.2j, dtype=torch.complex128), 0.5, 80.0
    prior = Gaussian(mean, deviation)
    start = mean + noise(sigma_max, batch=3)
    end = solver(prior, start, sampling.schedule(steps, 0.002, sigma_max))
    exact = mean + (start - mean) * deviation / math.hypot(deviation, sigma_max)
    assert float((end - exact).abs().max() / deviation) < close
    assert prior.calls == (steps if solver is sampling.euler else 2 * steps - 1)


def test_heun_needs_fewer_evaluations_than_euler():
    prior = Gaussian(torch.zeros(SIZE, dtype=torch.complex128), 0.5)
    start = noise(80.0)
    exact = start * 0.5 / math.hypot(0.5, 80.0)
    first = (sampling.euler(prior, start, sampling.schedule(101, 0.002, 80.0)) - exact).abs().max()
    second = (sampling.heun(prior, start, sampling.schedule(51, 0.002, 80.0)) - exact).abs().max()
    assert second < first / 4


@pytest.mark.parametrize("kind", ["dps", "dps-heun", "dds"])
def test_without_data_it_is_a_draw_from_the_prior(kind):
    _, maps = acquisition(size=SIZE)
    prior = Gaussian(torch.full(SIZE, 0.3 + 0.2j, dtype=torch.complex128), 0.5)
    operator, kspace = measured(torch.ones(1, *SIZE, dtype=torch.complex128), maps, HALF)
    sigmas, start = sampling.schedule(20, 0.002, 5.0), noise(5.0)
    drawn = solve(kind, prior, operator, kspace, start, sigmas, 0.0)
    solver = sampling.heun if kind == "dps-heun" else sampling.euler
    torch.testing.assert_close(drawn, solver(prior, start, sigmas))


@pytest.mark.parametrize(("kind", "zeta", "steps"), [("dps", 0.05, 300), ("dps-heun", 0.05, 300), ("dds", 1e4, 20)])
def test_full_sampling_recovers_the_image(kind, zeta, steps):
    image, maps = acquisition(size=SIZE)
    operator, kspace = measured(image, maps, EVERYTHING)
    prior = Gaussian(torch.zeros(SIZE, dtype=torch.complex128), 0.5)
    drawn = solve(kind, prior, operator, kspace, noise(5.0), sampling.schedule(steps, 0.002, 5.0), zeta)
    assert float((drawn - image).norm() / image.norm()) < 0.02


def test_posterior_mean_of_a_gaussian_prior():
    # every draw of dds ends near the maximum of the posterior, whose mean is that of the linear Gaussian model:
    # measured directions as measured, the others at the prior's mean plus what is left of the noise
    image, maps = acquisition(coils=1, size=SIZE)
    maps = torch.ones_like(maps)
    operator, kspace = measured(image, maps, HALF)
    mean, deviation = torch.full(SIZE, 0.3 + 0.2j, dtype=torch.complex128), 0.05
    prior = Gaussian(mean, deviation)
    sigmas = sampling.schedule(60, 0.002, 5.0)
    expected = mean + operator.adjoint(kspace - operator(mean[None]))
    draws = faster.dds(prior, operator, kspace.expand(100, -1, -1, -1), noise(5.0, batch=100), sigmas, 1e6)
    torch.testing.assert_close(draws.mean(0), expected[0], atol=0.02, rtol=0)
    unmeasured = draws - operator.normal(draws)
    spread = torch.view_as_real(unmeasured - unmeasured.mean(0)).square().mean().sqrt()
    assert float(spread) == pytest.approx(deviation * math.sqrt(0.5), rel=0.05), "half of k-space is free"


def test_dps_draws_around_the_posterior_mean():
    image, maps = acquisition(coils=1, size=SIZE)
    maps = torch.ones_like(maps)
    operator, kspace = measured(image, maps, HALF)
    mean = torch.full(SIZE, 0.3 + 0.2j, dtype=torch.complex128)
    draws = posterior.dps(
        Gaussian(mean, 0.05), operator, kspace.expand(100, -1, -1, -1), noise(5.0, batch=100),
        sampling.schedule(300, 0.002, 5.0), 0.3,
    )  # fmt: skip
    expected = mean + operator.adjoint(kspace - operator(mean[None]))
    assert float((draws.mean(0) - expected[0]).norm() / expected.norm()) < 0.05


@pytest.mark.parametrize("kind", ["dps", "dps-heun", "dds"])
def test_a_slice_is_drawn_alike_in_any_batch(kind):
    image, maps = acquisition(size=SIZE)
    operator, kspace = measured(image, maps, HALF)
    prior, sigmas = Gaussian(torch.zeros(SIZE, dtype=torch.complex128), 0.5), sampling.schedule(8, 0.002, 5.0)
    starts = noise(5.0, batch=3)
    three = torch.cat([kspace, 3 * kspace, 0 * kspace])
    together = solve(kind, prior, operator, three, starts, sigmas, 0.5)
    for i in range(3):
        alone = solve(kind, prior, operator, three[i : i + 1], starts[i : i + 1], sigmas, 0.5)
        torch.testing.assert_close(alone[0], together[i])


def test_an_image_that_agrees_with_the_data_is_left_alone():
    _, maps = acquisition(size=SIZE)
    zero = torch.zeros(1, *SIZE, dtype=torch.complex128)
    operator, kspace = measured(zero, maps, HALF)
    estimate, misfit, gradient = posterior.guidance(lambda x, sigma: 0 * x, operator, kspace, zero + 1, 1.0)
    assert torch.isfinite(gradient / misfit).all() and not (gradient / misfit).any() and not estimate.any()


def test_gradient_is_that_of_the_squared_misfit():
    image, maps = acquisition(size=SIZE)
    operator, kspace = measured(image, maps, HALF)
    prior, x = Gaussian(torch.zeros(SIZE, dtype=torch.complex128), 0.5), noise(1.0)
    _, misfit, gradient = posterior.guidance(prior, operator, kspace, x, 1.0)
    share = 0.25 / 1.25  # D is linear: its derivative
    by_hand = -2 * share * operator.adjoint(kspace - operator(share * x))
    torch.testing.assert_close(gradient, by_hand)
    assert float(misfit) == pytest.approx(float((kspace - operator(share * x)).norm()))


@pytest.mark.parametrize("mask", [HALF, torch.rand(SIZE, generator=torch.Generator().manual_seed(0)) < 0.4])
def test_operator_is_adjoint_for_batches(mask):
    _, maps = acquisition(size=SIZE)
    operator = SenseOperator(maps.expand(3, -1, -1, -1), mask)
    x, y = noise(1.0, batch=3), complex_noise((3, 4, *SIZE), dtype=torch.complex128)
    left, right = (operator(x).conj() * y).sum(), (x.conj() * operator.adjoint(y)).sum()
    assert abs(complex(left - right)) < 1e-10 * abs(complex(left))


def test_conjugate_gradients_solve_and_stay():
    image, maps = acquisition(size=SIZE)
    operator = SenseOperator(maps, HALF)
    image = torch.cat([image, 0 * image])
    right = image + 50 * operator.normal(image)

    def matrix(v):
        return v + 50 * operator.normal(v)

    solved = faster.conjugate_gradients(matrix, right, torch.zeros_like(right), 60)
    torch.testing.assert_close(solved, image, atol=1e-8, rtol=0)
    torch.testing.assert_close(faster.conjugate_gradients(matrix, right, solved, 200), image, atol=1e-8, rtol=0)


def test_warm_starts():
    image, maps = acquisition(size=SIZE)
    operator, kspace = measured(image, maps, HALF)
    zero_filled, sense = (faster.warm_start(operator, kspace, kind) for kind in ("zero-filled", "sense"))
    torch.testing.assert_close(zero_filled, operator.adjoint(kspace))
    assert (sense - image).norm() < (zero_filled - image).norm()


def test_stochastic_dds_draws_new_noise_of_the_same_strength():
    _, maps = acquisition(size=SIZE)
    operator, kspace = measured(torch.ones(1, *SIZE, dtype=torch.complex128), maps, HALF)
    prior, sigmas = Gaussian(torch.zeros(SIZE, dtype=torch.complex128), 0.5), sampling.schedule(100, 0.002, 5.0)
    generator = torch.Generator().manual_seed(1)
    draws = faster.dds(
        prior, operator, kspace.expand(60, -1, -1, -1), noise(5.0, batch=60), sigmas, 0.0, stochastic=1.0,
        draw=lambda: complex_noise((60, *SIZE), generator, dtype=torch.complex128),
    )  # fmt: skip
    assert float(torch.view_as_real(draws).std()) == pytest.approx(0.5, rel=0.1)
