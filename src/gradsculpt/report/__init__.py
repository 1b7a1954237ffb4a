"""Scorecards and maps in, one self-contained HTML page out."""

from gradsculpt.report.page import Maps, RunView, Sample, read_curve, render, sample_maps, sheet

__all__ = ["Maps", "RunView", "Sample", "read_curve", "render", "sample_maps", "sheet"]
