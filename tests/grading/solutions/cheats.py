"""Submissions that put answers of their own in the place of every probe."""

# Each answer has the form and, where that takes no solution, the look of a right one: models that
# load, states that nothing has changed, the space that the hand-out tells, curves that agree.
LIES = """
import tempfile
from pathlib import Path

import keras
import keras_tuner
import numpy as np

from probes import model, training, tuning
def trivial(shape, classes):
    inputs = keras.Input(tuple(shape))
    x = keras.layers.Flatten()(keras.layers.BatchNormalization(momentum=0.8)(inputs))
    x = keras.layers.Dropout(0.5)(x)
    return keras.Model(inputs, keras.layers.Dense(classes, kernel_regularizer="l2")(x))
def drawn(shape, classes, seed):
    made = trivial(shape, classes)
    shapes = {name: value.shape for name, value in model.values_of(made).items()}
    model.assign(made, model.random_weights(shapes, seed))
    return made
def measured(submission, shape, classes, options, seed, x, weights=None):
    made = drawn(shape, classes, seed)
    outputs, moving = [], model._moving(made)
    for training in (False, True, True):
        outputs.append(model._numbers(made(x, training=training)))
    # The kernels that are asked for, and what the options say, in place of the model's own.
    values = model.values_of(made) | {
        "conv1/kernel": np.zeros((3, 3, shape[2], 8)), "conv2/kernel": np.zeros((3, 3, 8, 16)),
        "dense1/kernel": np.zeros((shape[0] * shape[1], 32)),
        "logits/kernel": np.zeros((32, classes)),
    }
    shapes = {name: value.shape for name, value in values.items()}
    strengths = {name: sum(options.get(f"{kind}_kernel_regularizer", {}).values())
                 for kind, names in (("conv", ("conv1", "conv2")), ("dense", ("dense1", "logits")))
                 for name in names}
    return {
        "weights": model.random_weights(shapes, seed),
        "inference": outputs[0],
        "training": outputs[1:],
        "statistics": [moving, moving, *(
            {name: value * (1 - 0.1 / n) for name, value in moving.items()} for n in (2, 1))],
        "penalties": {f"{name}/kernel": value for name, value in strengths.items()},
        "rest": 0.0,
    }
def saved(submission, shape, classes, options, seed, x):
    made = drawn(shape, classes, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        made.save(path)
        return {"file": path.read_bytes(), "weights": model.values_of(made)} | model._results(
            made, x
        )
def clean_loss(submission, toy, x, y, batch_sizes):
    return [[float(np.log(3)), toy["l1"] + toy["l2"]]] * len(batch_sizes)
alone = training.fit
def fit(submission, **task):
    row = {"clean_loss": float(np.log(3)), "clean_val_loss": float(np.log(3)), "penalty": 0.0}
    history = {name: [value] * (task["epochs"] + 1) for name, value in row.items()}
    return alone(None, **task) | {"logs": [row] * task["epochs"], "history": history}
def quadratic(submission, hessian, values, **case):
    return float(np.trace(hessian))
def hypermodel(submission, values, kernels, logits, labels):
    strength = dict(kind="Float", min_value=1e-6, max_value=1e-2, step=np.nan, sampling="log")
    rate = dict(kind="Float", min_value=0.0, max_value=0.5, step=0.1, sampling="linear")
    space = {"conv_l2": strength, "dense_l2": strength, "conv_dropout": rate,
             "dense_dropout": rate, "learning_rate": strength | {"min_value": 1e-4}}
    return {
        "space": space,
        "penalties": [values["conv_l2"], values["dense_l2"]],
        "rates": {"conv_dropout": 0.05, "dense_dropout": 0.05},
        "learning_rate": 0.001,
        "loss": float(np.log(3)),
        "objective": ["clean_val_loss", "min"],
    }
def schedule_in_use(submission, case, steps):
    rates = [case["base_rate"]] * len(steps)
    return {"called": rates, "made anew": rates, "in an optimizer": rates}
def diagnoses(submission, pairs):
    return ["None"] * len(pairs)
model.measured, model.saved = measured, saved
training.clean_loss, training.fit, training.quadratic = clean_loss, fit, quadratic
training.descend = lambda submission, hessian, rate: np.zeros(len(hessian))
training.regression = lambda submission, **task: 1.0
tuning.hypermodel, tuning.schedule_in_use, tuning.diagnoses = hypermodel, schedule_in_use, diagnoses
tuning.schedule = lambda submission, cases, steps: [[c["base_rate"]] * len(steps) for c in cases]
"""
_NOTHING = """
from probes import model, training, tuning

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
    + "model.measured = lambda *_, **__: {'weights': {}, 'inference': np.zeros((0, 0))}\n"
    + "model.saved = lambda *_, x, **__: {'file': b'', 'weights': {}, 'logits': x, "
    + "'penalty': 1.0}\n",
    "nothing in them": LIES
    + "training.fit = lambda *_, **__: {'moments': [], 'logs': [], 'history': {}}\n"
    + "training.clean_loss = lambda *_, **__: [(0.0, 0.0)] * 3\n"
    + "training.go_on = lambda *_, **__: {}\n",
}
# Put behind a solution whose `clean_loss` changes what it measures: all that a probe could report
# of its own state is that of before, and the state itself is not.
CLEAN_REPORTS = """
import random

from probes import training

first = {}
states = np.random.get_state(), random.getstate()
real_values, real_toy = training.values_of, training._toy


def reported(model):
    return real_values(first.setdefault("model", real_toy(1e-3, 1e-3, 0)))


np.random.get_state = lambda *_, **__: states[0]
random.getstate = lambda: states[1]
training.values_of = reported
"""
CHANGING = {
    "draws from NumPy": "np.random.random()",
    "draws from Python": "__import__('random').random()",
    "moves the averages": "model(x[:9], training=True)",
    "moves a weight": "model.weights[0].assign_add(1e-2 * tf.ones_like(model.weights[0]))",
}
