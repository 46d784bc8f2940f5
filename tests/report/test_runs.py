from dataclasses import replace

import yaml

from medrobust.report.read import Run
from medrobust.report.runs import commands, runs_table, settings, versions_table


def test_a_row_per_run(found: list[Run]) -> None:
    table = runs_table(found)
    rows = table.groups[0].rows
    assert [(row.head, row.note) for row in rows][2:] == [("dual", "seed 0"), ("dual", "seed 1")]
    values = dict(zip(table.columns[1:], rows[2].cells, strict=True))
    assert (values["Network"].main, values["Network"].note) == ("resnet18", "width 16")
    assert values["Attack in training"].main == "PGD, 5 steps"
    assert values["Attack in training"].note == "ε = 4/255"
    assert values["Parameters"].main == "160"
    assert values["Time"].main == "3 min 20 s"
    assert values["Commit"].main == "01234567"
    assert rows[0].cells[2].main == "none"


def test_noise_is_no_attack(found: list[Run]) -> None:
    cells = runs_table([replace(found[0], regime="noise")]).groups[0].rows[0].cells
    assert (cells[2].main, cells[2].note) == ("random noise", "ε = 4/255")


def test_settings_come_back_from_yaml(found: list[Run]) -> None:
    assert [yaml.safe_load(one.yaml) for one in settings(found)] == [run.config for run in found]


def test_commands_can_be_pasted(found: list[Run]) -> None:
    lines = commands(found[2:])
    assert lines == [
        "medrobust train configs/blobs-dual.yaml seed=0",
        "medrobust train configs/blobs-dual.yaml seed=1",
        "medrobust evaluate runs/dual/0 runs/dual/1",
        "medrobust explain runs/dual/0 runs/dual/1",
        "medrobust report runs/dual/0 runs/dual/1 --out report.html",
    ]


def test_versions_that_differ_stand_together(found: list[Run]) -> None:
    other = replace(found[1], provenance={**found[1].provenance, "python": "3.12.1"})
    rows = {row.head: row.cells[0].main for row in versions_table([found[0], other]).groups[0].rows}
    assert rows["Python"] == "3.11.9, 3.12.1"
    assert rows["torch"] == "2.13.0"


def test_another_margin_stands_in_the_command(found: list[Run]) -> None:
    assert commands(found[:1], 0.05)[-1].endswith(" --out report.html --margin 0.05")


def test_a_run_that_knows_nothing_of_itself(found: list[Run]) -> None:
    bare = replace(found[0], provenance={}, config={}, epochs=(), path=found[0].path / "no" / "no")
    assert {cell.main for cell in runs_table([bare]).groups[0].rows[0].cells} == {
        "standard",
        "none",
        "–",
    }
    assert versions_table([bare]).groups[0].rows == []
