import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from medrobust.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from medrobust.corruptions.detail import discrete_gaussian
from medrobust.data.batches import load_images
from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.randomness import image_keys, key, uniform

REAL = Path(__file__).parents[2] / "shared/data/kermany_pneumonia_224/images"
real = pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/kermany_pneumonia_224")
each = pytest.mark.parametrize("name", CORRUPTIONS)


def keys(count: int, seed: int = 0) -> Tensor:
    return image_keys(key(seed, "test"), torch.arange(count))


def smooth(count: int, height: int, width: int, channels: int = 1, spots: int = 5) -> Tensor:
    """(count, channels, height, width) of some spots along a side, from black to white."""
    drawn = uniform(keys(count, 1), (channels, spots, spots))
    images = F.interpolate(drawn, (height, width), mode="bicubic")
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    return (images - low) / (high - low)


def changes(images: Tensor, name: str) -> Tensor:
    """(5, N) mean absolute change by severity."""
    drawn = keys(len(images))
    return torch.stack(
        [(corrupt(name, images, s, drawn) - images).abs().flatten(1).mean(1) for s in SEVERITIES]
    )


@pytest.fixture(scope="module")
def radiographs() -> Tensor:
    """(12, 1, 224, 224) chest radiographs, every 500th."""
    files = sorted(REAL.iterdir())[::500]
    pixels = np.stack([np.array(Image.open(file).convert("L")) for file in files])
    return torch.from_numpy(pixels[:, None]).float() / 255


@each
class TestEveryCorruption:
    def test_an_image_does_not_depend_on_its_batch(self, name: str) -> None:
        images, drawn = smooth(7, 33, 41, channels=3), keys(7)
        together = corrupt(name, images, 3, drawn)
        backwards = corrupt(name, images.flip(0), 3, drawn.flip(0)).flip(0)
        alone = [corrupt(name, images[i : i + 1], 3, drawn[i : i + 1]) for i in range(7)]
        assert torch.equal(together, backwards)
        assert torch.equal(together, torch.cat(alone))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_types_shape_and_input_stay(self, name: str, dtype: torch.dtype) -> None:
        images = smooth(2, 30, 20).to(dtype).requires_grad_()
        before = images.detach().clone()
        changed = corrupt(name, images, 4, keys(2))
        assert (changed.dtype, changed.shape) == (dtype, images.shape)
        assert not changed.requires_grad
        assert torch.equal(images, before)
        full = corrupt(name, before.float(), 4, keys(2))
        assert torch.allclose(changed.float(), full, atol=0.005)

    def test_stronger_changes_more(self, name: str, tiny_store: Store) -> None:
        phantoms = load_images(tiny_store, np.arange(20), "cpu")
        assert (changes(phantoms, name).mean(1).diff() > 0).all()
        assert (changes(smooth(4, 96, 70), name).mean(1).diff() > 0).all()

    @real
    @pytest.mark.parametrize("side", [28, 100, 224])
    def test_stronger_changes_every_radiograph_more(
        self, name: str, side: int, radiographs: Tensor
    ) -> None:
        images = F.interpolate(radiographs, (side, side), mode="bilinear", antialias=True)
        assert (changes(images, name).diff(dim=0) > 0).all()

    @settings(max_examples=20, deadline=None)
    @given(
        sides=st.tuples(st.integers(1, 12), st.integers(1, 12)),
        depth=st.integers(0, 2),
        severity=st.sampled_from(SEVERITIES),
        seed=st.integers(0, 10**6),
        levels=st.sampled_from([1, 2, 256]),
    )
    def test_values_stay_in_the_box(
        self,
        name: str,
        sides: tuple[int, int],
        depth: int,
        severity: int,
        seed: int,
        levels: int,
    ) -> None:
        shape = (1, *[depth] * bool(depth), *sides)
        images = (uniform(keys(2, seed), shape) * levels).floor() / max(1, levels - 1)
        changed = corrupt(name, images, severity, keys(2, seed))
        assert changed.shape == images.shape
        assert ((changed >= 0) & (changed <= 1)).all()

    def test_slices_of_a_volume_change_as_images_do(self, name: str) -> None:
        images, drawn = smooth(2, 24, 30), keys(2)
        volume = images[:, :, None].expand(-1, -1, 3, -1, -1)
        changed = corrupt(name, volume, 4, drawn)
        assert changed.shape == volume.shape
        if name == "noise":
            assert not torch.equal(changed[:, :, 0], changed[:, :, 1])
        else:
            expected = corrupt(name, images, 4, drawn)[:, :, None].expand_as(volume)
            assert torch.allclose(changed, expected, atol=1e-5)


class TestLargeAndSmallPicturesLookAlike:
    """What is done to 512 pixels and to 64 of the same picture."""

    @pytest.mark.parametrize("name", ["blur", "rotation", "collimation", "occlusion"])
    @pytest.mark.parametrize("severity", SEVERITIES)
    def test_it_is_the_same(self, name: str, severity: int) -> None:
        large, small = self._pictures()
        expected = F.avg_pool2d(corrupt(name, large, severity, keys(4)), 8)
        changed = corrupt(name, small, severity, keys(4))
        assert (changed - expected).abs().mean() < 0.13 * (changed - small).abs().mean()

    @pytest.mark.parametrize("severity", [3, 4, 5])
    def test_resolution_is_about_the_same(self, severity: int) -> None:
        large, small = (
            float((corrupt("resolution", images, severity, keys(4)) - images).abs().mean())
            for images in self._pictures()
        )
        assert large < small < 1.5 * large

    def _pictures(self) -> tuple[Tensor, Tensor]:
        large = smooth(4, 512, 512, spots=20)
        return large, F.avg_pool2d(large, 8)


class TestNoise:
    @pytest.mark.parametrize("severity", [1, 2, 3, 4])
    def test_its_variance_grows_with_the_signal(self, severity: int) -> None:
        grey = torch.tensor([0.48, 0.52]).reshape(2, 1, 1, 1).expand(2, 1, 300, 300)
        offset = (corrupt("noise", grey, severity, keys(2)) - grey).flatten(1)
        expected = 0.01 * 2 ** (severity - 1) * (0.25 + 0.75 * grey[:, 0, 0, 0]).sqrt()
        assert torch.allclose(offset.std(1), expected, rtol=0.02)
        assert (offset.mean(1).abs() < 0.02 * expected).all()

    def test_black_has_half_the_deviation_of_white(self) -> None:
        images = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1).expand(2, 1, 300, 300)
        offset = (corrupt("noise", images, 2, keys(2)) - images).flatten(1)
        # half of a Gaussian is clipped away: what is left has mean σ / √(2π)
        expected = torch.tensor([0.01, -0.02]) / math.sqrt(2 * math.pi)
        assert torch.allclose(offset.mean(1), expected, rtol=0.03)


class TestBlur:
    @given(sigma=st.floats(0.01, 40))
    def test_the_kernel_has_the_variance_asked_for(self, sigma: float) -> None:
        kernel = discrete_gaussian(sigma)
        place = np.arange(len(kernel)) - len(kernel) // 2
        assert kernel.sum() == pytest.approx(1)
        assert (kernel * place**2).sum() == pytest.approx(sigma**2, rel=2e-3)

    def test_it_is_scipys_gaussian_filter_where_pixels_are_small(self) -> None:
        image = smooth(1, 200, 250)
        expected = ndimage.gaussian_filter(image[0, 0].double(), 0.027 * 200, mode="nearest")
        changed = corrupt("blur", image, 5, keys(1))[0, 0]
        assert np.abs(changed.numpy() - expected).max() < 1e-3


class TestGreyValues:
    def test_contrast_shrinks_around_the_images_mean(self) -> None:
        images = smooth(3, 20, 20, channels=2)
        mean = images.mean((1, 2, 3), keepdim=True)
        changed = corrupt("contrast", images, 4, keys(3))
        assert torch.allclose(changed - mean, 0.35 * (images - mean), atol=1e-6)

    def test_gamma_goes_both_ways(self) -> None:
        images = smooth(40, 8, 8)
        changed = corrupt("gamma", images, 4, keys(40))
        darker = (changed <= images).flatten(1).all(1)
        assert torch.allclose(changed[darker], images[darker] ** 2.2, atol=1e-6)
        assert torch.allclose(changed[~darker], images[~darker] ** (1 / 2.2), atol=1e-6)
        assert 10 <= darker.sum() <= 30

    def test_jpeg_is_pillows_slice_by_slice(self) -> None:
        volume = smooth(2, 40, 30, channels=6).reshape(2, 2, 3, 40, 30)
        changed = corrupt("jpeg", volume, 4, keys(2))
        file = io.BytesIO()
        pixels = np.rint(volume[1, 0, 2].numpy() * 255).astype(np.uint8)
        Image.fromarray(pixels).save(file, "JPEG", quality=10)
        assert np.array_equal(changed[1, 0, 2] * 255, np.array(Image.open(file)))


class TestDetail:
    def test_resolution_is_pillows_reduction(self) -> None:
        image = smooth(1, 90, 120)
        pitch = math.hypot(1, 90 / 22)
        picture = Image.fromarray(image[0, 0].numpy())
        coarse = picture.resize((round(120 / pitch), round(90 / pitch)), Image.Resampling.BILINEAR)
        expected = np.array(coarse.resize((120, 90), Image.Resampling.BILINEAR))
        changed = corrupt("resolution", image, 5, keys(1))[0, 0]
        assert np.abs(changed.numpy() - expected).max() < 1e-4

    def test_rotation_is_scipys_to_either_side(self) -> None:
        images = smooth(30, 50, 70)
        changed = corrupt("rotation", images, 4, keys(30))
        sides = []
        for before, after in zip(images[:, 0].numpy(), changed[:, 0].numpy(), strict=True):
            error = [
                np.abs(
                    ndimage.rotate(before, angle, reshape=False, order=1, mode="nearest") - after
                ).max()
                for angle in (-14, 14)
            ]
            assert min(error) < 1e-4
            sides.append(int(np.argmin(error)))
        assert 8 <= sum(sides) <= 22


class TestCover:
    def test_collimator_blades_have_drawn_widths(self) -> None:
        opened = corrupt("collimation", torch.ones(50, 1, 80, 60), 5, keys(50))[:, 0]
        rows, columns = opened[:, :, 30], opened[:, 40]
        # the open part of a row of white is its sum
        for line, size in ((rows, 80), (columns, 60)):
            first = size / 2 - line[:, : size // 2].sum(1)
            last = size / 2 - line[:, size // 2 :].sum(1)
            for width in (first / size, last / size):
                assert (width >= 0.09 - 1e-6).all()
                assert (width <= 0.18 + 1e-6).all()
                assert width.std() == pytest.approx(0.09 / math.sqrt(12), rel=0.25)
        assert torch.allclose(opened, rows[:, :, None] * columns[:, None, :])

    @pytest.mark.parametrize("severity", SEVERITIES)
    def test_the_square_is_mean_grey_and_inside(self, severity: int) -> None:
        share = (0.10, 0.15, 0.21, 0.28, 0.38)[severity - 1]
        images = torch.ones(60, 1, 40, 60)
        images[..., ::2] = 0
        hidden = 1 - 2 * (corrupt("occlusion", images, severity, keys(60)) - 0.5).abs()
        assert torch.allclose(hidden.sum((1, 2, 3)), torch.tensor((share * 40) ** 2), rtol=1e-4)
        y = hidden.sum((1, 3)) @ (torch.arange(40) + 0.5) / hidden.sum((1, 2, 3))
        x = hidden.sum((1, 2)) @ (torch.arange(60) + 0.5) / hidden.sum((1, 2, 3))
        room = torch.tensor([40, 60]) - share * 40
        assert torch.stack([y, x]).min() >= share * 20 - 1e-3
        assert y.std() == pytest.approx(float(room[0]) / math.sqrt(12), rel=0.25)
        assert x.std() == pytest.approx(float(room[1]) / math.sqrt(12), rel=0.25)

    @pytest.mark.parametrize("name", ["collimation", "occlusion"])
    def test_what_is_hidden_stays_hidden(self, name: str) -> None:
        images = torch.ones(20, 1, 28, 28)
        images[..., ::2] = 0.5
        levels = torch.stack([corrupt(name, images, s, keys(20)) for s in SEVERITIES])
        distance = (levels - images).abs()
        assert (distance.diff(dim=0) >= -1e-6).all()


def test_changes_differ_between_images_and_corruptions() -> None:
    # the same number must not decide the side of a turn and the direction of gamma
    images, drawn = smooth(1, 16, 16).expand(64, -1, -1, -1), keys(64)
    darker = (corrupt("gamma", images, 3, drawn) <= images).flatten(1).all(1)
    turned = corrupt("rotation", images, 3, drawn)
    left = torch.isclose(turned, turned[:1]).flatten(1).all(1)
    assert 16 <= (darker == left).sum() <= 48


@pytest.mark.parametrize("severity", [0, 6, -1, 2.5])
def test_severities_are_1_to_5(severity: int) -> None:
    with pytest.raises(MedrobustError) as error:
        corrupt("blur", smooth(1, 8, 8), severity, keys(1))
    assert str(error.value) == f"severity: expected a whole number from 1 to 5, found {severity}"


def test_the_nearest_name_is_suggested() -> None:
    known = (
        "noise, blur, contrast, gamma, jpeg, resolution, rotation, collimation, occlusion, "
        "found {!r}"
    )
    for name, hint in (("colimation", "; did you mean collimation?"), ("fog", "")):
        with pytest.raises(MedrobustError) as error:
            corrupt(name, smooth(1, 8, 8), 1, keys(1))
        assert str(error.value) == f"corruption: expected one of {known.format(name)}{hint}"


@pytest.mark.gpu
@each
def test_a_gpu_gives_the_same(name: str) -> None:
    images, drawn = smooth(3, 64, 48), keys(3)
    expected = corrupt(name, images, 3, drawn)
    changed = corrupt(name, images.cuda(), 3, drawn.cuda())
    assert changed.is_cuda
    # jpeg: a grey value may round to the other side
    assert torch.allclose(changed.cpu(), expected, atol=1e-4 if name != "jpeg" else 0.05)
