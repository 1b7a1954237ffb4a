"""Scorecards and maps in, one self-contained HTML page out."""

from gradsculpt.report.page import RunView, read_curve, render, sheet
from gradsculpt.report.samples import Maps, Sample, sample_maps

__all__ = ["Maps", "RunView", "Sample", "read_curve", "render", "sample_maps", "sheet"]
