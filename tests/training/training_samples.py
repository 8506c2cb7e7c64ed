"""Tiny runs, and the function that trains them in a process of their own."""

from dataclasses import replace

from dlip_reg.regularization import Regularization
from dlip_reg.training import DataSpec, RunSpec, worker
from dlip_reg.training.specification import MEASURES

DATA = DataSpec("fashion_mnist_subset", n_train=60, n_validation=40, n_test=10)
FULL = RunSpec(
    "lenet5",
    DATA,
    Regularization(
        batch_norm=True, conv_dropout=0.1, dense_dropout=0.5, conv_l1=1e-4, dense_l2=0.01
    ),
    batch_size=16,
    epochs=2,
    seed=3,
    measures=MEASURES,
)
PLAIN = replace(FULL, regularization=Regularization())


def train_tiny(spec, **arrays):
    """The record of `spec`, as JSON text; `arrays` replace those of its data."""
    from dlip_reg.training import records, train

    return records.dumps(train(spec, replace(load(spec), **arrays)))


def training_split(spec):
    """The images and labels `spec` trains on."""
    data = load(spec)
    return data.x_train, data.y_train


def load(spec):
    """The data of `spec`, the caller's own."""
    return worker.load.__wrapped__(spec.data, None, spec.seed)


def measured(measures):
    """The measures that have a value, by name."""
    return {name: value for name, value in vars(measures).items() if value is not None}
