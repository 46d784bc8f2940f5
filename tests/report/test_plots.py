from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np

from medrobust.report.figures import Line, Style
from medrobust.report.plots import Interval, Plane, curves, forest

BLUE = Style("#0072B2", "-", "o")
X = np.linspace(0, 1, 5)


def words(svg: bytes) -> str:
    return " ".join(ET.fromstring(svg).itertext())


def test_curves_have_a_title_and_labels() -> None:
    plane = Plane("severity", "AUROC", (0, 1), (0, 1), 0.5, True, True)
    svg = curves("Blur $x$", [Line(X, X**2, BLUE)], plane)
    assert all(word in words(svg) for word in ("Blur $x$", "severity", "AUROC"))
    assert svg == curves("Blur $x$", [Line(X, X**2, BLUE)], plane)


def test_points_are_open_and_not_joined() -> None:
    plane = Plane("x", "y", marks=True)
    joined = curves("t", [Line(X, X, BLUE)], plane)
    points = curves("t", [Line(X, X, BLUE, X - 0.1, X + 0.1, joined=False)], plane)
    assert points.count(b"#ffffff") > joined.count(b"#ffffff")
    assert points.lower().count(BLUE.colour.lower().encode()) > 0


def test_a_forest_has_a_row_per_group() -> None:
    nothing = Interval([0.1, np.nan], [0.0, np.nan], [0.2, np.nan], BLUE)
    svg = forest("Gaps", ["sex F", "age 80+"], [nothing, nothing], "difference")
    assert all(word in words(svg) for word in ("Gaps", "sex F", "age 80+", "difference"))


def test_global_settings_stay_as_they_were() -> None:
    before = dict(mpl.rcParams)
    forest("x", ["a"], [], "b")
    assert dict(mpl.rcParams) == before
