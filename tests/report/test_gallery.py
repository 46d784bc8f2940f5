import base64
import io
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_runs import EPS, FINDINGS, Workplace, write_maps
from numpy.testing import assert_allclose
from PIL import Image

from medrobust.data.cases import gallery_rows
from medrobust.errors import MedrobustError
from medrobust.report.figures import styles
from medrobust.report.gallery import Gallery, gallery
from medrobust.report.numbers import Numbers
from medrobust.report.pictures import saliency_limit
from medrobust.report.predicted import Predicted
from medrobust.report.text import number


@pytest.fixture(scope="session")
def shown(numbers: Numbers, workplace: Workplace) -> Gallery:
    found = gallery(numbers, styles(numbers.arms), workplace.store, Predicted(numbers))
    assert found is not None
    return found


def levels(uri: str) -> np.ndarray:
    content = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(content)).convert("L"), dtype=float)


def test_cases_are_gallery_rows_with_the_finding(shown: Gallery, workplace: Workplace) -> None:
    store = workplace.store
    ids = set(store.table["image_id"].iloc[gallery_rows(store, "test")])
    cases = [case for cases in shown.cases.values() for case in cases]
    assert list(shown.cases) == list(FINDINGS)
    assert len({case.image_id for case in cases}) == len(cases)
    assert all(2 <= len(of_one) <= 3 for of_one in shown.cases.values())
    for case in cases:
        assert case.image_id in ids
        assert case.finding in case.labels
        assert case.outline
        assert [p.arm.label for p in case.panels] == [
            "standard",
            "adversarial",
            "dual · clean branch",
            "dual · adversarial branch",
        ]


def test_pictures_are_the_image_the_attack_and_the_change(
    shown: Gallery, workplace: Workplace
) -> None:
    case = shown.cases["Nodule"][0]
    row = workplace.store.table.index[workplace.store.table["image_id"] == case.image_id][0]
    assert_allclose(levels(case.picture), workplace.store.images[row, 0])
    attacked = levels(case.panels[0].attacked)
    assert_allclose(np.abs(attacked - levels(case.picture)), 4, atol=0.5)
    change = levels(case.panels[0].perturbation)
    assert_allclose(np.sign(change - 127.5), np.sign(attacked - levels(case.picture)))
    assert shown.gain == 31 == int(0.5 / EPS)


def test_probabilities_are_those_predicted(shown: Gallery, numbers: Numbers) -> None:
    case = shown.cases["Nodule"][0]
    frame = Predicted(numbers).frame(numbers.runs[0], "single", numbers.conditions[0])
    assert frame is not None
    value = frame.set_index("image_id").loc[case.image_id, "Nodule"]
    assert case.panels[0].clean_probability == number(float(value), 2)


def test_the_first_seed_is_shown(shown: Gallery) -> None:
    assert shown.seeds == "seed 0 of standard, adversarial and dual"
    assert shown.shrunk == ""
    assert not shown.volumes


def test_without_maps_there_is_no_gallery(numbers: Numbers, workplace: Workplace) -> None:
    runs = [replace(run, path=run.path / "nowhere") for run in numbers.runs]
    lost = Numbers(runs, numbers.evaluation)
    assert gallery(lost, styles(lost.arms), workplace.store, Predicted(lost)) is None


def test_maps_are_those_of_the_split_in_their_scale(
    shown: Gallery, numbers: Numbers, workplace: Workplace
) -> None:
    assert shown.methods == ["gradient", "grad-cam"]
    case = shown.cases["Nodule"][0]
    for panel in case.panels:
        assert [one.method for one in panel.maps] == shown.methods
        assert all(one.picture for one in panel.maps)
    folder = workplace.runs / "standard" / "0" / "explain" / "maps" / "blobs" / "test" / "single"
    with np.load(folder / "gradient" / "Nodule.npz") as saved:
        place = saved["image_id"].tolist().index(case.image_id)
        values = saved["map"][place].astype(np.float32) * saved["scale"][place]
    assert case.panels[0].maps[0].limit == f"{saliency_limit(values):#.2g}"


def copied(numbers: Numbers, workplace: Workplace, folder: Path) -> tuple[Numbers, Path]:
    """The standard run alone where a test may change it, and its folder of maps."""
    path = shutil.copytree(workplace.runs / "standard" / "0", folder / "run")
    alone = Numbers([replace(numbers.runs[0], path=path)], numbers.evaluation)
    return alone, path / "explain" / "maps" / "blobs" / "test" / "single"


def drawn(alone: Numbers, workplace: Workplace) -> Gallery | None:
    return gallery(alone, styles(alone.arms), workplace.store, Predicted(alone))


def test_another_method_is_shown_where_there_is_no_gradient(
    numbers: Numbers, workplace: Workplace, tmp_path: Path
) -> None:
    alone, maps = copied(numbers, workplace, tmp_path)
    shutil.rmtree(maps / "grad-cam")
    (maps / "gradient").rename(maps / "occlusion")
    found = drawn(alone, workplace)
    assert found is not None
    assert found.methods == ["occlusion"]
    maps.rename(maps.parents[1] / "val")
    assert drawn(alone, workplace) is None


def test_a_map_that_is_not_finite_is_none(
    numbers: Numbers, workplace: Workplace, tmp_path: Path
) -> None:
    alone, maps = copied(numbers, workplace, tmp_path)
    file = maps / "gradient" / "Nodule.npz"
    with np.load(file) as saved:
        names, values = saved["image_id"].tolist(), saved["map"].astype(np.float32)
    values[:, 0, 0] = np.nan
    write_maps(file, names, values)
    found = drawn(alone, workplace)
    assert found is not None
    assert [one.picture != "" for one in found.cases["Nodule"][0].panels[0].maps] == [False, True]


@pytest.mark.parametrize("left", [0, 7, 500, -5])
def test_damaged_maps(numbers: Numbers, workplace: Workplace, tmp_path: Path, left: int) -> None:
    alone, maps = copied(numbers, workplace, tmp_path)
    file = maps / "grad-cam" / "Nodule.npz"
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(MedrobustError) as caught:
        drawn(alone, workplace)
    assert str(caught.value) == f"{file}: expected maps, found another file; run `explain` again"


def test_damaged_attacked_images(numbers: Numbers, workplace: Workplace, tmp_path: Path) -> None:
    alone, _ = copied(numbers, workplace, tmp_path)
    for file in (tmp_path / "run" / "adversarial").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(MedrobustError, match=r"expected attacked images, .* run `evaluate` again"):
        drawn(alone, workplace)


def test_each_finding_has_the_attack_against_it(
    numbers: Numbers, workplace: Workplace, tmp_path: Path
) -> None:
    alone, _ = copied(numbers, workplace, tmp_path)
    before = drawn(alone, workplace)
    for file in (tmp_path / "run" / "adversarial").iterdir():
        with np.load(file) as saved:
            arrays = dict(saved)
        slots = [arrays["image"]] + [np.zeros_like(arrays["image"])] * (
            len(workplace.store.findings) - 1
        )
        np.savez(file, **arrays, by_finding=np.stack(slots, 1))
    after = drawn(alone, workplace)
    first, second = workplace.store.findings[:2]
    assert [c.panels[0].attacked for c in after.cases[first]] == [
        c.panels[0].attacked for c in before.cases[first]
    ]
    black = {c.panels[0].attacked for c in after.cases[second]}
    assert len(black) == 1
    assert black.isdisjoint(c.panels[0].attacked for c in before.cases[second])


def test_many_pixels_are_averaged(
    shown: Gallery, numbers: Numbers, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = sum(map(len, shown.cases.values())) * (1 + 4 * 4)
    monkeypatch.setattr("medrobust.report.gallery.PIXELS", pictures * 20**2)
    found = gallery(numbers, styles(numbers.arms), workplace.store, Predicted(numbers))
    assert found is not None
    assert found.shrunk == "20 of 40 pixels"
    assert found.cases["Nodule"][0].width == 20


def test_a_box_is_the_outline_where_there_is_no_mask(
    shown: Gallery, numbers: Numbers, workplace: Workplace
) -> None:
    case = shown.cases["Nodule"][0]
    box = {"image_id": case.image_id, "finding": "nodule", "x": 10, "y": 4, "w": 6, "h": 8}
    store = replace(workplace.store, path=workplace.store.path / "nowhere")
    store.__dict__["boxes"] = pd.DataFrame([box])
    found = gallery(numbers, styles(numbers.arms), store, Predicted(numbers))
    assert found is not None
    cases = {one.image_id: one for one in found.cases["Nodule"]}
    corners = re.findall(r"[\d.]+ [\d.]+", cases[case.image_id].outline)
    x, y = np.array([corner.split() for corner in corners], float).T
    assert (x.min(), x.max(), y.min(), y.max()) == (10, 16, 4, 12)
    assert not any(one.outline for name, one in cases.items() if name != case.image_id)
