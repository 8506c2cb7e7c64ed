"""What honest programs may do works in the sandbox."""

import sys

import pytest
from further_cases import thorough_after
from tiny_assignment import HERE, ask, loaded

from dlip_reg.grading.errors import StudentError
from dlip_reg.grading.limits import SandboxSetting
from dlip_reg.grading.sandbox import Sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="isolation needs Linux")

SOURCE = '''
import ctypes, fcntl, mmap, os, pathlib, shutil, sqlite3, sys, tempfile, threading, time
import asyncio, concurrent.futures, multiprocessing.dummy, subprocess

import keras
import numpy as np
import tensorflow as tf

libc = ctypes.CDLL(None)
def python_threads():
    threads = [threading.Thread(target=time.sleep, args=(0.1,)) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        squares = list(pool.map(lambda n: float(np.full((300, 300), n).trace()), range(20)))
    with multiprocessing.dummy.Pool(4) as pool, multiprocessing.Lock():
        return [sum(squares), sum(pool.map(abs, range(100)))]

def native_threads():
    """Joining them, and a semaphore of the kind that processes share."""
    thread, semaphore = ctypes.c_ulong(), ctypes.create_string_buffer(32)
    assert libc.sem_init(semaphore, 1, 0) == 0
    post = ctypes.cast(libc.sem_post, ctypes.c_void_p)
    assert libc.pthread_create(ctypes.byref(thread), None, post, semaphore) == 0
    assert libc.sem_wait(semaphore) == 0
    assert libc.pthread_join(thread, None) == 0
    wait = ctypes.cast(libc.usleep, ctypes.c_void_p)
    assert libc.pthread_create(ctypes.byref(thread), None, wait, ctypes.c_void_p(200_000)) == 0
    started = time.monotonic()
    assert libc.pthread_join(thread, None) == 0
    return time.monotonic() - started > 0.15

def pipelines():
    doubled = tf.data.Dataset.range(1000).map(lambda n: 2 * n, num_parallel_calls=8)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 4
    slowly = lambda n: tf.numpy_function(lambda m: (time.sleep(0.02), m)[1], [n], tf.int64)
    slow = tf.data.Dataset.range(9).interleave(
        lambda n: tf.data.Dataset.from_tensors(n).map(slowly), cycle_length=4, num_parallel_calls=4
    )
    kept = iter(slow.repeat().prefetch(2))
    next(kept)
    del kept  # while threads of it work
    sums = [sum(int(n) for n in data) for data in (doubled.with_options(options), slow)]
    return sums

class Batches(keras.utils.PyDataset):
    def __len__(self): return 10

    def __getitem__(self, at): return np.ones((8, 20), "f4"), np.zeros(8, "i4")

def training():
    model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(Batches(workers=3), epochs=1, verbose=0)
    model.save("model.keras"), model.save_weights("model.weights.h5")
    again = keras.models.load_model("model.keras")
    return float(np.abs(again.get_weights()[0] - model.get_weights()[0]).max())

def files():
    with tempfile.TemporaryDirectory() as place, open("data", "w+b") as file:
        file.write(bytes(range(256)))
        file.flush()
        assert os.preadv(file.fileno(), [bytearray(8)], 8) == 8
        assert mmap.mmap(file.fileno(), 256)[255] == 255
        assert np.memmap("data", "u1", "r")[9] == 9
        assert fcntl.fcntl(os.dup(file.fileno()), fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
        fcntl.flock(file, fcntl.LOCK_EX)
        os.set_inheritable(file.fileno(), True)
        shutil.copytree(".", place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("tmp"))
        with sqlite3.connect("base") as base:
            base.execute("create table t (n)"), base.execute("insert into t values (1)")
        assert sqlite3.connect("base").execute("select n from t").fetchall() == [(1,)]
        assert not os.isatty(1) and shutil.get_terminal_size()
        assert os.sched_getaffinity(0) and os.cpu_count() and os.getpid()
        os.sched_setaffinity(0, os.sched_getaffinity(0))
        return os.listdir(place) != []

def figure():
    import matplotlib
    matplotlib.use("TkAgg")
    import matplotlib.pyplot as plt
    plt.switch_backend("QtAgg"), plt.plot([1]), plt.show()
    return len(plt.gca().lines)

def clusters():
    from sklearn.cluster import KMeans
    points = np.array([[0.0], [1.0], [10.0], [11.0]])
    return KMeans(2, n_init=2, random_state=0).fit(points).inertia_

def event_loop(): asyncio.run(asyncio.sleep(0))
def program(): subprocess.run(["true"])


def disk(): shutil.disk_usage(".")
'''


@pytest.fixture(scope="module", params=thorough_after(1, ["strong", "medium"]))
def child(request):
    probes = {"probes": "tiny_probes", "packages": [HERE / "tiny_probes"]}
    with Sandbox(SandboxSetting(tier=request.param, **probes)) as sandbox:
        yield loaded(sandbox, SOURCE)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("python_threads", [300.0 * 190, 4950]),
        ("native_threads", True),
        ("pipelines", [999_000, 36]),
        ("training", 0.0),
        ("files", True),
        ("figure", 1),
        ("clusters", 1.0),
    ],
)
def test_honest_programs(child, name, expected):
    assert ask(child, name, seconds=60) == expected


@pytest.mark.parametrize("name", ["event_loop", "program", "disk"])
def test_what_is_refused_says_why(child, name):
    with pytest.raises(StudentError, match=r"no sockets .* processes, does not say how full"):
        ask(child, name)
