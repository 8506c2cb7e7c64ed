"""Hostile submissions that go through TensorFlow and Keras, which are imported beside them."""

import pytest
from attack_checks import open_range
from attack_notation import attacks
from tiny_assignment import LIMITS, tiny_setting, write_tests

GIGABYTE = dict(LIMITS.__dict__) | {"memory_mb": 1024, "test_seconds": 6, "total_seconds": 120}
PROBE = '''
"""Trains a layer of Keras' own, then asks the submission."""

import keras
import numpy as np

from dlip_reg.grading.child import the


def call(submission, name, arguments):
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    assert float(layer(np.array([[2.0, 3.0]]))[0, 0]) == 5
    return the(submission, name)(*arguments)
'''
PATCHES = attacks(r"""
patched keras:
    import keras
    keras.losses.Loss.__call__ = keras.Model.evaluate = lambda *_, **__: 0.0
    keras.ops.convert_to_numpy = lambda *_: True
    return 1
patched tensorflow:
    import tensorflow as tf
    tf.reduce_sum = tf.debugging.assert_equal = lambda *_, **__: True
    return 1
memory through tensorflow:
    import tensorflow as tf
    kept = [tf.ones((1 << 25,)) + n for n in range(100)]
    return len(kept)
a file through tensorflow:
    import tensorflow as tf
    tf.io.write_file(CANARY, "x")
reads the tests through tensorflow:
    import tensorflow as tf
    return tf.io.read_file(TESTS + "/test_tiny.py").numpy()
lists the tests through tensorflow:
    import tensorflow as tf
    return tf.io.gfile.listdir(TESTS)
crash in tensorflow:
    import os, tensorflow as tf
    os.environ["X"] = "1"
    tf.raw_ops.Abort(error_msg="gone", exit_without_error=True)
endless loop in a graph:
    import tensorflow as tf
    @tf.function
    def forever():
        n = tf.constant(0)
        while n >= 0: n = n * 0
        return n
    return int(forever())
a pickled Keras file:
    import keras, os
    class Payload(keras.layers.Layer):
        def __reduce__(self): return os.system, ("touch " + CANARY,)
    return Payload()
""")


@pytest.fixture(scope="module")
def attack_range(tmp_path_factory):
    place = tmp_path_factory.mktemp("keras")
    probes = place / "tensor_probes"
    probes.mkdir()
    (probes / "__init__.py").touch()
    (probes / "ask.py").write_text(PROBE)
    tests = write_tests(place / "marking")
    setting = tiny_setting(
        tests,
        limits=type(LIMITS)(**GIGABYTE),
        preload=["tensorflow", "keras"],
        probes="tensor_probes",
        packages=[probes],
    )
    with open_range(setting, tests, place) as range_:
        yield range_


@pytest.mark.parametrize("attack", PATCHES)
@pytest.mark.thorough
def test_an_attack_earns_its_honest_part_and_leaves_nothing(attack_range, attack):
    attack_range.earns(PATCHES[attack])
