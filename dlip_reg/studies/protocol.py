"""What is fixed before data is seen, as one hash: designs, smallest effects, arms and the rule.

The hash also covers the code of the modules in which measurements and controls are written, without
comments, docstrings and figures. It does not cover what they call in modules that claims share
(`readings`, `runs`, `surface`, `fits`, `nets`, `dlip_reg.evidence`). It is printed in the report
and compared by readers; records depend on their own run alone, so a study is resumed whatever its
protocol was.
"""

import ast
import contextlib
import functools
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from dlip_reg.evidence.rule import ERROR_SPENT, LOOKS
from dlip_reg.studies.setting import Setting
from dlip_reg.studies.study import Study

# Fields that do not decide how verdicts come about: labels, figures, and how long runs take. The
# arms that claims bring along are listed with the others.
LEFT_OUT = {
    "label", "draw", "figures", "shown", "watch", "watch_seeds", "timed", "minutes", "run_seconds",
    "expected", "arms",
}  # fmt: skip


def protocol(study: Study, setting: Setting) -> dict[str, Any]:
    """Everything that decides how a study's verdicts come about, as plain values."""
    return {
        "looks": list(LOOKS),
        "error_spent": list(ERROR_SPENT),
        "model": setting.model,
        "dataset": setting.dataset,
        "preset": _plain(setting.preset),
        "claims": _plain(study.claims),
        "arms": _plain(study.arms_for(setting, study.claims)),
        "modules": {name: _module(held) for name, held in sorted(_measuring(study).items())},
    }


def protocol_hash(study: Study, setting: Setting) -> str:
    """The first 12 hex digits of the SHA-256 of the protocol."""
    return _hash(protocol(study, setting))


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def _measuring(study: Study) -> dict[str, Mapping[str, Any]]:
    """Module -> what it holds, of those in which the measurements and controls are written."""
    functions = [f for c in study.claims for f in (c.measure, *(k.measure for k in c.controls))]
    return dict(module for function in functions for module in _modules(function))


def _modules(function: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The modules of a function and of the functions that it holds: names, and what they hold.

    A function within a function may hold itself, and so be one of those `above`.
    """
    if callable(function) and not _is_among(function, above):
        if not isinstance(function, functools.partial):
            name = getattr(function, "__module__", None) or "builtins"
            # A file that was run by its path is not a module that can be looked up.
            held = vars(sys.modules[name]) if name in sys.modules else function.__globals__
            yield name, held
        for value in _held(function):
            for held in value.values() if isinstance(value, Mapping) else (value,):
                yield from _modules(held, (*above, function))


def _module(held: Mapping[str, Any]) -> dict[str, Any]:
    """The constants of a module, such as FITTED = 0.9, also those it imports, and its code."""
    constants = {
        key: _plain(value)
        for key, value in sorted(held.items())
        if key.isupper() and isinstance(value, str | int | float | Sequence | Mapping)
    }
    file = Path(held.get("__file__") or "")  # none of what is built in, or of a notebook's cells
    has_source = file.suffix == ".py" and file.is_file()
    code = _hash(_structure(ast.parse(file.read_bytes()))) if has_source else ""
    return {"constants": constants, "code": code}


def _structure(node: Any) -> Any:
    """Code without comments, docstrings, figures and sections, alike in all versions of Python.

    These differ in which fields of a node there are, so those that are empty are left out.
    """
    if isinstance(node, list):
        return [_structure(item) for item in node if not _is_figure(item)]
    if not isinstance(node, ast.AST):
        return repr(node)
    named = dict(ast.iter_fields(node))
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        named["body"] = node.body[ast.get_docstring(node) is not None :]
    kept = {name: _structure(value) for name, value in named.items() if value not in (None, [])}
    return [type(node).__name__, kept]


def _is_figure(node: Any) -> bool:
    return isinstance(node, ast.FunctionDef) and any(
        isinstance(decorator, ast.Call) and ast.unparse(decorator.func) in ("figure", "section")
        for decorator in node.decorator_list
    )


def _held(function: Any) -> list[Any]:
    """What is bound to a function: arguments of a partial, cells of a closure, and defaults."""
    if isinstance(function, functools.partial):
        return [function.func, *function.args, function.keywords]
    cells = []
    for cell in getattr(function, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # nothing was assigned to it
            cells.append(cell.cell_contents)
    return [*cells, *(getattr(function, "__defaults__", None) or ())]


def _is_among(function: Any, above: tuple[Any, ...]) -> bool:
    return any(function is one for one in above)


def _plain(value: Any, above: tuple[Any, ...] = ()) -> Any:
    """A value as JSON can hold it; a setting is in the protocol already."""
    if isinstance(value, Setting):
        return "setting"
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, Sequence):
        return [_plain(item, above) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item, above) for key, item in value.items()}
    if hasattr(value, "to_json"):
        return value.to_json()
    if is_dataclass(value):
        decisive = [field.name for field in fields(value) if field.name not in LEFT_OUT]
        return {name: _plain(getattr(value, name), above) for name in decisive}
    if callable(value):
        held = () if _is_among(value, above) else _held(value)
        name = getattr(value, "__qualname__", type(value).__name__)
        return [name, *(_plain(item, (*above, value)) for item in held)]
    return type(value).__name__
