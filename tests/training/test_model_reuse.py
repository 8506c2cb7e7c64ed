"""A reused model is the fresh model: the same weights after training, without another trace."""

import keras
import numpy as np
import pytest
from further_cases import since_keras, thorough_after

from dlip_reg.models import get_builder
from dlip_reg.training.reuse import reusable

IMAGES = np.random.default_rng(0).normal(size=(24, 12, 12, 1)).astype("float32")
LABELS = np.random.default_rng(1).integers(0, 3, 24).astype("int32")

L1, L2, L1L2 = keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2
# Of each method the builder, the options, and strengths that lead elsewhere at once when used after
# each other.
METHODS = {
    "dropout": ("mlp", lambda rate: {"dense_dropout": rate}, (0.2, 0.7)),
    "spatial dropout": (
        "lenet5",
        lambda rate: {"conv_dropout": rate, "spatial_dropout": True, "dense_dropout": rate / 2},
        (0.5, 0.3),
    ),
    "penalties": (
        "mlp",
        lambda regularizer: {"dense_kernel_regularizer": regularizer},
        (L1(0.1), L2(0.4), None),
    ),
    "max-norm": ("mlp", lambda bound: {"max_norm": bound}, (1.0, 0.5)),
    "batch norm": (
        "lenet5",
        lambda strength: {
            "batch_norm": True,
            "conv_kernel_regularizer": L1L2(strength / 4, strength),
            "dense_kernel_regularizer": L2(2 * strength),
            "max_norm": 1 + strength,
        },
        (0.1, 0.4),
    ),
}
RATES = (0.02, 0.03, 0.01)


def build(options, seed, builder="mlp"):
    keras.utils.set_random_seed(seed)
    if builder == "mlp":
        options = {"hidden": (16, 8)} | options
    return get_builder(builder)((12, 12, 1), 3, **options)


def compile_model(model, **options):
    # Momentum, so that a state left from the run before would show; not Adam, which divides
    # rounding by rounding where a gradient is near zero.
    model.compile(
        keras.optimizers.SGD(0.5, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
        **options,
    )


def compile_graph(model):
    compile_model(model, steps_per_execution=3)


def fit(model, rate):
    model.optimizer.learning_rate = rate
    model.fit(IMAGES, LABELS, batch_size=8, shuffle=False, verbose=0)
    return model.get_weights()  # with batch norm's statistics and the seeds' states


def fresh_weights(options, use, builder):
    model = build(options, use, builder)
    compile_model(model, run_eagerly=True)  # three steps are sooner done than traced
    return fit(model, RATES[use])


def assert_close(weights, expected):
    # A graph may order and fold float32 products otherwise, as may a division by a rate that is a
    # constant: a few times 6e-8 of the largest terms of each sum, grown by the net in three steps.
    for one, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("method", thorough_after(1, METHODS))
def test_weights_are_those_of_a_fresh_model_at_every_use(method):
    builder, options_of, strengths = METHODS[method]
    options = [options_of(strength) for strength in strengths]
    traces = []

    def train_reused(options, use):
        clone = reusable(build(options, use, builder), lambda model: watched(model, traces), method)
        return clone, fit(clone, RATES[use])

    first, weights = train_reused(options[0], 0)
    assert_close(weights, fresh_weights(options[0], 0, builder))
    at_first_use = len(traces)
    for use in range(1, len(options)):
        # What a run before could leave behind: strengths, initial weights, momentum, masks.
        clone, weights = train_reused(options[use], use)
        assert clone is first
        assert_close(weights, fresh_weights(options[use], use, builder))
        # The last strengths would have led elsewhere, so the new ones were at work.
        _, others = train_reused(options[use - 1], use)
        apart = max(np.abs(a - b).max() for a, b in zip(weights, others, strict=True))
        assert apart > 1e-3
    assert len(traces) == at_first_use > 0  # Keras runs `train_step` in Python only to trace it


def watched(model, traces):
    compile_graph(model)
    step = model.train_step

    def traced_step(data):
        traces.append(data)
        return step(data)

    model.train_step = traced_step


def test_the_optimizer_starts_anew_at_the_compiled_learning_rate():
    clone = reusable(build({}, 1), compile_graph)
    fit(clone, 0.01)
    assert any(np.any(v.numpy()) for v in clone.optimizer.variables)
    clone.stop_training = True
    again = reusable(build({}, 2), compile_graph)
    assert again is clone
    assert int(again.optimizer.iterations) == 0
    assert float(again.optimizer.learning_rate) == 0.5
    momenta = again.optimizer.variables[2:]  # after the iterations and the learning rate
    assert momenta
    assert not any(np.any(v.numpy()) for v in momenta)
    assert not again.stop_training


def penalty(model):
    return float(sum(model.losses))


@pytest.mark.parametrize(
    ("options", "others", "same"),
    [
        ({"conv_dropout": 0.3}, {"dense_dropout": 0.3}, False),
        ({"conv_dropout": 0.3}, {"conv_dropout": 0.3, "spatial_dropout": True}, False),
        ({"max_norm": 1.0}, {}, False),
        ({"batch_norm": True}, {"batch_norm": True, "batch_norm_momentum": 0.5}, False),
        ({"activation": "relu"}, {"activation": "tanh"}, False),
        # Penalties differ in numbers only.
        ({"conv_kernel_regularizer": 0.1}, {"dense_kernel_regularizer": 0.1}, True),
        ({"dense_kernel_regularizer": L1(0.1)}, {"dense_kernel_regularizer": L2(0.1)}, True),
        ({}, {"conv_kernel_regularizer": 0.1}, True),
    ],
)
def test_another_graph_or_key_is_another_model(options, others, same):
    first, second = (build(each, 0, "lenet5") for each in (options, others))
    models = [reusable(model, compile_graph, "graphs") for model in (first, second)]
    assert (models[0] is models[1]) == same == (penalty(first) != penalty(second))
    # Of the second, which was loaded last.
    assert penalty(models[1]) == pytest.approx(penalty(second), rel=1e-6)
    assert reusable(second, compile_graph, "other graphs") is not models[1]


def small_net(names, activation="relu", noise_shape=None, rate=0.5):
    """A net whose layers bear the given names (None: whatever Keras makes up)."""
    keras.utils.set_random_seed(0)
    first, second, third = names
    inputs = x = keras.Input((12, 12, 1))
    x = keras.layers.Flatten(name=first)(x)
    x = keras.layers.Dense(8, activation=activation, name=second)(x)
    x = keras.layers.Dropout(rate, noise_shape=noise_shape, name=third)(x)
    return keras.Model(inputs, keras.layers.Dense(3)(x))


def test_names_do_not_matter():
    models = [small_net(names) for names in ((None,) * 3, (None,) * 3, ("a", "b", "c"))]
    assert models[0].layers[1].name != models[1].layers[1].name
    assert len({reusable(model, compile_graph, "names") for model in models}) == 1
    # Of a layer that is named like an activation neither.
    named = [small_net((name, None, None), activation=name) for name in ("relu", "tanh")]
    assert len({reusable(model, compile_graph, "names") for model in named}) == 2


def test_dropout_of_whole_units_keeps_its_noise_shape():
    # One mask for all examples of a batch: a variable rate does not know of it, the layer must.
    def masks(model):
        hidden = keras.Model(model.input, model.layers[-2].output)
        return np.asarray(hidden(np.ones((6, 12, 12, 1), "float32"), training=True)) == 0

    for rate in (0.5, 0.6):
        net = small_net((None,) * 3, activation="sigmoid", noise_shape=(1, 8), rate=rate)
        dropped = masks(reusable(net, compile_graph, "noise"))
        assert (dropped == dropped[0]).all()


@since_keras("3.14")
def test_where_all_units_are_dropped_none_is_divided_by_the_rate_of_those_that_are_kept():
    for rate in (0.5, 1.0):
        net = reusable(small_net((None,) * 3, rate=rate), compile_graph, "all")
    assert np.isfinite(fit(net, 0.1)[0]).all()


def test_a_layer_may_have_a_type_of_its_own():
    inputs = keras.Input((12, 12, 1))
    logits = keras.layers.Dense(3, dtype="float64", kernel_regularizer=L2(0.1))
    net = keras.Model(inputs, logits(keras.layers.Flatten()(inputs)))
    before = net.get_weights()[0]
    after = fit(reusable(net, compile_graph, "float64"), 0.01)[0]
    assert after.dtype == "float64" and not np.array_equal(before, after)


def test_only_so_many_models_are_kept():
    """A sweep over structures must not fill the memory; the model dropped is compiled again."""
    compiled = []

    def compile_counted(model):
        compiled.append(model.name)
        compile_graph(model)

    for round_ in range(2):
        for width in range(1, 6):
            reusable(build({"hidden": (width,)}, 0), compile_counted, "kept")
        assert len(compiled) == 5 * (round_ + 1)
    reusable(build({"hidden": (5,)}, 0), compile_counted, "kept")
    assert len(compiled) == 10
