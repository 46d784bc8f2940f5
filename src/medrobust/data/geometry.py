"""Where a store pixel lies in the source image: one mapping for pixels, masks and boxes."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medrobust.data.settings import Size
from medrobust.data.source import Box
from medrobust.errors import MedrobustError


@dataclass(frozen=True)
class Geometry:
    """A picture of shape `source`, resized to `inner` and centred in a frame of shape `store`.

    Shapes are (H, W) or (D, H, W). Along each axis, source = store * scale + offset, in
    coordinates in which pixel k covers [k, k + 1).
    """

    source: tuple[int, ...]
    inner: tuple[int, ...]
    store: tuple[int, ...]

    @property
    def scale(self) -> tuple[float, ...]:
        """Source pixels per store pixel, per axis."""
        return tuple(a / b for a, b in zip(self.source, self.inner, strict=True))

    @property
    def offset(self) -> tuple[float, ...]:
        """Source coordinate of the store's origin, per axis (negative where there is a border)."""
        pairs = zip(self._start, self.scale, strict=True)
        return tuple(-start * scale + 0.0 for start, scale in pairs)

    @property
    def _start(self) -> tuple[int, ...]:
        return tuple((a - b) // 2 for a, b in zip(self.store, self.inner, strict=True))

    def pixels(self, pixels: NDArray[Any], border: float) -> NDArray[Any]:
        """Resize (C, *source) to (C, *store): linear interpolation, area-weighted when shrinking.

        Values stay within the range of the input: the kernel is non-negative. Nothing is
        rounded; float32 comes back unless the shape does not change.
        """
        if self.source == self.store:
            return pixels
        channels = [resize(channel, self.inner, Image.Resampling.BILINEAR) for channel in pixels]
        return self._framed(np.stack(channels), border)

    def mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Resize a mask: pixels at least half covered, or the most covered if there is none."""
        if self.source == self.store:
            return mask
        covered = resize(mask, self.inner, Image.Resampling.BOX)
        threshold = min(0.5, float(covered.max()))
        framed = self._framed(covered[None], 0.0)[0]
        kept: NDArray[np.bool_] = (framed >= threshold) & (framed > 0)
        return kept

    def box(self, box: Box) -> Box:
        """Move a box from source to store pixels."""
        origin = np.subtract(box.origin, self.offset) / self.scale
        extent = np.divide(box.extent, self.scale)
        return replace(box, origin=tuple(origin.tolist()), extent=tuple(extent.tolist()))

    def _framed(self, pixels: NDArray[Any], border: float) -> NDArray[Any]:
        if self.inner == self.store:
            return pixels
        framed = np.full((len(pixels), *self.store), border, dtype=pixels.dtype)
        spans = zip(self._start, self.inner, strict=True)
        framed[(slice(None), *(slice(start, start + length) for start, length in spans))] = pixels
        return framed


def fit(
    shape: tuple[int, ...],
    size: Size,
    keep_aspect: bool = False,
    spacing: tuple[float, ...] | None = None,
) -> Geometry:
    """Fit a picture into `size` pixels per side, or of each axis; None leaves it as it is.

    It is stretched, or, with `keep_aspect`, resized until its longest side fits and centred: the
    longest side in millimetres, where the pixels' `spacing` is known.

    Raises:
        MedrobustError: `size` is of another number of axes.
    """
    if size is None:
        return Geometry(shape, shape, shape)
    store = (size,) * len(shape) if isinstance(size, int) else tuple(size)
    if len(store) != len(shape):
        raise MedrobustError(f"expected a size of {len(shape)} axes, got {len(store)} (--size)")
    if not keep_aspect:
        return Geometry(shape, store, store)
    lengths = np.multiply(shape, spacing or (1.0,) * len(shape))
    sides = (lengths * np.divide(store, lengths).min()).tolist()
    return Geometry(shape, tuple(max(1, round(side)) for side in sides), store)


def resize(
    pixels: NDArray[Any], shape: tuple[int, ...], kernel: Image.Resampling
) -> NDArray[np.float32]:
    """Resize (H, W) or (D, H, W) to `shape` in float32, one axis pair after the other."""
    if pixels.ndim == 2:
        image = Image.fromarray(np.ascontiguousarray(pixels, dtype=np.float32))
        return np.asarray(image.resize((shape[1], shape[0]), kernel))
    slices = np.stack([resize(slice_, shape[1:], kernel) for slice_ in pixels])
    flat = slices.reshape(len(slices), -1)
    return resize(flat, (shape[0], flat.shape[1]), kernel).reshape(shape)
