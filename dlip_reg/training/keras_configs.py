"""Losses, optimizers and layers as JSON text; Keras is imported only for objects of Keras."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Mapping
from typing import Any

# A run's own seed replaces that; a name has no effect on training.
_DROPPED = ("name", "seed")


def config_text(option: str, value: Any, module: str) -> str:
    """Return a Keras object's configuration as JSON text, in one form.

    Args:
        option: What the error message calls the value.
        value: A Keras object, its configuration {"class_name": ..., "config": {...}}, or that as
            JSON text.
        module: The module of the class where the configuration has none, such as "keras.losses".

    Returns:
        JSON text with sorted keys, without name and seed.

    Raises:
        ValueError: `value` is none of these, or JSON cannot hold it; or it is an object whose class
            has a `get_config` without an argument that it was made with.
    """
    try:
        given = json.loads(value) if isinstance(value, str) else value
        if not isinstance(given, Mapping):
            given = _serialized(given)
        config = {"module": module, "config": {}} | {
            name: item for name, item in given.items() if item is not None
        }
        if not isinstance(config["class_name"], str) or not isinstance(config["config"], Mapping):
            raise TypeError
        config["config"] = {n: v for n, v in config["config"].items() if n not in _DROPPED}
        text = json.dumps(config, sort_keys=True, allow_nan=False)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{option} must be an object of {module} or its configuration {{"class_name": ..., '
            f'"config": {{...}}}} that JSON can hold, not {value!r}.'
        ) from error
    # Keras numbers the names of layers in layers through the process, too.
    text = json.dumps(json.loads(text, object_hook=_without_name), sort_keys=True)
    if not isinstance(value, str | Mapping):
        _check_copy(option, value, restored(text))
    return text


def user_modules(text: str) -> set[str]:
    """The modules of the classes in a configuration that are not Keras' own."""
    found: set[str] = set()

    def look(value: dict[str, Any]) -> dict[str, Any]:
        module = value.get("module")
        if "class_name" in value and isinstance(module, str) and module.split(".")[0] != "keras":
            found.add(module)
        return value

    json.loads(text, object_hook=look)
    return found


def _without_name(value: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a layer without name and seed; any other as it is."""
    config = value.get("config")
    if isinstance(config, dict) and "trainable" in config:
        value["config"] = {n: v for n, v in config.items() if n not in _DROPPED}
    return value


def _check_copy(option: str, value: Any, copy: Any) -> None:
    """Check that what a run makes of the configuration has the object's arguments."""
    require_no_exclusions(option, value)
    for name in inspect.signature(type(value)).parameters:
        kept = [[vars(one).get(key) for key in (name, f"_{name}")] for one in (value, copy)]
        given, found = (json.dumps(of, default=lambda part: type(part).__name__) for of in kept)
        if name not in _DROPPED and given != found:
            raise ValueError(
                f"{option} must have a get_config that returns {name}: a run makes the object anew "
                f"from that, and {type(value).__name__} would get another {name}."
            )


def require_no_exclusions(option: str, optimizer: Any) -> None:
    """Refuse an optimizer that excludes weights from its decay, which no configuration has."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of a LossScaleOptimizer
    if hasattr(optimizer, "_exclude_from_weight_decay"):
        raise ValueError(
            f"{option} must not exclude weights from its decay: each training makes an optimizer "
            "anew from the configuration, which does not have that."
        )


def restored(text: str) -> Any:
    """Return the Keras object of a configuration (imports Keras).

    Raises:
        ValueError: There is no such class, or it does not accept the configuration.
    """
    import keras

    config = json.loads(text)
    try:
        # Keras itself finds classes of others only where they are registered.
        modules = map(importlib.import_module, sorted(user_modules(text)))
        own = {n: v for held in map(vars, modules) for n, v in held.items() if isinstance(v, type)}
        named = {"registered_name": config["class_name"], **config}
        return keras.saving.deserialize_keras_object(named, custom_objects=own)
    except Exception as error:  # Keras raises many types
        cause = str(error).strip().split("\n")[0].split(". ")[0].rstrip(".")
        raise ValueError(
            f"{config['module']}.{config['class_name']} cannot be made of {config['config']}: "
            f"{cause}."
        ) from error


def _serialized(value: Any) -> dict[str, Any]:
    """Return the configuration of an object without the entries that have their defaults."""
    value.get_config  # noqa: B018 - a plain function has none and is refused
    import keras

    described = keras.saving.serialize_keras_object(value)
    # Keras leaves out __main__, the module of the script.
    described["module"] = described["module"] or type(value).__module__
    # Some losses leave out what their function is called with, such as Huber's delta.
    described["config"] |= _of_function(value)
    try:
        default = type(value)()
        defaults = default.get_config() | _of_function(default)
    except (TypeError, ValueError):  # the class has required arguments
        defaults = {}
    if inner := getattr(value, "inner_optimizer", None):  # of a LossScaleOptimizer
        described["config"]["inner_optimizer"] = _serialized(inner)
    described["config"] = {
        n: v
        for n, v in described["config"].items()
        if n not in _DROPPED and (n not in defaults or defaults[n] != v)
    }
    return described


def _of_function(value: Any) -> dict[str, Any]:
    arguments = inspect.signature(type(value)).parameters
    return {n: v for n, v in getattr(value, "_fn_kwargs", {}).items() if n in arguments}
