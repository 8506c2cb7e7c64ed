"""What is fixed before data is seen, as one hash: designs, smallest effects, arms and the rule."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import CodeType
from typing import Any

from dlip_reg.evidence.rule import ERROR_SPENT, LOOKS
from dlip_reg.studies.study import Setting, Study

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
        "constants": _constants(study),
    }


def protocol_hash(study: Study, setting: Setting) -> str:
    """The first 12 hex digits of the SHA-256 of the protocol."""
    text = json.dumps(protocol(study, setting), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _constants(study: Study) -> dict[str, Any]:
    """The constants, such as FITTED = 0.9, of the modules that measure the claims."""
    functions = [f for c in study.claims for f in (c.measure, *(k.measure for k in c.controls))]
    names = sorted({getattr(_unbound(function), "__module__", "") for function in functions})
    return {
        f"{name}.{key}": _plain(value)
        for name in names
        for key, value in sorted(vars(sys.modules.get(name, study)).items())
        if key.isupper() and isinstance(value, str | int | float | Sequence | Mapping)
    }


def _unbound(function: Any) -> Any:
    return _unbound(function.func) if isinstance(function, functools.partial) else function


def _name(function: Any) -> Any:
    """A function with what is bound to it.

    That is arguments of a partial, defaults, cells of a closure, and all names and numbers in the
    expression of a lambda.
    """
    if isinstance(function, functools.partial):
        bound = [*function.args, *sorted((function.keywords or {}).items())]
        return [_name(function.func), *map(_plain, bound)]
    name = getattr(function, "__qualname__", type(function).__name__)
    held = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    held += getattr(function, "__defaults__", None) or ()
    if name.endswith("<lambda>"):
        code: CodeType = function.__code__
        held += (*code.co_names, *code.co_consts)
    return [name, *map(_plain, held)] if held else name


def _plain(value: Any) -> Any:
    """A value as JSON can hold it; a setting is in the protocol already."""
    if isinstance(value, Setting):
        return "setting"
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "to_json"):
        return value.to_json()
    if is_dataclass(value):
        decisive = [field.name for field in fields(value) if field.name not in LEFT_OUT]
        return {name: _plain(getattr(value, name)) for name in decisive}
    return _name(value) if callable(value) else type(value).__name__
