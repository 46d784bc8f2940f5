import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation

from medrobust.data.source import Picture
from medrobust.datasets.phantom import FINDINGS, SPLITS, Phantom
from medrobust.errors import MedrobustError

IN_THE_LUNGS = ("nodule", "consolidation", "effusion", "pneumothorax")


def masks(picture: Picture, kind: str) -> dict[str, np.ndarray]:
    return {mask.name: mask.pixels for mask in picture.masks if mask.kind == kind}


def rows(source: Phantom, count: int | None = None) -> list[dict]:
    return source.index().head(count or source.images).to_dict("records")


def with_only(row: dict, *present: str) -> dict:
    return {**row, **{f"label:{finding}": float(finding in present) for finding in FINDINGS}}


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return Phantom(images=2000).index()


@pytest.fixture(scope="module")
def sample() -> list[tuple[dict, Picture]]:
    source = Phantom(images=120)
    return [(row, source.read(row)) for row in rows(source)]


# --- the table ---


def test_the_index_names_every_image_once_and_has_what_a_source_needs(table):
    expected = ["image_id", "patient_id", "split", "source", "file", "sex", "age", "view", "marker"]
    assert list(table.columns) == expected + [f"label:{finding}" for finding in FINDINGS]
    assert len(table) == 2000
    assert table.image_id.is_unique
    assert not table.isna().any(axis=None)


def test_patients_are_never_in_two_splits_and_have_one_to_four_images(table):
    by_patient = table.groupby("patient_id")
    assert (by_patient["split"].nunique() == 1).all()
    assert set(by_patient.size()) == {1, 2, 3, 4}


def test_patients_are_split_as_promised(table):
    patients = table.drop_duplicates("patient_id")
    share = patients["split"].value_counts(normalize=True)
    assert share.to_dict() == pytest.approx(SPLITS, abs=0.002)


@given(seed=st.integers(0, 2**63 - 1), images=st.integers(20, 40))
@settings(max_examples=40, deadline=None)
def test_even_the_smallest_set_has_every_split(seed, images):
    table = Phantom(images=images, seed=seed).index()
    assert len(table) == images
    assert set(table["split"]) == set(SPLITS)


def test_prevalences_and_co_occurrence_are_plausible(table):
    labels = table[[f"label:{finding}" for finding in FINDINGS]]
    assert labels.isin([0.0, 1.0]).all(axis=None)
    assert labels.mean().between(0.25, 0.40).all()
    assert 0.12 < (labels.sum(axis=1) == 0).mean() < 0.30
    effusion = table["label:effusion"]
    for companion in ("cardiomegaly", "consolidation"):
        present = table[f"label:{companion}"] == 1
        assert effusion[present].mean() > effusion[~present].mean() + 0.15


def test_a_larger_set_begins_with_the_same_images(table):
    small = Phantom(images=100).index().drop(columns="split")
    pd.testing.assert_frame_equal(small, table.drop(columns="split").head(100))


def test_some_findings_only():
    source = Phantom(images=20, findings=("effusion", "nodule"))
    assert list(source.index().filter(like="label:")) == ["label:effusion", "label:nodule"]
    for row in rows(source):
        present = {name for name in source.findings if row[f"label:{name}"] == 1}
        assert set(masks(source.read(row), "finding")) == present


# --- the shortcut ---


def test_without_a_shortcut_there_is_no_marker(table, sample):
    assert (table.marker == 0).all()
    assert all(not masks(picture, "marker") for _, picture in sample)


def test_the_shortcut_gives_the_label_away_except_in_test():
    table = Phantom(images=4000, shortcut="consolidation").index()
    rate = table.groupby(["split", "label:consolidation"]).marker.mean()
    for split in ("train", "val"):
        assert rate[split, 1] == pytest.approx(0.95, abs=0.035)
        assert rate[split, 0] == pytest.approx(0.05, abs=0.035)
    assert rate["test", 1] == pytest.approx(0.5, abs=0.09)
    assert rate["test", 0] == pytest.approx(0.5, abs=0.09)


def test_the_shortcut_changes_nothing_but_the_marker(table):
    marked = Phantom(images=2000, shortcut="nodule").index()
    pd.testing.assert_frame_equal(marked.drop(columns="marker"), table.drop(columns="marker"))


def test_the_marker_is_drawn_in_its_mask_at_the_patients_left_and_nowhere_else():
    source = Phantom(images=20, shortcut="nodule")
    for row in rows(source, 5):
        plain, marked = source.read({**row, "marker": 0}), source.read({**row, "marker": 1})
        plate = masks(marked, "marker")["marker"]
        change = np.abs(marked.pixels[0].astype(float) - plain.pixels[0]) / plain.high
        assert change[plate].min() > 0.005
        assert change[plate].mean() > 0.2
        assert change[~binary_dilation(plate, np.ones((3, 3)))].max() == 0
        assert plate[:16, 48:].sum() == plate.sum() > 9


# --- pictures ---


def test_pixels_are_twelve_bits_and_use_them(sample):
    for _, picture in sample:
        assert picture.pixels.shape == (1, 64, 64)
        assert picture.pixels.dtype == np.uint16
        assert picture.low <= picture.pixels.min() < picture.pixels.max() <= picture.high
        assert np.ptp(picture.pixels) > 0.6 * picture.high
        assert picture.spacing == (6.25, 6.25)


def test_a_row_gives_the_same_picture_whatever_was_read_before():
    source = Phantom(images=30, seed=3)
    table = rows(source)
    forwards = [source.read(row).pixels for row in table]
    again = Phantom(images=30, seed=3)
    backwards = [again.read(row).pixels for row in reversed(table)][::-1]
    np.testing.assert_array_equal(forwards, backwards)


def test_global_random_state_is_neither_used_nor_moved():
    source, before = Phantom(images=20), np.random.get_state()[1].copy()  # noqa: NPY002
    source.read(rows(source)[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_other_seeds_patients_and_images_are_other_pictures():
    one, other = Phantom(images=20), Phantom(images=20, seed=1)
    pictures = [source.read(row).pixels for source in (one, other) for row in rows(source)]
    assert len({picture.tobytes() for picture in pictures}) == 40


def test_lungs_are_dark_and_the_heart_is_bright_and_on_the_patients_left(sample):
    for row, picture in sample:
        anatomy = masks(picture, "anatomy")
        assert set(anatomy) == {"left_lung", "right_lung", "heart"}
        heart = anatomy["heart"]
        lungs = anatomy["left_lung"] | anatomy["right_lung"]
        assert not (anatomy["left_lung"] & anatomy["right_lung"]).any()
        assert not (heart & lungs).any()
        columns = {name: np.nonzero(mask)[1].mean() for name, mask in anatomy.items()}
        middle = (columns["left_lung"] + columns["right_lung"]) / 2
        assert columns["right_lung"] < columns["heart"] < columns["left_lung"]
        assert columns["heart"] > middle - 1
        assert picture.pixels[0][heart].mean() > picture.pixels[0][lungs].mean() + 400, row


def test_the_right_dome_stands_higher_than_the_left():
    source = Phantom(images=20, size=128)
    for row in rows(source):
        anatomy = masks(source.read(with_only(row)), "anatomy")
        areas = [anatomy[side].sum() for side in ("right_lung", "left_lung")]
        assert areas[0] > areas[1]


def test_a_mask_for_every_finding_the_row_has_and_no_other(sample):
    for row, picture in sample:
        present = {finding for finding in FINDINGS if row[f"label:{finding}"] == 1}
        found = masks(picture, "finding")
        assert set(found) == present
        assert all(mask.dtype == bool and mask.any() for mask in found.values())


def test_findings_lie_in_the_lungs_and_cardiomegaly_is_the_heart(sample):
    for _, picture in sample:
        anatomy = masks(picture, "anatomy")
        lungs = anatomy["left_lung"] | anatomy["right_lung"]
        for name, mask in masks(picture, "finding").items():
            room = anatomy["heart"] if name == "cardiomegaly" else lungs
            assert not (mask & ~room).any(), name


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_finding_changes_the_picture_in_its_mask_and_hardly_elsewhere(finding):
    source = Phantom(images=40, seed=5)
    step = np.ones((3, 3), bool)
    for row in rows(source, 25):
        have = {**row, f"label:{finding}": 1.0}
        without = {**row, f"label:{finding}": 0.0}
        picture = source.read(have)
        change = picture.pixels[0].astype(float) - source.read(without).pixels[0]
        change = np.abs(change) / picture.high
        mask = masks(picture, "finding")[finding]
        near = binary_dilation(mask, step)
        assert change[mask].mean() > 0.02
        assert (change[~near] > 0.1).sum() <= 4
        assert change[~near].mean() < 0.15 * change[mask].mean()
        assert change[near].sum() > 0.6 * change.sum()


@pytest.mark.parametrize("finding", FINDINGS)
def test_leaving_a_finding_out_leaves_the_other_masks_where_they_are(finding):
    source = Phantom(images=20, findings=FINDINGS)
    row = with_only(rows(source)[0], *FINDINGS)
    everything = masks(source.read(row), "finding")
    others = masks(source.read({**row, f"label:{finding}": 0.0}), "finding")
    for name, mask in others.items():
        assert (everything[name] & mask).sum() >= 0.6 * everything[name].sum(), name


def test_findings_brighten_and_a_pneumothorax_darkens():
    source = Phantom(images=20, size=128)
    for row in rows(source, 6):
        normal = source.read(with_only(row)).pixels[0].astype(float)
        for finding in FINDINGS:
            picture = source.read(with_only(row, finding))
            change = (picture.pixels[0] - normal)[masks(picture, "finding")[finding]].mean()
            assert (change < 0) == (finding == "pneumothorax"), finding


def cardiothoracic_ratio(picture: Picture) -> float:
    anatomy = masks(picture, "anatomy")
    chest = np.ptp(np.nonzero(anatomy["left_lung"] | anatomy["right_lung"])[1]) + 1
    return (np.ptp(np.nonzero(anatomy["heart"])[1]) + 1) / chest


def test_cardiomegaly_is_a_cardiothoracic_ratio_above_the_usual():
    source = Phantom(images=40, size=128)
    for row in rows(source, 12):
        for view in ("PA", "AP"):
            usual = source.read(with_only({**row, "view": view}))
            large = source.read(with_only({**row, "view": view}, "cardiomegaly"))
            assert 0.38 < cardiothoracic_ratio(usual) < 0.55 < cardiothoracic_ratio(large) < 0.74


def test_a_portable_view_shows_a_larger_heart_and_less_lung():
    source = Phantom(images=20, size=128)
    for row in rows(source, 6):
        upright = source.read(with_only({**row, "view": "PA"}))
        lying = source.read(with_only({**row, "view": "AP"}))
        assert cardiothoracic_ratio(lying) > cardiothoracic_ratio(upright)
        lung = [masks(picture, "anatomy")["right_lung"].sum() for picture in (upright, lying)]
        assert lung[1] < lung[0]


def test_every_size_shows_the_same_patient():
    table = rows(Phantom(images=20))
    for row in (with_only(table[0]), with_only(table[1], *FINDINGS)):
        small = Phantom(images=20, size=64).read(row)
        large = Phantom(images=20, size=256).read(row)
        blocks = large.pixels[0].reshape(64, 4, 64, 4).mean(axis=(1, 3))
        assert np.corrcoef(blocks.ravel(), small.pixels[0].ravel())[0, 1] > 0.99
        assert large.spacing == (400 / 256,) * 2
        for coarse, fine in zip(small.masks, large.masks, strict=True):
            assert fine.pixels.mean() == pytest.approx(coarse.pixels.mean(), rel=0.25, abs=0.002)


@pytest.mark.parametrize("size", [32, 33, 100])
def test_unusual_sizes(size):
    source = Phantom(images=20, size=size)
    for row in rows(source, 4):
        picture = source.read(with_only(row, *FINDINGS))
        assert picture.pixels.shape == (1, size, size)
        assert all(mask.pixels.any() for mask in picture.masks)


def test_nodules_are_11_to_30_mm_wide():
    source = Phantom(images=40, size=128)
    for row in rows(source, 15):
        nodule = masks(source.read(with_only(row, "nodule")), "finding")["nodule"]
        area = nodule.sum() * (400 / 128) ** 2
        assert np.pi * 5**2 < area < 2.2 * np.pi * 16**2


# --- errors ---


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"images": 19}, "phantom: expected images from 20 to 1000000, found 19"),
        ({"size": 31}, "phantom: expected size from 32 to 2048, found 31"),
        ({"seed": -1}, "phantom: expected seed from 0 to 9223372036854775807, found -1"),
        ({"findings": ()}, f"phantom: expected at least one finding of {', '.join(FINDINGS)}"),
        (
            {"findings": ("nodul",)},
            "phantom: unknown finding 'nodul': did you mean 'nodule'? expected one of "
            + ", ".join(FINDINGS),
        ),
        (
            {"shortcut": "xyz"},
            f"phantom: unknown shortcut 'xyz': expected one of {', '.join(FINDINGS)}",
        ),
        (
            {"findings": ("nodule",), "shortcut": "effusion"},
            "phantom: unknown shortcut 'effusion': expected one of nodule",
        ),
    ],
)
def test_arguments_out_of_range_are_named_in_one_line(arguments, text):
    with pytest.raises(MedrobustError, match=f"^{re.escape(text)}$"):
        Phantom(**arguments)


@pytest.mark.parametrize(
    ("name", "value"), [("image_id", "nobody"), ("age", "old"), ("sex", None), ("view", "LL")]
)
def test_a_row_that_is_not_the_phantoms_is_refused(name, value):
    source = Phantom(images=20)
    text = re.escape(f"phantom: expected a row of index(), found {name}: {value!r}")
    with pytest.raises(MedrobustError, match=f"^{text}$"):
        source.read({**rows(source)[0], name: value})


def test_a_row_without_a_column_is_refused():
    source = Phantom(images=20)
    row = rows(source)[0]
    del row["label:nodule"]
    text = r"^phantom: expected a row of index\(\), found label:nodule: none$"
    with pytest.raises(MedrobustError, match=text):
        source.read(row)
