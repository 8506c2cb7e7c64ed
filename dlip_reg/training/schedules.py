"""Learning rates for large batches: the linear scaling rule and gradual warm-up.

    schedule = WarmUp(linear_scaling(batch_size=1024), warmup_steps=5 * steps_per_epoch,
                      warmup_from=256 / 1024)
    model.compile(keras.optimizers.SGD(schedule, momentum=0.9), loss)

Both are of Goyal et al. 2017, "Accurate, large minibatch SGD: training ImageNet in 1 hour",
section 2.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.optimizers import schedules


def linear_scaling(
    batch_size: int, base_learning_rate: float = 0.1, base_batch_size: int = 256
) -> float:
    """The learning rate that goes with `batch_size`: k times the base's for k times its batch.

    The defaults are Goyal et al.'s, whose rate is 0.1 * kn / 256 (section 5.1). ValueError for
    a number that is not above 0.
    """
    for name, value in (
        ("batch_size", batch_size),
        ("base_learning_rate", base_learning_rate),
        ("base_batch_size", base_batch_size),
    ):
        if not value > 0:
            raise ValueError(f"{name} must be a number above 0, not {value!r}.")
    return base_learning_rate * batch_size / base_batch_size


@keras.saving.register_keras_serializable("dlip_reg")
class WarmUp(schedules.LearningRateSchedule):
    """Gradual warm-up: the learning rate times a share that grows to 1 by a constant per step.

    `learning_rate` is a number or another schedule, which counts its steps from the beginning of
    training as if there were no warm-up. The share is `warmup_from` at step 0 and 1 from step
    `warmup_steps` on. To begin at the rate of a base batch that is k times smaller, let
    `warmup_from` be 1/k (Goyal et al. 2017, section 2.2, where the warm-up takes 5 epochs).

    Models with it are saved and loaded as `.keras`. ValueError for a number of steps below 0 and
    a share outside [0, 1].
    """

    def __init__(
        self,
        learning_rate: float | schedules.LearningRateSchedule,
        warmup_steps: int,
        warmup_from: float = 0.0,
    ) -> None:
        super().__init__()
        if not warmup_steps >= 0:
            raise ValueError(f"warmup_steps must be a number of 0 or more, not {warmup_steps!r}.")
        if not 0 <= warmup_from <= 1:
            raise ValueError(f"warmup_from must be a share from 0 to 1, not {warmup_from!r}.")
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.warmup_from = warmup_from

    def __call__(self, step):
        rate = self.learning_rate
        rate = ops.cast(rate(step) if callable(rate) else rate, keras.config.floatx())
        steps, step, start = (
            ops.cast(value, rate.dtype) for value in (self.warmup_steps, step, self.warmup_from)
        )
        missing = ops.maximum(steps - step, 0) / ops.maximum(steps, 1)
        return rate * (1 - (1 - start) * missing)

    def get_config(self) -> dict[str, Any]:
        return {
            "learning_rate": keras.saving.serialize_keras_object(self.learning_rate),
            "warmup_steps": self.warmup_steps,
            "warmup_from": self.warmup_from,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WarmUp:
        rate = keras.saving.deserialize_keras_object(config["learning_rate"])
        return cls(**config | {"learning_rate": rate})
