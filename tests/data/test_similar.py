import io
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from medrobust.data import similar
from medrobust.data.geometry import resize
from medrobust.data.similar import near_duplicates, perceptual_hash
from medrobust.datasets.phantom import Phantom

Pixels = NDArray[np.uint8]

NO_COPIES = pd.DataFrame({"group": pd.Series(dtype=int), "image_id": pd.Series(dtype=str)})


def jpeg(image: Pixels) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=60)
    return np.asarray(Image.open(stream))


def rescaled(image: Pixels) -> Pixels:
    half = Image.fromarray(image).resize((64, 64), Image.Resampling.BILINEAR)
    return np.asarray(half.resize((128, 128), Image.Resampling.BICUBIC))


def cropped(image: Pixels) -> Pixels:
    """Without the outermost row and column of pixels."""
    return np.asarray(Image.fromarray(image[1:, 1:]).resize((128, 128), Image.Resampling.BILINEAR))


def noisy(image: Pixels) -> Pixels:
    noise = np.random.default_rng(1).integers(-1, 2, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "brighter": lambda image: np.clip(image * 1.1, 0, 255).astype(np.uint8),
    "less contrast": lambda image: (image * 0.7 + 40).astype(np.uint8),
    "JPEG": jpeg,
    "rescaled": rescaled,
    "one grey level": noisy,
    "cropped": cropped,
}


@pytest.fixture(scope="module")
def films() -> Pixels:
    """(12, 1, 128, 128): chests that differ as those of unrelated patients do."""
    source = Phantom(images=24, size=128)
    rows = source.index().drop_duplicates("patient_id").to_dict("records")[:12]
    pictures = [source.read(row).pixels for row in rows]
    return np.stack([np.rint(pixels / 4095 * 255).astype(np.uint8) for pixels in pictures])


def search(
    images: Pixels, copies: pd.DataFrame = NO_COPIES, splits: str = ""
) -> tuple[pd.DataFrame, list[str]]:
    hashes = [perceptual_hash(image) for image in images]
    names = {"r": "train", "v": "val", "t": "test"}
    table = pd.DataFrame(
        {
            "image_id": [f"i{number}" for number in range(len(images))],
            "split": [names[letter] for letter in splits or "r" * len(images)],
        }
    )
    return near_duplicates(images, hashes, table, copies)


def pairs(table: pd.DataFrame) -> set[tuple[str, str]]:
    return set(zip(table["image_id"], table["other_image_id"], strict=True))


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_film_is_found_and_other_films_are_not(films: Pixels, change: str) -> None:
    copies = np.stack([CHANGES[change](film[0])[None] for film in films])
    found, notes = search(np.concatenate([films, copies]))
    wanted = {(f"i{number}", f"i{number + 12}") for number in range(12)}
    assert wanted <= pairs(found)
    assert len(found) - len(wanted) <= 2
    assert notes == []


def test_the_hash_is_that_of_the_cosine_transform(films: Pixels) -> None:
    small = resize(films[0, 0], (32, 32), Image.Resampling.BOX).astype(float)
    waves = dctn(small)[:9, :9].ravel()[1:65]
    bits = "".join("1" if wave > np.median(waves) else "0" for wave in waves)
    assert f"{perceptual_hash(films[0]):064b}" == bits


def test_the_hash_of_channels_and_slices_is_that_of_their_mean(films: Pixels) -> None:
    colour = np.repeat(films[0], 3, axis=0)
    volume = np.repeat(films[0][:, None], 5, axis=1)
    assert perceptual_hash(colour) == perceptual_hash(volume) == perceptual_hash(films[0])


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 5, 70), (1, 2, 3, 4)])
def test_images_of_one_value_have_an_empty_hash(shape: tuple[int, ...]) -> None:
    assert perceptual_hash(np.full(shape, 65535, np.uint16)) == 0


def test_images_of_one_value_are_near_only_if_equal() -> None:
    images = np.zeros((4, 1, 8, 8), np.uint8)
    images[2:] = 7
    images[3, 0, 0, 0] = 250
    found, _ = search(images)
    assert found.to_numpy().tolist() == [["i0", "i1", "train", "train", 1.0]]


def test_the_correlation_is_pearsons(films: Pixels) -> None:
    images = np.stack([films[0, :, ::4, ::4], noisy(films[0, 0, ::4, ::4])[None]])
    expected = np.corrcoef(images.reshape(2, -1))[0, 1]
    found, _ = search(images)
    assert found["correlation"].tolist() == pytest.approx([expected], abs=1e-3)
    hashes = [perceptual_hash(image) for image in images]
    table = pd.DataFrame({"image_id": ["a", "b"], "split": "train"})
    assert near_duplicates(images, hashes, table, NO_COPIES, expected + 0.001)[0].empty


def test_identical_images_are_not_listed_again(films: Pixels) -> None:
    images = np.concatenate([films[:1], films[:1], noisy(films[0, 0])[None, None], films[:1]])
    copies = pd.DataFrame({"group": 4, "image_id": ["i0", "i1", "i3", "gone"]})
    assert pairs(search(images, copies)[0]) == {("i0", "i2")}
    assert pairs(search(images, copies, "rtrt")[0]) == {("i0", "i2"), ("i1", "i2")}


def test_pairs_in_different_splits_come_first(films: Pixels) -> None:
    images = np.stack([films[0], films[0], films[1], noisy(films[1, 0])[None]])
    found, notes = search(images, splits="rrvt")
    assert found["split"].tolist() == ["val", "train"]
    assert found["other_split"].tolist() == ["test", "train"]
    assert notes == []


def test_too_many_candidates_are_said(monkeypatch: pytest.MonkeyPatch, films: Pixels) -> None:
    monkeypatch.setattr(similar, "MOST_CANDIDATES", 5)
    found, notes = search(np.concatenate([films, films]))
    assert len(found) == 5
    assert notes == [
        "so many images look alike that only 5 pairs were searched for near duplicates"
    ]


def test_looser_candidates_give_way_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similar, "MOST_CANDIDATES", 3)
    hashes = np.array([0, 0, 0, 0b11, 0b1100], dtype=np.uint64)
    candidates, notes = similar._candidates(hashes, np.full(5, -1))
    assert candidates.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert notes == [
        "so many images look alike that only pairs whose hashes differ in at most 1 of 64 bits, "
        "not 8, were searched for near duplicates"
    ]


def test_too_many_pairs_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similar, "MOST_LISTED", 2)
    found, notes = search(np.full((3, 1, 4, 4), 9, np.uint8))
    assert len(found) == 2
    assert notes == ["3 pairs of images look nearly the same, of which 2 are listed"]


def test_none_and_one_image() -> None:
    for count in (0, 1):
        found, notes = search(np.zeros((count, 1, 8, 8), np.uint8))
        assert list(found.columns) == similar.COLUMNS
        assert found.empty
        assert notes == []


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 90), st.integers(0, 2**32), st.integers(1, 12))
def test_every_similar_pair_is_a_candidate(count: int, seed: int, bits: int) -> None:
    generator = np.random.default_rng(seed)
    hashes = generator.integers(0, 2**bits, count, dtype=np.uint64)
    found, _ = similar._candidates(hashes, np.full(count, -1))
    expected = {
        (i, j)
        for i in range(count)
        for j in range(i + 1, count)
        if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= similar.MOST_BITS
    }
    assert {(int(i), int(j)) for i, j in found} == expected
    assert len(found) == len(expected)
