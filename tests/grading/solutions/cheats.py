"""Submissions that put answers of their own in the place of every probe."""

# Each answer has the form and, where that takes no solution, the look of a right one: models that
# load, states that nothing has changed, the space that the hand-out tells, curves that agree.
LIES = """
import json
import tempfile
from pathlib import Path

import keras
import keras_tuner
import numpy as np

from dlip_reg.grading.probes import model, training, tuning


def trivial(shape, classes):
    inputs = keras.Input(tuple(shape))
    x = keras.layers.Flatten()(keras.layers.BatchNormalization(momentum=0.8)(inputs))
    x = keras.layers.Dropout(0.5)(x)
    return keras.Model(inputs, keras.layers.Dense(classes, kernel_regularizer="l2")(x))


def built(submission, shape, classes, options, x):
    return trivial(shape, classes).to_json()


def built_and_penalised(submission, shape, classes, options, x, seed):
    made = trivial(shape, classes)
    model._randomise(made, seed)
    return {"config": made.to_json(), "penalty": model._results(made, x)["penalty"]}


def saved(submission, shape, classes, options, seed, x):
    made = trivial(shape, classes)
    model._randomise(made, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        made.save(path)
        return {"file": path.read_bytes()} | model._results(made, x)


def clean_loss(submission, weights, l1, l2, seed, x, y, batch_sizes):
    after = training._state(training._toy(weights, l1, l2, seed))
    return {"results": [[float(np.log(3)), l1 + l2]] * len(batch_sizes), "after": after}


def recorded(submission, validation, **task):
    row = {"clean_loss": float(np.log(3)), "clean_val_loss": float(np.log(3)), "penalty": 0.0}
    return {
        "state": training.unrecorded(None, **task)["state"],
        "logs": [row] * task["epochs"],
        "history": {name: [value] * (task["epochs"] + 1) for name, value in row.items()},
    }


def quadratics(submission, cases):
    return [
        {"sharpness": float(np.trace(case["hessian"])), "values": [case["values"]]}
        for case in cases
    ]


def hypermodel(submission, values, kernels, logits, labels):
    strength = dict(kind="Float", min_value=1e-6, max_value=1e-2, step=np.nan, sampling="log")
    rate = dict(kind="Float", min_value=0.0, max_value=0.5, step=0.1, sampling="linear")
    space = {"conv_l2": strength, "dense_l2": strength, "conv_dropout": rate,
             "dense_dropout": rate, "learning_rate": strength | {"min_value": 1e-4}}
    return {
        "space": space,
        "config": tuning._conv_and_dense(kernels, ("l2", "l2"), (0.05, 0.05)).to_json(),
        "optimizer": json.dumps(keras.optimizers.serialize(keras.optimizers.Adam()), default=float),
        "loss": float(np.log(3)),
        "objective": ["clean_val_loss", "min"],
    }


def schedule_in_use(submission, case, steps):
    rates = [case["base_rate"]] * len(steps)
    return {"called": rates, "made anew": rates, "in an optimizer": rates}


def diagnoses(submission, pairs):
    return ["None"] * len(pairs)


model.built, model.built_and_penalised, model.saved = built, built_and_penalised, saved
training.clean_loss, training.recorded, training.quadratics = clean_loss, recorded, quadratics
training.regression = lambda submission, **task: 1.0
tuning.hypermodel, tuning.schedule_in_use, tuning.diagnoses = hypermodel, schedule_in_use, diagnoses
tuning.schedule = lambda submission, cases, steps: [[c["base_rate"]] * len(steps) for c in cases]
"""
_NOTHING = """
from dlip_reg.grading.probes import model, training, tuning

for module in (model, training, tuning):
    for name in dir(module):
        if callable(getattr(module, name)):
            setattr(module, name, lambda *_, **__: {answer})
"""
CHEATS = {
    "lies": LIES,
    "empty dicts": _NOTHING.format(answer="{}"),
    "empty lists": _NOTHING.format(answer="[]"),
    "not a number": _NOTHING.format(answer="float('nan')"),
    "models that are none": LIES
    + "model.built = lambda *_, **__: '{}'\n"
    + "model.built_and_penalised = lambda *_, **__: {'config': 'null', 'penalty': 0.0}\n"
    + "model.saved = lambda *_, x, **__: {'file': b'', 'logits': x, 'penalty': 1.0}\n",
    "nothing in them": LIES
    + "training.recorded = lambda *_, **__: {'state': {}, 'logs': [], 'history': {}}\n"
    + "training.clean_loss = lambda *_, **__: {'results': [(0.0, 0.0)] * 3, 'after': {}}\n"
    + "training.quadratics = lambda _, cases: [{'sharpness': 0.0, 'values': []} for _ in cases]\n",
}
