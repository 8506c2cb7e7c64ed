"""Labs of very few runs, for what the command line does beyond one real lab.

python toy_lab.py toy|toys|chance ARGUMENTS...

"toy" has a claim on runs, one on this machine's speed, and a paper check; "toys" is two such labs;
"chance" has a claim decided at the first look beside one that stays undecided to the last.
"""

import sys
from dataclasses import replace

from blank_pictures import blank_pictures

from dlip_reg.cli import main
from dlip_reg.evidence.paired import minus
from dlip_reg.studies import Arm, Claim, Preset, Study, StudyGroup
from dlip_reg.training import DataSpec, RunSpec
from dlip_reg.training.specification import ThroughputSpec


def arms(setting):
    data = DataSpec(setting.dataset, 40, 20, 20)
    slow = RunSpec(setting.model, data, learning_rate=1e-6, epochs=1)
    return [
        Arm("slow", slow),
        Arm("fast", replace(slow, learning_rate=1e-2)),
        Arm("also fast", replace(slow, learning_rate=1e-2)),
        Arm("speed", ThroughputSpec(replace(slow, batch_size=8), seconds=0.01), timed=True),
    ]


def losses(runs, arm):
    return runs.values(arm, lambda record: record.measures.val_loss)


def measure_rates(runs):
    return minus(losses(runs, "slow"), losses(runs, "fast"))


def measure_speed(runs):
    return runs.values("speed", lambda record: record.measures.examples_per_second)


def measure_chance(runs):
    """Noise of mean zero, from digits of the losses that mean nothing."""
    return [loss * 1000 % 1 - 0.5 for loss in losses(runs, "fast")]


def sections(runs, claims):
    from dlip_reg.report import FigureItem, Section, figures

    bars = {arm: losses(runs, arm) for arm in ("slow", "fast")}
    figure = FigureItem("losses", figures.method_accuracy(bars), "Bars.", "Losses.")
    return [Section("learning rates", (), (figure,))]


def claim(name, key, measure, *needs):
    return Claim(
        id=f"{name}-{key}", sentence=f"The {key}.", experiment="Two.", unit="nats", direction=1,
        smallest_effect=0.1, measure=measure, needs=needs, figures=("losses",),
    )  # fmt: skip


QUICK, STANDARD = Preset(seeds=2, minutes=1 / 60), Preset(seeds=5, minutes=2 / 60)


def make_lab(name, **changes):
    claims = [
        claim(name, "rates", measure_rates, "slow", "fast", "also fast"),
        claim(name, "speed", measure_speed, "speed"),
    ]
    parts = {
        "presets": {"quick": QUICK, "standard": STANDARD}, "claims": claims,
        "default_dataset": "fashion_mnist_subset",
    } | changes  # fmt: skip
    return Study(
        name=name, title=f"The {name} lab", lead="Very little.", description="Measure very little.",
        arms=arms, sections=sections, facts=lambda setting: {"Size": str(setting.preset.seeds)},
        default_model="mlp", **parts,
    )  # fmt: skip


PAPER = make_lab(
    "paper", presets={"paper": Preset(seeds=1, minutes=3 / 60)}, claims=(), default_dataset="mnist"
)
TOYS = {
    "toy": make_lab("toy", papers={"table1": PAPER}),
    "chance": make_lab(
        "chance",
        presets={"standard": Preset(seeds=20, minutes=1)},
        claims=[
            claim("chance", "rates", measure_rates, "slow", "fast"),
            claim("chance", "noise", measure_chance, "fast"),
        ],
    ),
    "toys": StudyGroup(
        name="toys",
        title="All toys",
        lead="A little more.",
        description="Measure a little more.",
        studies=[make_lab("toy"), make_lab("other")],
    ),
}

if __name__ == "__main__":
    with blank_pictures():
        sys.exit(main(TOYS[sys.argv[1]], sys.argv[2:]))
