from dataclasses import replace

from medrobust.report.along_training import training_figures
from medrobust.report.material import Material
from medrobust.report.numbers import Numbers
from medrobust.report.text import number


def test_a_figure_per_run_from_first_to_last_checkpoint(material: Material) -> None:
    figures = training_figures(material)
    assert len(figures) == 4
    rows = material.numbers.runs[0].metrics
    first, last = (
        rows[(rows["checkpoint"] == f"epoch-{epoch:04d}") & (rows["attack"] == "")]["value"].iloc[0]
        for epoch in (4, 12)
    )
    told = f"{number(first, 2)} to {number(last, 2)}"
    assert f"standard on clean images {told}; standard on fast attack, ε = 4/255 0." in (
        figures[0].alt
    )
    assert "dual · adversarial branch on clean images" in figures[2].alt


def test_the_selected_epoch_stands_among_the_others(material: Material) -> None:
    run = material.numbers.runs[0]
    assert run.selected is not None
    assert run.selected.epoch not in (4, 8)
    early = run.metrics[run.metrics["checkpoint"] != "epoch-0012"]
    alone = Numbers([replace(run, metrics=early)], material.numbers.evaluation)
    (figure,) = training_figures(replace(material, numbers=alone))
    best = alone.get(alone.runs[0], "single")
    assert best is not None
    assert f" to {number(best.value, 2)}; " in figure.alt
    assert " at 3 checkpoints: " in figure.alt


def test_one_checkpoint_is_no_curve(plain: Material) -> None:
    assert training_figures(plain) == []
