"""The report: figures and one HTML page from plain values, nothing known of what was run."""

from dlip_reg.report.files import write_claims, write_csv
from dlip_reg.report.lab import write_lab_report
from dlip_reg.report.page import FigureItem, Section, write_report

__all__ = ["FigureItem", "Section", "write_claims", "write_csv", "write_lab_report", "write_report"]
