"""The hypermodel in keras-tuner's own distributed mode, on the loopback."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SEARCH = """
import sys
import keras_tuner
from tuning_samples import arrays, l2_only
from dlip_reg.tuning import make_objective

train, validation = arrays()
tuner = keras_tuner.RandomSearch(
    l2_only(none=True), make_objective(), max_trials=4, seed=1, directory=sys.argv[1],
    project_name="p",
)
tuner.search(*train, validation_data=validation, epochs=1, verbose=0)
"""


@pytest.mark.slow
def test_two_workers_share_the_trials_of_a_chief(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    def start(name):
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
            "KERASTUNER_TUNER_ID": name,
            "KERASTUNER_ORACLE_IP": "127.0.0.1",
            "KERASTUNER_ORACLE_PORT": str(port),
        }
        return subprocess.Popen(
            [sys.executable, "-c", SEARCH, str(tmp_path)], env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    processes = [start(name) for name in ("chief", "tuner0", "tuner1")]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=200)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    trials = [json.loads(path.read_text()) for path in tmp_path.glob("p/trial_*/trial.json")]
    assert [trial["status"] for trial in trials] == ["COMPLETED"] * 4
    values = [trial["hyperparameters"]["values"] for trial in trials]
    assert all(("conv_l2" in v) == v["use_conv_l2"] for v in values)
