"""Plain data between the controller and a child: MessagePack with strict limits, both ways.

Values are None, bool, int, float, str, bytes, list, tuple, dict with text or numbers as keys, and
numeric NumPy arrays. Nothing else can be expressed, and decoding builds nothing else: no classes,
no code. A frame is an 8-byte length and that many bytes.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np

from dlip_reg.errors import DlipRegError

MAX_BYTES = 64 << 20
MAX_DEPTH = 32
MAX_VALUES = 1_000_000
_LENGTH = struct.Struct("<Q")
# Stand first in a list that is a tuple or an array: MessagePack's extension types, with nothing in
# them. What is in one would be copied to be read, and at every depth once more.
_TUPLE, _ARRAY, _INTEGER = (msgpack.ExtType(code, b"") for code in (1, 2, 3))
_MAX_INTEGER = 1_750  # bytes: Python writes no more than 4,300 digits
_KEYS = (str, int, float, bool)
# What else is one of these becomes it, as its class has it and not as its own methods say.
_PLAIN: dict[type, Callable[[Any], Any]] = {
    **{str: str.__str__, int: int.__int__, float: float.__float__, bytes: bytes},
    **{tuple: tuple, list: list, dict: dict},
}
_INTEGERS = [f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)]
_DTYPES = [np.dtype(name) for name in ("?", *_INTEGERS, "f2", "f4", "f8", "c8", "c16")]
_MAX_DIMENSIONS = 16


class WireError(DlipRegError):
    """Bytes that are not a frame, or a frame that is not a plain value."""


class UnsendableError(DlipRegError, TypeError):
    """A value that plain data cannot express, or that is too deep or too large."""


def encode(value: Any, max_bytes: int = MAX_BYTES, exact: bool = False) -> bytes:
    """Return `value` as bytes; UnsendableError if it is not plain, too deep or too large.

    With `exact` it comes back as it is, but for NumPy's own numbers and texts; else what is plain
    by another class, such as a Counter, a tensor or an array of texts, becomes plain.
    """
    try:
        data = _packed(value, _extension if exact else _made_plain)
        if len(data) <= max_bytes:
            decode(data)  # refuses what the other end would refuse
            return data
    except (ValueError, OverflowError, WireError) as error:
        raise UnsendableError(str(error)) from None
    raise UnsendableError("The value is too large to be sent.")


def _packed(value: Any, default: Callable[[Any], Any]) -> bytes:
    options = {"default": default, "strict_types": True, "unicode_errors": "replace"}
    packed: bytes = msgpack.packb(value, **options)
    return packed


def _made_plain(value: Any) -> Any:
    for kind, plain in _PLAIN.items():
        if isinstance(value, kind):
            value = plain(value)
    if hasattr(value, "__array__") and not isinstance(value, np.generic):
        value = np.asarray(value)
        if value.dtype.kind in "OU":  # a table's column of text, or integers of any size
            return value.tolist()
    return _extension(value)


def _extension(value: Any) -> Any:
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        return float(value) if value.dtype.kind == "f" else value.item()
    if type(value) is tuple:
        return [_TUPLE, *value]
    if type(value) is int and not -(1 << 63) <= value < 1 << 64:
        size = value.bit_length() // 8 + 1
        if size > _MAX_INTEGER:
            raise UnsendableError("An integer has more than 4,200 digits.")
        return [_INTEGER, value.to_bytes(size, "little", signed=True)]
    if type(value) in _PLAIN:
        return value
    if not isinstance(value, np.ndarray | np.generic):
        raise UnsendableError(f"A value of type {type(value).__name__} is not plain data.")
    array = np.asarray(value)
    dtype = array.dtype.newbyteorder("=")
    if dtype not in _DTYPES:
        raise UnsendableError(f"An array of dtype {array.dtype} is not plain data.")
    data = array.astype(dtype.newbyteorder("<")).tobytes()
    return [_ARRAY, _DTYPES.index(dtype), list(array.shape), data]


def decode(data: bytes) -> Any:
    """Return the value in `data`; WireError for anything that `encode` would not have made."""
    # Lists and dicts are read item by item, and each value in them is counted before it is made.
    only_scalars = {"max_array_len": 0, "max_map_len": 0, "max_ext_len": 0}
    unpacker = msgpack.Unpacker(max_buffer_size=len(data), **only_scalars)
    unpacker.feed(data)
    budget = iter(range(MAX_VALUES))

    def value(depth: int) -> Any:
        if depth > MAX_DEPTH or next(budget, None) is None:
            raise WireError("The value is nested too deeply or has too many elements.")
        first = data[unpacker.tell()]
        if 0x90 <= first <= 0x9F or first in (0xDC, 0xDD):
            return listed(unpacker.read_array_header(), depth + 1)
        if 0x80 <= first <= 0x8F or first in (0xDE, 0xDF):
            return dict(item(depth + 1) for _ in range(unpacker.read_map_header()))
        read = unpacker.unpack()
        if type(read) is msgpack.ExtType:
            raise WireError("An extension is not the first of a list.")
        return read

    def listed(count: int, depth: int) -> Any:
        made = _MADE.get(data[unpacker.tell() : unpacker.tell() + _MARK_BYTES]) if count else None
        if made is None:
            return [value(depth) for _ in range(count)]
        unpacker.skip()
        return made([value(depth) for _ in range(count - 1)])

    def item(depth: int) -> tuple[Any, Any]:
        try:
            key = unpacker.unpack()
        except ValueError:  # a list, a tuple or a dict
            key = None
        if type(key) not in _KEYS:
            raise WireError("A key of a dict is neither text nor a number.")
        return key, value(depth)

    try:
        whole = value(0)
    except (ValueError, OverflowError, IndexError, msgpack.UnpackException) as error:
        raise WireError(f"The bytes are not a plain value: {error}") from None
    if unpacker.tell() != len(data):
        raise WireError("Bytes follow the value.")
    return whole


def _array(items: list[Any]) -> np.ndarray:
    match items:
        case [int(number), [*shape], bytes(raw)] if 0 <= number < len(_DTYPES):
            lengths = all(type(length) is int and length >= 0 for length in shape)
        case _:
            raise WireError("An array is not its dtype's number, its shape and its bytes.")
    if len(shape) > _MAX_DIMENSIONS or not lengths:
        raise WireError("An array has an impossible shape.")
    if number == 0 and raw and max(raw) > 1:
        raise WireError("A truth value is neither 0 nor 1.")
    dtype = _DTYPES[number]
    return np.frombuffer(raw, dtype.newbyteorder("<")).reshape(shape).astype(dtype)


def _integer(items: list[Any]) -> int:
    match items:
        case [bytes(raw)] if len(raw) <= _MAX_INTEGER:
            return int.from_bytes(raw, "little", signed=True)
    raise WireError("An integer is not its bytes.")


_MADE: dict[bytes, Callable[[list[Any]], Any]] = {
    msgpack.packb(_TUPLE): tuple,
    msgpack.packb(_ARRAY): _array,
    msgpack.packb(_INTEGER): _integer,
}
_MARK_BYTES = 3


class Channel:
    """Frames over a connected stream socket.

    Deadlines are `time.monotonic()` values or None. All methods raise TimeoutError when the
    deadline passes, and OSError when the other end is gone.
    """

    def __init__(self, stream: socket.socket, max_bytes: int = MAX_BYTES) -> None:
        self.stream, self._max_bytes = stream, max_bytes
        self._queued, self._received = memoryview(b""), bytearray()

    def queue(self, value: Any, exact: bool = False) -> None:
        """Have the next `receive` send `value` first; UnsendableError as `encode` raises it."""
        data = encode(value, self._max_bytes, exact)
        self._queued = memoryview(_LENGTH.pack(len(data)) + data)

    def send(self, value: Any, deadline: float | None = None) -> None:
        """Send `value`; UnsendableError if it is not plain."""
        self.queue(value)
        self._flush(deadline)

    def receive(self, deadline: float | None = None) -> Any:
        """Return the next value; WireError if it is none. The cap is checked before it is read.

        After a TimeoutError the next call goes on with what has been sent and has arrived.
        """
        self._flush(deadline)
        self._fill(_LENGTH.size, deadline)
        (size,) = _LENGTH.unpack_from(self._received)
        if size > self._max_bytes:
            raise WireError("The bytes are not a frame, or the frame is too large.")
        self._fill(_LENGTH.size + size, deadline)
        data = bytes(self._received[_LENGTH.size :])
        self._received.clear()
        return decode(data)

    def _flush(self, deadline: float | None) -> None:
        while self._queued:
            self._set_timeout(deadline)
            self._queued = self._queued[self.stream.send(self._queued) :]

    def _fill(self, size: int, deadline: float | None) -> None:
        while len(self._received) < size:
            self._set_timeout(deadline)
            part = self.stream.recv(min(size - len(self._received), 1 << 20))
            if not part:
                raise ConnectionError("The other end is gone.")
            self._received += part

    def _set_timeout(self, deadline: float | None) -> None:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError("The deadline has passed.")
        self.stream.settimeout(left)

    def close(self) -> None:
        """Close this end."""
        self.stream.close()
