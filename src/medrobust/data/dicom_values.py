"""From the stored values of a DICOM file to native units, and which of them become x = 0 and 1."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medrobust.data.window import Window
from medrobust.errors import MedrobustError

if TYPE_CHECKING:
    from pydicom import Dataset

WIDEST = 16
"""Bits up to which the range of the stored bits is a window of use: no detector fills more."""
Ends = tuple[float, float]


@dataclass(frozen=True)
class Shown:
    """Pixels in native units and their window."""

    pixels: NDArray[Any]
    """(H, W)."""
    low: float
    high: float
    note: str = ""


def show(grey: NDArray[Any], found: "Dataset", frame: int, window: Window) -> Shown:
    """Apply the modality transformation to stored grey values, and find their window.

    Of `kind="file"` it is the file's VOI LUT or first window; without either, what the stored
    bits can hold, or, for signed, floating and wider pixels, the smallest and largest.

    Raises:
        MedrobustError: there is no window to be had.
    """
    native, ends = _rescaled(grey, found, frame)
    if window.kind in ("values", "percentile"):
        return Shown(native, *window.limits(native, ends))
    if window.kind == "range":
        return Shown(native, *_finite(ends))
    if found.get("VOILUTSequence"):
        shown, largest = look_up(native, found.VOILUTSequence[0], found)
        return Shown(shown, 0.0, largest, "native values are those behind the file's VOI LUT")
    return _windowed(native, found, frame) or _unwindowed(grey, found, native, ends)


def stored_range(pixels: NDArray[Any], found: "Dataset") -> Ends:
    """What stored values can be: those of so many bits, or anything where they are floats."""
    if pixels.dtype.kind == "f":
        return -math.inf, math.inf
    allocated = 8 * pixels.dtype.itemsize
    bits = min(allocated, int(found.get("BitsStored") or allocated))
    if pixels.dtype.kind == "i":
        return -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1
    return 0.0, 2.0**bits - 1


def look_up(
    values: NDArray[Any], table: "Dataset", found: "Dataset"
) -> tuple[NDArray[np.uint16], float]:
    """Apply an item of a LUT sequence (PS3.3 C.11.1.1); also the largest value it can give.

    Not by pydicom 3.0, which looks up in the integers of the pixels or of the table, so that a
    12-bit image wraps around in a table of 8-bit entries.
    """
    count, first, bits = (int(number) for number in table.LUTDescriptor)
    entries = table.LUTData
    if isinstance(entries, bytes):
        order = "<" if found.file_meta.TransferSyntaxUID.is_little_endian else ">"
        entries = np.frombuffer(entries, f"{order}u{len(entries) // (count or 2**16)}")
    levels = np.atleast_1d(np.asarray(entries, dtype=np.uint16))[: count or 2**16]
    places = np.clip(np.rint(values).astype(np.int64) - first, 0, len(levels) - 1)
    return levels[places], max(2.0**bits - 1, float(levels.max()))


def field(found: "Dataset", frame: int, name: str) -> Any:
    """A field of the file, or of the functional groups of one of its frames (enhanced objects)."""
    if found.get(name) is not None:
        return found.get(name)
    for sequence, place in (
        ("PerFrameFunctionalGroupsSequence", frame),
        ("SharedFunctionalGroupsSequence", 0),
    ):
        groups = found.get(sequence) or []
        for group in groups[place] if place < len(groups) else ():
            items = group.value if group.VR == "SQ" else []
            if items and items[0].get(name) is not None:
                return items[0].get(name)
    return None


def number(value: Any, otherwise: float = math.nan) -> float:
    """The first number of a field, or another one if there is none."""
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        value = value[0]
    try:
        return float(value)
    except (TypeError, ValueError):
        return otherwise


def _rescaled(grey: NDArray[Any], found: "Dataset", frame: int) -> tuple[NDArray[Any], Ends]:
    """The pixels after the modality transformation, and between what they can lie."""
    if found.get("ModalityLUTSequence"):
        levels, largest = look_up(grey, found.ModalityLUTSequence[0], found)
        return levels, (0.0, largest)
    slope = number(field(found, frame, "RescaleSlope"), 1.0) or 1.0
    intercept = number(field(found, frame, "RescaleIntercept"), 0.0)
    ends = stored_range(grey, found)
    if (slope, intercept) == (1.0, 0.0):
        return grey, ends
    low, high = sorted(end * slope + intercept for end in ends)
    return (grey * np.float64(slope) + intercept).astype(np.float32), (low, high)


def _windowed(native: NDArray[Any], found: "Dataset", frame: int) -> Shown | None:
    """The first window of the file, if it can be one (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    centre = number(field(found, frame, "WindowCenter"))
    width = number(field(found, frame, "WindowWidth"))
    function = str(field(found, frame, "VOILUTFunction") or "LINEAR")
    least = 0 if function in ("LINEAR_EXACT", "SIGMOID") else 1
    if not (math.isfinite(centre) and math.isfinite(width) and width > least):
        return None
    if function == "SIGMOID":
        with np.errstate(over="ignore"):  # exp(inf) gives the 0 that is meant
            sigmoid = 1 / (1 + np.exp(-4 * (native.astype(np.float64) - centre) / width))
        note = "native values are those behind the file's sigmoid window"
        return Shown(sigmoid.astype(np.float32), 0.0, 1.0, note)
    if function == "LINEAR_EXACT":
        return Shown(native, centre - width / 2, centre + width / 2)
    # from (c - 0.5) - (w - 1) / 2 to (c - 0.5) + (w - 1) / 2
    return Shown(native, centre - width / 2, centre - 1 + width / 2)


def _unwindowed(grey: NDArray[Any], found: "Dataset", native: NDArray[Any], ends: Ends) -> Shown:
    if grey.dtype.kind == "u" and ends[1] - ends[0] < np.inf and 8 * grey.dtype.itemsize <= WIDEST:
        return Shown(native, *ends, "no window in the file")
    padding = number(found.get("PixelPaddingValue"))  # what stands where nothing was measured
    seen = native[grey != padding]
    low, high = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 0.0)
    if not low < high:
        raise MedrobustError("all its pixels have one value, and it has no window")
    return Shown(native, low, high, "no window in the file: smallest to largest pixel")


def _finite(ends: Ends) -> Ends:
    if not all(math.isfinite(end) for end in ends):
        raise MedrobustError("floating pixels have no range: give a window (--window -1000:400)")
    return ends
