"""Eigenvalues, densities and traces of matrices whose spectra are known."""

import itertools

import numpy as np
import pytest
from further_cases import thorough_after
from scipy import stats

from dlip_reg.curvature import (
    estimate_trace,
    lanczos,
    spectral_density,
    top_eigenvalue,
    top_eigenvalues,
)
from dlip_reg.curvature.krylov import Krylov


def symmetric(eigenvalues, seed=0):
    """A matrix with these eigenvalues, its product, and its vectors as columns."""
    rng = np.random.default_rng(seed)
    vectors = np.linalg.qr(rng.normal(size=(len(eigenvalues),) * 2))[0]
    matrix = (vectors * eigenvalues) @ vectors.T
    return matrix, (lambda v: matrix @ v), vectors


def covered(pair, true):
    rounding = 1e-12 * abs(true)
    return abs(pair.value - true) <= pair.bound + rounding


def test_reorthogonalisation_finds_every_eigenvalue_once():
    # Without it the large ones come back as copies long before the small ones are found.
    values = np.geomspace(1e-3, 1e3, 40)
    _, matvec, _ = symmetric(values)
    density = spectral_density(matvec, 40, probes=1, steps=40)
    assert np.allclose(np.sort(density.nodes), values, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "matrix, products", [(3 * np.eye(50), 1), (np.zeros((50, 50)), 1), (np.array([[2.0]]), 1)]
)
def test_an_invariant_start_ends_at_once(matrix, products):
    pair = top_eigenvalue(lambda v: matrix @ v, len(matrix))
    assert pair.value == pytest.approx(matrix[0, 0], abs=1e-14)
    assert pair.converged and pair.products == products and pair.bound < 1e-12
    pair = top_eigenvalue(lambda v: matrix @ v, len(matrix), start=np.ones(len(matrix)))
    assert pair.value == pytest.approx(matrix[0, 0], abs=1e-14)
    # One more for all that is orthogonal to the start, if there is anything.
    assert pair.converged and pair.products <= products + 1 and pair.bound < 1e-12


def test_a_start_that_is_near_and_a_matrix_that_is_close_save_products():
    rng = np.random.default_rng(0)
    products, missed = {"alone": 0, "near": 0, "close": 0}, 0
    for seed in range(20):
        # A Hessian's spectrum: some outliers, and a bulk about 0.
        values = np.concatenate([np.geomspace(10, 1, 9), rng.normal(0, 0.1, 800)])
        mixed, shifts = np.eye(809, 9) + 0.01 * rng.normal(size=(809, 9)), rng.normal(size=9)

        def matvec(v, values=values):
            return values * v

        def close(v, values=values, mixed=mixed, shifts=shifts):
            return values * v + mixed @ (shifts * (mixed.T @ v))

        start = np.eye(1, 809)[0] + 0.2 * unit(rng.normal(size=809))
        ways = {"alone": {}, "near": {"start": start}, "close": {"approximate": close}}
        for way, options in ways.items():
            found = top_eigenvalue(matvec, 809, seed=seed, **options)
            assert found.converged and found.value <= 10 + 1e-12
            missed += not covered(found, 10)
            products[way] += found.products
    assert missed <= 0.05 * 60
    assert max(products["near"], products["close"]) <= 0.8 * products["alone"]


def unit(vector):
    return vector / np.linalg.norm(vector)


SPECTRA = {
    "outliers": lambda rng, n: np.concatenate([rng.exponential(1, 8), rng.normal(0, 0.02, n)]),
    "a gap": lambda rng, n: np.concatenate([[5, 2, 1], rng.normal(0, 0.02, n)]),
    "a cluster": lambda rng, n: np.concatenate(
        [5 - np.array([0, 0.001, 0.01, 0.1]), rng.normal(0, 0.1, n)]
    ),
    "one eigenvalue many times": lambda rng, n: np.concatenate([[2.0] * 5, rng.normal(0, 0.1, n)]),
    "all negative": lambda rng, n: -np.concatenate([[1, 2, 3], rng.uniform(4, 9, n)]),
    "negative outliers": lambda rng, n: np.concatenate([[0.2, 0.1], -rng.exponential(1, 9)]),
    "a power law": lambda rng, n: np.arange(1.0, n + 1) ** -1,
}
# Of the vector of the top eigenvalue, the second's, the third's, and a random vector of length 1.
STARTS = {
    "the top's": lambda first, *_: first,
    "near it": lambda first, second, third, random: first + 0.1 * random,
    "half way": lambda first, second, third, random: first + random,
    "the second's": lambda first, second, *_: second,
    "of the second and third": lambda first, second, third, random: second + third,
    "random": lambda first, second, third, random: random,
}


@pytest.mark.parametrize("spectrum", thorough_after(3, SPECTRA))
def test_the_certificate_covers_the_truth_whatever_the_start(spectrum):
    missed = trials = 0
    for trial in range(20):
        rng = np.random.default_rng(trial)
        values = np.sort(SPECTRA[spectrum](rng, (50, 400)[trial % 2]))[::-1]

        def matvec(v, values=values):
            return values * v

        # The random vector of a search without a start at the same seed, and what that one found.
        same_seed = np.random.default_rng([trial, values.size]).normal(size=values.size)
        found = top_eigenvalue(matvec, values.size, seed=trial).vector
        units = np.eye(3, values.size)
        starts = [start(*units, unit(rng.normal(size=values.size))) for start in STARTS.values()]
        for start in (None, *starts, same_seed, found):
            pair = top_eigenvalue(matvec, values.size, start=start, seed=trial)
            allowed = max(1e-3 * abs(pair.value), 1e-6 * np.abs(values).max())
            assert pair.converged and pair.bound <= allowed * (1 + 1e-9)
            assert pair.value <= values[0] + 1e-12 and np.linalg.norm(pair.vector) > 1 - 1e-12
            # It is a Rayleigh quotient, wherever it comes from.
            assert pair.vector @ matvec(pair.vector) == pytest.approx(pair.value, rel=1e-9)
            missed += not covered(pair, values[0])
            trials += 1
    # At most 5 % of all random vectors; bounds are hardly ever as tight as that.
    assert missed <= 0.05 * trials


@pytest.mark.parametrize("apart", [0, 200])
@pytest.mark.parametrize(("share", "covers"), [(1.02, True), (0.95, False)])
def test_the_ceiling_allows_for_all_but_5_percent_of_random_starts(share, covers, apart):
    """The square of a random direction's component along the top vector has a beta distribution.

    With one other eigenvalue the bound is attained, but for the square of that component. It is the
    same in the complement of rows that are kept apart.
    """
    size = 400
    along = share * np.sqrt(stats.beta.ppf(0.05, 1 / 2, (size - 1) / 2))
    start = np.full(size + apart, np.sqrt((1 - along**2) / (size - 1)))
    start[0] = along
    rows = np.eye(size + apart)[size:]
    krylov = Krylov(lambda v: np.eye(1, size + apart)[0] * v, start, most=2, apart=rows)
    assert (krylov.ceiling() >= 1) == covers


def test_no_eigenvalue_is_above_what_a_basis_and_the_top_of_a_complement_say():
    rng = np.random.default_rng(0)
    for trial in range(300):
        n, since, more = rng.integers(9, 20), rng.integers(1, 4), rng.integers(0, 4)
        matrix = rng.normal(size=(n, n))
        matrix = (matrix + matrix.T) / 2 + rng.choice([-9, 0, 9]) * np.eye(n)
        values, vectors = np.linalg.eigh(matrix)
        near = (vectors[:, -1], vectors[:, -2], np.zeros(n))[trial % 3]
        start = near + 0.1 * rng.normal(size=n)
        krylov = Krylov(lambda v, matrix=matrix: matrix @ v, start, most=n)
        while krylov.steps < since:
            krylov.step()
        complement = np.linalg.qr(krylov.basis.T, mode="complete")[0][:, since:]
        exact = np.linalg.eigvalsh(complement.T @ matrix @ complement)[-1]
        rest = exact + rng.choice([0, 1e-3, 1])
        ceilings = [krylov.ceilings_beside(rest, since, 3)]
        for _ in range(more):
            krylov.step()
            ceilings.append(krylov.ceilings_beside(rest, since, 3))
        largest = values[::-1][:3]
        assert (largest <= np.min(ceilings, axis=0) + 1e-11).all()
        # Every step makes them closer, and all of them leave what is known of the complement.
        assert (np.diff(ceilings, axis=0) <= 1e-11).all()
        while not krylov.ended:
            krylov.step()
        assert (krylov.ceilings_beside(rest, since, 3) <= np.maximum(rest, largest) + 1e-9).all()


def spectrum_with_outliers(rng):
    values = 0.1 * rng.normal(size=rng.integers(20, 200))
    values[:6] += rng.exponential(3, size=6)
    return values


@pytest.mark.parametrize("k", thorough_after(1, [4, 2]))
def test_the_k_largest_each_have_a_certificate(k):
    missed = 0
    for trial in range(40):
        rng = np.random.default_rng(trial)
        values = spectrum_with_outliers(rng)
        _, matvec, vectors = symmetric(values)
        order = np.argsort(-values)
        largest = values[order[:k]]
        close = vectors[:, order[:k]].sum(axis=1) + 0.01 * rng.normal(size=len(values))
        for start in (None, close):
            found = top_eigenvalues(matvec, len(values), k, start=start, seed=trial)
            assert found.converged and (found.values <= largest + 1e-9).all()
            np.testing.assert_allclose(found.vectors @ found.vectors.T, np.eye(k), atol=1e-10)
            products = np.stack([matvec(vector) for vector in found.vectors])
            rayleigh = np.einsum("kp,kp->k", found.vectors, products)
            np.testing.assert_allclose(rayleigh, found.values, atol=1e-9)
            missed += (found.values + found.bounds < largest - 1e-9).any()
    assert missed <= 0.05 * 80


def test_an_eigenvalue_that_occurs_twice_counts_twice():
    _, matvec, _ = symmetric(np.concatenate([[3, 3, 2, 1], np.zeros(40)]))
    for start in (None, np.eye(44)[0]):
        found = top_eigenvalues(matvec, 44, 2, start=start)
        np.testing.assert_allclose(found.values, 3, rtol=1e-9)
        assert found.converged
    found = top_eigenvalues(matvec, 44, 3)
    assert found.values[2] == pytest.approx(2) and not found.converged and found.bounds[2] >= 1
    for largest, memory in itertools.product(([5, 0, 0, 0], [0, 0, 0, 0]), (1e9, 8 * 44 * 12)):
        _, matvec, _ = symmetric(np.concatenate([largest, np.zeros(40)]))
        found = top_eigenvalues(matvec, 44, 4, memory=memory)
        np.testing.assert_allclose(found.values, largest, atol=1e-6)  # of single precision
        np.testing.assert_allclose(found.vectors @ found.vectors.T, np.eye(4), atol=1e-6)
        assert found.converged


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("noise", [0, 1e-7])
def test_eigenvalues_that_all_occur_three_times_are_covered(sign, noise):
    # As those of a linear model with three outputs.
    matrix, matvec, _ = symmetric(sign * np.repeat([1.0786, 0.8, 0.3666, 0.098], 3))
    rng = np.random.default_rng(1)
    exact = np.linalg.eigvalsh(matrix)[::-1][:4]
    for seed in range(5):
        found = top_eigenvalues(
            lambda v: matvec(v) + noise * rng.normal(size=12), 12, 4, seed=seed, tol=1e-4
        )
        assert found.values[0] == pytest.approx(exact[0], rel=1e-4)
        assert (exact <= found.values + found.bounds + 1e-6).all()


def test_the_start_is_independent_of_data_that_are_made_of_the_same_seed():
    data = np.random.default_rng(0).normal(size=4)
    assert top_eigenvalue(lambda v: -data * (data @ v), 4).value == pytest.approx(0, abs=1e-9)
    density = spectral_density(lambda v: -data * (data @ v), 4, probes=1)
    assert density.products == 2 and density.weights.max() < 0.99  # of no eigenvalue alone
    # Nor is the vector by which a search leaves an invariant subspace such data.
    data = np.random.default_rng(1).normal(size=6)
    found = top_eigenvalues(lambda v: -data * (data @ v), 6, 2, start=data, certificate=False)
    assert found.values == pytest.approx([0, -(data @ data)], abs=1e-9)
    assert found.vectors @ found.vectors.T == pytest.approx(np.eye(2), abs=1e-9)


def test_a_bound_on_memory_restarts_the_search_with_vectors_in_single_precision(monkeypatch):
    _, matvec, _ = symmetric(np.linspace(0, 1, 400) ** 3)
    bases = []

    class Noted(Krylov):
        def step(self):
            super().step()
            bases.append(self.basis)

    free = top_eigenvalues(matvec, 400)
    monkeypatch.setattr(lanczos, "Krylov", Noted)
    few = top_eigenvalues(matvec, 400, memory=15 * 8 * 400, max_products=300)
    assert few.products == len(bases) > free.products > 30
    assert few.converged and few.values[0] + few.bounds[0] >= 1
    assert few.values[0] == pytest.approx(1, rel=1e-3)
    # No basis has more rows than fit.
    assert {basis.dtype.name for basis in bases} == {"float32"}
    assert max(len(basis) for basis in bases) == 30


@pytest.mark.parametrize("below", [1e3, 1e4])
def test_certificates_hold_in_single_precision_beside_large_negative_eigenvalues(below):
    values = np.zeros(5000)
    values[:5] = 1, 0.5, 0.25, -below, -below / 2
    for seed in range(3):
        found = top_eigenvalues(
            lambda v: values * v, 5000, k=2, seed=seed, memory=60 * 8 * 5000, max_products=400
        )
        for value, bound, right in zip(found.values, found.bounds, (1, 0.5), strict=True):
            assert value + bound >= right


def test_too_few_products_are_not_called_converged():
    values = np.linspace(0, 1, 500)
    _, matvec, _ = symmetric(values)
    pair = top_eigenvalue(matvec, 500, tol=1e-6, max_products=5)
    assert not pair.converged and pair.products == 5 and covered(pair, 1.0)
    start = np.random.default_rng(1).normal(size=500)
    for most in (1, 2, 5, 20):
        pair = top_eigenvalue(matvec, 500, tol=1e-6, max_products=most, start=start)
        assert not pair.converged and pair.products == most and covered(pair, 1.0)


def test_the_bound_counts_asymmetry_of_the_products():
    values = np.concatenate([[5.0], np.linspace(0, 1, 100)])
    matrix, matvec, _ = symmetric(values)
    noise = 0.01 * np.random.default_rng(1).normal(size=matrix.shape)
    noisy = matrix + noise - noise.T  # whose quadratic form is the matrix' own
    for start in (None, np.eye(101)[0], top_eigenvalue(matvec, 101).vector):
        pair = top_eigenvalue(lambda v: noisy @ v, 101, tol=1e-4, max_products=20, start=start)
        assert not pair.converged and covered(pair, 5.0)
    assert top_eigenvalue(matvec, 101, tol=1e-4, max_products=20).converged


def quadrature(function, density):
    return density.weights @ function(density.nodes)


def test_the_spectral_density_has_the_spectrums_moments():
    values = np.concatenate([[8.0, 6.0], np.linspace(-1, 1, 198)])
    _, matvec, _ = symmetric(values)
    with np.errstate(all="raise"):
        density = spectral_density(matvec, 200, probes=20, steps=15)
    assert density.products == 300
    assert density.bandwidth == pytest.approx(0.01 * np.ptp(density.nodes))
    assert np.trapezoid(density.density, density.grid) == pytest.approx(1, rel=1e-9)
    assert (density.density >= 0).all()
    rng = np.random.default_rng(0)
    for power in (1, 2, 3):
        # Each probe v gives v'H^k v / v'v but for rounding, whose spread this is.
        v = rng.normal(size=(4000, 200)) ** 2
        shares = v / v.sum(1, keepdims=True)
        spread = (shares @ values**power).std() / np.sqrt(20)
        found = quadrature(lambda x, power=power: x**power, density)
        assert abs(found - np.mean(values**power)) < 4 * spread
    # Extremes are nodes, to Lanczos' accuracy, and the Gaussian around them is as wide as stated.
    assert density.nodes.max() == pytest.approx(8, abs=1e-6)
    peak = density.grid[-1] - 8
    assert peak == pytest.approx(5 * density.bandwidth, rel=1e-6)


def test_a_trace_of_few_large_eigenvalues_is_exact():
    _, matvec, _ = symmetric(np.concatenate([[100.0, -40.0, 7.0], np.zeros(197)]))
    estimate = estimate_trace(matvec, 200)
    assert estimate.value == pytest.approx(67, abs=1e-9)
    assert estimate.standard_error < 1e-9 and estimate.products == 48


def test_the_standard_error_of_a_trace_is_the_spread_over_seeds_about_the_true_trace():
    values = np.random.default_rng(1).exponential(size=150)
    _, matvec, _ = symmetric(values)
    estimates = [estimate_trace(matvec, 150, seed=seed) for seed in range(200)]
    errors = np.array([estimate.value for estimate in estimates]) - values.sum()
    claimed = np.sqrt(np.mean([estimate.standard_error**2 for estimate in estimates]))
    # The spread of 200 estimates is itself known to 5 %, so 20 % is four of its standard errors.
    assert errors.std() == pytest.approx(claimed, rel=0.2)
    assert abs(errors.mean()) < 4 * claimed / np.sqrt(200)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: top_eigenvalue(lambda v: v * np.nan, 5), "finite"),
        (lambda: top_eigenvalue(lambda v: v[:-1], 5), "return 5"),
        (lambda: top_eigenvalue(lambda v: v, 0), "size"),
        (lambda: top_eigenvalue(lambda v: v, 5, tol=0), "tol"),
        (lambda: top_eigenvalue(lambda v: v, 5, max_products=0), "max_products"),
        (lambda: top_eigenvalue(lambda v: v, 5, start=np.ones(4)), "start"),
        (lambda: spectral_density(lambda v: v, 5, bandwidth=-1.0), "bandwidth"),
        (lambda: spectral_density(lambda v: v, 5, probes=0), "probes"),
        (lambda: estimate_trace(lambda v: v * np.nan, 100), "finite"),
        (lambda: estimate_trace(lambda v: v, 100, products=5), "products"),
    ],
)
def test_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()
