"""Choices as functions of a seed and of names: the same on every machine and in every order."""

import hashlib
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T", int, str)


def rank(seed: int, *parts: int | str) -> int:
    """A number in [0, 2^64) for a purpose, for example `rank(seed, "order", reader, image_id)`."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in (seed, *parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def below(limit: int, seed: int, *parts: int | str) -> int:
    """A number in [0, limit)."""
    return rank(seed, *parts) * limit >> 64


def shuffled(names: Iterable[T], seed: int, *parts: int | str) -> list[T]:
    """Distinct names in an order that does not depend on the one they are given in."""
    return sorted(names, key=lambda name: rank(seed, *parts, name))
