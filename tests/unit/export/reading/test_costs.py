"""Pickles that would take all memory, or never end, where Python's own unpickler reads them."""

from __future__ import annotations

import pickle
import struct
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from steersman.export.errors import DamagedFileError
from steersman.export.reading import machine
from steersman.export.reading.spaces import as_space
from steersman.export.reading.unpickle import read_pickle


def shared(levels: int, *, of_tuples: bool = False) -> bytes:
    """Opcodes, by hand, for a value that is twice in another, that one twice in a third, and so on.

    The last one is noted under the number of levels.
    """
    code = b"K\x01q\x00" if of_tuples else b"]q\x00"
    for level in range(levels):
        inner, index = b"h" + bytes([level]), bytes([level + 1])
        code += inner * 2 + b"\x86q" + index if of_tuples else b"]q" + index + b"(" + inner * 2 + b"e"
    return code


def call(name: str, argument: bytes) -> bytes:
    """Opcodes that call a name with one argument."""
    module, function = name.split()
    return f"c{module}\n{function}\n".encode() + argument + b"\x85R"


DEEP = shared(36)
LAST = b"h" + bytes([36])
KEY = shared(60, of_tuples=True)
HASHED = b"h" + bytes([60])


@pytest.mark.parametrize(
    "name",
    [
        *("__builtin__ str", "__builtin__ bytes", "__builtin__ bytearray", "__builtin__ int"),
        *("__builtin__ float", "__builtin__ complex", "__builtin__ bool", "__builtin__ set"),
        *("__builtin__ frozenset", "__builtin__ dict", "collections OrderedDict"),
        *("numpy float64", "numpy int8", "numpy bool_", "numpy dtype"),
    ],
)
def test_types_are_called_with_nothing_that_must_be_walked(name: str) -> None:
    with pytest.raises(DamagedFileError, match="the pickle cannot be read"):
        read_pickle(b"\x80\x02" + DEEP + call(name, LAST) + b".", "here")


@pytest.mark.parametrize(
    "make", [b"}" + HASHED + b"K\x01s", b"}(" + HASHED + b"K\x01u", b"(" + HASHED + b"Nd"]
)
def test_keys_are_plain_values(make: bytes) -> None:
    with pytest.raises(DamagedFileError, match="a tuple where a number or a text is expected"):
        read_pickle(b"\x80\x02" + KEY + make + b".", "here")


@pytest.mark.parametrize(
    "make",
    [
        b"\x8f(" + HASHED + b"\x90",
        b"(" + HASHED + b"\x91",
        call("__builtin__ set", b"](" + HASHED + b"e"),
        call("__builtin__ dict", b"](" + HASHED + b"K\x01\x86e"),
    ],
)
def test_members_of_sets_are_plain_values(make: bytes) -> None:
    with pytest.raises(DamagedFileError, match="a tuple where a number or a text is expected"):
        read_pickle(b"\x80\x04" + KEY + make + b".", "here")


@pytest.mark.parametrize("last", [LAST, b"}X\x01\x00\x00\x00a" + LAST + b"s"])
def test_what_has_too_many_paths_is_refused(last: bytes) -> None:
    with pytest.raises(DamagedFileError, match="too many values; expected at most 1,000,000"):
        read_pickle(b"\x80\x02" + DEEP + last + b".", "here")


def test_what_is_shared_a_few_times_is_read() -> None:
    inner = [1, 2]
    assert read_pickle(pickle.dumps([inner, {"a": inner}, (inner,)]), "here") == [
        inner,
        {"a": inner},
        (inner,),
    ]


def test_what_holds_itself_is_refused() -> None:
    cyclic: list[Any] = []
    cyclic.append((cyclic,))
    with pytest.raises(DamagedFileError, match="it holds itself, or is nested too deeply"):
        read_pickle(pickle.dumps(cyclic), "here")


def test_what_is_nested_too_deeply_by_any_path_is_refused() -> None:
    value: list[Any] = []
    for _ in range(90):
        value = [value]
    beside = value
    for _ in range(20):
        beside = [beside]
    assert read_pickle(pickle.dumps(value), "here") == value
    for both in ([value, beside], [beside, value]):
        with pytest.raises(DamagedFileError, match="nested too deeply; expected at most 100 levels"):
            read_pickle(pickle.dumps(both), "here")


@pytest.mark.parametrize("index", [2**28, 2**31, 2**32 - 1])
def test_an_index_of_the_memo_takes_no_memory(index: int) -> None:
    code = b"\x80\x02Nr" + struct.pack("<I", index) + b"0j" + struct.pack("<I", index) + b"."
    assert read_pickle(code, "here") is None


def test_opcodes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MOST_OPCODES", 50)
    assert read_pickle(pickle.dumps([0] * 20), "here") == [0] * 20
    with pytest.raises(DamagedFileError, match="more than 50 opcodes"):
        read_pickle(pickle.dumps([0] * 50), "here")


def test_what_calls_are_given_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """One array may be copied many times for a few bytes each."""
    monkeypatch.setattr(machine, "MOST_BYTES", 10_000)
    data = b"\x80\x02" + b"U\xc8" + b"x" * 200 + b"q\x00" + call("__builtin__ str", b"h\x00") * 60 + b"."
    with pytest.raises(DamagedFileError, match="its calls are given more than 10,000 bytes"):
        read_pickle(data, "here")
    assert read_pickle(pickle.dumps(np.arange(3.0)), "here")


@pytest.mark.parametrize(
    "code", [b"\x80\x02Pname\n.", b"\x80\x02NQ.", b"\x80\x02\x82\x01.", b"\x80\x05\x97."]
)
def test_what_is_outside_the_pickle_is_refused(code: bytes) -> None:
    with pytest.raises(DamagedFileError, match="which no pickle of SB3 does"):
        read_pickle(code, "here")


@pytest.mark.parametrize("data", [b"", b"hello", b"\x80", b"\x80\x63N.", b"PK\x03\x04", b"{}"])
def test_what_is_no_pickle_is_called_so(data: bytes) -> None:
    with pytest.raises(DamagedFileError, match=r"here: this is not a pickle$"):
        read_pickle(data, "here")


def of_size(n: int) -> bytes:
    """A MultiBinary space as a pickle, by hand: gymnasium itself would take its memory first."""
    return (
        b"\x80\x02cgymnasium.spaces.multi_binary\nMultiBinary\n)\x81}U\x01nJ" + struct.pack("<i", n) + b"sb"
    )


def test_spaces_are_of_usual_size() -> None:
    assert as_space(read_pickle(of_size(8) + b".", "here"), "here") == spaces.MultiBinary(8)
    with pytest.raises(DamagedFileError, match=r"too many elements; expected at most 16,777,216"):
        as_space(read_pickle(of_size(2**31 - 1) + b".", "here"), "here")


def keyed(parts: int, size: int) -> bytes:
    """A Dict space whose parts are all one."""
    pairs = b"".join(b"M" + struct.pack("<H", key) + b"h\x00" for key in range(parts))
    head = b"\x80\x02" + of_size(size)[2:] + b"q\x00"
    return head + b"cgymnasium.spaces.dict\nDict\n)\x81}U\x06spaces}(" + pairs + b"usb."


def test_parts_of_a_dict_count_together() -> None:
    assert len(as_space(read_pickle(keyed(3, 2), "here"), "here").spaces) == 3  # type: ignore[attr-defined]
    with pytest.raises(DamagedFileError, match="too many elements"):
        as_space(read_pickle(keyed(3, 2**23), "here"), "here")
    with pytest.raises(DamagedFileError, match=r"a Dict of 5,000 parts; expected at most 1000"):
        as_space(read_pickle(keyed(5000, 1), "here"), "here")
