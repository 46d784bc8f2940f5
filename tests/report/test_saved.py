from fake_runs import EPS

from medrobust.report.material import Material
from medrobust.report.saved import saved_table
from medrobust.report.text import number


def test_before_and_after_saving(material: Material) -> None:
    table = saved_table(material)
    assert table is not None
    assert table.columns == [
        *("Attack and model", "Clean", "Attacked, not saved"),
        *("Saved, 16 bits", "Saved, 8 bits", "Saved, depth of the store"),
    ]
    (group,) = table.groups
    assert group.head == "Fast attack, ε = 4/255"
    rows = material.numbers.runs[0].metrics
    for attack, column in (("fast", 1), ("fast/16bit", 2), ("fast/8bit", 3), ("fast/stored", 4)):
        here = (rows["attack"] == attack) & (rows["eps"] - EPS).abs().lt(1e-6)
        value = rows[here & (rows["checkpoint"] == "best")]["value"].iloc[0]
        assert group.rows[0].cells[column].main == number(value)
        assert group.rows[0].cells[column].mark


def test_nothing_was_saved(plain: Material) -> None:
    assert saved_table(plain) is None
