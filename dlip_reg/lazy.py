"""Packages that import what they export on first use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from dlip_reg.extras import require_extra


def lazy_exports(
    package: str, names_of: Mapping[str, str], extra: str | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return the `__getattr__` and the `__dir__` of a package, and the names that it exports so.

    Args:
        package: The package's `__name__`.
        names_of: Module of the package -> the names that it defines, or its own, as one text.
        extra: The extra that the names need.
    """
    module_of = {name: module for module, names in names_of.items() for name in names.split()}

    def get(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if extra:
            require_extra(extra, f"{package}.{name}")
        module = import_module(f"{package}.{module_of[name]}")
        return module if name == module_of[name] else getattr(module, name)

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *module_of})

    return get, names, list(module_of)
