"""Stopping at a training loss, and the sharpness around it."""

from dataclasses import replace

import numpy as np
import pytest
from training_samples import load

from dlip_reg.training import DataSpec, RunSpec
from dlip_reg.training.run import train

RUN = RunSpec(
    "mlp",
    DataSpec("fashion_mnist_subset", n_train=200, n_validation=20, n_test=10),
    builder={"hidden": [8]},
    learning_rate=0.01,
    epochs=40,
    stop_loss=1.0,
    measures=("curves",),
)


@pytest.fixture(scope="module")
def measured():
    return train(replace(RUN, measures=("curves", "minimizer")), load(RUN))


def test_training_ends_with_the_first_epoch_at_the_loss(measured):
    losses = measured.curves.clean_loss
    assert len(losses) - 1 < RUN.epochs
    assert losses[-1] <= 1.0 < min(losses[:-1])


def test_sharpness_is_that_of_the_epochs_around_the_loss(measured):
    before, after = measured.minimizer
    assert (before.epoch + 1, after.epoch) == (after.epoch, measured.curves.epoch[-1])
    assert before.clean_loss > 1.0 >= after.clean_loss
    assert after.clean_loss == pytest.approx(measured.curves.clean_loss[-1])
    for row in measured.minimizer:
        assert row.keskar_1e_3 > row.keskar_5e_4 > 0 and row.adaptive_sharpness > 0
    assert before.lambda_max != after.lambda_max


def test_measuring_does_not_change_the_run(measured):
    plain = train(RUN, load(RUN))
    np.testing.assert_array_equal(plain.curves.clean_loss, measured.curves.clean_loss)
    assert plain.measures == measured.measures


def test_a_run_that_misses_the_loss_goes_on_to_its_end_without_rows():
    record = train(replace(RUN, epochs=1, stop_loss=0.01, measures=("curves", "minimizer")),
                   load(RUN))  # fmt: skip
    assert record.minimizer == () and record.curves.epoch[-1] == 1
