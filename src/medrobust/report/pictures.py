"""Images, saliency maps and perturbations as small indexed PNG files."""

import base64
import io

import contourpy
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.floating]

SMALL = 3000
"""Bytes below which a picture is kept exactly."""
LEVELS = 127  # odd, so that zero has a level of its own
NEGATIVE, POSITIVE = (0.42, -0.035, -0.125), (0.42, 0.135, 0.075)
"""OKLab ends of the diverging map: a blue and a red of the same lightness."""


def plane(image: Floats, axes: int) -> Floats:
    """The middle slice where there are 3 spatial axes, (..., D, H, W) -> (..., H, W)."""
    return image[..., image.shape[-3] // 2, :, :] if axes == 3 else image


def fit(image: Floats, side: int) -> Floats:
    """Shrink the last two axes by area means until neither exceeds `side` pixels."""
    height, width = image.shape[-2:]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    flat = image.reshape(-1, height, width).astype(np.float32)
    shrunk = [np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BOX)) for p in flat]
    return np.stack(shrunk).reshape(*image.shape[:-2], size[1], size[0])


def photograph(image: Floats) -> bytes:
    """(C, H, W) in [0, 1] with C = 1 (grey) or 3 (colour); further channels are not drawn."""
    levels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    if len(levels) < 3:
        return _png(Image.fromarray(levels[0], mode=None))
    colour = Image.fromarray(np.ascontiguousarray(levels[:3].transpose(1, 2, 0)))
    return _png(colour.quantize(128, dither=Image.Dither.NONE))


def snapshot(image: Floats) -> str:
    """(C, H, W) in [0, 1] as a data address: a small PNG, or a JPEG where that is smaller."""
    exact = photograph(image)
    if len(exact) < SMALL:
        return data_uri(exact)
    levels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    shown = levels[:3].transpose(1, 2, 0) if len(levels) >= 3 else levels[0]
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(shown)).save(stream, "JPEG", quality=82, optimize=True)
    return data_uri(stream.getvalue(), "image/jpeg")


def perturbation(difference: Floats, gain: float) -> bytes:
    """(C, H, W) differences times `gain` around mid-grey, in 31 levels."""
    steps = np.rint(np.clip(difference * gain, -0.5, 0.5) * 30) / 30
    return photograph(0.5 + steps)


def saliency_limit(saliency: Floats) -> float:
    """The value where the colours end: mean ± 3 SD, whichever is further from zero."""
    mean, spread = float(saliency.mean()), float(saliency.std())
    return max(abs(mean - 3 * spread), abs(mean + 3 * spread))


def saliency(values: Floats) -> bytes:
    """(H, W) signed map, clipped at mean ± 3 SD as in the paper, colours symmetric around zero.

    The PNG is transparent where the map is zero: on white it shows the diverging map itself,
    on the grey image it is the overlay.
    """
    mean, spread = values.mean(), values.std()
    limit = saliency_limit(values)
    clipped = np.clip(values, mean - 3 * spread, mean + 3 * spread)
    scaled = clipped / limit if limit > 0 else np.zeros_like(clipped)
    levels = np.rint((scaled + 1) / 2 * (LEVELS - 1)).astype(np.uint8)
    image = Image.fromarray(levels, mode=None).convert("P")
    colours, alpha = _without_white(diverging(LEVELS))
    image.putpalette(np.rint(colours * 255).astype(np.uint8).tobytes())
    return _png(image, transparency=np.rint(alpha * 255).astype(np.uint8).tobytes())


def colour_bar() -> bytes:
    """The diverging map as a strip from negative to positive."""
    strip = np.repeat(diverging(256)[None], 12, axis=0)
    return _png(Image.fromarray(np.rint(strip * 255).astype(np.uint8)).quantize(128))


def diverging(levels: int) -> Floats:
    """(levels, 3) sRGB in [0, 1]: blue, white at the middle, red.

    Both halves are straight lines in OKLab (Ottosson 2020), so equal steps look equal.
    """
    t = np.linspace(-1, 1, levels)[:, None]
    white = np.array([1.0, 0.0, 0.0])
    ends = np.where(t < 0, np.array(NEGATIVE), np.array(POSITIVE))
    return _srgb(white + np.abs(t) * (ends - white))


def outline(mask: NDArray[np.bool_]) -> str:
    """The border of a (H, W) mask as the `d` of an SVG path, in pixels from the upper left."""
    padded = np.pad(mask.astype(float), 1)
    rows, columns = (np.arange(size) - 0.5 for size in padded.shape)
    generator = contourpy.contour_generator(
        columns, rows, padded, line_type=contourpy.LineType.Separate
    )
    lines: list[Floats] = generator.lines(0.5)  # type: ignore[assignment]
    return " ".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in line) + "Z" for line in lines)


def data_uri(content: bytes, kind: str = "image/png") -> str:
    """A file as an address that needs no network."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _without_white(colours: Floats) -> tuple[Floats, Floats]:
    alpha = 1 - colours.min(axis=1)
    safe = np.maximum(alpha, 1e-6)[:, None]
    return np.clip((colours - (1 - alpha[:, None])) / safe, 0, 1), alpha


def _srgb(oklab: Floats) -> Floats:
    to_cone = np.array(
        [
            [1, 0.3963377774, 0.2158037573],
            [1, -0.1055613458, -0.0638541728],
            [1, -0.0894841775, -1.2914855480],
        ]
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip((oklab @ to_cone.T) ** 3 @ to_linear.T, 0, 1)
    gamma: Floats = np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
    )
    return gamma


def _png(image: Image.Image, transparency: bytes | None = None) -> bytes:
    stream = io.BytesIO()
    extra = {} if transparency is None else {"transparency": transparency}
    image.save(stream, format="PNG", optimize=True, **extra)
    return stream.getvalue()
