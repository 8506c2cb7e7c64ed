"""A claim of your own, with tuning: augmentation beats dropout.

python labs/own_claim/augmentation.py --preset quick
"""

import sys
from dataclasses import replace

from dlip_reg import cli
from dlip_reg.evidence import POINTS, minus, percent
from dlip_reg.studies import Arm, Claim, Control, Preset, Study, Tuning, draw_training, varied
from dlip_reg.training import DataSpec, RunSpec

none = RunSpec(
    model="lenet5",
    data=DataSpec("fashion_mnist_subset", n_train=1000, n_validation=100, n_test=2000),
    epochs=15,
    measures=("curves", "test"),
)


def shifted(share):
    """Random shifts by up to `share` of the image in both directions."""
    config = {"height_factor": share, "width_factor": share, "fill_mode": "constant"}
    return {"augmentation": [{"class_name": "RandomTranslation", "config": config}]}


def tuned(name, tried):
    """An arm with the best of some changes to "none", on validation images and other seeds."""
    for_tuning = replace(none, data=replace(none.data, n_validation=2000, n_test=None), measures=())
    for_verdict = {"data": none.data, "measures": none.measures}
    return Arm(name, for_tuning, Tuning(tried), for_verdict)


arms = [
    Arm("none", none),
    varied("still", "none", "shifts too small to matter", **shifted(1e-4)),
    varied("more", "none", "more data", data=replace(none.data, n_train=3000), epochs=5),
    tuned("augmentation", [shifted(share) for share in (0.05, 0.1, 0.2)]),
    tuned("dropout", [{"dense_dropout": rate} for rate in (0.2, 0.4, 0.6)]),
]


def accuracy(runs, arm):
    """Test accuracy in per cent; a run that diverged has that of guessing."""
    return percent(runs.values(arm, lambda record: record.measures.test_accuracy, runs.guessing))


claim = Claim(
    id="augmentation",
    sentence="Augmentation beats dropout.",
    experiment="Test accuracy with random shifts minus that with dropout, each at its best of "
    "three strengths.",
    unit=POINTS,
    direction=+1,
    smallest_effect=0.5,
    smallest_effect_source="half a point, one image in 200",
    measure=lambda runs: minus(accuracy(runs, "augmentation"), accuracy(runs, "dropout")),
    needs=("augmentation", "dropout"),
    controls=(
        Control(
            "negative",
            "Shifts too small to move a pixel, minus nothing: the same code without a treatment.",
            lambda runs: minus(accuracy(runs, "still"), accuracy(runs, "none")),
            ("still", "none"),
        ),
        Control(
            "positive",
            "Three times the images, minus nothing: more data must raise the accuracy.",
            lambda runs: minus(accuracy(runs, "more"), accuracy(runs, "none")),
            ("more", "none"),
        ),
    ),
    draw=draw_training,
)
STUDY = Study(
    name="augmentation",
    title="Does augmentation beat dropout?",
    arms=arms,
    claims=[claim],
    presets={"quick": Preset(seeds=3, tuning_seeds=1), "standard": Preset()},
)
if __name__ == "__main__":
    sys.exit(cli.main(STUDY))
