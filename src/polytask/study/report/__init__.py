"""The report of a comparison: one self-contained HTML file, verdict first."""

from polytask.study.report.page import render, write

__all__ = ["render", "write"]
