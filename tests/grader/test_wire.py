"""Plain data on the wire: everything comes back as it went, and nothing else can be said."""

import contextlib
import socket
import struct
import threading
import time

import numpy as np
import pytest

from dlip_reg.grading.wire import (
    MAX_DEPTH,
    Channel,
    Closed,
    CutShort,
    TimeUp,
    Unsendable,
    WireError,
    decode,
    encode,
)

VALUES = [
    None,
    True,
    False,
    0,
    -(1 << 63),
    (1 << 63) - 1,
    0.1,
    float("inf"),
    "",
    "grüße 🎓\0",
    b"\x00\xff",
    [],
    (),
    {},
    [1, [2.0, ("x", None)], {"a": b"b", "": []}],
]
ARRAYS = [
    np.zeros((0, 3)),
    np.array(5, np.int8),
    np.arange(6, dtype=">i4").reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array([True, False]),
    np.array([1 + 2j]),
    np.arange(10, dtype=np.float16)[::2],
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_plain_values_come_back(value):
    got = decode(encode(value))
    assert got == value
    assert type(got) is type(value)


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


def test_numpy_scalars_arrive_as_arrays_without_dimensions():
    got = decode(encode(np.float32(1.5)))
    assert (got.shape, got.dtype, float(got)) == ((), np.float32, 1.5)


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1: 2},
        {1},
        1 << 64,
        1j,
        np.array([object()]),
        np.array(["text"]),
        np.array([1], "datetime64[s]"),
        np.zeros(1, [("a", int)]),
        type("Int", (int,), {})(1),
        type("Text", (str,), {})("x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_values_cannot_be_sent(value):
    with pytest.raises(Unsendable):
        encode([value])


def test_a_lone_surrogate_becomes_a_question_mark():
    assert decode(encode("\ud800x")) == "?x"


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


def test_depth_is_capped_on_both_sides():
    assert decode(encode(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    with pytest.raises(Unsendable):
        encode(nested(MAX_DEPTH + 1))
    one_deeper = (b"l" + struct.pack("<Q", 1)) * (MAX_DEPTH + 1) + b"N"
    with pytest.raises(WireError):
        decode(one_deeper)


def test_size_is_capped():
    assert encode(b"x" * 91, max_bytes=100)
    with pytest.raises(Unsendable):
        encode(b"x" * 92, max_bytes=100)


COUNT = struct.Struct("<Q").pack
BAD = {
    "nothing": b"",
    "unknown kind": b"p",
    "cut integer": b"i123",
    "more than a value": encode(1) + b"N",
    "text that is not UTF-8": b"s" + COUNT(1) + b"\xff",
    "text longer than the frame": b"s" + COUNT(1 << 60) + b"x",
    "list longer than the frame": b"l" + COUNT(1 << 60),
    "dict with a key that is no text": b"d" + COUNT(1) + b"NN",
    "array of unknown dtype": b"a" + bytes([200, 0]),
    "array with too many dimensions": b"a" + bytes([1, 255]),
    "array larger than the frame": b"a" + bytes([12, 2]) + COUNT(1 << 40) * 2,
    "array whose size overflows": b"a" + bytes([12, 4]) + COUNT(1 << 32) * 4,
    "empty array of absurd shape": b"a" + bytes([12, 2]) + COUNT(0) + COUNT(1 << 63),
    "truth value of 2": b"a" + bytes([0, 1]) + COUNT(1) + b"\x02",
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


def test_a_frame_over_the_cap_is_refused_before_it_is_read(line):
    channel, peer = line
    peer.sendall(struct.pack("<4sQ", b"dlg1", 1 << 60))
    with pytest.raises(WireError, match="too large"):
        channel.receive(soon())


@pytest.mark.parametrize("said", [b"x", struct.pack("<4sQ", b"dlg1", 9) + b"half"])
def test_a_frame_that_is_cut_short(line, said):
    channel, peer = line
    peer.sendall(said)
    peer.close()
    with pytest.raises(CutShort):
        channel.receive(soon())


def test_garbage_is_no_frame(line):
    channel, peer = line
    peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(WireError):
        channel.receive(soon())


def test_a_closed_line(line):
    channel, peer = line
    peer.close()
    with pytest.raises(Closed):
        channel.receive(soon())
    with pytest.raises(Closed):
        channel.send(b"x" * 900, soon())
        channel.send(b"x" * 900, soon())


def test_silence_ends_at_the_deadline(line):
    channel, _ = line
    with pytest.raises(TimeUp):
        channel.receive(soon())


def test_a_peer_that_does_not_read_cannot_hold_the_sender(line):
    channel, _ = line
    with pytest.raises(TimeUp):
        for _ in range(10_000):
            channel.send(b"x" * 900, soon())


def test_a_frame_in_many_pieces(line):
    channel, peer = line
    data = encode(["pieces"])
    whole = struct.pack("<4sQ", b"dlg1", len(data)) + data

    def trickle():
        for at in range(len(whole)):
            peer.sendall(whole[at : at + 1])

    thread = threading.Thread(target=trickle)
    thread.start()
    assert channel.receive(time.monotonic() + 30) == ["pieces"]
    thread.join()
