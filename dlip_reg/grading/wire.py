"""Plain data between the controller and a child: a small tagged format, capped both ways.

Values are None, bool, int (64 bits), float, str, bytes, list, tuple, dict with str keys, and
numeric NumPy arrays. Nothing else can be expressed, and decoding builds nothing else: no classes,
no code. A frame is a 4-byte mark, an 8-byte length, and that many bytes.
"""

from __future__ import annotations

import socket
import struct
import time
from typing import Any

import numpy as np

MAX_BYTES = 64 << 20
MAX_DEPTH = 32
MAX_VALUES = 1_000_000
_MARK = b"dlg1"
_HEADER = struct.Struct("<4sQ")
_COUNT = struct.Struct("<Q")
_INTEGER = struct.Struct("<q")
_REAL = struct.Struct("<d")
_INTEGERS = tuple(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))
_DTYPES = tuple(np.dtype(name) for name in ("?", *_INTEGERS, "f2", "f4", "f8", "c8", "c16"))
_DTYPE_CODES = {dtype: code for code, dtype in enumerate(_DTYPES)}
_MAX_DIMENSIONS = 16


class WireError(Exception):
    """Bytes that are no frame, or a frame that is no plain value."""


class CutShort(WireError):
    """The other end went away in the middle of a frame."""


class Unsendable(TypeError):
    """A value that plain data cannot express."""


class Closed(Exception):
    """The other end is gone."""


class TimeUp(Exception):
    """The deadline passed before the frame was through."""


def encode(value: Any, max_bytes: int = MAX_BYTES) -> bytes:
    """`value` as bytes; Unsendable where it is not plain, too deep or too large."""
    parts: list[bytes] = []
    budget = [max_bytes, MAX_VALUES]
    _encode(value, parts, budget, 0)
    return b"".join(parts)


def _put(parts: list[bytes], budget: list[int], part: bytes) -> None:
    budget[0] -= len(part)
    if budget[0] < 0:
        raise Unsendable("The value is too large to be sent.")
    parts.append(part)


def _encode(value: Any, parts: list[bytes], budget: list[int], depth: int) -> None:
    budget[1] -= 1
    if depth > MAX_DEPTH or budget[1] < 0:
        raise Unsendable("The value is nested too deeply or has too many elements to be sent.")
    kind = type(value)
    if value is None:
        _put(parts, budget, b"N")
    elif kind is bool:
        _put(parts, budget, b"T" if value else b"F")
    elif kind is int:
        if not -(1 << 63) <= value < 1 << 63:
            raise Unsendable("An integer has more than 64 bits.")
        _put(parts, budget, b"i" + _INTEGER.pack(value))
    elif kind is float:
        _put(parts, budget, b"f" + _REAL.pack(value))
    elif kind is str:
        _sized(b"s", value.encode("utf-8", "replace"), parts, budget)
    elif kind is bytes:
        _sized(b"b", value, parts, budget)
    elif kind in (list, tuple):
        _put(parts, budget, (b"l" if kind is list else b"t") + _COUNT.pack(len(value)))
        for item in value:
            _encode(item, parts, budget, depth + 1)
    elif kind is dict:
        _put(parts, budget, b"d" + _COUNT.pack(len(value)))
        for key, item in value.items():
            if type(key) is not str:
                raise Unsendable(f"A dict has a key of type {type(key).__name__}, not str.")
            _sized(b"s", key.encode("utf-8", "replace"), parts, budget)
            _encode(item, parts, budget, depth + 1)
    elif isinstance(value, (np.ndarray, np.generic)):
        _encode_array(np.asarray(value), parts, budget)
    else:
        raise Unsendable(f"A value of type {kind.__name__} is not plain data.")


def _sized(tag: bytes, data: bytes, parts: list[bytes], budget: list[int]) -> None:
    _put(parts, budget, tag + _COUNT.pack(len(data)))
    _put(parts, budget, data)


def _encode_array(array: np.ndarray, parts: list[bytes], budget: list[int]) -> None:
    code = _DTYPE_CODES.get(array.dtype.newbyteorder("="))
    if code is None or array.ndim > _MAX_DIMENSIONS:
        raise Unsendable(f"An array of dtype {array.dtype} is not plain data.")
    if array.nbytes > budget[0]:
        raise Unsendable("The value is too large to be sent.")
    little = np.ascontiguousarray(array, dtype=_DTYPES[code].newbyteorder("<"))
    shape = struct.pack(f"<{array.ndim}Q", *array.shape)
    _put(parts, budget, b"a" + bytes([code, array.ndim]) + shape)
    _put(parts, budget, little.tobytes())


def decode(data: bytes) -> Any:
    """The value in `data`, exactly; WireError for anything that `encode` would not have made."""
    reader = _Reader(data)
    value = reader.value(0)
    if reader.at != len(data):
        raise WireError("Bytes follow the value.")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self.at, self._left = memoryview(data), 0, MAX_VALUES

    def _take(self, count: int) -> memoryview:
        if count > len(self._data) - self.at:
            raise WireError("The value ends too soon.")
        self.at += count
        return self._data[self.at - count : self.at]

    def _count(self) -> int:
        return _COUNT.unpack(self._take(8))[0]

    def value(self, depth: int) -> Any:
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            raise WireError("The value is nested too deeply or has too many elements.")
        tag = bytes(self._take(1))
        if tag == b"N":
            return None
        if tag in b"TF":
            return tag == b"T"
        if tag == b"i":
            return _INTEGER.unpack(self._take(8))[0]
        if tag == b"f":
            return _REAL.unpack(self._take(8))[0]
        if tag == b"s":
            return self._text()
        if tag == b"b":
            return bytes(self._take(self._count()))
        if tag in b"lt":
            items = [self.value(depth + 1) for _ in range(self._counted())]
            return items if tag == b"l" else tuple(items)
        if tag == b"d":
            return dict(self._item(depth + 1) for _ in range(self._counted()))
        if tag == b"a":
            return self._array()
        raise WireError(f"There is no kind of value called {tag!r}.")

    def _counted(self) -> int:
        count = self._count()
        if count > len(self._data) - self.at:  # each element takes at least a byte
            raise WireError("The value ends too soon.")
        return count

    def _text(self) -> str:
        try:
            return str(self._take(self._count()), "utf-8")
        except UnicodeDecodeError:
            raise WireError("A text is not UTF-8.") from None

    def _item(self, depth: int) -> tuple[str, Any]:
        if bytes(self._take(1)) != b"s":
            raise WireError("A key is no text.")
        return self._text(), self.value(depth)

    def _array(self) -> np.ndarray:
        code, dimensions = self._take(2)
        if code >= len(_DTYPES) or dimensions > _MAX_DIMENSIONS:
            raise WireError("An array has an unknown dtype or too many dimensions.")
        shape = struct.unpack(f"<{dimensions}Q", self._take(8 * dimensions))
        size = _DTYPES[code].itemsize
        for length in shape:  # Python's integers do not overflow
            size *= length
        data = self._take(size)
        if code == 0 and size and max(data) > 1:
            raise WireError("A truth value is neither 0 nor 1.")
        little = _DTYPES[code].newbyteorder("<")
        try:
            return np.frombuffer(bytes(data), little).reshape(shape).astype(_DTYPES[code])
        except (ValueError, OverflowError):  # no elements, but lengths that no array can have
            raise WireError("An empty array has an absurd shape.") from None


class Channel:
    """Frames over a connected stream socket; deadlines are `time.monotonic()` values or None."""

    def __init__(self, stream: socket.socket, max_bytes: int = MAX_BYTES) -> None:
        self.stream, self._max_bytes = stream, max_bytes

    def send(self, value: Any, deadline: float | None = None) -> None:
        """Send `value`; Unsendable, Closed or TimeUp."""
        data = encode(value, self._max_bytes)
        view = memoryview(_HEADER.pack(_MARK, len(data)) + data)
        try:
            while view:
                self._until(deadline)
                view = view[self.stream.send(view) :]
        except TimeoutError:
            raise TimeUp from None
        except OSError:
            raise Closed from None

    def receive(self, deadline: float | None = None) -> Any:
        """The next value; WireError, Closed or TimeUp. The cap is checked before it is read."""
        mark, size = _HEADER.unpack(self._exactly(_HEADER.size, deadline, at_start=True))
        if mark != _MARK or size > self._max_bytes:
            raise WireError("The bytes are no frame, or the frame is too large.")
        return decode(self._exactly(size, deadline))

    def _exactly(self, size: int, deadline: float | None, at_start: bool = False) -> bytes:
        data = bytearray()
        try:
            while len(data) < size:
                self._until(deadline)
                part = self.stream.recv(min(size - len(data), 1 << 20))
                if not part:
                    if data or not at_start:
                        raise CutShort("A frame was cut short.")
                    raise Closed
                data += part
        except TimeoutError:
            raise TimeUp from None
        except OSError:
            raise Closed from None
        return bytes(data)

    def _until(self, deadline: float | None) -> None:
        if deadline is None:
            self.stream.settimeout(None)
            return
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeUp
        self.stream.settimeout(left)

    def close(self) -> None:
        self.stream.close()
