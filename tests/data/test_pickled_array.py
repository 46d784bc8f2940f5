"""What comes out of a pickle is an array of numbers, or nothing."""

import builtins
import io
import os
import pickle
import pickletools
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from medrobust.data import pickled_array
from medrobust.data.pickled_array import read_pickled_array
from medrobust.errors import MedrobustError

ARRAY = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def read(folder: Path, content: bytes) -> np.ndarray:
    (folder / "x.pck").write_bytes(content)
    return read_pickled_array(folder / "x.pck")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array",
    [
        ARRAY,
        np.asfortranarray(ARRAY),
        ARRAY[:, ::2],
        ARRAY.astype(">u2"),
        ARRAY / 7,
        ARRAY > 5,
    ],
    ids=["plain", "fortran", "strided", "big-endian", "float", "bool"],
)
def test_every_protocol(tmp_path: Path, array: np.ndarray, protocol: int) -> None:
    found = read(tmp_path, pickle.dumps(array, protocol))
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)


def test_old_names_of_modules_and_python_2_text(tmp_path: Path) -> None:
    old = pickle.dumps(ARRAY, 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert np.array_equal(read(tmp_path, old), ARRAY)
    # Python 2 wrote the pixels as a str: BINSTRING
    content = ARRAY.tobytes()
    two = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02K\x03K\x04\x87cnumpy\ndtype\nU\x02i2K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"T" + struct.pack("<i", len(content)) + content + b"tb."
    )
    pickletools.dis(two, out=io.StringIO())
    assert np.array_equal(read(tmp_path, two), ARRAY)


def test_python_2_in_text(tmp_path: Path) -> None:
    array = np.arange(-6, 6, dtype=np.int16)
    pixels = "".join(f"\\x{byte:02x}" for byte in array.tobytes())
    program = (
        "cnumpy.core.multiarray\n_reconstruct\np0\n(cnumpy\nndarray\np1\n(I0\ntp2\nS'b'\np3\ntp4\n"
        "Rp5\n(I1\n(I12\ntp6\ncnumpy\ndtype\np7\n(S'i2'\np8\nI0\nI1\ntp9\nRp10\n"
        f"(I3\nS'<'\np11\nNNNI-1\nI-1\nI0\ntp12\nbI00\nS'{pixels}'\np13\ntp14\nb."
    )
    assert np.array_equal(read(tmp_path, program.encode("ascii")), array)


@given(
    array=arrays.arrays(
        dtype=st.one_of(arrays.integer_dtypes(), arrays.floating_dtypes(sizes=(16, 32, 64))),
        shape=arrays.array_shapes(max_dims=3, max_side=4),
    ),
    protocol=st.integers(0, 5),
)
def test_there_and_back(tmp_path_factory, array: np.ndarray, protocol: int) -> None:
    found = read(tmp_path_factory.mktemp("x"), pickle.dumps(array, protocol))
    assert found.dtype == array.dtype
    assert found.tobytes() == array.tobytes()


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def gadgets(trap: Path) -> dict[str, object]:
    touch = f"open({str(trap)!r}, 'w').close()"
    encode = __import__("_codecs").encode
    return {
        "system": Call(os.system, f"touch {trap}"),
        "exec": Call(builtins.exec, touch),
        "eval": Call(builtins.eval, touch),
        "open": Call(builtins.open, str(trap), "w"),
        "in a list": [ARRAY, Call(builtins.exec, touch)],
        "as pixels": Call(pickle.loads, pickle.dumps(Call(builtins.exec, touch))),
        "getattr": Call(builtins.getattr, "os", "system"),
        "codec": Call(encode, "00" * 1000, "hex"),
        "memmap": Call(np.memmap, str(trap), "u1", "w+", 0, (1,)),
        "path": trap,
        "objects": np.array([Call(builtins.exec, touch)], dtype=object),
        "structured": np.zeros(2, [("a", "i4")]),
        "text": np.array(["a", "b"]),
        "dates": np.zeros(2, "M8[s]"),
        "complex": np.zeros(2, complex),
        "number": np.float64(3),
        "nothing": None,
    }


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("name", list(gadgets(Path("x"))))
def test_nothing_else_is_ever_made(tmp_path: Path, name: str, protocol: int) -> None:
    trap = tmp_path / "trap"
    content = pickle.dumps(gadgets(trap)[name], protocol)
    with pytest.raises(MedrobustError, match=r"^not a pickled array of numbers$"):
        read(tmp_path, content)
    assert not trap.exists()


def test_the_traps_are_traps(tmp_path: Path) -> None:
    sprung = 0
    for name in ("system", "exec", "as pixels"):
        trap = tmp_path / name
        pickle.loads(pickle.dumps(gadgets(trap)[name]))
        sprung += trap.exists()
    assert sprung == 3


@pytest.mark.parametrize("cut", [0, 1, 20, 60, 120, 160])
def test_truncated(tmp_path: Path, cut: int) -> None:
    with pytest.raises(MedrobustError, match=r"^not a pickled array of numbers$"):
        read(tmp_path, pickle.dumps(ARRAY)[:cut])


FRAGMENT = b"cnumpy._core.numeric\n_frombuffer\n"
HOSTILE = {
    "something follows": pickle.dumps(ARRAY) + b"x",
    "two arrays": pickle.dumps(ARRAY) * 2,
    "a place of 4 GiB": b"\x80\x02]r\xff\xff\xff\x0f.",
    "bytes of 2 ** 62": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".",
    "a terabyte of zeros": FRAGMENT + b"(L1000000000000L\nNNNtR.",
    "a thousand arrays": b"(" + 1000 * (FRAGMENT + b"(NNNNtR") + b"t.",
    "nested": 10**6 * b"(" + b"N" + 10**6 * b"t" + b".",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent name": b"Pos.system\n.",
    "an instance": b"(S'touch x'\nios\nsystem\n.",
    "a class without its beginning": b"\x80\x02cnumpy\nndarray\n)\x81.",
    "an unfinished array": b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\nNNtR.",
    "a function": b"c_codecs\nencode\n.",
    "not a pickle": b"\x93NUMPY",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_programs_cost_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(MedrobustError, match=r"^not a pickled array of numbers$"):
        read(tmp_path, HOSTILE[name])


@pytest.mark.parametrize(
    "shape", [(2, 3, 5), (-2, -12), (2**40,), ("a",), None, (24,) + 64 * (1,), (24.0,)]
)
def test_a_shape_that_lies(tmp_path: Path, shape) -> None:
    make, arguments, state = ARRAY.__reduce__()
    lying = Lying(make, arguments, (state[0], shape, *state[2:]))
    with pytest.raises(MedrobustError, match=r"^not a pickled array of numbers$"):
        read(tmp_path, pickle.dumps(lying))


class Lying:
    def __init__(self, *parts) -> None:
        self.parts = parts

    def __reduce__(self):
        return self.parts


def test_a_huge_file_is_not_even_read(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(pickled_array, "MAX_BYTES", 100)
    with pytest.raises(MedrobustError, match=r"^the file is larger than "):
        read(tmp_path, bytes(101))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(MedrobustError, match=r"^there is no such file$"):
        read_pickled_array(tmp_path / "none")
