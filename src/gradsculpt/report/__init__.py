"""Scorecards and maps in, one self-contained HTML page out."""

from gradsculpt.report.page import RunView, read_curve, render, sheet
from gradsculpt.report.samples import Maps, Sample, choose, sample_maps
from gradsculpt.report.table import table

__all__ = ["Maps", "RunView", "Sample", "choose", "read_curve", "render", "sample_maps", "sheet", "table"]
