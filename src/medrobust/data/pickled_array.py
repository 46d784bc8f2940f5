"""Pickled NumPy arrays, read without running what a pickle may hold.

A pickle is a program. This reader runs it on a machine that knows four words: "array", "data
type", "make an array" and "these are bytes"; each is a stand-in of ours that only remembers what
it was told. The array is then made from bytes, shape and a number type, after they were checked.
"""

import io
import math
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medrobust.errors import MedrobustError

MAX_BYTES = 2**30
NUMBERS = frozenset("biuf")
DAMAGED = "not a pickled array of numbers"


def read_pickled_array(path: Path) -> NDArray[Any]:
    """Read an array of numbers that was pickled with any protocol, by any version of NumPy.

    Raises `MedrobustError` when the file is larger than 1 GiB, or anything else is in it: other
    objects, functions, arrays of Python objects.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise MedrobustError(f"the file is larger than {MAX_BYTES // 2**30} GiB")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise MedrobustError("there is no such file") from error
    try:
        found = _Reader(io.BytesIO(content), encoding="latin1").load()
    except MemoryError:
        raise
    except Exception as error:  # whatever the program does wrong
        raise MedrobustError(DAMAGED) from error
    if not isinstance(found, _Array):
        raise MedrobustError(DAMAGED)
    return found.array()


class _Type:
    """Remembers what a pickle says of a data type."""

    def __init__(self, name: Any, align: Any = False, copy: Any = False) -> None:
        self.name = name
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, subarray, names, fields, size, alignment, flags)
        if state[2] is not None or state[3] is not None or state[4] is not None:
            raise ValueError("a structured type")
        self.order = _text(state[1])

    def type(self) -> np.dtype[Any]:
        """The type, if it is one of numbers."""
        name, order = _text(self.name), self.order
        if not (name[:1] in NUMBERS and name[1:] in ("1", "2", "4", "8")) or order not in "<>=|":
            raise ValueError("not a type of numbers")
        return np.dtype(order + name)


class _Array:
    """Remembers what a pickle says of an array."""

    def __init__(self) -> None:
        self._state: tuple[Any, ...] = ()

    def __setstate__(self, state: Any) -> None:
        self._state = tuple(state)

    def array(self) -> NDArray[Any]:
        """Make the array, if bytes, shape and type belong together."""
        try:
            _, shape, kind, fortran, content = self._state
            content = content.encode("latin1") if isinstance(content, str) else content
            sides = tuple(int(side) for side in shape)
            dtype = kind.type()
            if type(content) is not bytes or min(sides, default=0) < 0:
                raise ValueError("no bytes or shape")
            if math.prod(sides) * dtype.itemsize != len(content):
                raise ValueError("not as many bytes as the shape says")
        except (ValueError, TypeError, AttributeError, UnicodeEncodeError) as error:
            raise MedrobustError(DAMAGED) from error
        flat = np.frombuffer(content, dtype)
        return flat.reshape(sides, order="F" if fortran is True or fortran == 1 else "C")


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    """In place of NumPy's function of this name, which makes an empty array."""
    if kind is not _Array:
        raise ValueError("not an array")
    return _Array()


def _from_buffer(content: Any, kind: Any, shape: Any, order: Any) -> _Array:
    """In place of NumPy's function of this name (protocol 5)."""
    array = _Array()
    array.__setstate__((1, shape, kind, order == "F", bytes(content)))
    return array


def _encode(text: Any, codec: Any) -> bytes:
    """In place of `_codecs.encode`, by which protocols up to 2 hold bytes."""
    if type(text) is not str or codec != "latin1":
        raise ValueError("not bytes")
    return text.encode("latin1")


def _text(value: Any) -> str:
    text = value.decode("ascii") if isinstance(value, bytes) else value
    if not isinstance(text, str):
        raise ValueError("not a word")
    return text


_KNOWN: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
    **{
        (module, name): function
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name, function in (("_reconstruct", _reconstruct),)
    },
    **{
        (module, "_frombuffer"): _from_buffer
        for module in ("numpy.core.numeric", "numpy._core.numeric")
    },
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _KNOWN[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise ValueError("an outside object")
