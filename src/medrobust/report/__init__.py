"""One self-contained HTML page from any number of runs; never imports torch."""

from medrobust.report.build import build_report

__all__ = ["build_report"]
