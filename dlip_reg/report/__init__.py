"""The report: figures and one HTML page from plain values, nothing known of what was run.

matplotlib is imported when the first figure is drawn, and not for a lab's ``--help``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dlip_reg.extras import require_extra

if TYPE_CHECKING:
    from dlip_reg.report import figures
    from dlip_reg.report.page import Code, FigureItem, Section, write_report

__all__ = ["Code", "FigureItem", "Section", "figures", "write_report"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require_extra("labs", f"dlip_reg.report.{name}")
    if name == "figures":
        return import_module("dlip_reg.report.figures")
    return getattr(import_module("dlip_reg.report.page"), name)
