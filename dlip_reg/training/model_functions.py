"""Models by name: a builder of `dlip_reg.models`, or a function "package.module:function"."""

from __future__ import annotations

import importlib
import inspect
import json
import multiprocessing
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlip_reg.errors import DlipRegError, cause_of
from dlip_reg.models import MODEL_NAMES, get_builder, option_names
from dlip_reg.training.sources import file_of

if TYPE_CHECKING:
    import keras

    from dlip_reg.training.specification import RunSpec

_MAIN = "__main__"
_ACCEPTED = (
    f'a name ({", ".join(MODEL_NAMES)}), "package.module:function", or a function defined at the '
    "top level of a module file"
)


class ModelArgumentError(DlipRegError, ValueError):
    """A model that is neither a builder's name nor a function that worker processes can import."""


def model_text(model: str | Callable[..., Any]) -> str:
    """Return the text by which every process finds a model.

    Args:
        model: The name of a builder, "package.module:function", or such a function.

    Returns:
        The name, or "package.module:function".

    Raises:
        ModelArgumentError: There is no such builder, module or function; or other processes cannot
            import the function, as with a lambda or a nested function.
    """
    if not isinstance(model, str):
        name = getattr(model, "__qualname__", "")
        if not inspect.isfunction(model) or not name.isidentifier():
            raise ModelArgumentError(
                f"model must be {_ACCEPTED}, not {name or repr(model)}: other processes cannot "
                "import that."
            )
        model = f"{_MAIN if model.__module__ == '__mp_main__' else model.__module__}:{name}"
    if ":" in model:
        # A spawned process imports the script that was started under another name, and finds no
        # file of __main__ until it has; its parent has checked the function.
        is_child = multiprocessing.current_process().name != "MainProcess"
        if not (is_child and model.startswith(f"{_MAIN}:")):
            _check_function(model)
    elif model not in MODEL_NAMES:
        raise ModelArgumentError(f"model must be {_ACCEPTED}, not {model!r}.")
    return model


def is_function(model: str) -> bool:
    """Whether the text names a model function and not a builder of `dlip_reg.models`."""
    return ":" in model


def functions_of(spec: RunSpec) -> list[str]:
    """The model functions of a run: its own, and the one that this changes the network of."""
    return [name for name in (spec.model, changed_network(spec)) if name and is_function(name)]


def changed_network(spec: RunSpec) -> str | None:
    """The network "net" that a model function such as `ghost_batch_norm` changes, if any."""
    net = json.loads(spec.builder).get("net") if is_function(spec.model) else None
    return net if isinstance(net, str) else None


def check_options(spec: RunSpec) -> None:
    """Check that the model accepts the builder options and the regularization.

    A model function that is not yet imported in this process is checked when it is built.

    Raises:
        ValueError: It does not accept them all.
    """
    given = set(json.loads(spec.builder))
    if not is_function(spec.model):
        known = option_names(spec.model)
        if unknown := sorted(given - set(known)):
            raise ValueError(
                f"builder must have options of {spec.model} ({', '.join(known)}), "
                f"not {', '.join(unknown)}."
            )
        return
    names = functions_of(spec)
    functions = [found for name in names if (found := _imported(name)) is not None]
    if len(functions) == len(names):
        _accepted_regularization(spec, functions)


def build(spec: RunSpec, input_shape: tuple[int, ...], classes: int) -> keras.Model:
    """Build the model of `spec`, uncompiled, with whatever weights it draws.

    Args:
        spec: The run.
        input_shape: The shape of one example.
        classes: How many classes there are.

    Returns:
        The model: functional if it is a builder's or Sequential.

    Raises:
        ValueError: The model cannot be built for this data.
    """
    from dlip_reg.training.initial_weights import initializers_noted
    from dlip_reg.training.layer_names import with_free_names

    with initializers_noted():
        model: keras.Model = with_free_names(lambda: _built(spec, input_shape, classes))
    return model


def _built(spec: RunSpec, input_shape: tuple[int, ...], classes: int) -> keras.Model:
    options, strengths = json.loads(spec.builder), spec.regularization.builder_options()
    if not is_function(spec.model):
        options |= strengths
        return get_builder(spec.model)(input_shape=input_shape, classes=classes, **options)
    functions = list(map(_function, functions_of(spec)))
    options |= {name: strengths[name] for name in _accepted_regularization(spec, functions)}
    try:
        model = functions[0](input_shape=input_shape, classes=classes, **options)
    except (Exception, SystemExit) as error:
        cause = cause_of(error).rstrip(".")
        raise ValueError(f"The model function {spec.model} failed: {cause}.") from error
    return _checked(model, spec.model, input_shape, classes)


def _checked(model: Any, name: str, input_shape: tuple[int, ...], classes: int) -> keras.Model:
    import keras
    import numpy as np

    if not isinstance(model, keras.Model) or model.compiled:
        found = "a compiled one" if isinstance(model, keras.Model) else type(model).__name__
        raise ValueError(
            f"The model function {name} must return an uncompiled keras.Model, not {found}."
        )
    is_functional = bool(getattr(model, "inputs", None))
    try:
        if is_functional and [tuple(i.shape) for i in model.inputs] != [(None, *input_shape)]:
            raise ValueError("It has another Input.")
        # Only a call builds other models and tells the shape of their outputs.
        zeros = np.zeros((1, *input_shape))
        given = model.outputs if is_functional else model(zeros, training=False)
        shapes = [tuple(output.shape) for output in keras.tree.flatten(given)]
    except Exception as error:
        raise ValueError(f"The model of {name} does not accept inputs {input_shape}.") from error
    if [shape[1:] for shape in shapes] != [(classes,)]:
        found = " and ".join(map(str, shapes)) or "none"
        raise ValueError(f"The model of {name} must give {classes} outputs, not shape {found}.")
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs, model.outputs, name=model.name)
    return model


def _function(model: str) -> Callable[..., Any]:
    module, name = model.split(":")
    try:
        function = getattr(importlib.import_module(module), name, None)
    except (Exception, SystemExit) as error:
        cause = cause_of(error).rstrip(".")
        raise ValueError(f"The module of {model} cannot be imported: {cause}.") from error
    if not callable(function):
        advice = "; on a Dask cluster it has to be in a module that the workers can import"
        raise ValueError(
            f"The model function {model} does not exist in this process"
            f"{advice if module == _MAIN else ''}."
        )
    return function


def _accepted_regularization(spec: RunSpec, functions: Sequence[Callable[..., Any]]) -> set[str]:
    """Return the options of the regularization that the run's model functions accept.

    What the first of them does not name itself it passes on to the other one, if there is one.
    """
    used = spec.regularization.options_in_use()
    given = {"input_shape", "classes", *json.loads(spec.builder), *used}
    names, takes_all = set[str](), True
    for function in functions:
        if takes_all:
            of_function, takes_all = _parameters(function)
            names |= of_function
    if not takes_all and (refused := sorted(given - names)):
        raise ValueError(
            f"The model function {spec.model} must accept {', '.join(refused)}, which this run "
            f"sets; it accepts {', '.join(sorted(names)) or 'nothing'}."
        )
    options = type(spec.regularization).OPTIONS
    return set(options if takes_all else names & set(options))


def _imported(model: str) -> Callable[..., Any] | None:
    """The model function, where this process has imported its module already."""
    module, name = model.split(":")
    return getattr(sys.modules.get(module), name, None)


def _parameters(function: Callable[..., Any]) -> tuple[set[str], bool]:
    """The names of a function's arguments, and whether it takes others, too."""
    parameters = inspect.signature(function).parameters.values()
    names = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    return names, any(p.kind is p.VAR_KEYWORD for p in parameters)


def _check_function(model: str) -> None:
    module, _, name = model.partition(":")
    if not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise ModelArgumentError(f"model must be {_ACCEPTED}, not {model!r}.")
    # The source text tells without importing the module, which may import Keras. It may be in
    # another encoding, which its first line names.
    if not re.search(rf"\b{name}\b", _source_file(model).read_text("utf-8", "replace")):
        raise ModelArgumentError(
            f"The model function {model} does not exist: the module has no {name}."
        )


def _source_file(model: str) -> Path:
    module, name = model.split(":")
    file = file_of(module)
    if file is None:
        raise ModelArgumentError(
            f"The model function {name} is defined in a notebook or an interactive session, which "
            "worker processes cannot import: move it to a file next to the notebook, for example "
            f"my_model.py, and write from my_model import {name}."
            if module == _MAIN
            else f"The module of the model function {model} is not found; that of the "
            "file my_model.py is named my_model."
        )
    return file
