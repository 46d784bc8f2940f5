"""Pictures without what a mask covers, with it elsewhere, or with another picture's."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter

Picture = NDArray[np.floating]
Mask = NDArray[np.bool_]
MARGIN = 1
"""Pixels around the mask that go with it: its edge is blurred by resizing."""


def erased(image: Picture, mask: Mask) -> Picture:
    """The image (C, ...) with the mask's area (...) filled from what surrounds it.

    Each pixel takes the value of the nearest one outside, smoothed over half the area's width, so
    that no edge of the mask remains. An empty mask, or one of the whole image, changes nothing.
    """
    area = _area(mask)
    if area.all() or not area.any():
        return image.copy()
    depth, nearest = distance_transform_edt(area, return_indices=True)
    filled = image[(slice(None), *nearest)]
    smooth = np.stack([gaussian_filter(channel, depth.max() / 2) for channel in filled])
    return np.where(area, smooth, image).astype(image.dtype)


def mirrored(image: Picture, mask: Mask) -> Picture:
    """The image with what the mask covers on the other side, left and right exchanged."""
    without, area = erased(image, mask), _area(mask)
    excess = np.where(area, image - without, 0)
    return np.clip(without + excess[..., ::-1], 0, 1).astype(image.dtype)


def given(image: Picture, donor: Picture, mask: Mask) -> Picture:
    """The image with what the donor's mask covers, at the same place."""
    return np.where(_area(mask), donor, image).astype(image.dtype)


def _area(mask: Mask) -> Mask:
    return binary_dilation(mask, iterations=MARGIN) if mask.any() else mask
