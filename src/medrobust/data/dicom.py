"""The image of one DICOM file.

Needs the extra `dicom` (pydicom and its decoders). Messages of pydicom may quote what stands in
a file, a patient's name for instance; so every reason given here is a text of ours.
"""

import logging
import math
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medrobust.data.decode import COLOUR_TOLERANCE, MAX_PIXELS
from medrobust.data.dicom_values import Shown, field, number, show, stored_range
from medrobust.data.source import Picture
from medrobust.data.window import Window
from medrobust.errors import MedrobustError

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_BYTES = 2**31
SPACINGS = (1e-5, 1e3)
"""Millimetres between which a pixel's side can be: from microscopy to whole bodies."""
GREY = ("MONOCHROME1", "MONOCHROME2")
LOGGERS = ("pydicom", "pylibjpeg", "libjpeg", "openjpeg")


def read_dicom(path: Path, window: Window | None = None, frame: int | None = None) -> Picture:
    """Decode the image of a file: (1, H, W) in units after rescaling (Hounsfield in CT).

    The window is that of the file if not given (see `dicom_values.show`). MONOCHROME1 has its
    window upside down, so that x is bright where a film is. Of several frames the middle one is
    read, or number `frame`, counted from 1. Colour becomes luminance, in the range of its type.

    Raises:
        MedrobustError: the file cannot be used, with a reason that quotes nothing from it; or
            the extra `dicom` is not installed.
    """
    with silent():
        try:
            found = open_dataset(path)
            place, note = _frame(found, frame)
            pixels = _decoded(found, place)
            shown = _shown(pixels, found, place, window or Window("file"))
            spacing, odd = _spacing(found, place)
        except (MedrobustError, MemoryError):
            raise
        except Exception as error:  # pydicom raises nearly anything for what makes no sense
            raise MedrobustError("its header and pixels do not fit together") from error
    low, high = shown.low, shown.high
    if found.get("PhotometricInterpretation") == "MONOCHROME1":
        low, high = high, low
    text = "; ".join(part for part in (note, shown.note, odd) if part)
    return Picture(shown.pixels[None], low, high, spacing, note=text)


def open_dataset(path: Path, **options: Any) -> "Dataset":
    """`pydicom.dcmread`, with reasons of ours; `options` are its own.

    Raises:
        MedrobustError: not a DICOM file, or the extra `dicom` is not installed.
    """
    expect_pydicom()
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        _expect_file(path)
        return dcmread(path, **options)
    except (MedrobustError, MemoryError):
        raise
    except InvalidDicomError as error:
        raise MedrobustError("not a DICOM file: it has no DICM prefix") from error
    except FileNotFoundError as error:
        raise MedrobustError("there is no such file") from error
    except OSError as error:
        reason = error.strerror or "its DICOM header cannot be read"
        raise MedrobustError(reason) from error
    except Exception as error:
        raise MedrobustError("its DICOM header cannot be read") from error


def _expect_file(path: Path) -> None:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise MedrobustError("not a file")
    if status.st_size == 0:
        raise MedrobustError("the file is empty")
    if status.st_size > MAX_BYTES:
        raise MedrobustError(f"the file is larger than {MAX_BYTES // 2**30} GiB")


def expect_pydicom() -> None:
    """Raise `MedrobustError` when the extra `dicom` is not installed."""
    try:
        import pydicom  # noqa: F401
    except ImportError as error:
        raise MedrobustError(
            "DICOM needs the extra dicom: pip install 'medrobust[dicom]'"
        ) from error


@contextmanager
def silent() -> Iterator[None]:
    """Keep what pydicom and its decoders have to say, which may quote the file, from every log."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _frame(found: "Dataset", wanted: int | None) -> tuple[int, str]:
    """The number of the frame to read, from 0, and a note."""
    if getattr(found.file_meta, "TransferSyntaxUID", None) is None:
        raise MedrobustError("it does not say its transfer syntax")
    if not any(name in found for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise MedrobustError("no pixel data")
    try:
        frames = int(found.get("NumberOfFrames") or 1)
    except (ValueError, TypeError) as error:
        raise MedrobustError("its number of frames is not a number") from error
    sides = [int(found.get(name) or 0) for name in ("Rows", "Columns")]
    if min(sides) < 1 or frames < 1:
        raise MedrobustError("its header says that it has no pixels")
    if math.prod(sides) > MAX_PIXELS:
        raise MedrobustError(f"more than {MAX_PIXELS} pixels")
    if wanted is not None and wanted > frames:
        raise MedrobustError(f"it has no frame {wanted}")
    if frames == 1:
        return 0, ""
    if wanted is not None:
        return wanted - 1, f"frame {wanted} of several"
    return frames // 2, "the middle one of several frames"


def _decoded(found: "Dataset", frame: int) -> NDArray[Any]:
    """(H, W), or (H, W, 3) in RGB."""
    from pydicom.pixels import pixel_array
    from pydicom.uid import UID_dictionary

    syntax = found.file_meta.TransferSyntaxUID
    if not syntax.is_compressed and "PixelData" in found:
        _expect_bytes(found)
    try:
        pixels = pixel_array(found, index=frame)
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    except MemoryError:
        raise
    except Exception as error:
        name = UID_dictionary[syntax][0] if syntax in UID_dictionary else "unknown"
        raise MedrobustError(f"its pixels cannot be decoded (transfer syntax {name})") from error


def _expect_bytes(found: "Dataset") -> None:
    sides = (int(found.get("NumberOfFrames") or 1), found.Rows, found.Columns)
    bits = math.prod(sides) * int(found.get("SamplesPerPixel") or 1) * int(found.BitsAllocated)
    subsampled = "422" in str(found.get("PhotometricInterpretation"))
    if len(found.PixelData) * 8 < bits * (2 / 3 if subsampled else 1):
        raise MedrobustError("its pixel data is shorter than its header says")


def _shown(pixels: NDArray[Any], found: "Dataset", frame: int, window: Window) -> Shown:
    kind = str(found.get("PhotometricInterpretation") or "")
    if kind == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        colour = apply_color_lut(pixels, found)
        return _luminance(colour, (0.0, float(np.iinfo(colour.dtype).max)), window)
    if pixels.ndim == 3 and pixels.shape[-1] in (3, 4):
        return _luminance(pixels, stored_range(pixels, found), window)
    if kind not in GREY or pixels.ndim != 2:
        raise MedrobustError("neither grey, palette nor RGB")
    return show(_stored_bits(pixels, found), found, frame, window)


def _luminance(pixels: NDArray[Any], ends: tuple[float, float], window: Window) -> Shown:
    """ITU-R BT.601, in whole numbers, so that equal channels stay exactly as they are.

    Windows of files are for grey values (PS3.3 C.11.2), so those of colour images do not count.
    """
    red, green, blue = np.moveaxis(pixels[..., :3].astype(np.int64), -1, 0)
    grey = ((19595 * red + 38470 * green + 7471 * blue + 2**15) >> 16).astype(pixels.dtype)
    apart = max(np.abs(red - green).max(), np.abs(green - blue).max())
    note = "colour was turned into luminance (ITU-R BT.601)" if apart > COLOUR_TOLERANCE else ""
    return Shown(grey, *window.limits(grey, ends), note)


def _stored_bits(pixels: NDArray[Any], found: "Dataset") -> NDArray[Any]:
    """Remove what stands in the bits that are allocated but not used, such as overlays.

    Not after lossy codes, which may go beyond the stored bits a little and must not wrap around.
    """
    from pydicom.uid import RLELossless

    syntax = found.file_meta.TransferSyntaxUID
    allocated = 8 * pixels.dtype.itemsize
    unused = allocated - int(found.get("BitsStored") or allocated)
    coded = syntax.is_encapsulated and syntax != RLELossless
    if pixels.dtype.kind not in "iu" or coded or not 0 < unused < allocated:
        return pixels
    shift = pixels.dtype.type(unused)
    kept: NDArray[Any] = (pixels << shift) >> shift
    return kept


def _spacing(found: "Dataset", frame: int) -> tuple[tuple[float, float] | None, str]:
    """Millimetres per pixel in y and x: of the patient, else of the detector."""
    for name, note in (("PixelSpacing", ""), ("ImagerPixelSpacing", "spacing of the detector")):
        values = field(found, frame, name)
        if values is None:
            continue
        sides = [number(value) for value in np.atleast_1d(values).tolist()]
        if len(sides) == 2 and all(SPACINGS[0] < side < SPACINGS[1] for side in sides):
            return (sides[0], sides[1]), note
        return None, "the spacing in the file cannot be one"
    return None, ""
