"""What is trained on (loss, targets, optimizer, images) changes; what is measured does not."""

import json
import random
import sys
import tempfile
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from further_cases import since_keras
from model_samples import Descent, Fading, Noise, Weighted
from training_samples import DATA

from callbacks.evaluation import clean_metrics
from dlip_reg.regularization import Regularization
from dlip_reg.training import RunSpec
from dlip_reg.training.augmentation import Augmentation
from dlip_reg.training.fitting import compiled, fit, make_optimizer, trained
from dlip_reg.training.keras_configs import restored
from dlip_reg.training.records import loads
from dlip_reg.training.specification import DEFAULT_LOSS, OPTIMIZERS

SPEC = RunSpec(
    "mlp",
    DATA,
    builder={"hidden": [12]},
    optimizer="sgd",
    learning_rate=0.1,
    batch_size=60,
    epochs=1,
)
FLIP = [{"class_name": "RandomFlip", "config": {"mode": "horizontal"}}]
CURVES = ("curves", "test")


def moved(spec, dataset):
    """The step that the last kernel takes on the one batch there is, and the network before it."""
    model = compiled(spec, dataset)
    before = model.get_weights()
    fit(model, spec, dataset)
    after = model.get_weights()
    return after[-2] - before[-2], before


def own_step(spec, dataset, loss_of):
    """The same step from the gradient of `loss_of(logits, one-hot labels)`."""
    model = compiled(spec, dataset)
    targets = tf.one_hot(dataset.y_train, 10)
    with tf.GradientTape() as tape:
        logits = model(dataset.x_train)
        loss = loss_of(tf.nn.log_softmax(logits), targets)
    (gradient,) = tape.gradient(loss, model.trainable_variables[-2:-1])
    return -spec.learning_rate * gradient.numpy()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(
    ("loss", "factor"),
    [
        (DEFAULT_LOSS, 1),
        (keras.losses.CategoricalCrossentropy(from_logits=True), 1),
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum"), 60),
    ],
    ids=["sparse", "one-hot", "sum"],
)
def test_label_smoothing_mixes_the_targets_with_the_uniform_distribution(
    dataset, smoothing, loss, factor
):
    # Szegedy et al. 2016, section 7: (1 - s) * one-hot + s / K.
    spec = replace(SPEC, loss=loss, label_smoothing=smoothing)
    step, _ = moved(spec, dataset)

    def smoothed(log_probabilities, targets):
        targets = (1 - smoothing) * targets + smoothing / 10
        return -tf.reduce_mean(tf.reduce_sum(targets * log_probabilities, axis=-1))

    np.testing.assert_allclose(step / factor, own_step(spec, dataset, smoothed), atol=1e-6)


@pytest.mark.thorough
def test_the_clean_loss_is_the_plain_cross_entropy_whatever_is_trained_on(train):
    """At the start all runs are one network, so their clean losses are equal."""
    records = {
        name: loads(train(replace(SPEC, measures=CURVES, **changes)))
        for name, changes in {
            "plain": {},
            "smoothed": {"label_smoothing": 0.3},
            "focal": {"loss": keras.losses.CategoricalFocalCrossentropy(from_logits=True)},
            "squares": {"loss": {"class_name": "MeanSquaredError"}},
        }.items()
    }
    plain = records.pop("plain")
    for record in records.values():
        for name in ("clean_loss", "clean_val_loss", "clean_val_accuracy"):
            start, expected = getattr(record.curves, name)[0], getattr(plain.curves, name)[0]
            assert start == expected
        assert record.curves.clean_loss[1] != plain.curves.clean_loss[1]
        assert record.curves.keras_loss[1] != pytest.approx(plain.curves.keras_loss[1], rel=1e-3)
        assert record.curves.clean_loss[-1] == record.measures.train_loss


def test_penalties_stay_part_of_the_loss_trained_on(train):
    smoothed = replace(SPEC, label_smoothing=0.1, measures=CURVES)
    plain, penalised = (
        loads(train(replace(smoothed, regularization=Regularization(dense_l2=l2)))).curves
        for l2 in (0.0, 0.01)
    )
    added = penalised.keras_loss[1] - plain.keras_loss[1]
    assert added == pytest.approx(penalised.penalty[0], rel=1e-4)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=since_keras("3.14")) if n == "muon" else n for n in OPTIMIZERS],
)
def test_every_optimizer_name_is_one_of_keras(name):
    assert isinstance(make_optimizer(name), keras.optimizers.Optimizer)


def test_an_optimizer_is_its_configuration_with_the_run_s_learning_rate(dataset, monkeypatch):
    made = keras.optimizers.SGD(momentum=0.5, nesterov=True)
    spec = replace(SPEC, optimizer=made)
    same = {"class_name": "SGD", "config": {"momentum": 0.5, "nesterov": True}}
    assert spec == replace(SPEC, optimizer=same)
    assert spec.identity("data") != SPEC.identity("data")
    optimizer = compiled(spec, dataset).optimizer
    assert (optimizer.momentum, optimizer.nesterov) == (0.5, True)
    assert float(optimizer.learning_rate) == pytest.approx(0.1)
    assert replace(SPEC, optimizer="SGD") == SPEC
    for module in (Descent.__module__, "__main__"):  # of a file, and of the script
        monkeypatch.setattr(Descent, "__module__", module)
        monkeypatch.setattr(sys.modules[module], "Descent", Descent, raising=False)
        own = compiled(replace(SPEC, optimizer=Descent(momentum=0.5)), dataset).optimizer
        assert (type(own), own.momentum) == (Descent, 0.5)
    # The one within a LossScaleOptimizer likewise, whatever number is in its name.
    scaled = keras.optimizers.LossScaleOptimizer
    spec = replace(SPEC, optimizer=scaled(keras.optimizers.SGD(momentum=0.5)))
    assert spec == replace(SPEC, optimizer=scaled(keras.optimizers.SGD(momentum=0.5)))
    optimizer = compiled(spec, dataset).optimizer
    assert optimizer.inner_optimizer.momentum == 0.5
    assert float(optimizer.learning_rate) == pytest.approx(0.1)
    # Another rate would be ignored.
    decay = keras.optimizers.schedules.CosineDecay(0.7, 100)
    others = [{"class_name": "SGD", "config": {"learning_rate": 9}}]
    others += [*map(keras.optimizers.SGD, (0.7, decay)), scaled(keras.optimizers.SGD(0.7))]
    for other in others:
        with pytest.raises(ValueError, match="must leave the learning rate to learning_rate and"):
            replace(SPEC, optimizer=other)
    made.exclude_from_weight_decay(var_names=["bias"])
    for other in (made, scaled(made)):
        with pytest.raises(ValueError, match="optimizer must not exclude weights from its decay"):
            replace(SPEC, optimizer=other)
    # Losses and layers have one form, too.
    plain = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert replace(SPEC, loss=plain) == SPEC
    layers = [keras.layers.RandomFlip("horizontal", seed=4)]
    assert replace(SPEC, augmentation=layers) == replace(SPEC, augmentation=FLIP)
    assert json.loads(replace(SPEC, augmentation=layers).augmentation)[0]["class_name"]
    model = keras.Sequential([keras.Sequential(layers)])
    assert replace(SPEC, augmentation=model) == replace(SPEC, augmentation=FLIP)
    assert replace(SPEC, augmentation=[model]) == replace(SPEC, augmentation=FLIP)


def test_what_a_configuration_leaves_out_is_kept_or_refused():
    # Keras has no delta in Huber's configuration.
    huber = replace(SPEC, loss=keras.losses.Huber(delta=0.1))
    assert repr(restored(huber.loss)._fn_kwargs) == "{'delta': 0.1}"
    assert json.loads(replace(SPEC, loss=keras.losses.Huber()).loss)["config"] == {}
    assert replace(SPEC, loss=Weighted()).loss == replace(SPEC, loss=Weighted(1.0)).loss
    with pytest.raises(ValueError, match="get_config that returns factor"):
        replace(SPEC, loss=Weighted(5.0))


def test_layers_in_layers_have_one_form_whatever_keras_names_them():
    first, second = (keras.layers.Pipeline([keras.layers.RandomFlip(seed=seed)]) for seed in (1, 2))
    assert replace(SPEC, augmentation=[first]) == replace(SPEC, augmentation=[second])


@since_keras("3.15")
def test_layers_for_standardised_images_and_for_images_alone_are_accepted(dataset):
    in_range = keras.layers.RandomBrightness(0.1, value_range=(-3, 3))
    takes_no_labels = keras.layers.RandomGrayscale()
    compiled(replace(SPEC, augmentation=[in_range, takes_no_labels]), dataset)


def test_augmentation_leaves_no_temporary_files(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    trained(replace(SPEC, augmentation=FLIP, epochs=1), dataset)
    assert list(tmp_path.iterdir()) == []


def test_averaged_weights_are_measured_after_each_epoch(train):
    averaging = {"class_name": "SGD", "config": {"use_ema": True, "ema_momentum": 0.9}}
    averaged = replace(SPEC, optimizer=averaging, batch_size=20, epochs=3, measures=CURVES)
    record, raw = loads(train(averaged)), loads(train(replace(averaged, optimizer="sgd")))
    for measured, plain in zip(
        record.curves.clean_val_loss[1:], raw.curves.clean_val_loss[1:], strict=True
    ):
        assert abs(measured - plain) > 1e-3
    assert record.measures.val_loss == pytest.approx(record.curves.clean_val_loss[-1], rel=1e-5)


def test_own_classes_begin_each_run_anew(dataset):
    spec = replace(SPEC, optimizer=Fading())
    first, again = (moved(spec, dataset)[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.any(first)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": {"class_name": "Walk", "config": {}}},
        {"optimizer": {"class_name": "SGD", "config": {"speed": 1}}},
        {"loss": {"class_name": "Gain", "config": {}}},
        {"augmentation": [{"class_name": "RandomNothing"}]},
        {"augmentation": [{"class_name": "Flatten"}]},
        {"augmentation": [{"class_name": "MixUp"}]},
        # With the range of pixels that they have by default they would clip what is negative.
        {"augmentation": [{"class_name": "RandomBrightness", "config": {"factor": 0.1}}]},
        {"augmentation": [{"class_name": "RandomErasing"}]},
        {"augmentation": [keras.layers.Pipeline([keras.layers.RandomErasing()])]},
        {"augmentation": [keras.layers.Pipeline([keras.layers.MixUp()])]},
    ],
)
def test_classes_that_do_not_exist_or_do_not_fit_are_one_sentence(dataset, changes):
    with pytest.raises(ValueError, match=r"\.$") as caught:
        compiled(replace(SPEC, **changes), dataset)
    assert "\n" not in str(caught.value)


def test_augmented_batches_are_drawn_by_seed_and_step_alone(dataset):
    images = tf.constant(dataset.x_train)

    def batches(steps, **changes):
        augment = Augmentation(
            replace(SPEC, augmentation=FLIP, **changes), np.zeros((16, 28, 28, 1))
        )
        return [augment(images, tf.constant(step)).numpy() for step in steps]

    first = batches(range(4))
    for step, again in zip((2, 0), batches((2, 0), model="lenet5", builder={}), strict=True):
        np.testing.assert_array_equal(first[step], again)
    for step in (1, 2, 3):
        assert not np.array_equal(first[0], first[step])
    assert not np.array_equal(first[0], batches([0], seed=1)[0])
    flipped = [np.array_equal(a, b[:, ::-1]) for a, b in zip(first[0], images.numpy(), strict=True)]
    kept = [np.array_equal(a, b) for a, b in zip(first[0], images.numpy(), strict=True)]
    assert all(a or b for a, b in zip(flipped, kept, strict=True))
    assert 0 < sum(kept) < 60


def test_a_layer_without_a_generator_of_its_own_draws_anew_in_each_step():
    augment = Augmentation(replace(SPEC, augmentation=[Noise()]), np.zeros((16, 28, 28, 1)))
    steps = tf.data.Dataset.range(3).map(lambda step: augment(tf.zeros((2, 28, 28, 1)), step))
    first, second, third = steps
    assert not np.array_equal(first, second)
    assert not np.array_equal(second, third)
    np.testing.assert_array_equal(second, augment(tf.zeros((2, 28, 28, 1)), tf.constant(1)))


@pytest.mark.thorough
def test_augmentation_repeats_changes_training_and_is_off_in_evaluation(train, dataset):
    augmented = replace(
        SPEC,
        augmentation=[*FLIP, {"class_name": "RandomRotation", "config": {"factor": 0.2}}],
        batch_size=20,
        epochs=3,
        measures=CURVES,
    )
    text = train(augmented)
    train(SPEC)
    assert train(augmented) == text
    plain, record = loads(train(replace(augmented, augmentation=[]))), loads(text)
    assert record.curves.clean_loss[0] == plain.curves.clean_loss[0]
    assert record.curves.clean_loss[1] != plain.curves.clean_loss[1]
    model = compiled(augmented, dataset)
    fit(model, augmented, dataset)
    own = clean_metrics(model, dataset.x_validation, dataset.y_validation)
    # Another process with other threads: float32 rounding.
    assert record.measures.val_loss == pytest.approx(own["loss"], rel=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"augmentation": FLIP},  # Keras' AugMix chooses by Python's generator
        {"builder": {"hidden": [12], "kernel_initializer": {"class_name": "HeNormal"}}},
    ],
)
def test_objects_that_a_run_brings_draw_from_its_seed(dataset, changes):
    drawn = []
    for seed in (1, 1, 2):
        compiled(replace(SPEC, seed=seed, **changes), dataset)
        drawn.append((random.random(), np.random.random()))
    assert drawn[0] == drawn[1] != drawn[2]


def test_random_labels_are_those_of_the_training_split_alone(train):
    labels = replace(SPEC, data=replace(DATA, random_labels=True), measures=CURVES)
    plain, record = loads(train(replace(SPEC, measures=CURVES))), loads(train(labels))
    assert record.curves.clean_val_loss[0] == plain.curves.clean_val_loss[0]
    assert record.curves.clean_loss[0] != plain.curves.clean_loss[0]
    assert record.id != plain.id
