"""The geometry section, from files as the stages write them."""

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pages import outline, text_of

from medrobust.errors import MedrobustError
from medrobust.explain.dial_stage import DIAL
from medrobust.explain.geometry_stage import GEOMETRY
from medrobust.explain.similarity_stage import CKA
from medrobust.report.dial import dial_figure, dial_sentence, dial_table, read_dials
from medrobust.report.figures import styles
from medrobust.report.geometry import geometry_section
from medrobust.report.landscape import (
    LOSS,
    Steepness,
    mean_with_interval,
    read_surface,
    surface_figures,
)
from medrobust.report.material import Material
from medrobust.report.numbers import Numbers
from medrobust.report.page import _environment
from medrobust.report.predicted import Predicted
from medrobust.report.read import read_run
from medrobust.report.similarity import short, similarity_figures

EPS = 4 / 255
AXIS = np.linspace(-2, 2, 21)
LAYERS = ["backbone.conv1", "backbone.fc <b>"]


def copied(material: Material, folder: Path, *places: int) -> Material:
    """Some of the runs in a folder of their own, where tests may write."""
    chosen = [material.numbers.runs[place] for place in places]
    paths = [shutil.copytree(r.path, folder / r.name / str(r.seed)) for r in chosen]
    numbers = Numbers([read_run(path) for path in paths], material.numbers.evaluation)
    return Material(numbers, Predicted(numbers), styles(numbers.arms), material.table)


@pytest.fixture
def dual(material: Material, tmp_path: Path) -> Material:
    """The dual run alone, without any geometry yet."""
    return copied(material, tmp_path, 2)


def explain_folder(material: Material, place: int = 0) -> Path:
    return material.numbers.runs[place].path / "explain"


def images_of(material: Material) -> list[str]:
    return list(material.predicted.patients())[:6]


def write_geometry(material: Material, place: int = 0) -> pd.DataFrame:
    run, rows = material.numbers.runs[place], []
    for branch, factor in zip(run.branches, (1.0, 10.0), strict=False):
        for measure in (*LOSS, "lipschitz_lower_bound", "change_in_spreads"):
            for number, image in enumerate(images_of(material)):
                value = factor * (number + 1)
                rows.append(
                    ("blobs", "test", branch, measure, "linf", EPS, "all findings", image, value)
                )
    table = pd.DataFrame(rows, columns=GEOMETRY)
    table.to_csv(explain_folder(material, place) / "geometry.csv", index=False)
    return table


def write_landscape(material: Material, place: int = 0) -> None:
    run = material.numbers.runs[place]
    folder = explain_folder(material, place) / "landscape" / "blobs" / "test"
    folder.mkdir(parents=True)
    plane = np.exp(AXIS[:, None] + 0.1 * AXIS[None, :])
    losses = {f"loss:{b}": np.stack([plane, 3 * plane]) for b in run.branches}
    np.savez(
        folder / "all findings.npz", image_id=["a", "b"], eps=EPS, along=AXIS, across=AXIS, **losses
    )


def write_cka(material: Material) -> None:
    rows = []
    for branch, other_run, other_branch in (
        ("clean", "", "adv"),
        ("clean", "standard/0", "single"),
    ):
        for i, layer in enumerate(LAYERS):
            for j, other in enumerate(LAYERS):
                value = 0.9 - 0.3 * i if i == j else np.nan
                start = ("blobs", "test", branch, other_run, other_branch, layer, other)
                rows.append((*start, 512, value))
    pd.DataFrame(rows, columns=CKA).to_csv(explain_folder(material) / "cka.csv", index=False)


def write_dial(material: Material, chosen: float = 0.5) -> None:
    rows = []
    for split in ("val", "test"):
        for share in (0.0, 0.5, 1.0):
            for condition, value in (
                ("clean", 0.95 - 0.1 * share),
                ("attacked", 0.3 + 0.5 * share),
            ):
                for finding in ("macro", "Nodule"):
                    start = ("blobs", split, "linf", EPS, share, condition, finding)
                    rows.append((*start, value, value - 0.02, value + 0.03, int(share == chosen)))
    pd.DataFrame(rows, columns=DIAL).to_csv(explain_folder(material) / "dial.csv", index=False)


def rendered(material: Material) -> str:
    macro = _environment().get_template("geometry.html.j2").module.geometry
    return str(macro(geometry_section(material), material.looks))


def test_nothing_was_measured(dual: Material) -> None:
    assert geometry_section(dual) == {}
    assert text_of(rendered(dual)).strip() == ""


def test_the_whole_section(dual: Material) -> None:
    write_geometry(dual)
    write_landscape(dual)
    write_cka(dual)
    write_dial(dual)
    page = rendered(dual)
    parsed = outline(page)
    assert parsed.problems == []
    assert parsed.open == []
    assert "<b>" not in page
    words = text_of(page)
    for heading in (
        "The loss around an image",
        "How fast scores change",
        "How alike layers are",
        "The dial between the branches",
    ):
        assert heading in words
    assert len(parsed.all("img")) == 1 + 2 + 1
    assert all(image["alt"] for image in parsed.all("img"))


def test_means_of_images_in_their_places(dual: Material) -> None:
    table = write_geometry(dual)
    steepness = Steepness.of(dual)
    found = steepness.table(LOSS, "caption")
    assert found is not None
    assert [group.head for group in found.groups] == ["all findings, ε = 4/255"]
    assert [row.head for row in found.groups[0].rows] == [
        "dual · clean branch",
        "dual · adversarial branch",
    ]
    for row, factor in zip(found.groups[0].rows, (1, 10), strict=True):
        count, loss, *_ = row.cells
        assert count.main == "6"
        assert loss.main == f"{factor * 3.5:.3f}"
        low, high = (float(limit) for limit in loss.note.split("–"))
        assert factor * 1 <= low < factor * 3.5 < high <= factor * 6
    assert len(found.columns) == 2 + len(LOSS)
    first, second = steepness.sentences()
    assert first.startswith(
        "Within ε = 4/255 of an image, the logits of the clean branch of dual can be moved by at "
        "least 3.50 of their standard deviations (mean of 6 images, 95 % interval "
    )
    assert "the adversarial branch of dual can be moved by at least 35.00" in second
    assert set(table["measure"]) > set(LOSS)


def test_the_interval_of_a_mean_is_that_of_normal_theory() -> None:
    values = np.random.default_rng(0).normal(size=400)
    found = mean_with_interval(values, np.arange(400))
    half = 1.96 * values.std() / 20
    assert found.value == values.mean()
    assert (found.low, found.high) == pytest.approx(
        (found.value - half, found.value + half), abs=0.02
    )


def test_images_of_one_patient_are_drawn_together() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=100), 4)
    together = mean_with_interval(values, np.repeat(np.arange(100), 4))
    apart = mean_with_interval(values, np.arange(400))
    assert together.high - together.low > 1.6 * (apart.high - apart.low)


def test_patients_are_looked_up_once(dual: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    write_geometry(dual)
    calls, patients = [], Predicted.patients
    monkeypatch.setattr(Predicted, "patients", lambda self: calls.append(self) or patients(self))
    assert Steepness.of(dual).table(LOSS, "caption")
    assert len(calls) == 1


def test_images_of_other_places_do_not_count(dual: Material) -> None:
    table = write_geometry(dual)
    elsewhere = table.assign(split="val", value=1e6)
    both = pd.concat([table, elsewhere])
    both.to_csv(explain_folder(dual) / "geometry.csv", index=False)
    found = Steepness.of(dual).table(LOSS, "caption")
    assert found is not None
    assert found.groups[0].rows[0].cells[1].main == "3.500"


def test_one_panel_for_each_model(material: Material, tmp_path: Path) -> None:
    both = copied(material, tmp_path, 0, 2)
    write_landscape(both, 0)
    write_landscape(both, 1)
    (figure,) = surface_figures(both)
    assert figure.alt == (
        "Mean loss (all findings) of 2 images over the plane of the gradient's sign and random "
        "signs, up to 2 ε: "
        "standard 2.00 at the images, 14.78 at the end along the gradient, 2.44 across; "
        "dual · clean branch 2.00 at the images, 14.78 at the end along the gradient, 2.44 across; "
        "dual · adversarial branch 2.00 at the images, 14.78 at the end along the gradient, 2.44 "
        "across."
    )
    assert surface_figures(both) == [figure]


def test_a_surface_of_another_branch_or_without_any_height(dual: Material) -> None:
    write_landscape(dual)
    folder = explain_folder(dual) / "landscape" / "blobs" / "test"
    assert read_surface(folder / "all findings.npz", "single") is None
    flat = {f"loss:{b}": np.zeros((1, 21, 21)) for b in ("clean", "adv")}
    np.savez(folder / "Nodule.npz", eps=EPS, along=AXIS, across=AXIS, **flat)
    assert len(surface_figures(dual)) == 2


def test_similarity(dual: Material) -> None:
    write_cka(dual)
    between, across = similarity_figures(dual)
    assert between.alt == (
        "CKA of the layers of dual · clean branch and dual · adversarial branch: 0.60 to 0.90 "
        "between layers of the same name."
    )
    assert across.alt.startswith("CKA of the layers of dual · clean branch and standard/0: 0.60")


def test_names_of_layers() -> None:
    assert short(["backbone.conv1", "backbone.layer1.conv2"]) == ["conv1", "layer1.conv2"]
    assert short(["conv1", "layer1.conv2"]) == ["conv1", "layer1.conv2"]


def test_the_dial(dual: Material) -> None:
    write_dial(dual)
    (dial,) = read_dials(dual)
    assert dial.shares == [0, 0.5, 1]
    assert dial_sentence(dial) == (
        "Validation images choose share 0.5 of dual, seed 0 (between the branches): AUROC 0.900 "
        "(0.880–0.930) on clean images and 0.550 (0.530–0.580) under the fast attack, ε = 4/255."
    )
    table = dial_table(dial)
    assert [(row.head, row.note) for row in table.groups[0].rows] == [
        ("0", ""),
        ("0.5", "chosen"),
        ("1", ""),
    ]
    assert [cell.main for cell in table.groups[0].rows[2].cells] == ["0.850", "0.800", "0.825"]
    assert dial_figure(dial).alt == (
        "Macro AUROC of dual, seed 0 at shares 0, 0.5, 1, ε = 4/255: clean 0.95, 0.90, 0.85; "
        "attacked 0.30, 0.55, 0.80."
    )


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        (0.0, "choose share 0 of dual, seed 0 (the clean branch itself): AUROC 0.950"),
        (1.0, "choose share 1 of dual, seed 0 (the adversarial branch itself): AUROC 0.850"),
        (7.0, "Of dual, seed 0 no share has been chosen on validation images."),
    ],
)
def test_where_the_dial_is_set(dual: Material, chosen: float, told: str) -> None:
    write_dial(dual, chosen)
    (dial,) = read_dials(dual)
    assert told in dial_sentence(dial)
    assert dial_figure(dial).uri


@pytest.mark.parametrize("name", ["geometry.csv", "cka.csv", "dial.csv"])
@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "\x00"])
def test_files_that_are_no_tables(dual: Material, name: str, content: str) -> None:
    file = explain_folder(dual) / name
    file.write_text(content)
    with pytest.raises(MedrobustError) as caught:
        geometry_section(dual)
    assert str(caught.value).startswith(f"{file}: expected a table with columns store, split, ")
    assert str(caught.value).endswith(", found another; run `explain` again")


def test_words_in_the_place_of_numbers(dual: Material) -> None:
    table = write_geometry(dual).astype({"value": object})
    table.loc[3, "value"] = "much"
    table.to_csv(explain_folder(dual) / "geometry.csv", index=False)
    with pytest.raises(MedrobustError, match="expected a table with columns store, split"):
        Steepness.of(dual)


def array_file() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04nothing", b"words", array_file()])
def test_files_that_are_no_surfaces(dual: Material, content: bytes) -> None:
    write_landscape(dual)
    file = explain_folder(dual) / "landscape" / "blobs" / "test" / "all findings.npz"
    file.write_bytes(content)
    with pytest.raises(MedrobustError) as caught:
        geometry_section(dual)
    assert str(caught.value) == (
        f"{file}: expected loss surfaces, found another file; run `explain` again"
    )


def test_of_another_evaluation_there_is_nothing(dual: Material) -> None:
    write_geometry(dual)
    write_landscape(dual)
    write_cka(dual)
    write_dial(dual)
    elsewhere = replace(dual.numbers.evaluation, store="elsewhere")
    numbers = replace(dual.numbers, evaluation=elsewhere)
    assert geometry_section(replace(dual, numbers=numbers)) == {}
