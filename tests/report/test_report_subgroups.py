from medrobust.report.material import Material
from medrobust.report.subgroups import (
    by_group,
    group_conditions,
    group_figures,
    group_name,
    group_sentences,
    group_tables,
)
from medrobust.report.text import number, signed, signed_interval


def test_tables_hold_the_rows_of_the_groups(material: Material) -> None:
    groups = by_group(material.numbers)
    assert list(groups)[:2] == ["sex=F", "sex=M"]
    clean, attacked = group_tables(material, groups)
    assert clean.caption.startswith("Groups on clean images: ")
    assert attacked.caption.startswith("Groups under the strong attack, ε = 4/255: ")
    assert clean.groups[0].rows[0].head == "sex F"
    rows = material.numbers.runs[0].metrics
    rows = rows[(rows["group"] == "sex=F") & (rows["finding"] == "macro")]
    for table, attack in ((clean, ""), (attacked, "strong")):
        found = rows[rows["attack"] == attack].set_index("metric")
        count, auroc, gap, *_ = table.groups[0].rows[0].cells
        assert count.main == str(found["n"]["auroc"])
        assert auroc.main == number(found["value"]["auroc"])
        assert gap.main == signed(found["value"]["auroc_gap"])
        assert gap.note == signed_interval(found["low"]["auroc_gap"], found["high"]["auroc_gap"])
        assert bool(gap.mark) == bool(attack)


def test_sentences_tell_how_many_gaps_were_looked_at(material: Material) -> None:
    groups = by_group(material.numbers)
    counted, *largest = group_sentences(material, groups)
    rows = [
        run.metrics[
            (run.metrics["group"] != "all")
            & (run.metrics["finding"] == "macro")
            & (run.metrics["metric"] == "auroc_gap")
            & run.metrics["value"].notna()
        ]
        for run in material.numbers.runs[:3]
    ]
    clear = sum(((r["low"] > 0) | (r["high"] < 0)).sum() for r in rows)
    assert counted == (
        f"{sum(map(len, rows))} gaps between a group and all other images: {clear} with an "
        "interval that excludes 0. By chance alone it would be about one in 20."
    )
    assert len(largest) == min(6, clear)
    assert all(" AUROC (95 % interval of the difference " in sentence for sentence in largest)


def test_a_figure_per_condition(material: Material) -> None:
    figures = group_figures(material, by_group(material.numbers))
    assert [f.alt.partition(" of ")[0] for f in figures] == [
        "AUROC gaps on clean images",
        "AUROC gaps on strong attack, ε = 4/255",
    ]


def test_no_groups(plain: Material) -> None:
    groups = by_group(plain.numbers)
    assert groups == {}
    assert group_conditions(plain, groups) == []
    assert group_sentences(plain, groups) == []


def test_names_of_groups() -> None:
    assert group_name("age=40-59") == "age 40–59"
    assert group_name("sex=F") == "sex F"
