"""A claim of one's own: label smoothing reduces overfitting.

python labs/own_claim/label_smoothing.py --preset quick
"""

import functools
import sys
from dataclasses import replace

from dlip_reg import cli
from dlip_reg.evidence import NATS, minus
from dlip_reg.studies import Arm, Claim, Control, Study, at_matched_loss, draw_training, gap
from dlip_reg.training import DataSpec, RunSpec

none = RunSpec(
    model="lenet5",
    data=DataSpec("fashion_mnist_subset", n_train=1000, n_validation=100, n_test=2000),
    epochs=12,
    measures=("curves", "test"),
)
arms = [
    Arm("none", none),
    Arm("smoothed", replace(none, label_smoothing=0.1), label="label smoothing 0.1"),
    Arm("slow", replace(none, learning_rate=3e-4), label="none, fits more slowly"),
    Arm("more", replace(none, data=replace(none.data, n_train=3000), epochs=4), label="more data"),
]


def difference(arm, runs):
    """Test minus training loss of `arm` minus that of "none", at the same training loss."""
    gaps = at_matched_loss(runs, ("none", arm), gap)
    return minus(gaps[arm], gaps["none"])


claim = Claim(
    id="label-smoothing",
    sentence="Label smoothing reduces overfitting.",
    experiment="Test loss minus training loss at the same training loss, smoothed minus none. "
    "Both losses are the plain cross-entropy for both arms.",
    unit=NATS,
    direction=-1,
    smallest_effect=0.05,
    smallest_effect_source="5 % in the probability given to the right class",
    measure=functools.partial(difference, "smoothed"),
    needs=("none", "smoothed"),
    controls=(
        Control("negative", "No smoothing at a third of the learning rate: only fits more slowly.",
                functools.partial(difference, "slow"), ("none", "slow")),
        Control("positive", "No smoothing on three times the images: more data must help.",
                functools.partial(difference, "more"), ("none", "more")),
    ),
    draw=draw_training,
)  # fmt: skip
STUDY = Study(
    name="label_smoothing", title="Does label smoothing reduce overfitting?",
    arms=arms, claims=[claim],
)  # fmt: skip
if __name__ == "__main__":
    sys.exit(cli.main(STUDY))
