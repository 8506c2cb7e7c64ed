"""The report: figures and one HTML page from plain values, nothing known of what was run.

matplotlib is imported when the first figure is drawn, and not for a lab's ``--help``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlip_reg.lazy import lazy_exports

if TYPE_CHECKING:
    from dlip_reg.report import figures
    from dlip_reg.report.page import Code, FigureItem, Section, write_report

_MODULE_OF = {
    "Code": "page",
    "FigureItem": "page",
    "Section": "page",
    "figures": "figures",
    "write_report": "page",
}

__all__ = ["Code", "FigureItem", "Section", "figures", "write_report"]

__getattr__, __dir__ = lazy_exports(__name__, _MODULE_OF, extra="labs")
