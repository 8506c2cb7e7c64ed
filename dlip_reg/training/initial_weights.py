"""Initial weights and random states of a model, drawn from a run's seed alone."""

from __future__ import annotations

import copy
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

_SEED_STATE = "seed_generator_state"
_MADE_BY = "made_by"  # the attribute of a variable that holds its initializer
_ATTEMPTS = 3


def draw_weights(model: keras.Model, seed: int, drawn: Sequence[bool] | None = None) -> None:
    """Draw the weights and random states of a model by `seed`.

    Each variable has a seed of its own, made of the run's seed and the names of its layer and of
    itself. So runs of one seed start every method at the same weights, whatever layers without
    weights lie in between. A variable that no Keras initializer made stays as it is.

    Args:
        model: A model that was built while `initializers_noted` was open.
        seed: The run's seed.
        drawn: Which of the weights, in the order of `own_weights`, are random; None for all.
    """
    weights = own_weights(model)
    random = drawn if drawn is not None else [True] * len(weights)
    _require_as_many(weights, random)
    kept = {id(v) for v, is_random in zip(weights, random, strict=True) if not is_random}
    for name, layer in _named_layers(model):
        states, earlier = 0, Counter[str]()
        for variable in _own_variables(layer):
            if variable.name == _SEED_STATE:
                own = zlib.crc32(f"{seed}/{name}{states or ''}".encode())
                variable.assign([own, 0])
                states += 1
            elif id(variable) not in kept and (initializer := _initializer(variable)):
                place = name if variable.name == "kernel" else f"{name}/{variable.name}"
                place, earlier[place] = f"{place}{earlier[place] or ''}", earlier[place] + 1
                draw: Any = copy.copy(initializer)  # its configuration may leave something out
                draw.seed = zlib.crc32(f"{seed}/{place}".encode())
                variable.assign(draw(variable.shape, dtype=variable.dtype))


def random_weights(build: Callable[[], keras.Model]) -> tuple[bool, ...]:
    """Find which weights of a model are random: those that differ between two global seeds.

    Args:
        build: Builds the model anew at each call.

    Returns:
        One value for each of `own_weights`.

    Raises:
        ValueError: Two builds under one global seed differ, so no run could be repeated; or two
            have trainable weights in common, so a run would begin with what another one trained.
    """
    models: list[keras.Model] = []  # kept, or the next one could have the place in memory of one

    def values(seed: int) -> list[np.ndarray]:
        keras.utils.set_random_seed(seed)
        models.append(build())
        return [variable.numpy() for variable in own_weights(models[-1])]

    # A thread of a Dask worker draws from Python's generator now and then, perhaps during a build.
    for _ in range(_ATTEMPTS):
        first, again = values(0), values(0)
        ours, theirs = ({id(v) for v in model.trainable_variables} for model in models[-2:])
        if ours & theirs:
            raise ValueError(
                "The function that builds the model must make all of its trainable layers anew at "
                "each call: one that was made elsewhere keeps what an earlier run trained."
            )
        if len(first) == len(again) and all(map(np.array_equal, first, again)):
            other = values(1)
            _require_as_many(first, other)
            return tuple(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    raise ValueError(
        "The model's initial weights must be drawn by Keras, Python or NumPy from their global "
        "seeds: two models built under one keras.utils.set_random_seed differ."
    )


def _require_as_many(weights: Sequence[Any], others: Sequence[Any]) -> None:
    if len(weights) != len(others):
        raise ValueError(
            "The function that builds the model must make the same layers whatever the global "
            f"random state is: two models have {len(weights)} and {len(others)} weights."
        )


@contextmanager
def initializers_noted() -> Iterator[None]:
    """Note in each variable that is made within the block the initializer that makes it."""
    kind: Any = keras.Variable
    make = kind._initialize_with_initializer

    def noting(variable: keras.Variable, initializer: Any) -> None:
        vars(variable)[_MADE_BY] = initializer
        make(variable, initializer)

    kind._initialize_with_initializer = noting
    try:
        yield
    finally:
        kind._initialize_with_initializer = make


def own_weights(model: keras.Model) -> list[keras.Variable]:
    """Return all variables of a model but the states of random number generators."""
    return [variable for variable in model.variables if variable.name != _SEED_STATE]


def _own_variables(layer: keras.Layer) -> list[keras.Variable]:
    below = {id(v) for child in _children(layer) for v in child.variables}
    return [variable for variable in layer.variables if id(variable) not in below]


def _initializer(variable: keras.Variable) -> keras.Initializer | None:
    """Return the random Keras initializer that made the variable, if one did."""
    found = vars(variable).get(_MADE_BY)
    # Zeros, an identity and their like have no seed.
    is_random = isinstance(found, keras.Initializer) and "seed" in found.get_config()
    return found if is_random else None


def _named_layers(model: keras.Model) -> Iterator[tuple[str, keras.Layer]]:
    """Yield every layer below `model`, and `model` itself, once, by a name that lasts."""
    seen = {id(model)}

    def below(parent: keras.Layer, prefix: str) -> Iterator[tuple[str, keras.Layer]]:
        children = _children(parent)
        for layer, name in zip(children, _lasting_names(children), strict=True):
            if id(layer) not in seen:
                seen.add(id(layer))
                yield prefix + name, layer
                yield from below(layer, f"{prefix}{name}/")

    yield "", model
    yield from below(model, "")


def _children(layer: keras.Layer) -> list[keras.Layer]:
    return list(layer._flatten_layers(include_self=False, recursive=False))


def _lasting_names(layers: Sequence[keras.Layer]) -> list[str]:
    """Return the layers' names; where Keras made one up, its class and its place among such layers.

    Keras numbers made-up names through the process, so a model built twice has others each time.
    """
    names: list[str] = []
    made_up: Counter[str] = Counter()
    for layer in layers:
        kind = type(layer).__name__
        # `Bidirectional` puts a prefix before the name of its layer.
        prefix = next((p for p in ("forward_", "backward_") if layer.name.startswith(p)), "")
        base = re.sub(r"_\d+$", "", layer.name.removeprefix(prefix))
        if base.replace("_", "") == kind.lower():
            names.append(f"{prefix}{kind} {made_up[prefix + kind]}")
            made_up[prefix + kind] += 1
        else:
            names.append(layer.name)
    return names
