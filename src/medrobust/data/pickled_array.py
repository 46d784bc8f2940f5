"""Pickled NumPy arrays, read without running what a pickle may hold.

A pickle is a program. This reader runs it on a machine that knows four words: "array", "data
type", "make an array" and "these are bytes"; each is a stand-in of ours that only remembers what
it was told. The array is then made from bytes, shape and a number type, after they were checked.
Before it is run the program is looked through: it must be as short as that of an array is, so that
a small file cannot ask for much memory, and nothing may follow it.
"""

import io
import math
import pickle
import pickletools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medrobust.errors import MedrobustError

MAX_BYTES = 2**28
MAX_SIDES = 8
MAX_STEPS = 200
"""Steps of the program; that of an array has 30 to 60."""
MAX_CALLS = 8
"""Calls in the program; an array, its type and its bytes are two to four."""
MAX_PLACE = 2**10
"""The last place of the program's memory; that of an array has a few dozen."""
NAMES = (
    "PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 "
    "STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 "
    "UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 TUPLE EMPTY_TUPLE TUPLE1 TUPLE2 TUPLE3 "
    "GLOBAL STACK_GLOBAL REDUCE BUILD PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET"
)
STEPS = {step.code: step for step in pickletools.opcodes if step.name in NAMES.split()}
NUMBERS = frozenset("biuf")
DAMAGED = "not a pickled array of numbers"


def read_pickled_array(path: Path) -> NDArray[Any]:
    """Read an array of numbers that was pickled with any protocol, by any version of NumPy.

    Raises `MedrobustError` when the file is larger than 256 MiB, or anything else is in it: other
    objects, functions, arrays of Python objects, bytes that follow the array.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise MedrobustError("there is no such file") from error
    if len(content) > MAX_BYTES:
        raise MedrobustError(f"the file is larger than {MAX_BYTES // 2**20} MiB")
    try:
        _look_through(content)
        found = _Reader(io.BytesIO(content), encoding="latin1").load()
    except MemoryError:
        raise
    except Exception as error:  # whatever the program does wrong
        raise MedrobustError(DAMAGED) from error
    if not isinstance(found, _Array):
        raise MedrobustError(DAMAGED)
    return found.array()


def _look_through(content: bytes) -> None:
    """Raise ValueError unless a program is as short as an array's, and ends where the file does."""
    file = io.BytesIO(content)
    calls, name = 0, ""
    for _ in range(MAX_STEPS):
        name, argument = _step(file)
        calls += name == "REDUCE"
        if name == "STOP" or calls > MAX_CALLS or ("PUT" in name and argument > MAX_PLACE):
            break
    if name != "STOP" or file.read(1):
        raise ValueError("more than an array needs")


def _step(file: io.BytesIO) -> tuple[str, Any]:
    """Name and argument of the next step, one of those that build an array."""
    step = STEPS[file.read(1).decode("latin1")]
    if step.name == "STRING":  # the library's reader of it expects ASCII, Python 2 wrote any byte
        return step.name, file.readline()
    return step.name, step.arg.reader(file) if step.arg else None


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
            sides = tuple(shape)
            dtype = kind.type()
            if type(content) is not bytes or len(sides) > MAX_SIDES:
                raise ValueError("no bytes or shape")
            if not all(type(side) is int and 0 <= side <= MAX_BYTES for side in sides):
                raise ValueError("not sides of an array")
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
    if type(content) not in (bytes, bytearray):  # bytes(10**12) would be a terabyte
        raise ValueError("no bytes")
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
