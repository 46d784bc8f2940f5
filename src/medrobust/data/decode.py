"""From an image file to pixels in native units, and from native units to store integers."""

import struct
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, UnidentifiedImageError

from medrobust.errors import MedrobustError

FORMATS = ("PNG", "JPEG")
MAX_PIXELS = 100_000_000
COLOUR_TOLERANCE = 8
"""JPEG's chroma rounding makes grey images differ by a few grey values between channels."""


def read_grey(path: Path) -> tuple[NDArray[Any], str]:
    """Decode a PNG or JPEG file to (1, H, W) uint8 or uint16 and a note ('' if nothing to say).

    16-bit grey PNG stays uint16. Colour becomes luminance (ITU-R BT.601), which leaves images
    with equal channels exactly as they are; transparent pixels become black.

    Raises `MedrobustError` with the reason alone, so that equal reasons can be counted; who
    calls names the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS decides
            return _decode(path)
    except FileNotFoundError as error:
        raise MedrobustError("there is no such file") from error
    except UnidentifiedImageError as error:
        raise MedrobustError("not a PNG or JPEG image") from error
    except Image.DecompressionBombError as error:
        raise MedrobustError(f"more than {MAX_PIXELS} pixels") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise MedrobustError(f"damaged image: {_reason(error)}") from error


def stretch(
    pixels: NDArray[Any], low: float, high: float, bits: Literal[8, 16]
) -> NDArray[np.unsignedinteger]:
    """Map [low, high] to the full range of uint8 or uint16, rounded; values outside are clipped."""
    full = 2**bits - 1
    levels: NDArray[np.float32]
    levels = (pixels.astype(np.float32) - np.float32(low)) * np.float32(full / (high - low))
    return np.clip(np.rint(levels), 0, full).astype(np.uint8 if bits == 8 else np.uint16)


def _decode(path: Path) -> tuple[NDArray[Any], str]:
    with Image.open(path, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        deep = image.mode != "I;16" and any("16B" in str(tile.args) for tile in image.tile)
        image.load()
        grey, note = _grey(image)
    return np.array(grey)[None], "16-bit colour was read at 8 bits" if deep else note


def _grey(image: Image.Image) -> tuple[Image.Image, str]:
    """Return an image of mode L or I;16."""
    if image.mode in ("L", "I;16"):
        return image, ""
    if image.mode == "1":
        return image.convert("L"), ""
    if image.has_transparency_data:
        opaque, note = _on_black(image.convert("RGBA"))
    else:
        opaque, note = image.convert("RGB"), ""
    return opaque.convert("L"), note or _colour_note(opaque)


def _on_black(image: Image.Image) -> tuple[Image.Image, str]:
    lowest, _ = image.getchannel("A").getextrema()
    if lowest == 255:
        return image.convert("RGB"), ""
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, image).convert("RGB"), "transparent pixels became black"


def _colour_note(image: Image.Image) -> str:
    red, green, blue = image.split()
    differences = (ImageChops.difference(red, green), ImageChops.difference(green, blue))
    if max(np.asarray(difference).max() for difference in differences) <= COLOUR_TOLERANCE:
        return ""
    return "colour was turned into luminance (ITU-R BT.601)"


def _reason(error: BaseException) -> str:
    """Return the error's text without a path, which would make every reason unique."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
