"""The section of class averages, from files as the stage writes them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from fake_runs import AWKWARD, Workplace
from numpy.typing import NDArray
from pages import outline, text_of

from medrobust.errors import MedrobustError
from medrobust.files import file_name
from medrobust.report.averages import SIDE, average_section
from medrobust.report.figures import styles
from medrobust.report.material import Material
from medrobust.report.numbers import Numbers, evaluations
from medrobust.report.page import _environment
from medrobust.report.pictures import saliency_limit
from medrobust.report.predicted import Predicted
from medrobust.report.read import read_runs


@pytest.fixture
def run(workplace: Workplace, tmp_path: Path) -> Path:
    """The dual run alone."""
    return Path(shutil.copytree(workplace.runs / "dual" / "0", tmp_path / "dual" / "0"))


def material(run: Path) -> Material:
    found = read_runs([run])
    numbers = Numbers(found, evaluations(found)[0])
    return Material(numbers, Predicted(numbers), styles(numbers.arms), None)


def mean(shape: tuple[int, ...] = (40, 40)) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 0.1, shape).astype(np.float32)


def write(
    run: Path,
    finding: str = "Nodule",
    branch: str = "adv",
    method: str = "gradient",
    without: int = 30,
    shape: tuple[int, ...] = (40, 40),
    split: str = "test",
) -> Path:
    folder = run / "explain" / "averages" / "blobs" / split / branch / method
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{file_name(finding)}.npz"
    np.savez_compressed(
        file,
        **{"with": mean(shape), "without": mean(shape) * bool(without)},
        n_with=np.array(12),
        n_without=np.array(without),
        image_with=np.full((1, *shape), 0.5, np.float32),
        image_without=np.full((1, *shape), 0.25, np.float32),
    )
    return file


def test_without_averages_here_there_is_no_section(run: Path) -> None:
    assert average_section(material(run)) is None
    write(run, split="val")
    write(run, finding="Hernia")
    assert average_section(material(run)) is None


def test_every_model_and_method_has_both_classes(run: Path) -> None:
    for branch in ("clean", "adv"):
        for method in ("grad-cam", "gradient", "occlusion"):
            write(run, branch=branch, method=method)
    section = average_section(material(run))
    assert section is not None
    (case,) = section.cases
    assert (case.finding, case.width, case.height) == ("Nodule", 40, 40)
    assert list(case.images) == ["with", "without"]
    assert case.images["with"] != case.images["without"]
    assert [panel.arm.branch for panel in case.panels] == ["clean", "adv"]
    shown = [(one.method, one.which) for one in case.panels[0].maps]
    assert shown == [(m, w) for m in ("gradient", "grad-cam") for w in ("with", "without")]
    assert case.panels[0].maps[0].words == f"12 maps, ±{saliency_limit(mean()):#.2g}"
    assert (section.left_out, section.volumes) == (0, False)


def test_another_method_is_shown_where_there_is_no_gradient(run: Path) -> None:
    write(run, method="occlusion")
    section = average_section(material(run))
    assert section is not None
    (panel,) = section.cases[0].panels
    assert [one.method for one in panel.maps] == ["occlusion", "occlusion"]


def test_a_class_without_maps_has_no_picture(run: Path) -> None:
    write(run, without=0)
    section = average_section(material(run))
    assert section is not None
    with_, without = section.cases[0].panels[0].maps
    assert with_.picture
    assert without.picture == ""
    assert "no gradient map of images without it" in text_of(page(section))


def test_volumes_are_shown_by_their_middle_slice_and_large_images_shrunk(run: Path) -> None:
    write(run, shape=(3, 400, 200))
    section = average_section(material(run))
    assert section is not None
    assert section.volumes
    assert (section.cases[0].height, section.cases[0].width) == (SIDE, SIDE // 2)
    assert "the middle slice is drawn" in text_of(page(section))


def test_the_page_is_sound_and_escapes_names(run: Path) -> None:
    write(run)
    write(run, finding=AWKWARD)
    section = average_section(material(run))
    assert section is not None
    assert [case.finding for case in section.cases] == ["Nodule", AWKWARD]
    text = page(section)
    parsed = outline(text)
    assert parsed.problems == []
    assert parsed.open == []
    assert "<b>" not in text
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) == 4
    assert {a["href"] for a in parsed.all("use")} == {f"#{name}" for name in ids}


@pytest.mark.parametrize("damage", [lambda content: content[:200], lambda content: b""])
def test_a_damaged_file(run: Path, damage) -> None:
    file = write(run)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(MedrobustError) as caught:
        average_section(material(run))
    assert str(caught.value) == (
        f"{file}: expected average maps, found another file; run `explain` again"
    )


def page(section: object) -> str:
    return str(_environment().get_template("averages.html.j2").module.averages(section))
