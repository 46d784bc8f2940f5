"""Every picture of a study, drawn beforehand under a name that says nothing.

All pictures of a kind have the same number of pixels, of bytes and the same date, and none has any
metadata, so that nothing but the picture itself can tell one condition from another: PNG files are
written without compression because the compressed size of a map tells how rough it is.
"""

import hmac
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medrobust.report import pictures

DATE = 1_577_836_800
"""Seconds since 1970 of every picture: the beginning of 2020."""
Pixels = NDArray[np.uint8] | NDArray[np.uint16]


def opaque(secret: bytes, *parts: str | int) -> str:
    """32 hexadecimal digits that nobody can tell or guess without the secret (HMAC-SHA256)."""
    return hmac.digest(secret, "\x1f".join(map(str, parts)).encode(), "sha256").hex()[:32]


def photograph(pixels: Pixels) -> bytes:
    """(C, H, W) stored integers as 8-bit grey (C < 3) or colour."""
    levels = pixels if pixels.dtype == np.uint8 else np.rint(pixels / 257)
    shown = levels.astype(np.uint8)
    colour = np.ascontiguousarray(shown[:3].transpose(1, 2, 0))
    return _png(Image.fromarray(shown[0] if len(shown) < 3 else colour))


def deep(pixels: NDArray[np.uint16]) -> bytes:
    """(C, H, W) grey in all 16 bits, for window and level: red is the high byte, green the low.

    A browser gives scripts 8 bits of each colour only; 256 · red + green is the stored integer.
    """
    grey = pixels[0]
    high, low = (grey >> 8).astype(np.uint8), (grey & 255).astype(np.uint8)
    return _png(Image.fromarray(np.dstack([high, low, np.zeros_like(low)])))


def overlay(saliency: NDArray[np.float32]) -> bytes:
    """(H, W) map in the report's colours: each clipped at its own mean ± 3 SD, clear at zero."""
    with Image.open(io.BytesIO(pictures.saliency(saliency))) as image:
        return _png(image, transparency=image.info["transparency"])


def write_picture(folder: Path, name: str, content: bytes) -> str:
    """Write `<name>.png` with the date of all pictures; return the file's name."""
    path = folder / f"{name}.png"
    path.write_bytes(content)
    os.utime(path, (DATE, DATE))
    return path.name


def _png(image: Image.Image, **extra: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG", compress_level=0, **extra)
    return stream.getvalue()
