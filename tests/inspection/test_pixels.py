from collections.abc import Callable

import numpy as np
import pytest

from medrobust.data.store import Store
from medrobust.inspection import pixels


def test_levels_are_those_of_all_pixels(any_store: Store) -> None:
    table, bins = pixels.intensities(any_store)
    for row in table.to_dict("records"):
        values = any_store.images[any_store.rows(row["split"])]
        x = values / np.iinfo(values.dtype).max
        assert row["images"] == len(values)
        assert row["mean"] == pytest.approx(x.mean())
        assert row["sd"] == pytest.approx(x.std())
        assert row["zero"] == pytest.approx((values == 0).mean())
        assert row["full"] == 0
        expected = np.quantile(x, pixels.SHARES, method="inverted_cdf")
        assert [row[name] for name in pixels.QUANTILES] == pytest.approx(expected.tolist())
    assert bins.groupby("split")["share"].sum().tolist() == pytest.approx([1] * len(table))


def test_a_sample_is_the_same_every_time(plain: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "IMAGES", 36)
    first, second = pixels.intensities(plain)[0], pixels.intensities(plain)[0]
    assert first.equals(second)
    assert first["images"].tolist() == [12, 12, 12]


def test_flat_images_are_counted() -> None:
    images = np.zeros((3, 1, 4, 4), np.uint8)
    images[1, 0, 0, 0] = 255
    levels, flat = pixels._levels(images, np.arange(3))
    assert flat == 2
    assert pixels._ends(levels) == (47 / 48, 1 / 48)


def test_spacing_and_windows(plain: Store, make_store: Callable[[str], Store]) -> None:
    assert pixels.spacing(plain)[["axis", "known", "median"]].to_numpy().tolist() == [
        ["y", 59, 0.5],
        ["x", 59, 0.5],
    ]
    assert pixels.spacing(make_store("volume"))["axis"].tolist() == ["z", "y", "x"]
    assert pixels.windows(plain).to_numpy().tolist() == [[0, 255, 59]]
