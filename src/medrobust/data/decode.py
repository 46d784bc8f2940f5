"""From an image file to pixels in native units, and from native units to store integers."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from medrobust.errors import MedrobustError

FORMATS = ("PNG", "JPEG", "TIFF")
MAX_PIXELS = 100_000_000
ORIENTATION, PHOTOMETRIC = 0x0112, 0x0106
"""TIFF's numbers for these properties, which Exif shares."""
COLOUR_TOLERANCE = 8
"""JPEG's chroma rounding makes grey images differ by a few grey values between channels."""


def read_grey(path: Path) -> tuple[NDArray[Any], str]:
    """Decode a PNG, JPEG or TIFF file to (1, H, W) and a note ('' if there is nothing to say).

    uint8; grey PNG and TIFF of 16 bits stay uint16, TIFF of 32 bits int32 or float32. Colour
    becomes luminance (ITU-R BT.601), which leaves images with equal channels exactly as they are;
    transparent pixels become black. The image is turned as its EXIF orientation says. Of the pages
    of a TIFF the middle one is read.

    Raises `MedrobustError` with the reason alone, so that equal reasons can be counted; who
    calls names the file.
    """
    with _readable():
        return _decode(path)


def read_mask(path: Path) -> NDArray[np.int64]:
    """Decode a PNG or TIFF file to (H, W) whole numbers: grey values or palette numbers.

    Raises `MedrobustError` as `read_grey` does, and when it is in colour.
    """
    with _readable(), Image.open(path, formats=("PNG", "TIFF")) as image:
        _to_middle_page(image)
        _refuse_large(image)
        if image.mode not in ("1", "L", "P", "I;16", "I;16B", "I"):
            raise MedrobustError(f"expected a mask of whole numbers, found {image.mode}")
        return np.array(ImageOps.exif_transpose(image)).astype(np.int64)


def stretch(
    pixels: NDArray[Any], low: float, high: float, bits: Literal[8, 16]
) -> NDArray[np.unsignedinteger]:
    """Map [low, high] to the full range of uint8 or uint16, rounded; values outside are clipped."""
    full = 2**bits - 1
    levels: NDArray[np.float32]
    levels = (pixels.astype(np.float32) - np.float32(low)) * np.float32(full / (high - low))
    return np.clip(np.rint(levels), 0, full).astype(np.uint8 if bits == 8 else np.uint16)


@contextmanager
def _readable() -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MAX_PIXELS decides; odd tags are no news
            yield
    except (MedrobustError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise MedrobustError("there is no such file") from error
    except UnidentifiedImageError as error:
        raise MedrobustError("not a PNG, JPEG or TIFF image") from error
    except Image.DecompressionBombError as error:
        raise MedrobustError(f"more than {MAX_PIXELS} pixels") from error
    except Exception as error:  # Pillow raises nearly anything for what it cannot make sense of
        raise MedrobustError(_reason(error)) from error


def _refuse_large(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise Image.DecompressionBombError


def _decode(path: Path) -> tuple[NDArray[Any], str]:
    with Image.open(path, formats=FORMATS) as image:
        note = _to_middle_page(image)
        _refuse_large(image)
        deep = not image.mode.startswith("I;16") and any(";16" in str(t.args) for t in image.tile)
        colour = image.mode in ("RGB", "RGBA", "RGBX", "LA", "CMYK")
        tags = image.tag_v2 if isinstance(image, TiffImageFile) else image.getexif()
        turned = tags.get(ORIENTATION) in range(2, 9)  # a TIFF forgets it when it is loaded
        inverted = tags.get(PHOTOMETRIC) == 0 and image.mode.startswith("I;16")
        image.load()
        grey, kind = _grey(ImageOps.exif_transpose(image))
    notes = [
        note,
        kind,
        "16-bit colour was read at 8 bits" if deep and colour else "",
        "turned as the EXIF orientation says" if turned else "",
    ]
    pixels = np.array(grey)
    if grey.mode.startswith("I;16"):
        pixels = pixels.astype(np.uint16)  # in the machine's order of bytes
    if inverted:  # which Pillow does for 8 bits
        pixels = 65535 - pixels
    return pixels[None], "; ".join(note for note in notes if note)


def _to_middle_page(image: Image.Image) -> str:
    """Go to the middle page of a TIFF; later images in other files are previews or animations."""
    pages = getattr(image, "n_frames", 1)
    if not isinstance(image, TiffImageFile) or pages == 1:
        return ""
    image.seek(pages // 2)
    return "the middle one of several pages"


def _grey(image: Image.Image) -> tuple[Image.Image, str]:
    """Return an image of mode L, I;16, I or F."""
    if image.mode in ("L", "I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
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


def _reason(error: Exception) -> str:
    """Equal texts for equal causes, without what Pillow quotes of the file or its path."""
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return "damaged image: it is truncated" if "truncated" in str(error) else "damaged image"
