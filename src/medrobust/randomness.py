"""Random numbers as a function of (seed, purpose, epoch, image), equal on every device.

A number depends on its key and its position alone: not on batch size, order, number of
processes or what was drawn before. That is what makes a resumed run equal to an uninterrupted
one. The generator is SplitMix64 (Steele, Lea & Flood, OOPSLA 2014), written in wrapping int64
arithmetic, which PyTorch offers on every device.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


def _signed(value: int) -> int:
    """The 64-bit pattern of `value` as a signed integer."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)


def key(*parts: int | str) -> int:
    """A signed 64-bit key for a purpose, for example `key(seed, "augment", epoch)`."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def image_keys(purpose: int, images: Tensor) -> Tensor:
    """One key per image, (N,) int64, from a purpose's key and the images' numbers (N,)."""
    return _mix(_mix(images.to(torch.int64) * _GOLDEN) ^ purpose)


def numbers_of(image_ids: Sequence[str]) -> Tensor:
    """(N,) int64 numbers that depend on nothing but the images' own ids."""
    return torch.tensor([key(image_id) for image_id in image_ids], dtype=torch.int64)


def uniform(keys: Tensor, shape: Sequence[int]) -> Tensor:
    """(N, *shape) float32 strictly between 0 and 1, one independent stream per key."""
    position = torch.arange(1, math.prod(shape) + 1, device=keys.device, dtype=torch.int64)
    bits = _shift(_mix(keys[:, None] + position * _GOLDEN), 41)  # 23 bits: exact in float32
    return ((bits.to(torch.float32) + 0.5) * 2.0**-23).reshape(len(keys), *shape)


def normal(keys: Tensor, shape: Sequence[int]) -> Tensor:
    """(N, *shape) float32 standard normal numbers (inverse distribution function)."""
    numbers: Tensor = torch.special.ndtri(uniform(keys, shape))
    return numbers


@contextmanager
def seeded(purpose: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed PyTorch's global generators for a while, for what can use no others.

    Initialisation and dropout draw from them. The state of the CPU's generator, and of the
    device's if it is a GPU, is put back afterwards.
    """
    devices = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(purpose)
        yield


def _mix(value: Tensor) -> Tensor:
    value = (value ^ _shift(value, 30)) * _FIRST
    value = (value ^ _shift(value, 27)) * _SECOND
    return value ^ _shift(value, 31)


def _shift(value: Tensor, bits: int) -> Tensor:
    """Logical shift to the right; PyTorch's own keeps the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)
