"""Sharpness-aware minimization: train any Keras model towards flat minima."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from dlip_reg.checks import require_bool, require_number


@keras.saving.register_keras_serializable("dlip_reg")
class SAM(keras.Model):
    """A model that trains by sharpness-aware minimization, and is otherwise the model it wraps.

        model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        sam = SAM(model, rho=0.05)
        sam.compile("sgd", loss, metrics=["accuracy"])
        sam.fit(x_train, y_train, epochs=2)
        model.predict(x_test)  # the weights are the model's own

    A step computes the gradient g on the batch, the gradient at w + e with
    e = `rho` g / |g| on the same batch, and gives the latter to the optimizer at w: Foret et al.
    2021, "Sharpness-aware minimization for efficiently improving generalization", equations 2 and
    3. With `adaptive=True` e = `rho` T^2 g / |T g|, T = diag |w|: Kwon et al. 2021, "ASAM",
    equation 4, without a constant added to T. A step costs two gradients. |g| is over all trainable
    weights, and e is 0 where it is 0.

    The weights never leave w: the second pass takes the moved ones in their place. Both passes draw
    the same random numbers (dropout masks), and what the second would change in the model's state,
    such as batch-norm statistics, is dropped. Loss and metrics in the logs are those of the first.
    So with `rho=0` training is what it is without. The loss includes penalties and `add_loss`.
    A mask of the inputs is not passed to the wrapped model by hand: it finds that by itself.
    Under a distribution strategy each replica moves its own weights by the gradient of its own
    examples.

    Args:
        model: A built model that trains by Keras' own steps. It need not be compiled; `compile`,
            `fit` and callbacks are those of the wrapper.
        rho: The length of e, 0 or more: 0.05 is Foret's, and 0.5 to 2 are usual for ASAM.
        adaptive: Whether to be adaptive (ASAM).
        name: The wrapper's name.

    Raises:
        ValueError: For settings out of range, for a model that is not built, and for one with a
            `train_step` or `compute_loss` of its own, which would not be used.
    """

    def __init__(
        self, model: keras.Model, rho: float = 0.05, adaptive: bool = False, name: str = "sam"
    ) -> None:
        if not (isinstance(model, keras.Model) and model.built):
            raise ValueError("SAM needs a built keras.Model: give it an Input, or call it once.")
        # By its own policy Keras tells whether to scale the loss.
        super().__init__(name=name, dtype=model.dtype_policy)
        for method in ("train_step", "compute_loss"):
            if getattr(type(model), method) is not getattr(keras.Model, method):
                raise ValueError(f"{type(model).__name__} has a {method} of its own.")
        self.model = model
        self.rho = require_number("rho", rho, "a finite number of 0 or more", _is_radius)
        self.adaptive = require_bool("adaptive", adaptive)
        if names := getattr(model, "output_names", None):
            self.output_names = list(names)  # by which losses and metrics may be given
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The outputs of the wrapped model, which finds the mask of its inputs by itself."""
        return self.model(inputs, training=training)

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on a batch; returns the metrics by their names."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        variables, others = self.trainable_variables, self.non_trainable_variables
        weights = [tf.convert_to_tensor(variable) for variable in variables]
        state = [tf.identity(variable) for variable in others]  # before the first pass
        with tf.GradientTape() as tape:
            outputs = self(x, training=True)
            loss = self.compute_loss(x, y, outputs, sample_weight, training=True)
            scaled = self.optimizer.scale_loss(loss)
        moved = _perturbed(weights, tape.gradient(scaled, variables), self.rho, self.adaptive)
        mapping = [*zip(variables, moved, strict=True), *zip(others, state, strict=True)]
        with (
            tf.GradientTape(watch_accessed_variables=False) as tape,
            keras.StatelessScope(mapping, collect_losses=True),
        ):
            tape.watch(moved)
            there = self.compute_loss(x, y, self(x, training=True), sample_weight, training=True)
            scaled = self.optimizer.scale_loss(there)
        self.optimizer.apply(tape.gradient(scaled, moved), variables)
        examples = tf.shape(keras.tree.flatten(x)[0])[0]
        # A replica's loss is its share of the mean over all replicas.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        tracker = next(metric for metric in self.metrics if metric.name == "loss")
        tracker.update_state(loss * replicas, sample_weight=examples)
        return self.compute_metrics(x, y, outputs, sample_weight=sample_weight)

    def export(self, *args: Any, **options: Any) -> None:
        """`keras.Model.export` of the wrapped model, which knows the form of its inputs."""
        self.model.export(*args, **options)

    def get_config(self) -> dict[str, Any]:
        """The settings, with the wrapped model's."""
        model = keras.saving.serialize_keras_object(self.model)
        return {"model": model, "rho": self.rho, "adaptive": self.adaptive, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> SAM:
        """A wrapper with these settings."""
        model = keras.saving.deserialize_keras_object(config["model"], custom_objects)
        return cls(**{**config, "model": model})


def _perturbed(
    weights: list[Any], gradients: list[Any], rho: float, adaptive: bool
) -> list[tf.Tensor]:
    """Return w + e for every weight: see `SAM`. A gradient of None leaves its weight."""
    # In half precision squares of gradients would be 0 or infinite, and weights may be of several.
    wide = keras.backend.result_type("float32", *(weight.dtype.name for weight in weights))
    scales = [tf.cast(abs(weight), wide) if adaptive else 1 for weight in weights]
    parts = [
        None if slope is None else tf.cast(tf.convert_to_tensor(slope), wide) * scale
        for slope, scale in zip(gradients, scales, strict=True)
    ]
    factor = tf.math.divide_no_nan(rho, tf.linalg.global_norm(parts))
    return [
        weight if part is None else weight + tf.cast(factor * part * scale, weight.dtype)
        for weight, part, scale in zip(weights, parts, scales, strict=True)
    ]


def _is_radius(rho: float) -> bool:
    return 0 <= rho < float("inf")
