"""What the probes leave in a record, and that they are what they claim to be."""

from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from training_samples import DATA, load, measured

from callbacks.evaluation import clean_metrics
from callbacks.layers import kernel_layers
from dlip_reg.curvature import LossFunction, top_eigenvalue
from dlip_reg.regularization import Regularization
from dlip_reg.training import PROBES, RunSpec, endings, run, trained
from dlip_reg.training.records import loads
from dlip_reg.training.run import train as train_here

BATCH_NORM = Regularization(batch_norm=True)
SPEC = RunSpec(
    "mlp",
    replace(DATA, grey=True),
    BATCH_NORM,
    builder={"hidden": [12, 6], "activation": "sigmoid", "batch_norm_momentum": 0.99},
    optimizer="momentum",
    learning_rate=0.05,
    batch_size=16,
    epochs=7,
    stop_loss=1e-9,  # never reached
    measures=("curves", "test", *PROBES),
)
WATCHERS = ("curvature", "landscape", "flow", "percentiles")


@pytest.fixture(scope="module")
def text(train):
    return train(SPEC)


@pytest.fixture(scope="module")
def record(text):
    return loads(text)


@pytest.fixture(scope="module")
def dataset():
    return load(SPEC)


@pytest.fixture(scope="module")
def model(dataset):
    """The net of SPEC, trained in this process."""
    return trained(SPEC, dataset)


@pytest.mark.thorough
def test_a_probed_run_repeats_bit_for_bit(train, text):
    train(replace(SPEC, seed=1, measures=("flow",)))  # the same model, in other hands
    assert train(SPEC) == text


def test_probes_watch_only(train, record):
    silent = measured(loads(train(replace(SPEC, measures=()))).measures)
    assert silent.items() <= measured(record.measures).items()


def test_one_probe_alone_measures_the_same(train, record):
    for name in ("flow", "batch_noise"):
        alone = loads(train(replace(SPEC, measures=(name,))))
        assert getattr(alone, name) == getattr(record, name)
        others = {*PROBES, "curves"} - {name, "recalibrated"}
        assert not any(getattr(alone, other) for other in others)


def test_the_last_curvature_is_a_measure_and_that_of_the_trained_net(record, model, dataset):
    last, measures = record.curvature[-1], record.measures
    for name in ("lambda_max", "sam_sharpness", "adaptive_sharpness"):
        assert getattr(measures, name) == getattr(last, name)
    assert last.lambda_max_lr_half == pytest.approx(last.lambda_max * 0.05 / 2)
    loss = LossFunction(model, dataset.x_train, dataset.y_train, batch_norm="batch")
    loss = loss.subset(min(256, loss.examples), seed=0)
    top = top_eigenvalue(loss.hessian_product, loss.size)
    # The recorder's tolerance, and another process with more threads.
    assert last.lambda_max == pytest.approx(top.value, rel=5e-3)


def test_each_is_measured_when_and_where_it_should(record):
    every = list(range(8))
    epochs = {name: [row.epoch for row in getattr(record, name)] for name in WATCHERS}
    some = [0, 4, 7]
    assert epochs == {"curvature": some, "landscape": every, "flow": some, "percentiles": every}
    for row in record.landscape:  # steps of the learning rate, from half of to four times it
        assert (row.step_lengths[0], row.step_lengths[-1]) == pytest.approx((0.025, 0.2))
    # Units of the last hidden activation.
    assert [unit.unit for unit in record.percentiles[0].units] == list(range(6))
    # Normalised inputs: in some unit on some image far out, but within sqrt(n - 1) of them.
    assert all(1 < row.activation_peak < 16 for row in record.percentiles)
    assert [row.variant for row in record.colours] == ["grey", "tinted", "inverted", "dimmed"]
    assert record.colours[0].accuracy == record.measures.test_accuracy
    assert all(0 <= row.recalibrated_accuracy <= 1 for row in record.colours)


def test_keskar_is_the_best_of_its_searches(record):
    for name, (epsilon, subspace) in {
        "keskar_1e_3": (1e-3, None),
        "keskar_5e_4": (5e-4, None),
        "keskar_subspace_1e_3": (1e-3, 100),
        "keskar_subspace_5e_4": (5e-4, 100),
    }.items():
        searches = [
            row for row in record.keskar if (row.epsilon, row.subspace) == (epsilon, subspace)
        ]
        assert [s.name for s in searches] == ["l-bfgs-b", "sign-corner", "sign-ascent"]
        best = max(s.value for s in searches if s.value is not None)
        assert getattr(record.measures, name) == best > 0
    # Nearly linear at this size: twice the box is about twice the rise.
    ratio = record.measures.keskar_1e_3 / record.measures.keskar_5e_4
    assert 1.5 < ratio < 3


def test_moving_statistics_that_lag_behind_are_told_from_re_estimated_ones(
    record, train, model, dataset
):
    # Of 21 steps at momentum .99 four fifths of the initial statistics are still there.
    measures = record.measures
    assert measures.recalibrated_train_loss < measures.train_loss - 0.1
    assert 0 <= measures.recalibrated_test_accuracy <= 1
    with endings.preserve_weights(model):
        endings.recalibrate_batch_norm(model, dataset.x_train)
        found = clean_metrics(model, dataset.x_validation, dataset.y_validation)["loss"]
    # Another process with more threads.
    assert measures.recalibrated_val_loss == pytest.approx(found, rel=1e-4)
    plain = replace(
        SPEC,
        regularization=Regularization(),
        data=DATA,
        builder={"hidden": [12, 6]},
        measures=("recalibrated", "batch_noise"),
    )
    record = loads(train(plain))
    assert record.measures.recalibrated_val_loss == record.measures.val_loss
    # Without batch normalization the other examples change nothing.
    assert {row.relative_variance for row in record.batch_noise} == {0.0}


def pixels(images, dataset):
    return images * np.float32(dataset.std) + np.float32(dataset.mean)


def test_images_are_repainted_in_one_saturated_colour_each_inverted_or_dimmed(dataset):
    grey = pixels(dataset.x_validation, dataset)
    tinted = pixels(endings._tinted(dataset.x_validation, dataset), dataset)
    # Pixels of 1/255 in float32.
    np.testing.assert_allclose(tinted.max(axis=-1), grey[..., 0], atol=1e-6)
    np.testing.assert_allclose(tinted.min(axis=-1), 0, atol=1e-6)
    totals = tinted.sum(axis=(1, 2))
    shares = totals / totals.max(axis=-1, keepdims=True)
    assert len(np.unique(shares.round(4), axis=0)) == len(shares)
    # One colour all over.
    np.testing.assert_allclose(tinted, grey * shares[:, None, None, :], atol=1e-5)
    for repaint, expected in (
        (endings._inverted, 1 - grey),
        (endings._dimmed, 0.7 + grey / 4),  # a quarter of the contrast
    ):
        repainted = pixels(repaint(dataset.x_validation, dataset), dataset)
        np.testing.assert_allclose(repainted, expected, atol=1e-6)


@pytest.mark.parametrize("draws", [2, 8])
def test_an_image_s_statistics_are_as_noisy_as_a_mean_over_its_batch_noise(draws, monkeypatch):
    """One normalised unit of Gaussian input: the noise of a mean and of a standard deviation.

    Over other examples z* = (z - m) / s with m of variance 1/B and s of variance 1/(2B), so the
    variance of z* is (1 + z^2 / 2) / B, on average over images 1.5 / B. A variance over two draws
    is as large, on average.
    """
    monkeypatch.setattr(endings, "_DRAWS", draws)
    rng = np.random.default_rng(0)
    data = replace(load(SPEC), x_train=rng.normal(size=(20_000, 1)).astype("float32"))
    net = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(1, kernel_initializer="ones"),
            keras.layers.BatchNormalization(),
            keras.layers.Activation("sigmoid"),
            keras.layers.Dense(2),
        ]
    )
    net.compile("sgd", "mse")
    _, rows = endings._batch_noise(data, net)
    assert [row["batch_size"] for row in rows] == [4, 8, 16, 32, 64, 128, 256]
    scaled = [row["batch_size"] * row["relative_variance"] for row in rows]
    # Sixteen images, and the draws at five sizes, estimate a variance to some 15 %, their z^2 as
    # roughly.
    assert np.mean(scaled[2:]) == pytest.approx(1.5, rel=0.3)
    # A batch of all the images that there are is always the same one.
    _, (row,) = endings._batch_noise(replace(data, x_train=data.x_train[:19]), net)
    assert row["relative_variance"] == pytest.approx(0, abs=1e-9)


@pytest.mark.thorough
def test_a_run_that_diverges_is_probed_as_far_as_it_goes_without_warnings(train, recwarn):
    gone = replace(SPEC, optimizer="sgd", learning_rate=1e30, regularization=Regularization())
    gone = replace(gone, builder={"hidden": [12]})
    record = loads(train(gone))
    assert record.status == "diverged"
    for name in WATCHERS:
        assert getattr(record, name)[0].epoch == 0
    assert record.landscape[0].loss_low is None  # its steps are of that learning rate
    assert record.flow[0].gradient_norm > 0
    assert record.measures.lambda_max is None
    assert record.keskar == record.colours == record.batch_noise == ()
    # The record says it all.
    assert train_here(replace(gone, measures=("flow",)), load(gone)).flow[-1].gradient_norm is None
    assert not [str(w.message) for w in recwarn if "GradientFlow" in str(w.message)]


@pytest.mark.parametrize("measures", [("weights", "test"), ("weights",)])
def test_pruning_takes_the_small_weights_of_each_layer_and_is_undone(model, dataset, measures):
    rms = {name: np.sqrt(np.mean(np.square(layer.kernel)))
           for name, (_, layer) in kernel_layers(model).items()}  # fmt: skip
    rows = [{"layers": [{"layer": name, "rms": value} for name, value in rms.items()]}]
    pruning = SimpleNamespace(threshold=1.0, rows=rows)
    found = run._pruned_accuracy(replace(SPEC, measures=measures), dataset, model, pruning)
    before = model.get_weights()
    split = "test" if "test" in measures else "validation"
    x, y = getattr(dataset, f"x_{split}"), getattr(dataset, f"y_{split}")
    with endings.preserve_weights(model):
        for name, (_, layer) in kernel_layers(model).items():
            kernel = layer.kernel.numpy()
            layer.kernel.assign(kernel * (np.abs(kernel) >= rms[name]))
        assert found == clean_metrics(model, x, y)["accuracy"]
    assert all(map(np.array_equal, before, model.get_weights()))
    assert np.all(model.get_weights()[0])  # nothing is pruned any more


def test_grey_images_cannot_show_colours():
    grey = replace(SPEC, data=DATA, measures=("colours",))
    with pytest.raises(ValueError, match="colours needs images of three channels"):
        train_here(grey, load(grey))


def test_a_recalibrated_net_wins_back_what_a_shift_of_its_inputs_lost(model, dataset):
    """Brighter images are, after batch normalization in the first layer, the same images."""
    shifted = replace(
        dataset, x_test=3 * dataset.x_test + 1, x_validation=3 * dataset.x_test + 1, std=(1,) * 3
    )
    _, rows = endings._colours(shifted, model)
    with endings.preserve_weights(model):
        endings.recalibrate_batch_norm(model, dataset.x_test)
        settled = clean_metrics(model, dataset.x_test, dataset.y_test)["accuracy"]
    assert rows[0]["recalibrated_accuracy"] == settled


def test_statistics_of_the_source_images_are_those_of_training(model, dataset):
    """On images of another kind they win nothing, and on their own they are the recalibrated."""
    _, rows = endings._colours(dataset, model)
    grey, *others = rows
    assert grey["source_recalibrated_accuracy"] == grey["recalibrated_accuracy"]
    with endings.preserve_weights(model):
        endings.recalibrate_batch_norm(model, dataset.x_validation)
        _, settled = endings._colours(dataset, model)
    for row, after in zip(others, settled[1:], strict=True):
        assert row["source_recalibrated_accuracy"] == after["accuracy"]
