"""Numbers and text out of a pickle, without running anything that it says.

The opcodes are walked, and only those of dicts, lists, tuples, text, numbers and numpy arrays are understood. A name
that the file asks to import is compared with the few that build an array, and is never imported.
"""

from __future__ import annotations

import mmap
import pickletools
import re
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from ddcore.errors import DataError

_MOST_BYTES = 2**30
_RECONSTRUCT = frozenset(("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"))
_FROM_BUFFER = frozenset(("numpy.core.numeric _frombuffer", "numpy._core.numeric _frombuffer"))
_ENCODE = "_codecs encode"
_DTYPE = "numpy dtype"
_KNOWN = frozenset((*_RECONSTRUCT, *_FROM_BUFFER, _ENCODE, _DTYPE, "numpy ndarray"))
_CODE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
_VALUES = frozenset(
    ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING", "BINUNICODE",
     "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
)  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Unknown(Exception):  # noqa: N818 - turned into a message
    """The pickle holds something else than numbers and text."""


class _Global:
    """A name that stands for one of the builders of arrays."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Dtype:
    def __init__(self, code: str) -> None:
        self.code, self.order = code, "|"


class _Array:
    """An array whose values come later."""

    def __init__(self) -> None:
        self.values: NDArray[Any] | None = None


def load_plain(file: Path) -> dict[str, Any]:
    """The dict that a pickle holds; arrays among its values are numpy arrays, and text of Python 2 is read as Latin-1.

    Raises:
        DataError: the file is damaged, too large or no pickle of a dict, or asks for more than numbers and text.
    """
    try:
        with file.open("rb") as opened:
            if file.stat().st_size > _MOST_BYTES:
                raise DataError(
                    f"{file} has more than {_MOST_BYTES:,} bytes; pickles are read whole, so store it otherwise"
                )
            with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
                found = _run(data)
    except _Unknown as error:
        raise DataError(
            f"{file} holds more than numbers and text ({error}), and a pickle can run anything; get it anew from its "
            "authors"
        ) from error
    except (OSError, ValueError, IndexError, TypeError, KeyError, AttributeError, OverflowError, MemoryError) as error:
        raise DataError(f"{file} is not a readable pickle ({error}); copy or download it again") from error
    if not isinstance(found, dict):
        raise DataError(f"{file} holds no dict of arrays and lists; get it anew from its authors")
    return {_text(key): value.values if isinstance(value, _Array) else value for key, value in found.items()}


def _text(key: str | bytes | int) -> str:
    return key.decode("latin-1") if isinstance(key, bytes) else str(key)


def _run(data: mmap.mmap) -> Any:
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    argument: Any
    for opcode, argument, _ in pickletools.genops(cast(IO[bytes], data)):
        name = opcode.name
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("PROTO", "FRAME"):
            continue
        elif name == "MARK":
            marks.append(len(stack))
        elif name in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE"):
            stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[name]())
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in _TUPLES:
            items = tuple(stack[-_TUPLES[name] :])
            del stack[-_TUPLES[name] :]
            stack.append(items)
        elif name == "TUPLE":
            stack.append(tuple(since_mark()))
        elif name in ("APPEND", "APPENDS"):
            values = since_mark() if name == "APPENDS" else [stack.pop()]
            _of(list, stack[-1]).extend(values)
        elif name in ("SETITEM", "SETITEMS"):
            values = since_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            _fill(_of(dict, stack[-1]), values)
        elif name == "GLOBAL":
            stack.append(_named(argument))
        elif name == "STACK_GLOBAL":
            last, module = stack.pop(), stack.pop()
            stack.append(_named(f"{module} {last}" if isinstance(module, str) and isinstance(last, str) else name))
        elif name == "REDUCE":
            arguments = stack.pop()
            stack.append(_made(_of(_Global, stack.pop()).name, _of(tuple, arguments)))
        elif name == "BUILD":
            state = stack.pop()
            _complete(stack[-1], _of(tuple, state))
        elif name == "STOP":
            return stack.pop()
        else:
            raise _Unknown(name)
    raise ValueError("it ends early")


def _of(kind: type | tuple[type, ...], value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"a {type(value).__name__.strip('_')} in the wrong place")
    return value


def _fill(target: dict[Any, Any], values: list[Any]) -> None:
    for key, value in zip(values[::2], values[1::2], strict=True):
        if not isinstance(key, str | bytes | int):
            raise ValueError(f"a key of type {type(key).__name__.strip('_')}")
        target[key] = value


def _named(name: str) -> _Global:
    if name not in _KNOWN:
        raise _Unknown(name)
    return _Global(name)


def _made(name: str, arguments: tuple[Any, ...]) -> Any:
    if name in _RECONSTRUCT:
        return _Array()
    if name in _FROM_BUFFER:
        buffer, dtype, shape, order = arguments
        array = _Array()
        array.values = _values(buffer, dtype, shape, order)
        return array
    if name == _ENCODE and len(arguments) == 2 and arguments[1] == "latin1":
        return _of(str, arguments[0]).encode("latin-1")
    if name == _DTYPE and isinstance(arguments[0], str) and _CODE.fullmatch(arguments[0]):
        return _Dtype(arguments[0])
    raise _Unknown(name)


def _complete(target: Any, state: tuple[Any, ...]) -> None:
    if isinstance(target, _Dtype):
        target.order = _of(str, state[1])
        return
    _, shape, dtype, fortran, data = state
    _of(_Array, target).values = _values(data, dtype, shape, "F" if fortran else "C")


def _values(data: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    raw = data.encode("latin-1") if isinstance(data, str) else bytes(_of((bytes, bytearray), data))
    kind = np.dtype(_of(_Dtype, dtype).code)
    if dtype.order in ("<", ">"):
        kind = kind.newbyteorder(dtype.order)
    return np.frombuffer(raw, kind).reshape(_of(tuple, shape), order="F" if order == "F" else "C")
