"""The report: figures and one HTML page from plain values, nothing known of what was run.

matplotlib is imported when the first figure is drawn, and not for a lab's ``--help``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlip_reg.lazy import lazy_exports

if TYPE_CHECKING:
    from dlip_reg.report import figures
    from dlip_reg.report.page import Code, FigureItem, Section, write_report

_NAMES = {"page": "Code FigureItem Section write_report", "figures": "figures"}
__getattr__, __dir__, _ = lazy_exports(__name__, _NAMES, extra="labs")

__all__ = ["Code", "FigureItem", "Section", "figures", "write_report"]
