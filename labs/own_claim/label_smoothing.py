"""A claim of your own: label smoothing reduces overfitting.

python labs/own_claim/label_smoothing.py --preset quick
"""

import sys
from dataclasses import replace

from dlip_reg import cli
from dlip_reg.evidence import NATS
from dlip_reg.studies import Arm, Claim, Control, Study, draw_training, varied
from dlip_reg.studies.readings import gap, matched_difference
from dlip_reg.training import DataSpec, RunSpec

none = RunSpec(
    model="lenet5",
    data=DataSpec("fashion_mnist_subset", n_train=1000, n_validation=100, n_test=2000),
    epochs=12,
    measures=("curves", "test"),
)
arms = [
    Arm("none", none),
    varied("smoothed", "none", "label smoothing 0.1", label_smoothing=0.1),
    varied("slow", "none", "none, fits more slowly", learning_rate=3e-4),
    varied("more", "none", "more data", data=replace(none.data, n_train=3000), epochs=4),
]


def difference(runs, arm="smoothed"):
    """Test minus training loss at the same training loss, smoothed minus none.

    Both losses are the plain cross-entropy for both arms.
    """
    return matched_difference(runs, arm, "none", gap)


claim = Claim(
    id="label-smoothing",
    sentence="Label smoothing reduces overfitting.",
    unit=NATS,
    direction=-1,
    smallest_effect=0.05,
    smallest_effect_source="5 % in the probability given to the right class",
    measure=difference,
    needs=("none", "smoothed"),
    controls=(
        Control("negative", "No smoothing at a third of the learning rate: only fits more slowly.",
                lambda runs: difference(runs, "slow"), ("none", "slow")),
        Control("positive", "No smoothing on three times the images: more data must help.",
                lambda runs: difference(runs, "more"), ("none", "more")),
    ),
    draw=draw_training,
)  # fmt: skip
STUDY = Study(
    name="label_smoothing", title="Does label smoothing reduce overfitting?",
    arms=arms, claims=[claim],
)  # fmt: skip
if __name__ == "__main__":
    sys.exit(cli.main(STUDY))
