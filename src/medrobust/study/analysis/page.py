"""The page of an analysis: one self-contained file."""

from pathlib import Path

from medrobust.report.page import write_page
from medrobust.report.study import study_section


def write_analysis(folder: Path) -> None:
    """Write `index.html` from what lies in the folder of an analysis."""
    section = study_section(folder)
    write_page("study_page.html.j2", {"section": section}, folder / "index.html")
