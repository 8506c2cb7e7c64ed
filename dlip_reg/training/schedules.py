"""The learning rate of a run with a schedule."""

from __future__ import annotations

import functools
from typing import Any

import keras
from keras import ops
from keras.optimizers import schedules

from dlip_reg.training.specification import RunSpec

_NUMBERS = ("rate", "decay_steps", "decay", "warmup_steps", "warmup_from")


class VariableRate(schedules.LearningRateSchedule):
    """The learning rate of a `Schedule` whose numbers are variables: another one is no other graph.

    It decays exponentially, and through the warm-up it is multiplied by a share that grows to 1 by
    a constant per step (Goyal et al. 2017, "Accurate, large minibatch SGD: training ImageNet in 1
    hour", section 2.2).
    """

    def __init__(self) -> None:
        super().__init__()
        self._numbers = {
            name: keras.Variable(1.0, trainable=False, dtype="float32") for name in _NUMBERS
        }
        rate, decay_steps, decay, *_ = self._numbers.values()
        self._decayed = schedules.ExponentialDecay(rate, decay_steps, decay)

    def set(self, spec: RunSpec, steps: int) -> None:
        """Take the numbers of a run with so many steps an epoch."""
        schedule = spec.schedule
        values = (
            spec.learning_rate,
            steps * spec.epochs / schedule.speed,
            schedule.decay,
            steps * schedule.warmup_epochs,
            schedule.warmup_from,
        )
        for variable, value in zip(self._numbers.values(), values, strict=True):
            variable.assign(value)

    def __call__(self, step: Any) -> Any:
        rate = ops.cast(self._decayed(step), keras.config.floatx())
        steps, step, start = (
            ops.cast(value, rate.dtype)
            for value in (self._numbers["warmup_steps"], step, self._numbers["warmup_from"])
        )
        missing = ops.maximum(steps - step, 0) / ops.maximum(steps, 1)
        return rate * (1 - (1 - start) * missing)


@functools.cache
def variable_rate() -> VariableRate:
    """The one schedule of this process, which all its models share: one trains at a time."""
    return VariableRate()
