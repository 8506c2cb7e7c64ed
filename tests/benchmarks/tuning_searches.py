"""The searches that the tuning benchmarks share: a small CNN's conv and dense L2 strengths."""

import functools
import os
import tempfile
import time
from pathlib import Path

import keras
import small_cnn

from dlip_reg.datasets import load_dataset
from dlip_reg.experiments import Workers
from dlip_reg.training import DataSpec
from dlip_reg.training.process import configure_process
from dlip_reg.tuning import ParallelTuner, RegularizationHyperModel, make_oracle

NAME, RANGE = "fashion_mnist_subset", (1e-5, 1e-2)


def data_spec(images: int) -> DataSpec:
    return DataSpec(NAME, n_train=images, n_validation=1000, n_test=10)


def load(images: int):
    """The splits that `data_spec` names, by seed 0."""
    return load_dataset(NAME, n_train=images, n_validation=1000, n_test=10, seed=0)


def own_relu(x):
    """A function that no configuration tells, so that its model is traced for each execution."""
    return keras.ops.relu(x)


def cnn(strengths, activation="relu") -> keras.Model:
    """The small CNN with these strengths of L2."""
    l2 = keras.regularizers.L2
    return small_cnn.cnn(l2(strengths.conv_l2), l2(strengths.dense_l2), activation)


def hypermodel(activation="relu", strengths=RANGE) -> RegularizationHyperModel:
    model = functools.partial(cnn, activation=activation)
    return RegularizationHyperModel(model, l1=None, l2=strengths, dropout=None, none=False)


def our_tuner(folder: Path, workers: Workers, trials: int, **options) -> ParallelTuner:
    oracle = make_oracle(options.pop("kind", "random"), max_trials=trials, max_epochs=4)
    return ParallelTuner(
        oracle,
        hypermodel(options.pop("activation", "relu"), options.pop("strengths", RANGE)),
        workers=workers,
        directory=folder,
        project_name="ours",
        **options,
    )


def same_trials(trials: int) -> list[dict[str, float]]:
    """The values that `our_tuner` tries, in their order."""
    from dlip_reg.tuning import oracles

    oracle = make_oracle("random", max_trials=trials)
    oracles.prepare(oracle)
    hypermodel().declare_hyperparameters(oracle.hyperparameters)
    return [dict(oracles.ask(oracle).hyperparameters.values) for _ in range(trials)]


def warm(workers: Workers) -> None:
    """Every worker process has started and imported TensorFlow."""
    with tempfile.TemporaryDirectory() as folder:
        ready = [workers.submit(_meet, Path(folder), workers.count) for _ in range(workers.count)]
        for future in ready:
            future.result()


def _meet(folder: Path, count: int) -> None:
    """Return when so many processes are there, so that no process takes two of these calls."""
    configure_process()
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < count:
        time.sleep(0.02)


def stock_tuner(
    folder: Path, values: list[dict[str, float]], seed: int = 1, activation="relu", **options
):
    """keras-tuner's RandomSearch as its users write it, made to try exactly these values."""
    import keras_tuner

    from dlip_reg.regularization import Regularization

    class Listed(keras_tuner.oracles.RandomSearchOracle):
        def populate_space(self, trial_id):
            number = int(trial_id)
            if number >= len(values):
                return {"status": "STOPPED", "values": None}
            return {"status": "RUNNING", "values": dict(values[number])}

    def build(hp):
        model = cnn(
            Regularization(
                conv_l2=hp.Float("conv_l2", *RANGE, sampling="log"),
                dense_l2=hp.Float("dense_l2", *RANGE, sampling="log"),
            ),
            activation,
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        # XLA on a CPU would slow it down: it has the same setting as ours.
        model.compile("adam", loss, metrics=["accuracy"], jit_compile=False)
        return model

    tuner = keras_tuner.RandomSearch(
        build, "val_accuracy", max_trials=len(values), seed=seed, directory=folder,
        project_name="stock", **options,
    )  # fmt: skip
    listed = Listed(tuner.oracle.objective, max_trials=len(values), seed=seed)
    listed._set_project_dir(str(folder), "stock")
    listed.update_space(tuner.oracle.get_space())
    tuner.oracle = listed
    return tuner


def run_stock(folder: Path, values, data, epochs: int, **options):
    """A finished search of keras-tuner's own."""
    tuner = stock_tuner(folder, values, **options)
    tuner.search(
        data.x_train, data.y_train, validation_data=(data.x_validation, data.y_validation),
        epochs=epochs, batch_size=32, verbose=0,
    )  # fmt: skip
    return tuner
