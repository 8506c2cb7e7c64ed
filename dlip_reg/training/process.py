"""Make this process a worker: one thread, deterministic operations, quiet.

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


@functools.cache
def configure_process() -> None:
    """Import TensorFlow with one thread and deterministic operations (once a process).

    Raises RuntimeError where TensorFlow already runs in this process with other settings.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # These libraries read their variable when they are loaded, that is, in the import below.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    with _silent_stderr():
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.experimental.enable_op_determinism()
        tf.zeros(()).numpy()  # start the runtime here, where its greetings are not shown


def start_worker() -> None:
    """What a worker of a process pool does first: it never outlives or interrupts its parent."""
    # Ctrl-C reaches the whole process group; only the parent answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A killed parent cannot say goodbye, and a pool's worker would wait for work for ever.
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    configure_process()


def _follow(parent) -> None:
    parent.join()
    os._exit(1)


@contextlib.contextmanager
def _silent_stderr():
    # TensorFlow's C++ side writes to the file descriptor before any logging level applies.
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)
