"""Keskar, SAM and adaptive sharpness against closed forms."""

import math

import numpy as np
import pytest
from analytic_functions import Given, Quadratic, ReluNet, linear
from further_cases import thorough_after
from small_models import IMAGES, LABELS, conv_net

from dlip_reg.curvature import critical_sharpness, gradient_landscape, interpolation, keskar
from dlip_reg.curvature.keskar import _RandomBasis, keskar_sharpness
from dlip_reg.curvature.loss_function import LossFunction
from dlip_reg.curvature.sharpness import adaptive_sharpness, sam_sharpness

EIGENVALUES = np.array([4.0, 1.0, 0.5, 0.01])
WEIGHTS = np.array([0.3, -2.0, 0.02, 5.0])
BOWL = Quadratic(np.diag(EIGENVALUES), WEIGHTS)
SEARCHES = ["l-bfgs-b", "sign-corner", "sign-ascent"]


def by_name(result):
    return {search.name: search for search in result.searches}


@pytest.mark.parametrize("epsilon", [1e-3, 5e-4])
def test_keskar_of_a_quadratic_is_at_the_corner_that_every_search_finds(epsilon):
    corner = WEIGHTS + np.sign(WEIGHTS) * epsilon * (np.abs(WEIGHTS) + 1)
    loss = EIGENVALUES @ WEIGHTS**2 / 2
    phi = 100 * (EIGENVALUES @ corner**2 / 2 - loss) / (1 + loss)
    result = keskar_sharpness(BOWL, epsilon)
    # All are exact but for rounding in differences of losses near 4, a 1e-13 part of the rise.
    assert result.value == pytest.approx(phi, rel=1e-10)
    assert [search.name for search in result.searches] == SEARCHES
    for search in result.searches:
        assert search.value == pytest.approx(phi, rel=1e-10) and not search.failed, search


def test_keskar_starts_off_the_minimizer_and_reports_the_search_that_cannot():
    minimum = Quadratic(np.diag(EIGENVALUES), np.zeros(4))
    result = keskar_sharpness(minimum, 1e-3)
    corner = 100 * EIGENVALUES.sum() * 1e-6 / 2  # every corner of the box is as high
    assert result.value == pytest.approx(corner, rel=1e-10)
    searches = by_name(result)
    assert searches["sign-corner"].failed and math.isnan(searches["sign-corner"].value)
    assert "gradient at x is zero" in searches["sign-corner"].status
    assert searches["sign-ascent"].value == pytest.approx(corner, rel=1e-10)


def test_keskar_makes_at_most_ten_iterations_of_lbfgsb_and_gives_its_status():
    # The maximum lies at no corner and the axes are mixed, so ten iterations don't get there.
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(40, 40)))
    curved = basis @ np.diag(np.logspace(0, 6, 40)) @ basis.T
    peak = rng.uniform(-5e-4, 5e-4, size=40)
    hill = Given(
        np.zeros(40),
        lambda w: 1e6 - (w - peak) @ curved @ (w - peak) / 2,
        lambda w: -curved @ (w - peak),
    )
    search = by_name(keskar_sharpness(hill, 1e-3))["l-bfgs-b"]
    assert search.status.startswith(
        tuple(f"1: STOP: TOTAL NO. {of} ITERATIONS REACHED LIMIT" for of in ("OF", "of"))
    )
    assert not search.failed and search.value > 0
    assert search.evaluations <= 20  # most iterations take one, and the start is one more


def test_keskar_best_is_the_best_of_the_points_seen():
    # Up and down in turns, and higher to the right: the corner is not a maximum.
    wavy = Given(
        [0.0], lambda w: math.sin(4000 * w[0]) + w[0], lambda w: 4000 * np.cos(4000 * w) + 1
    )
    result = keskar_sharpness(wavy, 1e-3)
    assert result.value == max(search.value for search in result.searches) > 0
    highest = max(wavy.f([w]) for w in np.linspace(-1e-3, 1e-3, 100_001))
    assert result.value <= 100 * highest * (1 + 1e-6)  # the grid's own error


def test_keskar_in_a_random_subspace_follows_its_definition(monkeypatch):
    monkeypatch.setattr(keskar, "_BLOCK", 100)  # rows, of which there are more
    rng = np.random.default_rng(4)
    size, count, epsilon = 300, 7, 1e-3
    slope, weights = rng.normal(size=size), rng.normal(size=size)
    basis = _RandomBasis(size, count, np.random.default_rng(5))
    matrix = np.stack([basis.expand(unit) for unit in np.eye(count)], axis=1)
    # 2,100 draws of N(0, 1): mean and standard deviation within 4 of their standard errors.
    assert abs(matrix.mean()) < 4 / math.sqrt(2100)
    assert abs(matrix.std() - 1) < 4 / math.sqrt(2 * 2100)
    coordinates = np.linalg.pinv(matrix) @ weights
    np.testing.assert_allclose(basis.project(weights), matrix.T @ weights, rtol=1e-10)
    np.testing.assert_allclose(basis.coordinates(weights), coordinates, rtol=1e-10)
    box = epsilon * (np.abs(coordinates) + 1)
    function = linear(slope, weights)
    # The maximum of a linear function over the box is at the corner along A' slope.
    phi = 100 * np.abs(matrix.T @ slope) @ box / (1 + function.value())
    result = keskar_sharpness(function, epsilon, subspace=count, seed=5)
    for search in result.searches:
        assert search.value == pytest.approx(phi, rel=1e-9), search


def test_a_search_that_fails_is_never_flat():
    # A gradient that points downhill everywhere.
    wrong = Given(WEIGHTS, BOWL.f, lambda w: -BOWL.df(w))
    for seed in range(5):
        result = keskar_sharpness(wrong, seed=seed)
        assert all(search.failed for search in result.searches)
        assert math.isnan(by_name(result)["sign-corner"].value)
        # A start that happened to lie higher counts as a point seen, never as 0.
        assert math.isnan(result.value) or result.value > 0
    # Flat only where nothing ever moves.
    flat = keskar_sharpness(Given(WEIGHTS, lambda w: 2.0, np.zeros_like))
    assert flat.value == 0
    assert [search.failed for search in flat.searches] == [False, True, False]


def test_a_loss_that_is_not_finite_ends_the_search_but_keeps_what_it_saw():
    def cliff(w):
        return math.nan if np.abs(w - WEIGHTS).max() > 5e-4 else BOWL.f(w)

    result = keskar_sharpness(Given(WEIGHTS, cliff, BOWL.df), 1e-3)
    assert all(search.failed for search in result.searches)
    assert "not finite" in by_name(result)["sign-corner"].status
    nowhere = keskar_sharpness(Given(WEIGHTS, lambda w: math.nan, BOWL.df))
    assert math.isnan(nowhere.value) and all(search.failed for search in nowhere.searches)


def test_keskar_repeats_by_seed():
    first, again, other = (keskar_sharpness(ReluNet(), seed=seed) for seed in (1, 1, 2))
    assert first == again and first != other


@pytest.mark.parametrize(
    "options",
    [{"epsilon": 0}, {"epsilon": math.nan}, {"subspace": 0}, {"subspace": 5}, {"subspace": 1.5}],
)
def test_keskar_refuses_what_it_cannot_use(options):
    with pytest.raises(ValueError, match=f"^{next(iter(options))} must be "):
        keskar_sharpness(BOWL, **options)


def test_sam_of_a_quadratic():
    gradient = EIGENVALUES * WEIGHTS
    unit = gradient / np.linalg.norm(gradient)
    rise = 0.05 * np.linalg.norm(gradient) + 0.05**2 * EIGENVALUES @ unit**2 / 2
    assert sam_sharpness(BOWL) == pytest.approx(rise, rel=1e-12)


def test_adaptive_sharpness_of_a_quadratic():
    step = EIGENVALUES * WEIGHTS**3  # T^2 g
    step *= 0.5 / np.linalg.norm(EIGENVALUES * WEIGHTS * np.abs(WEIGHTS))
    assert np.linalg.norm(step / WEIGHTS) == pytest.approx(0.5)  # on the border of the T^-1 ball
    rise = EIGENVALUES @ ((WEIGHTS + step) ** 2 - WEIGHTS**2) / 2
    assert adaptive_sharpness(BOWL) == pytest.approx(rise, rel=1e-12)


@pytest.mark.parametrize("factor", [0.1, 7.0])
def test_rescaling_relu_layers_moves_sam_and_not_adaptive_sharpness(factor):
    net = ReluNet()
    scaled = net.rescaled(factor)
    # Dinh et al. 2017: the same function.
    np.testing.assert_allclose(
        scaled.probabilities(scaled.weights), net.probabilities(net.weights), rtol=1e-12
    )
    # Equal but for rounding.
    adaptive = adaptive_sharpness(net)
    assert adaptive_sharpness(scaled) == pytest.approx(adaptive, rel=1e-9)
    before, after = (sam_sharpness(each) for each in (net, scaled))
    assert abs(after - before) > 0.1 * before


@pytest.mark.parametrize(
    "function",
    [
        Quadratic(np.eye(2), np.zeros(2)),
        Given(WEIGHTS, lambda w: math.nan, BOWL.df),
        Given(WEIGHTS, BOWL.f, lambda w: np.full_like(w, math.nan)),
    ],
    ids=["no gradient", "loss is NaN", "gradient is NaN"],
)
def test_without_an_ascent_direction_there_is_no_sharpness(function):
    for measure in (sam_sharpness, adaptive_sharpness):
        assert math.isnan(measure(function))


def test_rho_is_checked():
    for measure in (sam_sharpness, adaptive_sharpness):
        with pytest.raises(ValueError, match="rho must be"):
            measure(BOWL, rho=-1)


MOVING = {
    "keskar": lambda f: keskar_sharpness(f).value,
    "sam": sam_sharpness,
    "adaptive": adaptive_sharpness,
    "landscape": lambda f: gradient_landscape(f, (0.1,)).effective_beta,
    "critical": lambda f: critical_sharpness(f, f.gradient()[1], step=0.1).value,
    "slice": lambda f: interpolation(f, f.parameters(), 0.9 * f.parameters(), [1]).sum(),
}


@pytest.mark.parametrize("name", thorough_after(2, MOVING))
def test_moving_statistics_are_refused_unless_their_layers_are_frozen(name):
    model = conv_net()
    with pytest.raises(ValueError, match="moving statistics"):
        MOVING[name](LossFunction(model, IMAGES, LABELS))
    for layer in model.layers:
        layer.trainable = "norm" not in layer.name
    assert MOVING[name](LossFunction(model, IMAGES, LABELS)) > 0
