"""Make this process a worker: one thread of the processor, deterministic operations, quiet.

Two processes of one thread each do about 1.7 times the work of one process with two threads on
nets of the labs' size, and one thread makes the order of every sum, and so every bit of a record,
the same on any number of workers.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path, PurePosixPath

from dlip_reg.errors import DlipRegError
from dlip_reg.streams import open_standard_streams

# Libraries read these when they are loaded: NumPy's may be, by then, in a process that was not
# started with them, and the last digits of its sums depend on the number of threads.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
# TensorFlow reads these when it starts: workers import the script that is run, and one that uses
# TensorFlow starts it before they can set anything.
TENSORFLOW_THREADS = dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
# Unless it is set: less of what TensorFlow logs when it is loaded.
QUIET = ("TF_CPP_MIN_LOG_LEVEL", "3")
# Records depend neither on a user's environment nor on a keras.json.
KERAS_BACKEND = {"KERAS_BACKEND": "tensorflow"}
# Each changes what is computed, if only its last digits. Many set the third to silence a message.
UNSET = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "TF_ENABLE_ONEDNN_OPTS", "TF_XLA_FLAGS")
# Set to 1, it has workers use oneDNN, which TensorFlow itself leaves out on Linux on processors
# without VNNI instructions. LeNet-5 then trains about twice as fast. By default they do as
# TensorFlow does: there, oneDNN in TensorFlow 2.21 writes beyond its memory for the gradient of 1x1
# convolutions with strides on few channels.
ONEDNN = "DLIP_REG_ONEDNN"
# Set to 1, it lets workers use the machine's GPUs.
GPUS = "DLIP_REG_GPUS"
SYSTEM = Path("/")  # where Linux says what a container or a job of a cluster may use
_RESERVED = 2**30  # bytes of memory that are left to everything else
_redirection = threading.Lock()  # of stderr: one thread at a time


class SettingError(DlipRegError, ValueError):
    """An environment variable of this package has a value that it does not accept."""


@functools.cache
def configure_process() -> None:
    """Import TensorFlow with one thread and deterministic operations (once a process).

    Raises RuntimeError where TensorFlow already runs in this process with other settings.
    """
    os.environ.update(ONE_THREAD)
    _import_tensorflow(threads=1, repeatable=True)


@functools.cache
def configure_at_full_speed(threads: int = 0) -> None:
    """Import TensorFlow as it is by itself, to measure how fast the processor can be.

    Args:
        threads: With how many threads; 0 is one for each core.
    """
    _import_tensorflow(threads)


def onednn_setting() -> dict[str, str]:
    """The environment by which TensorFlow uses oneDNN if that is asked for.

    Raises SettingError where `ONEDNN` is set to another value than 0 or 1.
    """
    return {"TF_ENABLE_ONEDNN_OPTS": "1"} if _is_on(ONEDNN) else {}


def _is_on(name: str) -> bool:
    value = os.environ.get(name) or "0"
    if value not in ("0", "1"):
        raise SettingError(f"{name} must be 0 or 1 in the environment, not {value!r}.")
    return value == "1"


def usable_cores() -> int:
    """The number of cores this process may use; in a container it can be below the machine's."""
    from joblib import cpu_count  # of an extra; it knows the quotas of containers

    return int(cpu_count())


def usable_memory() -> int:
    """The bytes of memory this process may use; in a container it can be below the machine's."""
    import psutil  # of an extra; it does not know the limits of containers

    return min([psutil.virtual_memory().total, *_memory_limits()])


def _memory_limits() -> Iterator[int]:
    """The limits of the control groups that this process is in, and of those around them."""
    groups = SYSTEM / "proc/self/cgroup"
    for line in groups.read_text().splitlines() if groups.is_file() else ():
        _, controllers, group = line.split(":", 2)  # version 2 names no controllers
        if controllers in ("", "memory"):
            name = "memory.limit_in_bytes" if controllers else "memory.max"
            # In a container the names of the outer groups may be shown, but not their folders.
            for part in (PurePosixPath(group[1:]), *PurePosixPath(group[1:]).parents):
                file = SYSTEM / "sys/fs/cgroup" / controllers / part / name
                if file.is_file() and (limit := file.read_text().strip()).isdecimal():  # or "max"
                    yield int(limit)


def default_workers(memory: int = 3 * 2**29) -> int:
    """One for each core that this process may use, or fewer where memory is scarce.

    Args:
        memory: The bytes that one may need; those of the labs have taken up to 1.1 GB.
    """
    return max(1, min(usable_cores(), (usable_memory() - _RESERVED) // memory))


def _import_tensorflow(threads: int, repeatable: bool = False) -> None:
    os.environ.setdefault(*QUIET)
    is_worker = multiprocessing.parent_process() is not None  # else it is the user's own process
    # A script that has imported Keras may have configured it itself.
    sets_keras = is_worker and "keras" not in sys.modules
    if sets_keras:
        for name in UNSET:
            os.environ.pop(name, None)
        os.environ.update(onednn_setting())
    with Path(os.devnull).open("w") as nowhere, stderr_to(nowhere.fileno()):
        import tensorflow as tf

        try:
            if threads:
                tf.config.threading.set_intra_op_parallelism_threads(threads)
                tf.config.threading.set_inter_op_parallelism_threads(threads)
            if is_worker:
                if _is_on(GPUS):
                    for gpu in tf.config.list_physical_devices("GPU"):
                        tf.config.experimental.set_memory_growth(gpu, True)  # or one takes all
                else:
                    # On a GPU small networks are slower, and sums are made in another order.
                    tf.config.set_visible_devices([], "GPU")
        except RuntimeError:  # it runs already
            if not TENSORFLOW_THREADS.items() <= os.environ.items():
                raise RuntimeError(
                    "TensorFlow already runs in this process, with other settings: use workers "
                    "that are processes of their own, such as those of a Dask LocalCluster with "
                    "processes=True."
                ) from None
        if sets_keras:
            _set_keras_defaults()
        if repeatable:
            tf.config.experimental.enable_op_determinism()
            tf.random.set_seed(0)  # deterministic operations refuse to run without a seed
        tf.zeros(()).numpy()  # start the runtime here, where its greetings are not shown
    # Its hints about retracing do not help: models are reused wherever that is possible.
    tf.get_logger().setLevel("ERROR")


def _set_keras_defaults() -> None:
    from dlip_reg.training.keras_settings import DEFAULTS, set_keras

    set_keras(DEFAULTS)


def start_worker(configure: Callable[[], None] = configure_process, *files: int) -> None:
    """What a worker of a process pool does first: it never outlives or interrupts its parent.

    Args:
        configure: Sets up its libraries.
        files: The file that was its stderr until now, which is emptied, and its stderr from now on.
    """
    if files:
        os.ftruncate(files[0], 0)
        os.dup2(files[1], 2)
    # Ctrl-C reaches the whole process group; only the parent answers it. Where there are signal
    # masks, a worker that the main thread started has inherited one; others have this alone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A killed parent cannot notify its workers, which would wait for work forever.
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    configure()


def _follow(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


@contextlib.contextmanager
def stderr_to(descriptor: int) -> Iterator[None]:
    """Send what is written to stderr within the block to an open file."""
    # TensorFlow's C++ side writes to the file descriptor before any logging level applies.
    with _redirection:
        open_standard_streams()
        sys.stderr.flush()
        kept = os.dup(2)
        try:
            os.dup2(descriptor, 2)
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
