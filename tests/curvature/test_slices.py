"""Slices of the loss: lines, interpolations and planes, with batch normalization and without."""

import math

import keras
import numpy as np
import pytest
from analytic_functions import Given, Quadratic, ReluNet, with_layout
from numpy_references import cross_entropies
from small_models import IMAGES, LABELS, batch_outputs, conv_net, same, state

from dlip_reg.curvature.batch_norm import Reestimated
from dlip_reg.curvature.loss_function import LossFunction
from dlip_reg.curvature.slices import (
    along_line,
    filter_normalised,
    interpolation,
    plane,
    random_direction,
)

HESSIAN = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.3], [0.0, 0.3, 4.0]])
WEIGHTS = np.array([1.0, -2.0, 0.5])
BOWL = Quadratic(HESSIAN, WEIGHTS)
ONE, OTHER = np.array([1.0, 1.0, 0.0]), np.array([0.0, 0.5, -1.0])


def test_a_line_through_a_quadratic_is_a_parabola():
    positions = np.linspace(-2, 2, 9)
    result = along_line(BOWL, ONE, positions)
    slope, curve = ONE @ HESSIAN @ WEIGHTS, ONE @ HESSIAN @ ONE
    np.testing.assert_allclose(result, BOWL.value() + slope * positions + curve * positions**2 / 2)
    assert result[4] == BOWL.value()


def test_a_plane_through_a_quadratic():
    first, second = [-1.0, 0.0, 2.0], [0.0, 0.5]
    result = plane(BOWL, ONE, OTHER, first, second)
    expected = [[BOWL.f(WEIGHTS + a * ONE + b * OTHER) for b in second] for a in first]
    np.testing.assert_allclose(result, expected)
    np.testing.assert_array_equal(result[:, 0], along_line(BOWL, ONE, first))
    assert plane(BOWL, ONE, OTHER).shape == (21, 21)


def test_interpolation_between_identical_ends_is_flat():
    net = ReluNet()
    assert set(interpolation(net, net.weights, net.weights)) == {net.value()}


def test_interpolation_ends_have_their_own_losses_exactly():
    # Ends so unlike that start + 1 * (end - start) would round.
    rng = np.random.default_rng(0)
    start, end = 1e9 * rng.normal(size=3), rng.normal(size=3)
    losses = dict(zip(np.linspace(-1, 2, 25), interpolation(BOWL, start, end), strict=True))
    assert losses[0.0] == BOWL.f(start) and losses[1.0] == BOWL.f(end)
    # Between ends of one minimum's two sides the loss is a parabola in a.
    symmetric = interpolation(BOWL, WEIGHTS, -WEIGHTS, [0.25, 0.5])
    np.testing.assert_allclose(symmetric, [BOWL.value() / 4, 0], atol=1e-15)


def test_a_loss_that_is_not_finite_stands_where_it_was_met():
    half = Given([0.0], lambda w: math.nan if w[0] > 0 else 1.0, np.zeros_like)
    np.testing.assert_array_equal(along_line(half, [1.0], [-1, 0, 1]), [1, 1, math.nan])


@pytest.mark.parametrize(
    "call",
    [
        lambda: along_line(BOWL, np.ones(2), [0]),
        lambda: along_line(BOWL, np.ones(3), []),
        lambda: along_line(BOWL, np.ones(3), [math.nan]),
        lambda: interpolation(BOWL, np.ones(2), np.ones(3)),
        lambda: interpolation(BOWL, np.ones(3), np.ones((3, 1))),
        lambda: plane(BOWL, np.ones(3), np.ones(4)),
    ],
)
def test_directions_ends_and_positions_are_checked(call):
    with pytest.raises(ValueError, match=r"must (have shape|be)"):
        call()


def test_filters_are_rescaled_to_the_norms_of_those_they_move():
    # Kernel (2, 2) with columns of norm 5 and 0, its bias, a scale, a kernel of one filter.
    weights = [3.0, 0.0, 4.0, 0.0, 7.0, 7.0, 1.0, 2.0]
    function = with_layout(
        Quadratic(np.eye(8), weights),
        *[("dense", (2, 2)), ("bias", (2,)), ("norm", (1,)), ("other", (1,))],
    )
    direction = filter_normalised(function, [1.0, 1, 0, 1, 1, 1, 1, 1])
    # The first column (1, 0) gets the norm 5; the second moves a filter of zeros.
    np.testing.assert_allclose(direction, [5, 0, 0, 0, 0, 0, 0, 0])


def test_filters_are_those_of_the_layers_own_output_channels():
    layers = keras.layers
    stack = [
        layers.Conv2D(2, 1, name="conv"),
        layers.BatchNormalization(name="norm"),
        layers.Conv2DTranspose(3, 2, name="transpose"),
        layers.PReLU(name="prelu", alpha_initializer="ones"),
        layers.DepthwiseConv2D(2, depth_multiplier=2, name="depthwise"),
        layers.SeparableConv2D(4, 2, name="separable"),
        layers.Reshape((16, 4)),
        layers.EinsumDense("abc,dce->abde", (16, 2, 3), name="einsum"),
        layers.Flatten(),
        layers.Dense(3),
    ]
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5, 5, 2)), *stack])
    function = LossFunction(model, IMAGES, LABELS, loss="sparse_categorical_crossentropy")
    weights, direction = function.parameters(), random_direction(function, seed=4)
    assert not np.array_equal(direction, random_direction(function, seed=5))
    raw = np.random.default_rng(4).standard_normal(function.size)
    np.testing.assert_array_equal(direction, filter_normalised(function, raw))
    # The axes left to sum over in each kernel, from Keras' documentation of its shape.
    summed = {
        "conv": [(0, 1, 2)],
        "norm": [],
        "transpose": [(0, 1, 3)],  # height, width, output, input
        "prelu": [],
        "depthwise": [(0, 1)],  # height, width, input, multiplier: a filter for each of the latter
        "separable": [(0, 1), (0, 1, 2)],
        "einsum": [(1,)],  # output, input, output
        "dense": [(0,)],
    }
    norms = {name: [] for name in summed}
    for parameter in function.layout:
        part = slice(parameter.offset, parameter.offset + parameter.size)
        own, moved = (v[part].reshape(parameter.shape) for v in (weights, direction))
        name = parameter.layer.split("_")[0]
        if parameter.kind in ("bias", "norm") or name == "prelu":
            assert not moved.any()
            continue
        axes = summed[name][len(norms[name])]
        norms[name].append(parameter.kind)
        np.testing.assert_allclose(
            np.sqrt((moved**2).sum(axes)), np.sqrt((own**2).sum(axes)), rtol=1e-6
        )
    assert norms == {
        "conv": ["conv"], "norm": [], "transpose": ["conv"], "prelu": [], "depthwise": ["conv"],
        "separable": ["conv", "conv"], "einsum": ["dense"], "dense": ["dense"],
    }  # fmt: skip


def test_a_re_estimated_function_leaves_the_statistics_also_when_it_fails():
    model = conv_net()
    function = Reestimated(LossFunction(model, IMAGES, LABELS), IMAGES)
    before, start = state(model), function.parameters()
    assert function.value(0.9 * start) != function.value()
    with pytest.raises(ValueError, match="finite"):
        function.value(np.full_like(start, math.nan))
    assert same(state(model), before)
    np.testing.assert_array_equal(function.parameters(), start)
    assert random_direction(function).shape == start.shape


def test_statistics_are_re_estimated_at_the_weights_of_each_point():
    model = conv_net()
    function = Reestimated(LossFunction(model, IMAGES, LABELS), IMAGES)
    found = function.value(0.9 * function.parameters())
    for weight in model.trainable_variables:
        weight.assign(0.9 * weight)
    # In one batch of all data Keras' own training mode takes the same statistics.
    expected = cross_entropies(batch_outputs(model, IMAGES).astype(float), LABELS).mean()
    assert found == pytest.approx(expected, rel=1e-4)
