from dataclasses import replace
from pathlib import Path

from medrobust.files import write_json
from medrobust.report.costs import costs_table
from medrobust.report.material import Material


def test_sidecars_and_receipts_make_one_row_per_attack(material: Material) -> None:
    table = costs_table(material.numbers.runs)
    assert table is not None
    assert [group.head for group in table.groups][2:] == ["dual, seed 0", "dual, seed 1"]
    adv, clean = table.groups[2].rows
    assert (adv.head, adv.note) == ("Strong attack", "test, best")
    assert [cell.main for cell in adv.cells] == [
        *("adversarial branch", "1", "20", "1", "–", "96,000", "5 min 40 s")
    ]
    assert clean.cells[0].main == "clean branch"


def test_radii_and_networks_of_one_sweep_share_its_cost(material: Material, tmp_path: Path) -> None:
    for branch in ("clean", "mean"):
        for eps in (0.1, 0.2):
            attack = {"name": "fast", "eps": eps, "attacked_branch": "clean", "seconds": 61.0}
            sidecar = {"split": "test", "checkpoint": "last", "attack": attack | {"queries": 5000}}
            write_json(tmp_path / "predictions" / f"{branch}-{eps}.json", sidecar)
    (tmp_path / "predictions" / "broken.json").write_text("[")
    run = replace(material.numbers.runs[0], path=tmp_path)
    table = costs_table([run])
    assert table is not None
    (row,) = table.groups[0].rows
    assert row.note == "test, last"
    assert [cell.main for cell in row.cells] == [
        *("clean branch", "2", "–", "–", "5,000", "–", "1 min 01 s")
    ]


def test_nothing_was_recorded(plain: Material) -> None:
    assert costs_table(plain.numbers.runs) is None
