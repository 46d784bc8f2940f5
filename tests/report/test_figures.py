from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np

from medrobust.report.figures import HOUSE, Line, Style, learning, roc, styles, sweep
from medrobust.report.read import Epoch
from medrobust.report.terms import Arm

BLUE = Style("#0072B2", "-", "o")


def words(svg: bytes) -> str:
    return " ".join(ET.fromstring(svg).itertext())


def test_every_regime_has_its_house_style() -> None:
    arms = [Arm(regime, branch, regime) for regime, branch in HOUSE]
    looks = styles(arms)
    assert [looks[a] for a in arms] == [Style(*house) for house in HOUSE.values()]
    assert len({s.colour for s in looks.values()}) == len(arms)


def test_a_second_model_of_a_regime_looks_different() -> None:
    first, second = Arm("a", "single", "standard"), Arm("b", "single", "standard")
    looks = styles([first, second])
    assert looks[first] == BLUE
    assert looks[second].colour != BLUE.colour


def test_svg_dashes() -> None:
    assert BLUE.svg_dash == ""
    assert all(Style(*h).svg_dash for h in list(HOUSE.values())[1:])


def test_roc_is_an_svg_with_text() -> None:
    x = np.linspace(0, 1, 5)
    svg = roc("Nodule\nClean", [Line(x, x**0.5, BLUE)])
    assert "Nodule" in words(svg)
    assert "true-positive rate" in words(svg)
    assert svg == roc("Nodule\nClean", [Line(x, x**0.5, BLUE)])
    assert len(svg) < 40_000


def test_the_sweep_shows_chance_and_grey_levels() -> None:
    x, y = np.array([0, 4 / 255]), np.array([0.9, 0.6])
    line = Line(x, y, BLUE, y - 0.1, y + 0.1)
    assert "ε in grey levels (/255)" in words(sweep("Sweep", [line], grey_levels=True))
    plain = words(sweep("Sweep", [line], grey_levels=False))
    assert "chance" in plain
    assert "/255" not in plain


def test_learning_curves_mark_the_selected_epoch() -> None:
    epochs = [Epoch(i, 1 / i, {"single": 0.5 + i / 10}, {"single": 0.5}, i == 2) for i in (1, 2, 3)]
    svg = learning("standard, seed 0", epochs, {"single": BLUE})
    assert "selected: epoch 2" in words(svg)
    assert BLUE.colour.lower().encode() in svg


def test_learning_curves_without_validation() -> None:
    assert "selected" not in words(learning("x", [Epoch(1, 1.0, {}, {}, False)], {"single": BLUE}))


def test_global_settings_stay_as_they_were() -> None:
    before = dict(mpl.rcParams)
    roc("x", [])
    assert dict(mpl.rcParams) == before
