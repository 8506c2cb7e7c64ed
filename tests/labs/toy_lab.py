"""Labs of very few runs, for what the front door does beyond one real lab.

python toy_lab.py toy|toys ARGUMENTS...

"toy" has a claim on runs, one on this machine's speed, and a paper check; "toys" is two such labs.
"""

import sys
from dataclasses import dataclass, replace

import lab_process  # lets the labs be imported

# isort: split
from front_door import Lab, Labs, main

from dlip_reg.claims import Claim, Measurement
from dlip_reg.experiments import Experiment
from dlip_reg.training import DataSpec, RunSpec
from dlip_reg.training.throughput import ThroughputSpec

assert lab_process


@dataclass(frozen=True)
class Preset:
    seeds: int
    duration: str


def experiments(preset, model, dataset):
    data = DataSpec(dataset, 40, 20, 20)
    seeds = range(preset.seeds)

    def rates():
        slow = [RunSpec(model, data, learning_rate=1e-6, epochs=1, seed=seed) for seed in seeds]
        fast = [replace(spec, learning_rate=1e-2) for spec in slow]
        records = yield [*slow, *fast]
        yield slow  # once more, as a later stage may
        return [[records[spec]["measures"]["val_loss"] for spec in arm] for arm in (slow, fast)]

    def speed():
        runs = [RunSpec(model, data, batch_size=8, seed=seed) for seed in seeds]
        specs = [ThroughputSpec(run, seconds=0.01) for run in runs]
        records = yield specs
        return [records[spec]["measures"]["examples_per_second"] for spec in specs]

    return [
        Experiment("rates", "learning rates", 2 * preset.seeds, rates),
        Experiment("speed", "speed", preset.seeds, speed, timed=True),
    ]


def measure_rates(outcomes):
    return Measurement(tuple(a - b for a, b in zip(*outcomes["rates"], strict=True)))


def measure_speed(outcomes):
    return Measurement(tuple(outcomes["speed"]))


def sections(outcomes, labels, judged):
    from dlip_reg.report import FigureItem, Section, figures

    losses = dict(zip(("slow", "fast"), outcomes["rates"], strict=True))
    figure = FigureItem("losses", figures.gap_bars(losses), "Bars.", "Losses.")
    return [Section(labels["rates"], (), (figure,))]


def make_lab(name, **changes):
    def claim(key, measure):
        return Claim(
            f"{name}-{key}", f"The {key}.", "Two.", "nats", 1, 0.1, measure, (key,), ("losses",)
        )

    return Lab(
        **{
            "name": name,
            "title": f"The {name} lab",
            "lead": "Very little.",
            "description": "Measure very little.",
            "presets": {"quick": Preset(2, "1 second"), "standard": Preset(4, "2 seconds")},
            "claims": [claim("rates", measure_rates), claim("speed", measure_speed)],
            "experiments": experiments,
            "sections": sections,
            "facts": lambda preset: {"Seeds": str(preset.seeds)},
            "default_model": "mlp",
            **changes,
        }
    )


PAPER = make_lab(
    "paper", presets={"paper": Preset(1, "3 seconds")}, claims=(), default_dataset="mnist"
)
TOYS = {
    "toy": make_lab("toy", papers={"table1": PAPER}),
    "toys": Labs(
        name="toys",
        title="All toys",
        lead="A little more.",
        description="Measure a little more.",
        labs=[make_lab("toy"), make_lab("other")],
    ),
}

if __name__ == "__main__":
    sys.exit(main(TOYS[sys.argv[1]], sys.argv[2:]))
