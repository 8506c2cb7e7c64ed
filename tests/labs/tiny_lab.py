"""A lab with tiny presets and, if need be, a fault, for what a sound run does not show.

python tiny_lab.py LAB FAULT ARGUMENTS...

FAULT is "sound" for none. The labs and their tiny presets are those of `lab_process`.
"""

import math
import os
import signal
import sys
import zlib
from contextlib import nullcontext
from dataclasses import replace

from blank_pictures import blank_pictures
from lab_process import ALL, LABS

from dlip_reg.cli import main
from dlip_reg.studies import workspace
from dlip_reg.training import worker

sound_run, sound_dataset = worker.run_spec, worker.load


def run_in_vain(spec, data_dir=None):
    raise MemoryError("no room for the images\nand details nobody reads")


def die(spec, data_dir=None):
    os._exit(3)


def run_on_nothing(spec, data_dir=None):
    """One half of the runs fails, and the other diverges, since its images are NaN."""
    if zlib.crc32(repr(spec).encode()) % 2:
        run_in_vain(spec)
    worker.load = lambda *arguments: replace(data, x_train=data.x_train * math.nan)
    data = sound_dataset(spec.data, data_dir, spec.seed)
    return sound_run(spec, data_dir)


RUNS = {
    "sound": sound_run,
    "blank pictures": sound_run,
    "in vain": run_in_vain,
    "no good end": run_on_nothing,
    "dying": sound_run,
}

if __name__ == "__main__":
    # A shell that starts the tests in the background lets them and their children ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    name, fault, *arguments = sys.argv[1:]
    tiny = ALL if name == ALL.name else LABS[name]
    for part in tiny.lab.studies:
        part.presets["quick"] = replace(part.presets["quick"], **LABS[part.name].sizes)
    workspace.run_spec = RUNS[fault]
    if fault == "dying":
        workspace.kernel_kinds = die
    with blank_pictures() if fault == "blank pictures" else nullcontext():
        sys.exit(main(tiny.lab, arguments))
