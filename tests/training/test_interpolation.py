"""Between two trained nets and around them: the ends are the nets, and equal ends are one point.

Trained here, not in a worker: what is compared are numbers of one process.
"""

from dataclasses import replace

import keras
import numpy as np
import pytest
from training_samples import load

from callbacks.evaluation import clean_metrics
from dlip_reg.curvature import recalibrate_batch_norm
from dlip_reg.regularization import Regularization
from dlip_reg.training import DataSpec, RunSpec
from dlip_reg.training.fitting import trained
from dlip_reg.training.interpolation import ALPHAS, POSITIONS, SURFACE, interpolate
from dlip_reg.training.records import Measures, dumps, loads
from dlip_reg.training.specification import InterpolationSpec

DATA = DataSpec("fashion_mnist_subset", n_train=60, n_validation=20, n_test=30)
SMALL = RunSpec("mlp", DATA, builder={"hidden": [8]}, batch_size=10, epochs=3)
LARGE = replace(SMALL, batch_size=30)
NORMED = [replace(run, regularization=Regularization(batch_norm=True)) for run in (SMALL, LARGE)]
# The same sums over 60 images, in other pieces and on other threads: float32 rounding.
NEAR = {"rel": 1e-4, "abs": 1e-6}


@pytest.fixture(scope="module", autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="module")
def record():
    return interpolate(InterpolationSpec(SMALL, LARGE, surfaces=True), load(SMALL))


def test_positions_hold_the_ends_and_keskar_s_range():
    assert (ALPHAS[0], ALPHAS[-1]) == (-1, 2) and {0.0, 1.0} < set(ALPHAS)
    for positions in (POSITIONS, SURFACE):
        assert (positions[0], positions[-1]) == (-1, 1) and 0.0 in positions


@pytest.mark.thorough
@pytest.mark.parametrize("runs", [NORMED, (SMALL, LARGE)], ids=["batch norm", "plain"])
def test_the_ends_are_the_trained_nets(runs, record):
    data = load(SMALL)
    if runs is NORMED:
        record = interpolate(InterpolationSpec(*runs), data)
    for run, name, place in zip(runs, ("first", "second"), (0.0, 1.0), strict=True):
        model = trained(run, data)
        recalibrate_batch_norm(model, data.x_train)  # does nothing without batch norm
        for split, x, y in (
            ("training", data.x_train, data.y_train),
            ("test", data.x_test, data.y_test),
        ):
            expected = clean_metrics(model, x, y)
            for quantity in ("loss", "accuracy"):
                at_end = getattr(getattr(record.line, split), quantity)[ALPHAS.index(place)]
                assert at_end == pytest.approx(expected[quantity], **NEAR)
                assert getattr(record.measures, f"{name}_{split}_{quantity}") == at_end
        on_line = getattr(record.filter_normalised, name).loss[POSITIONS.index(0.0)]
        assert on_line == getattr(record.measures, f"{name}_training_loss")


def test_between_equal_nets_nothing_changes():
    record = interpolate(InterpolationSpec(SMALL, SMALL), load(SMALL))
    assert record.surfaces is None
    for split in ("training", "test"):
        assert len(set(getattr(record.line, split).loss)) == 1
    for name in ("first", "second"):  # there is no direction to go
        assert len(set(getattr(record.filter_normalised, name).loss)) == 1


def test_surfaces_stand_on_the_nets(record):
    middle = SURFACE.index(0.0)
    for name in ("first", "second"):
        surface = np.array(getattr(record.surfaces, name))
        assert surface.shape == (len(SURFACE), len(SURFACE))
        # All 60 images are among the 512.
        own = getattr(record.measures, f"{name}_training_loss")
        assert surface[middle, middle] == pytest.approx(own, **NEAR)
        assert surface.max() > own
        # Along two directions, and not twice along one.
        assert not np.allclose(surface, surface.T, rtol=1e-3)


def test_filters_go_from_each_net_towards_the_other_one(record):
    data, place = load(SMALL), 15  # half of each filter's norm
    ends = [trained(run, data).get_weights() for run in (SMALL, LARGE)]
    model = trained(SMALL, data)
    for name, own, other in zip(("first", "second"), ends, ends[::-1], strict=True):
        moved = []
        for weights, theirs in zip(own, other, strict=True):
            step = theirs - weights if weights.ndim > 1 else np.zeros_like(weights)
            norms = [np.linalg.norm(array, axis=0) for array in (weights, step)]
            scale = np.divide(*norms, where=norms[1] > 0, out=np.zeros_like(norms[0]))
            moved.append(weights + POSITIONS[place] * scale * step)
        model.set_weights(moved)
        expected = clean_metrics(model, data.x_train, data.y_train)["loss"]
        found = getattr(record.filter_normalised, name).loss[place]
        assert found == pytest.approx(expected, **NEAR)


def test_the_record_is_plain_and_names_the_job(record):
    assert loads(dumps(record)) == record
    spec = InterpolationSpec(SMALL, LARGE, surfaces=True)
    assert record.id == spec.identity(load(SMALL).fingerprint)
    others = {
        InterpolationSpec(LARGE, SMALL, surfaces=True),
        InterpolationSpec(SMALL, LARGE),
        replace(spec, first=replace(SMALL, epochs=4)),
    }
    assert record.id not in {other.identity(load(SMALL).fingerprint) for other in others}
    assert (spec.data, spec.seed) == (DATA, 0)


def test_a_net_that_diverged_is_measured_no_further():
    wild = replace(SMALL, learning_rate=1e30, optimizer="sgd")
    record = interpolate(InterpolationSpec(SMALL, wild, surfaces=True), load(SMALL))
    assert record.status == "diverged"
    assert record.line is record.filter_normalised is record.surfaces is None
    assert record.measures == Measures()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model": "lenet5", "builder": {}}, "model"),
        ({"builder": {"hidden": [9]}}, "builder"),
        ({"data": replace(DATA, n_train=50)}, "data"),
        ({"seed": 1}, "seed"),
        ({"regularization": Regularization(batch_norm=True)}, "batch normalization"),
    ],
)
def test_nets_that_cannot_be_compared_are_refused(change, told):
    with pytest.raises(ValueError, match=told):
        InterpolationSpec(SMALL, replace(LARGE, **change))
