"""Marks tasks 5 to 7: the public tests of tuning, and those that only staff see."""

import numpy as np
import pytest

from dlip_reg.grading.public.answers import require
from dlip_reg.grading.public.expected import cross_entropy
from dlip_reg.grading.public.test_tuning import *  # noqa: F403
from dlip_reg.grading.public.test_tuning import (
    DIAGNOSIS,
    RATE,
    SEARCH,
    STEPS,
    draw_case,
    judge_diagnoses,
    scaled,
    warms_up,
)


@pytest.mark.points(1, task=SEARCH)
def test_compiled_for_tuning(student, tuned):
    """The model is compiled with its learning rate and loss; the objective is a clean one."""
    rate = student.rebuild("tuning.learning_rate", optimizer=tuned["optimizer"])
    expected = tuned["values"]["learning_rate"]
    assert np.isclose(rate, expected), f"The learning rate is {rate}, expected {expected}."
    loss = cross_entropy(tuned["logits"].astype(float), tuned["labels"]).mean()
    assert np.isclose(tuned["loss"], loss, rtol=1e-3), (
        f"The compiled loss of given logits is {tuned['loss']:.4f}, expected {loss:.4f}."
    )
    assert tuned["objective"] == ["clean_val_loss", "min"], (
        f"The objective is {' '.join(tuned['objective'])}, expected clean_val_loss min: val_loss "
        "holds the penalty, and so prefers weak strengths."
    )


@pytest.mark.points(1, task=RATE)
def test_schedule_in_use(student, rng):
    """The schedule works in an optimizer, from its configuration, and without a warm-up."""
    for warmup_steps in (40, 0):
        case = draw_case(rng, warmup_steps)
        answer = student.run("tuning.schedule_in_use", case=case, steps=STEPS)
        uses = ("called", "made anew", "in an optimizer")
        rates = dict(require(answer, dict.fromkeys(uses, (float,) * len(STEPS))))
        called = rates.pop("called")
        assert np.allclose(called[-2:], scaled(case), rtol=1e-4) or warms_up(case, called), (
            f"Called at the steps {STEPS} the schedule gives {called}: neither its end nor the way "
            "to it is right."
        )
        for use, got in rates.items():
            # Keras' optimizers hold the step as an integer and the rate in float32.
            assert np.allclose(got, called, rtol=1e-4), (
                f"Called at the steps {STEPS} the schedule gives {called}, {use} {got}."
            )
    assert np.allclose(called, called[-1]), f"Without a warm-up the rates are {called}."


@pytest.mark.points(2, task=DIAGNOSIS)
def test_dropout_or_nothing(diagnosed, credit):
    """Activations made sparse by dropout are told from weights made sparse, and from no effect."""
    truths, said = diagnosed
    judge_diagnoses(credit, "dropout", truths, said, "dropout silences activations")
    judge_diagnoses(credit, "None", truths, said, "another seed is no regularizer")
