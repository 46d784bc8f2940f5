import numpy as np
import pytest

from medrobust.explain.erasing import erased, given, mirrored


def picture(size: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """A ramp with a bright square, and the square's mask."""
    image = np.tile(np.linspace(0, 0.5, size, dtype=np.float32), (size, 1))[None]
    mask = np.zeros((size, size), bool)
    mask[6:10, 2:5] = True
    image[:, mask] = 1
    return image, mask


def test_what_was_there_is_gone_and_the_rest_is_untouched() -> None:
    image, mask = picture()
    without = erased(image, mask)
    ramp = np.linspace(0, 0.5, 16)
    assert np.abs(without[0] - ramp)[mask].max() < 0.1
    far = np.ones_like(mask)
    far[5:11, 1:6] = False
    assert np.array_equal(without[:, far], image[:, far])
    assert without.dtype == image.dtype


def test_moved_it_lies_on_the_other_side() -> None:
    image, mask = picture()
    moved = mirrored(image, mask)
    other = mask[:, ::-1]
    assert moved[0, other].min() > 0.9
    assert moved[0, mask].max() < 0.2


def test_given_it_lies_where_the_donor_has_it() -> None:
    image, mask = picture()
    plain = np.full_like(image, 0.25)
    assert (given(plain, image, mask)[0, mask] == 1).all()
    assert (given(plain, image, mask)[0, :, 8:] == 0.25).all()


@pytest.mark.parametrize("whole", [True, False])
def test_an_empty_or_whole_mask_changes_nothing(whole: bool) -> None:
    image, mask = picture()
    mask[:] = whole
    assert np.array_equal(erased(image, mask), image)


def test_volumes_of_several_channels() -> None:
    image = np.zeros((2, 4, 8, 8), np.float32)
    mask = np.zeros((4, 8, 8), bool)
    mask[2, 3:5, 3:5] = True
    image[:, mask] = 1
    assert erased(image, mask).max() == 0
