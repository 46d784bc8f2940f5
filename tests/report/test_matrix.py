from dataclasses import replace

from fake_runs import EPS

from medrobust.report.material import Material
from medrobust.report.matrix import deployer_sentences, matrices, matrix_table
from medrobust.report.numbers import Numbers
from medrobust.report.text import interval, number


def test_rows_attack_and_columns_are_deployed(material: Material) -> None:
    first, second = matrices(material.numbers)
    assert (first.run.label, second.run.label) == ("dual, seed 0", "dual, seed 1")
    table = matrix_table(first)
    assert table.columns == [
        "Attack made on",
        "Deployed: clean branch",
        "Deployed: adversarial branch",
        "Deployed: mean of both branches",
        "Deployed: router",
    ]
    heads = [row.head for row in table.groups[0].rows]
    assert heads == [
        *("No attack", "clean branch", "adversarial branch", "mean of both branches", "router"),
        "Lowest of the rows",
    ]
    rows = first.run.metrics
    here = (rows["attack"] == "strong") & (rows["eps"] - EPS).abs().lt(1e-6)
    here &= (rows["branch"] == "adv") & (rows["attacked_branch"] == "clean")
    expected = rows[here & (rows["finding"] == "macro")].iloc[0]
    cell = table.groups[0].rows[1].cells[1]
    assert cell.main == number(expected["value"])
    assert cell.note == interval(expected["low"], expected["high"])
    assert table.groups[0].rows[2].cells[1].note.endswith(", its own route")


def test_the_worst_row_is_the_least_of_the_column(material: Material) -> None:
    for row in [matrix_table(m).groups[0].rows for m in matrices(material.numbers)]:
        for column in range(4):
            values = [float(one.cells[column].main) for one in row[1:-1]]
            assert float(row[-1].cells[column].main) == min(values)


def test_every_deployment_has_a_sentence(material: Material) -> None:
    numbers = material.numbers
    sentences = deployer_sentences(numbers)
    assert len(sentences) == 6
    assert numbers.training is not None
    clean, own = (numbers.get(numbers.runs[0], "single", c) for c in material.conditions)
    assert clean is not None
    assert own is not None
    assert sentences[0] == (
        f"Whoever deploys standard gets {number(clean.value, 2)} on clean images and "
        f"{number(own.value, 2)} (\N{BLACK FLAG} flagged) under the strong attack on it."
    )
    assert sentences[3].startswith("Whoever deploys the adversarial branch of dual gets 0.")
    assert "; the worst of the attacks on other routes (on the " in sentences[3]
    assert sentences[5].startswith("Whoever deploys the router of dual gets 0.")


def test_a_weak_attack_on_the_own_route_is_told(material: Material) -> None:
    run = material.numbers.runs[2]
    rows = run.metrics.copy()
    foreign = (rows["attack"] == "strong") & (rows["attacked_branch"] == "clean")
    rows.loc[foreign & (rows["branch"] == "adv"), "value"] = 0.1
    numbers = Numbers([replace(run, metrics=rows)], material.numbers.evaluation)
    assert deployer_sentences(numbers)[1].endswith(
        "(on the clean branch) gives 0.10, less than the attack on it, which is therefore too weak."
    )


def test_another_attack_on_other_routes_is_named(material: Material) -> None:
    run = material.numbers.runs[2]
    rows = run.metrics
    foreign = (rows["attack"] == "strong") & (rows["attacked_branch"] != rows["branch"])
    numbers = Numbers([replace(run, metrics=rows[~foreign])], material.numbers.evaluation)
    assert "on other routes (the fast attack on the " in deployer_sentences(numbers)[0]


def test_older_runs_have_sentences_and_no_matrix(plain: Material) -> None:
    assert matrices(plain.numbers) == []
    sentences = deployer_sentences(plain.numbers)
    assert len(sentences) == 4
    assert sentences[1].endswith(" under PGD on it.")
