"""What a run leaves: a record that repeats bit for bit, and that says how the training ended.

Everything is trained in a worker process: only there are TensorFlow's threads and operations set up
for records that repeat.
"""

from dataclasses import replace

import numpy as np
import pytest
import training_samples
from training_samples import FULL, PLAIN, measured

from dlip_reg.regularization import Regularization
from dlip_reg.training.records import loads
from dlip_reg.training.specification import MEASURES

METHODS = {
    "dropout": {"conv_dropout": 1e-7, "dense_dropout": 1e-7},
    "l1": {"conv_l1": 1e-12, "dense_l1": 1e-12},
    "l2": {"conv_l2": 1e-12, "dense_l2": 1e-12},
    "max_norm": {"max_norm": 1e6},
}


@pytest.fixture(scope="module")
def full_record(train):
    return train(FULL)


def measures(record):
    return measured(loads(record).measures)


def test_a_run_repeats_bit_for_bit_whatever_ran_before(train, full_record):
    for between in (
        replace(FULL, regularization=replace(FULL.regularization, dense_dropout=0.2), seed=5),
        replace(PLAIN, optimizer="sgd", learning_rate=0.1, epochs=1),
    ):
        assert train(between) != full_record
    assert train(FULL) == full_record


def test_a_record_holds_its_run_and_what_was_measured(full_record):
    record = loads(full_record)
    assert record.spec == FULL
    assert record.status == "finished"
    curves, final = record.curves, record.measures
    assert curves.epoch == (0, 1, 2)
    assert curves.keras_loss[0] is None
    # Both are the clean loss of the same weights over the same split.
    assert curves.clean_loss[-1] == final.train_loss
    assert curves.clean_val_accuracy[-1] == final.val_accuracy
    assert [row.epoch for row in record.weights.rows] == [0, 1, 2]
    assert final.test_accuracy in [n / 10 for n in range(11)]  # of ten images


def test_measures_watch_only(train, full_record):
    silent = measures(train(replace(FULL, measures=())))
    assert set(silent) == {"val_loss", "val_accuracy", "penalty"}
    assert silent.items() <= measures(full_record).items()
    for name in MEASURES:
        alone = loads(train(replace(FULL, measures=(name,))))
        assert silent.items() <= measured(alone.measures).items()
        assert bool(alone.curves) == (name == "curves")
        assert bool(alone.weights) == (name == "weights")


def test_the_test_split_is_looked_at_only_when_asked(train):
    poison = {"x_test": np.full((10, 28, 28, 1), np.nan, "float32")}
    spec = replace(PLAIN, measures=("curves", "weights"))
    assert train(spec, **poison) == train(spec)
    asked = replace(spec, measures=("test",))
    assert train(asked, **poison) != train(asked)


@pytest.mark.thorough
def test_every_method_starts_alike_and_sees_the_examples_in_one_order(train):
    """So a method whose strength all but vanishes ends where the run without it ends."""
    plain = loads(train(PLAIN))
    assert plain.curves.clean_loss[-1] < plain.curves.clean_loss[0]
    for options in METHODS.values():
        record = loads(train(replace(PLAIN, regularization=Regularization(**options))))
        assert record.curves.clean_loss[0] == plain.curves.clean_loss[0]
        assert record.weights.rows[0] == plain.weights.rows[0]
        # Float32 rounding in other places, grown by six steps of Adam.
        assert record.measures.val_loss == pytest.approx(plain.measures.val_loss, rel=1e-4)
    other = loads(train(replace(PLAIN, seed=PLAIN.seed + 1)))
    assert other.curves.clean_loss[0] != plain.curves.clean_loss[0]
    # The same images and initial weights in another order end visibly elsewhere.
    images, labels = training_samples.training_split(PLAIN)
    reordered = loads(train(PLAIN, x_train=images[::-1].copy(), y_train=labels[::-1].copy()))
    assert reordered.curves.clean_loss[0] == pytest.approx(plain.curves.clean_loss[0])
    for elsewhere in (other, reordered):
        assert elsewhere.measures.val_loss != pytest.approx(plain.measures.val_loss, rel=1e-3)


def test_a_run_that_diverges_is_a_result(train):
    record = loads(train(replace(FULL, optimizer="sgd", learning_rate=1e25, epochs=3)))
    assert record.status == "diverged"
    assert record.measures.val_loss is None
    assert record.curves.clean_loss[0] is not None  # the untrained net was well
    assert record.curves.clean_loss[-1] is None
    assert len({len(column) for column in vars(record.curves).values() if column}) == 1


def test_a_loss_that_was_infinite_only_in_training_is_a_divergence(train):
    # The sum of a batch's losses overflows float32, each loss and the step that follows do not.
    huge = {"x_train": np.full((60, 28, 28, 1), 3e37, "float32")}
    spec = replace(PLAIN, model="mlp", optimizer="sgd", learning_rate=1e-38, measures=())
    record = loads(train(spec, **huge))
    assert record.measures.val_loss is not None
    assert record.status == "diverged"


def test_weights_that_are_no_numbers_are_a_divergence_though_the_loss_is_one(train):
    # One bad pixel makes the first layer NaN. On some processors ReLU then gives 0, and the loss is
    # that of guessing.
    images, _ = training_samples.training_split(PLAIN)
    images[0, 0, 0, 0] = np.nan
    record = loads(train(replace(PLAIN, optimizer="sgd"), x_train=images))
    assert record.measures.val_loss in (None, pytest.approx(np.log(10), abs=0.1))
    assert record.status == "diverged"


@pytest.mark.thorough
def test_a_batch_larger_than_the_split_is_the_whole_split(train):
    whole, larger = (measures(train(replace(PLAIN, batch_size=size))) for size in (60, 1000))
    assert whole == larger
