"""Plain data on the wire: everything comes back as it went, and nothing else can be said."""

import contextlib
import socket
import struct
import threading
import time
from collections import Counter, OrderedDict, namedtuple

import msgpack
import numpy as np
import pytest

from dlip_reg.grading import wire
from dlip_reg.grading.wire import Channel, UnsendableError, WireError, decode, encode

VALUES = [
    *(None, True, False, 0, -(1 << 63), (1 << 63) - 1, 0.1, float("inf"), "", "grüße 🎓\0"),
    *(b"\x00\xff", [], (), {}, [1, [2.0, ("x", None)], {"a": b"b", "": []}]),
    *(1 << 64, -(1 << 13_998), {1: 2, 0.5: 3, False: [4], -(1 << 63): 5}),
]
ARRAYS = [
    *(np.zeros((0, 3)), np.array(5, np.int8), np.arange(6, dtype=">i4").reshape(2, 3)),
    *(np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.array([True, False])),
    *(np.array([1 + 2j]), np.arange(10, dtype=np.float16)[::2]),
]
INT, TEXT = (type(kind.__name__, (kind,), {}) for kind in (int, str))
POINT = namedtuple("POINT", "x y")
TENSOR = type("Tensor", (), {"__array__": lambda *_, **__: np.array(2.0)})()
OF_OTHER_CLASSES = [
    *(
        (INT(1), 1),
        (INT(1 << 70), 1 << 70),
        (TEXT("x"), "x"),
        (np.str_("x"), "x"),
        (Counter("aba"), {"a": 2, "b": 1}),
    ),
    *((np.float32(1.5), 1.5), (np.float64(2), 2.0), (np.int8(3), 3), (np.bool_(True), True)),
    *((POINT(1, 2), (1, 2)), (np.array(["a"]), ["a"]), (np.array([1 << 70], object), [1 << 70])),
    *((OrderedDict({np.int64(1): np.int64(2)}), {1: 2}), (TENSOR, np.array(2.0))),
]
OTHERS = [
    *(object(), {(1, 2): 3}, {None: 1}, {1 << 64: 1}, {1}, 1 << 14_000, 1j, np.array([object()])),
    *(np.array([1], "datetime64[s]"), np.zeros(1, [("a", int)])),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_plain_values_come_back(value):
    got = decode(encode(value))
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(("value", "plain"), OF_OTHER_CLASSES)
def test_what_is_plain_by_another_class_becomes_plain(value, plain):
    got = decode(encode([value]))[0]
    assert got == plain
    assert type(got) is type(plain)
    if isinstance(value, np.generic):  # rng gives these
        assert decode(encode([value], exact=True)) == [plain]
    else:
        with pytest.raises(UnsendableError):
            encode([value], exact=True)


@pytest.mark.parametrize("array", ARRAYS, ids=repr)
def test_arrays_come_back(array):
    got = decode(encode({"array": array}))["array"]
    assert type(got) is np.ndarray
    assert (got.shape, got.dtype) == (array.shape, array.dtype.newbyteorder("="))
    np.testing.assert_array_equal(got, array)


def test_every_bit_of_a_float_comes_back():
    numbers = np.random.default_rng(0).integers(0, 1 << 64, 1000, np.uint64).view(np.float64)
    for number in numbers:
        assert struct.pack("<d", decode(encode(float(number)))) == struct.pack("<d", number)


@pytest.mark.parametrize("value", OTHERS, ids=lambda value: type(value).__name__)
def test_other_values_cannot_be_sent(value):
    with pytest.raises(UnsendableError):
        encode([value])


def test_a_lone_surrogate_becomes_a_question_mark():
    assert decode(encode("\ud800x")) == "?x"


COUNT = struct.Struct(">I").pack
NONE, LIST_OF_ONE, LONG_LIST, LONG_DICT = b"\xc0", b"\x91", b"\xdd", b"\xdf"


def nested(depth):
    return [nested(depth - 1)] if depth else 1


def test_depth_size_and_number_of_values_are_capped_on_both_sides():
    many, deep = [0] * (wire.MAX_VALUES - 1), nested(wire.MAX_DEPTH)
    assert (decode(encode(many)), decode(encode(deep))) == (many, deep)
    assert encode(b"x" * 98, max_bytes=100)
    for value, most in (([*many, 0], wire.MAX_BYTES), ([deep], wire.MAX_BYTES), (b"x" * 99, 100)):
        with pytest.raises(UnsendableError):
            encode(value, most)
    rows = LONG_LIST + COUNT(2_000) + (LONG_LIST + COUNT(1_000) + NONE * 1_000) * 2_000
    for data in (rows, LIST_OF_ONE * (wire.MAX_DEPTH + 1) + NONE):
        with pytest.raises(WireError, match="nested too deeply or has too many"):
            decode(data)


def extension(code, *items, data=b""):
    return msgpack.packb([msgpack.ExtType(code, data), *items])


def array(dtype, shape, data):
    return extension(2, dtype, shape, data)


BAD = {
    "nothing": b"",
    "unknown kind": b"\xc1",
    "cut integer": b"\xd3123",
    "more than a value": encode(1) + NONE,
    "text that is not UTF-8": b"\xa1\xff",
    "text longer than the frame": b"\xdb" + COUNT(1 << 31) + b"x",
    "list longer than the frame": LONG_LIST + COUNT(1 << 31),
    "dict longer than the frame": LONG_DICT + COUNT(1 << 31),
    "dict with a key that is not text": b"\x81" + NONE + NONE,
    "dict with a key that is a list": b"\x81" + LIST_OF_ONE + NONE + NONE,
    "unknown extension": extension(7, 1),
    "tuple that is not a list": msgpack.packb(wire._TUPLE),
    "tuple that is not the first": msgpack.packb([None, wire._TUPLE]),
    "tuple with data": extension(1, data=NONE),
    "time stamp": msgpack.packb(msgpack.Timestamp(1, 0)),
    "integer that is not bytes": extension(3, 1),
    "integer of too many bytes": extension(3, bytes(2_000)),
    "array without data": extension(2, 1, [1]),
    "array of unknown dtype": array(200, [1], b"x"),
    "array of negative dtype": array(-1, [1], bytes(16)),
    "array with too many dimensions": array(1, [1] * 40, b"x"),
    "array larger than the frame": array(11, [1 << 40, 1 << 40], b""),
    "array whose size overflows": array(11, [1 << 32] * 4, b""),
    "array of negative length": array(11, [-1], bytes(8)),
    "array of a fraction's length": array(11, [1.0], bytes(8)),
    "array that leaves bytes over": array(11, [1], bytes(9)),
    "empty array of absurd shape": array(11, [0, 1 << 63], b""),
    "truth value of 2": array(0, [1], b"\x02"),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_what_no_encoder_says_is_refused(data):
    with pytest.raises(WireError):
        decode(data)


def test_random_bytes_never_raise_anything_else():
    rng = np.random.default_rng(0)
    good = encode({"a": [1, 2.0, "x"], "b": np.arange(4), "c": (None, b"y")})
    for _ in range(5_000):
        data = bytearray(good)
        for at in rng.integers(0, len(data), 3):
            data[at] = rng.integers(256)
        with contextlib.suppress(WireError):
            decode(bytes(data))


@pytest.fixture
def line():
    """Two connected ends: a channel, and the bare socket that a peer holds."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours, max_bytes=1000), theirs


def soon():
    return time.monotonic() + 0.2


def frame(value):
    data = encode(value)
    return struct.pack("<Q", len(data)) + data


@pytest.mark.parametrize(
    ("said", "closes", "error"),
    [
        (b"x", True, ConnectionError),
        (struct.pack("<Q", 9) + b"half", True, ConnectionError),
        (b"", True, OSError),
        (b"", False, TimeoutError),
        (struct.pack("<Q", 1 << 60), False, WireError),  # the cap is checked before it is read
        (b"GET / HTTP/1.1\r\n\r\n", False, WireError),
    ],
)
def test_what_is_no_frame_ends_at_the_deadline(line, said, closes, error):
    channel, peer = line
    peer.sendall(said)
    if closes:
        peer.close()
    with pytest.raises(error):
        channel.receive(soon())


def test_a_closed_line_takes_nothing(line):
    channel, peer = line
    peer.close()
    with pytest.raises(OSError):
        channel.send(b"x" * 900, soon())
        channel.send(b"x" * 900, soon())


def test_a_peer_that_does_not_read_cannot_hold_the_sender(line):
    channel, _ = line
    with pytest.raises(TimeoutError):
        for _ in range(10_000):
            channel.send(b"x" * 900, soon())


def test_a_frame_in_pieces_and_a_deadline_in_the_middle_lose_nothing(line):
    channel, peer = line
    whole = frame(["late"])
    for piece in (whole[:3], whole[3:10]):
        peer.sendall(piece)
        with pytest.raises(TimeoutError):
            channel.receive(soon())
    pieces = [whole[at : at + 1] for at in range(10, len(whole))]
    threading.Thread(target=lambda: [peer.sendall(piece) for piece in pieces]).start()
    assert channel.receive(time.monotonic() + 30) == ["late"]


def test_what_is_queued_is_sent_before_the_answer_is_awaited():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel, peer = Channel(ours), Channel(theirs)
        channel.queue(b"x" * 10_000_000)
        with pytest.raises(TimeoutError):
            channel.receive(soon())
        got = []
        thread = threading.Thread(target=lambda: (got.append(peer.receive()), peer.send("read")))
        thread.start()
        assert channel.receive(time.monotonic() + 30) == "read"
        thread.join()
    assert got == [b"x" * 10_000_000]
