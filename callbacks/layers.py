"""Which layers of a model the recorders watch, by kind, and their activations' sparseness."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dlip_reg.chunks import as_tensors, chunks, kept, replaced, traced, undisturbed
from dlip_reg.curvature.agreement import FEW, require_repeatable
from dlip_reg.curvature.batch_norm import batch_norm_layers, batch_statistics, forward
from dlip_reg.curvature.layout import distinct_names, kernel_kind, layout_of

_ACTIVATIONS = (
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ELU,
)
# Not activations of a hidden stage: nothing, and the probabilities of a classifier or of attention.
_NOT_HIDDEN = (keras.activations.linear, keras.activations.softmax)
_NEAR_ZERO = 1e-3


def kernel_layers(model: keras.Model) -> dict[str, tuple[str, keras.layers.Layer]]:
    """The layers with a conv or dense `kernel`, nested ones included: {name: (kind, layer)}.

    Kind is "conv" (Conv1D to 3D, their transposes, DepthwiseConv) or "dense" (Dense, EinsumDense).
    Others, such as embeddings, recurrent layers and separable ones, which have two kernels, are
    left out. Layers that share a name go by their paths: see `distinct_names`.
    """
    kinds = [(kernel_kind(layer), layer) for layer in _all_layers(model)]
    found = [(kind, layer) for kind, layer in kinds if kind and hasattr(layer, "kernel")]
    names = distinct_names([layer for _, layer in found])
    return {names[id(layer)]: (kind, layer) for kind, layer in found}


def kernel_places(model: keras.Model) -> list[tuple[str, str, slice]]:
    """(layer, kind, where its kernel lies in the flat vector of all trainable weights), in order.

    Of those of `kernel_layers` whose kernel is trained; the vector is `LossFunction`'s.
    """
    layout = zip(model.trainable_variables, layout_of(model), strict=True)
    places = {id(variable): slice(p.offset, p.offset + p.size) for variable, p in layout}
    return [
        (name, kind, places[id(layer.kernel)])
        for name, (kind, layer) in kernel_layers(model).items()
        if id(layer.kernel) in places
    ]


def verify_activations(model: keras.Model, x: Any) -> None:
    """Call the model on a few examples, once if it is compiled; ValueError as `require_repeatable`.

    `x` is an array of examples, or a dict or list of them.
    """
    few = next(chunks(x, FEW))
    kept(model, "verified activations", lambda: require_repeatable(model, *as_tensors(few)))


def activation_statistics(model: keras.Model, x: Any) -> list[dict[str, Any]]:
    """Measure how active every hidden activation is on `x`, in inference mode, in call order.

    Watched are `Activation`, ReLU, LeakyReLU, PReLU and ELU layers, and conv and dense layers with
    an activation of their own; linear and softmax ones and the model's output are not. One dict for
    each call: `layer`; `stage`, the conv or dense layer that ran last before it (with batch
    normalization the activation is a layer of its own), and that one's `kind`; `size`, the number
    of values; `mean`, the mean of |a|, which for ReLU is the mean activation; `near_zero`, the
    share with |a| <= 1e-3 times the root mean square of this activation's values. These are the
    quantities of Srivastava et al. 2014, section 7.2 and figure 8: in a sparse model few units are
    highly active and the mean activation is low.

    A unit is an index of the last axis: of a conv layer a channel, which has a value at every
    place. `dead` is the share of units that are zero on all of `x`; the others are alive. `hoyer`
    is the mean over the examples of `callbacks.hoyer` of the values of the alive units, so dead
    units do not count as sparseness; an example on which all are zero is left out, and without
    any other, or with a single value, it is NaN.

    `x` goes through the model in one piece: a few hundred examples are meant.
    """
    labels, values = traced(model, "activations", _activations)(*as_tensors(x))
    rows = []
    for label, line in zip(labels.numpy(), values.numpy().tolist(), strict=True):
        texts = (text.decode() or None for text in label)
        row: dict[str, Any] = dict(zip(("layer", "stage", "kind"), texts, strict=True))
        row |= dict(zip(("size", "mean", "near_zero", "hoyer", "dead"), line, strict=True))
        rows.append(row | {"size": int(row["size"])})
    return rows


def activation_inputs(model: keras.Model, layer: str, x: Any) -> tuple[np.ndarray, float]:
    """The input of the activation `layer` for the tensors `x`, and how far any input stands out.

    `layer` is a name that `activation_statistics` gives; of several calls the last
    counts. The other number is the largest absolute value that goes into a hidden activation over
    the root mean square of all that goes into it, of the activation where this is largest.
    Dropout is off; batch normalization normalises by the statistics of all of `x` at once, and
    updates nothing.
    """
    watched = functools.partial(_inputs_of, name=layer)
    inputs, peak = traced(model, ("inputs", layer), watched)(x)
    return inputs.numpy(), float(peak)


def activation_outputs(model: keras.Model, x: Any) -> dict[str, np.ndarray]:
    """The outputs of all hidden activations for the tensors `x`, by the names of their layers.

    Dropout and batch normalization are as in `activation_inputs`.
    """
    outputs = traced(model, ("outputs",), _outputs_of)(x)
    return {name: values.numpy() for name, values in outputs.items()}


def hoyer(values: Any) -> float:
    """Return the Hoyer sparseness of a vector x of n values.

    It is (sqrt(n) - |x|_1 / |x|_2) / (sqrt(n) - 1): 0 if all absolute values are equal, 1 if a
    single value is not zero, and the same for every multiple of x.

    Args:
        values: An array of any shape.

    Returns:
        A number from 0 to 1; NaN where the measure is undefined: for fewer than two values, for
        zeros alone, and for values that are not finite.

    Source: Hoyer 2004, "Non-negative matrix factorization with sparseness constraints", JMLR 5,
    section 3.1.
    """
    sizes = np.abs(np.asarray(values, np.float64))
    with np.errstate(invalid="ignore"):  # squares of scaled values cannot overflow
        sizes = sizes / np.max(sizes, initial=0.0)
        return float(_hoyer_of_norms(sizes.size, np.sum(sizes), np.sqrt(np.sum(sizes**2))))


def _activations(model: keras.Model, x: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Of every activation: (layer, stage, kind) as text, and what `_activity` returns."""
    calls = _hidden_activations(model, x, [])
    labels = [labels for *labels, _, _ in calls]
    values = [_activity(tf.abs(tf.cast(output, tf.float64))) for *_, output in calls]
    return tf.constant(labels, tf.string, [len(labels), 3]), tf.reshape(values, [len(values), 5])


def _outputs_of(model: keras.Model, x: Any) -> dict[str, tf.Tensor]:
    calls = _hidden_activations(model, x, batch_norm_layers(model))
    return {name: output for name, *_, output in calls}


def _inputs_of(model: keras.Model, x: Any, *, name: str) -> tuple[tf.Tensor, tf.Tensor]:
    calls = _hidden_activations(model, x, batch_norm_layers(model))
    peaks = [
        tf.cast(tf.reduce_max(tf.abs(inputs)) / tf.sqrt(tf.reduce_mean(inputs**2)), tf.float32)
        for *_, inputs, _ in calls
    ]
    (*_, last) = (inputs for layer, *_, inputs, _ in calls if layer == name)
    return last, tf.reduce_max(tf.stack(peaks))


def _hidden_activations(
    model: keras.Model, x: Any, batch_norms: list[Any]
) -> list[tuple[str, str, str, tf.Tensor, tf.Tensor]]:
    """(layer, stage, kind, input, output) of the hidden activations, in the order of their calls.

    The first three are as in `activation_statistics`. The layers `batch_norms` normalise by batch
    statistics.
    """
    layers = [layer for layer in _all_layers(model) if kernel_kind(layer) or _is_active(layer)]
    names = distinct_names(layers)
    names |= {id(layer): name for name, (_, layer) in kernel_layers(model).items()}
    # ReLU and its like are the activation themselves, and a kernel may be without one.
    applied = [_is_active(layer) and hasattr(layer, "activation") for layer in layers]
    attributes = ["activation" if applies else "call" for applies in applied]
    with (
        _noted_calls(zip(layers, attributes, strict=True)) as calls,
        batch_statistics(batch_norms),
        undisturbed(model),
    ):
        outputs = forward(model, x, "batch" if batch_norms else "inference")
        final = {id(output) for output in keras.tree.flatten(outputs)}
    found, stage, kind = [], "", ""
    for layer, inputs, output in calls:
        name = names[id(layer)]
        if kernel := kernel_kind(layer):
            stage, kind = name, kernel
        if _is_active(layer) and id(output) not in final:
            found.append((name, stage or name, kind, inputs, output))
    return found


def _activity(values: tf.Tensor) -> tf.Tensor:
    """(size, mean, near_zero, hoyer, dead) of the absolute values (examples, ..., units)."""
    within = list(range(1, len(values.shape)))  # all axes but the first
    sums, squares = tf.reduce_sum(values, within), tf.reduce_sum(values**2, within)
    size = tf.cast(tf.size(values), tf.float64)
    near_zero = values <= _NEAR_ZERO * tf.sqrt(tf.reduce_sum(squares) / size)
    # Single precision counts those of one example exactly, and takes half the time.
    near_zero = tf.reduce_sum(tf.cast(near_zero, tf.float32), within)
    alive = tf.reduce_max(values, axis=[0, *within[:-1]]) != 0
    alive = tf.reduce_mean(tf.cast(alive, tf.float64))
    per_example = size / tf.cast(tf.shape(values)[0], tf.float64)
    sparseness = _hoyer_of_norms(alive * per_example, sums, tf.sqrt(squares))
    sparseness = tf.boolean_mask(sparseness, tf.math.is_finite(sparseness))
    return tf.stack(
        [
            size,
            tf.reduce_sum(sums) / size,
            tf.reduce_sum(tf.cast(near_zero, tf.float64)) / size,
            tf.reduce_mean(sparseness),
            1 - alive,
        ]
    )


def _hoyer_of_norms(n: Any, l1: Any, l2: Any) -> Any:
    """Return the sparseness of n values with these norms, NumPy's or TensorFlow's float64."""
    root = n**0.5
    return (root - l1 / l2) / (root - 1)


@contextmanager
def _noted_calls(
    watched: Iterable[tuple[keras.layers.Layer, str]],
) -> Iterator[list[tuple[Any, ...]]]:
    """While open, note calls of layers, or of functions that are their attributes.

    Keras has no forward hooks, and a second model made of `layer.output`s sees neither nested
    models nor subclassed ones, so the attributes are replaced meanwhile, on the instances.

    Args:
        watched: Pairs of a layer and the name of what is called: "call" or "activation".

    Yields:
        (layer, input, output) of the calls so far, in their order.
    """
    calls: list[tuple[Any, ...]] = []

    def noting(layer: keras.layers.Layer, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call, updated=())
        def noted(*args: Any, **kwargs: Any) -> Any:
            output = call(*args, **kwargs)
            # An output within a loop's own graph (TimeDistributed) can't be used outside it.
            if _graph_of(output) is graph:
                inputs = [*args, *kwargs.values()]
                calls.append((layer, inputs[0], output))
            return output

        return noted

    graph = _graph_of(tf.zeros([]))
    with ExitStack() as stack:
        for layer, name in watched:
            stack.enter_context(replaced(layer, name, noting(layer, getattr(layer, name))))
        yield calls


def _graph_of(tensor: tf.Tensor) -> Any:
    """What the tensor was made in: a graph, or None outside any."""
    return None if tf.executing_eagerly() else tensor.graph


def _all_layers(parent: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Every layer below `parent` once, in order. (Keras' own list has nested ones backwards.)"""
    layers = ([child, *_all_layers(child)] for child in parent._layers)
    return list({id(layer): layer for group in layers for layer in group}.values())


def _is_active(layer: keras.layers.Layer) -> bool:
    if isinstance(layer, _ACTIVATIONS):
        return True
    applies = isinstance(layer, keras.layers.Activation) or kernel_kind(layer)
    return bool(applies) and layer.activation not in _NOT_HIDDEN
