"""Assignment: loss functions and regularization. README.md beside this file tells each task.

Replace each `raise NotImplementedError` by your solution. Names and arguments stay as they are; add
functions and imports as you need them (keras, keras_tuner, numpy, tensorflow; not dlip_reg, whose
parts are what you write here). Check yourself as often as you like:

    python -m dlip_reg.grading check submission.py
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import keras_tuner
import numpy as np
import tensorflow as tf


# Task 1 (15 points)
def build_model(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    batch_norm: bool = False,
    conv_dropout: float = 0.0,
    dense_dropout: float = 0.0,
    conv_kernel_regularizer: keras.regularizers.Regularizer | None = None,
    dense_kernel_regularizer: keras.regularizers.Regularizer | None = None,
) -> keras.Model:
    """An uncompiled network for images of `input_shape` (height, width, channels): its logits."""
    raise NotImplementedError


# Task 2 (4 points)
def clean_loss(
    model: keras.Model, x: np.ndarray, y: np.ndarray, batch_size: int = 64
) -> tuple[float, float]:
    """(mean cross-entropy without the penalty, the penalty) of a compiled model of logits.

    `y` are labels (n,); at most `batch_size` examples go through the model at a time.
    """
    raise NotImplementedError


# Task 3 (5 points)
class LossCurves(keras.callbacks.Callback):
    """Records "clean_loss", "clean_val_loss" and "penalty" in the dict of lists `history`."""

    def __init__(
        self, train: tuple[np.ndarray, np.ndarray], validation: tuple[np.ndarray, np.ndarray]
    ) -> None:
        raise NotImplementedError


# Task 4 (5 points)
def sharpness(
    loss: Callable[[], tf.Tensor],
    variables: Sequence[tf.Variable | keras.Variable],
    *,
    iterations: int = 50,
    seed: int = 0,
) -> float:
    """The eigenvalue of largest size, with its sign, of the Hessian of `loss()` in `variables`."""
    raise NotImplementedError


# Task 5 (4 points)
class SeparateStrengths(keras_tuner.HyperModel):
    """Searches the strengths of convolutions and dense layers apart.

    `builder` takes the options of `build_model` by their names and returns a model.
    """

    def __init__(self, builder: Callable[..., keras.Model]) -> None:
        raise NotImplementedError


# Task 6 (3 points)
class ScaledWarmup(keras.optimizers.schedules.LearningRateSchedule):
    """`base_rate`, good for batches of `base_batch_size`, scaled to batches of `batch_size`."""

    def __init__(
        self,
        base_rate: float,
        batch_size: int,
        base_batch_size: int = 32,
        warmup_steps: int = 0,
    ) -> None:
        raise NotImplementedError


# Task 7 (4 points)
def which_made_it_sparse(
    plain: dict[str, np.ndarray], regularized: dict[str, np.ndarray]
) -> str | None:
    """ "l1", "l2", "dropout" or None: what made the second record differ from the first."""
    raise NotImplementedError
