"""The report: figures and one HTML page from plain values, nothing known of what was run."""

from dlip_reg.report.page import FigureItem, Section, write_report

__all__ = ["FigureItem", "Section", "write_report"]
