"""The network F1 of Keskar et al. 2017, trained with small and with large batches on full MNIST.

Table 4's large-batch phi in 100 random dimensions (9.22) is about 30 times ours (0.30). Experiments
on smaller networks of the same kind and on 3,500 images of Fashion-MNIST say why:

- The paper's A must have had N(0, 1) entries, or nearly. With them, at losses of 0.03 and more, phi
  in the subspace is 0.02 to 0.2 of that in full space; in the paper it is 0.04 to 0.19 over F1 and
  C1 (first order gives p / sqrt(P) = 0.08 for F1).
  Columns of unit length give 1e-6 to 5e-4 of it, entries uniform in (0, 1) more than full space.
  The term |A^+ x| hardly widens the box, and the three searches agree to a tenth at a large loss.
- What is left is where training stopped, which the paper does not state as a loss. In the subspace
  phi follows the norm of the gradient. With 5 x 512 units and large batches it fell from 6.4 to
  10.6 at training losses about 0.05 to 1.6 at 3e-4 and 0.24 at 5e-5, while phi in full space stayed
  at 120 to 300. A row of 205 and 9.22 is like
  that of a network at a loss near 0.05; ours are trained on until the loss has stopped falling by
  1e-4 nats. F1 itself on MNIST was not measured at several losses, so this is an inference.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

from dlip_reg import report
from dlip_reg.evidence import ClaimResult, Values, log_ratio, percent
from dlip_reg.regularization import Regularization
from dlip_reg.report.numbers import format_number
from dlip_reg.studies import Arms, Runs, Setting, Study, figure, varied
from dlip_reg.studies.drawing import Drawn, methods, section
from dlip_reg.studies.papers import PaperPreset, estimate
from dlip_reg.training import RunSpec
from dlip_reg.training.records import KeskarSearch
from dlip_reg.training.specification import IMPROVEMENT

SMALL, LARGE = 256, 5999  # a tenth of the training images (section 2.1)
# What the paper prints, (mean, standard deviation or None): test accuracy in % (table 2), sharpness
# in full space (table 3) and in 100 random dimensions (table 4).
PAPER: dict[str, dict[int, tuple[float, float | None]]] = {
    "test_accuracy": {SMALL: (98.03, None), LARGE: (97.81, None)},
    "keskar_1e_3": {SMALL: (1.23, 0.83), LARGE: (205.14, 69.52)},
    "keskar_5e_4": {SMALL: (0.61, None), LARGE: (42.90, None)},
    "keskar_subspace_1e_3": {SMALL: (0.11, None), LARGE: (9.22, None)},
}
_PHI = {
    "keskar_1e_3": "φ, full space, ε = 10⁻³",
    "keskar_5e_4": "φ, full space, ε = 5·10⁻⁴",
    "keskar_subspace_1e_3": "φ, 100 random dimensions, ε = 10⁻³",
    "keskar_subspace_5e_4": "φ, 100 random dimensions, ε = 5·10⁻⁴",
}
# What the statuses of SciPy's L-BFGS-B begin with.
_LBFGSB_ENDS = {"0:": "it converged", "1:": "it made its ten iterations"}
_LABELS = {SMALL: f"batch {SMALL}", LARGE: f"batch {LARGE:,}"}


def arms(setting: Setting) -> Arms:
    """The network with each batch size: "f1/SIZE"."""
    preset = setting.preset
    run = RunSpec(
        model=setting.model,
        data=setting.data(preset.n_train, preset.n_validation),
        regularization=Regularization(batch_norm=True),
        builder={"hidden": [512] * 5} if setting.model == "mlp" else {},
        optimizer="adam",
        epochs=preset.epochs,
        patience=preset.patience,
        measures=("test", "keskar", "recalibrated"),
    )
    for size, label in _LABELS.items():
        yield varied(f"f1/{size}", run, label, batch_size=size)


@section("Our numbers beside the paper's")
def sections(runs: Runs, claims: Sequence[ClaimResult]) -> Drawn:
    """Test accuracy (mean and 95 % interval over seeds): {accuracies}.

    {sharpness}

    Large over small batch, φ in full space at ε = 10⁻³, seed by seed: {ratios} times; the paper's
    means, {printed_ratio:.0f} times.

    What each search found (full space, ε = 10⁻³, means): {in_full_space}.

    What each search found (100 random dimensions, ε = 10⁻³, means): {in_subspace}.

    How ours differ from the paper's: φ is the best of three searches. {ends}It is taken on 10,000
    of the training images, with batch statistics over 1,000 each; accuracies are those with batch
    normalization's statistics re-estimated on all training images. The paper does not say when
    exactly the loss had stopped improving, and φ depends on it: it grows with the distance from
    zero loss.
    """
    small, large = _values(runs, "keskar_1e_3").values()
    ratios = [math.exp(ratio) for ratio in log_ratio(large, small)]
    theirs = PAPER["keskar_1e_3"]
    accuracies = _values(runs, "recalibrated_test_accuracy")
    yield (
        draw(runs),
        {
            "accuracies": "; ".join(
                f"{arm} {estimate(percent(accuracies[size]))} %, the paper's "
                f"{PAPER['test_accuracy'][size][0]} %"
                for size, arm in _LABELS.items()
            ),
            "sharpness": "\n\n".join(_sharpness(_rows(runs))),
            "ratios": ["–" if math.isnan(ratio) else f"{ratio:.3g}" for ratio in ratios],
            "printed_ratio": theirs[LARGE][0] / theirs[SMALL][0],
            "in_full_space": "; ".join(_searches(runs, None)),
            "in_subspace": "; ".join(_searches(runs, 100)),
            "ends": _ends(runs),
        },
    )


@figure("paper")
def draw(runs: Runs) -> Drawn:
    """Keskar's sharpness of small-batch and large-batch solutions, ours beside the paper's:
    {sharpness}

    Tables 3 and 4 of Keskar et al. 2017. Dots: our seeds; filled: their geometric mean with its
    95 % interval; diamond: the paper's mean, with its standard deviation where it is printed.
    """
    rows = _rows(runs)
    plot = report.figures.beside_paper(rows, "φ (% of 1 + loss)")
    yield plot, {"sharpness": "; ".join(_sharpness(rows))}


def _rows(runs: Runs) -> dict[str, dict[str, Any]]:
    """Kind of φ -> arm -> our values and the paper's (mean, deviation), if any."""
    return {
        label: {
            _LABELS[size]: (list(filter(math.isfinite, values)), PAPER.get(name, {}).get(size))
            for size, values in _values(runs, name).items()
        }
        for name, label in _PHI.items()
    }


def _values(runs: Runs, name: str) -> dict[int, Values]:
    """Batch size -> the measure of that name, by seed."""
    return {s: runs.values(f"f1/{s}", attrgetter(f"measures.{name}")) for s in _LABELS}


def _sharpness(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A sentence for each kind of φ."""
    for label, row in rows.items():
        texts = [
            f"{arm} {estimate(values)}" + (f", the paper's {_printed(theirs)}" if theirs else "")
            for arm, (values, theirs) in row.items()
        ]
        yield f"{label}: {'; '.join(texts)}."


def _printed(number: tuple[float, float | None]) -> str:
    mean, deviation = number
    return f"{mean:g}" if deviation is None else f"{mean:g} ± {deviation:g}"


def _searches(runs: Runs, subspace: int | None) -> Iterator[str]:
    """What each search found at 1e-3, as means over the seeds."""
    for size, arm in _LABELS.items():
        found: dict[str, list[KeskarSearch]] = {}
        for record in filter(None, runs[f"f1/{size}"]):
            for search in record.keskar:
                if search.epsilon == 1e-3 and search.subspace == subspace:
                    found.setdefault(search.name, []).append(search)
        of_arm = []
        for name, searches in found.items():
            values = [search.value for search in searches if search.value is not None]
            failed = sum(search.failed for search in searches)
            mean = format_number(sum(values) / len(values)) if values else "–"
            of_arm.append(f"{name} {mean}" + (f" ({failed} failed)" if failed else ""))
        yield f"{arm}: {', '.join(of_arm)}"


def _ends(runs: Runs) -> str:
    """How L-BFGS-B, as the paper ran it, ended, and which search found the largest value."""
    of_runs = [record.keskar for size in _LABELS for record in runs[f"f1/{size}"] if record]
    statuses = [s.status[:2] for found in of_runs for s in found if s.name == "l-bfgs-b"]
    ends = Counter(_LBFGSB_ENDS.get(status, "it failed") for status in statuses)
    best = Counter[str]()
    for found in of_runs:
        boxes: dict[Any, dict[str, float]] = {}
        for search in found:
            if search.value is not None:
                box = boxes.setdefault((search.epsilon, search.subspace), {})
                box[search.name] = search.value
        best.update(max(box, key=box.__getitem__) for box in boxes.values())
    if not ends:
        return ""
    return (
        f"L-BFGS-B, as the paper ran it, in {sum(ends.values())} boxes: "
        + ", ".join(f"{end} in {count}" for end, count in ends.items())
        + "; the largest value was found by "
        + ", ".join(f"{name} in {count}" for name, count in best.items())
        + ". "
    )


@methods
def facts(preset: PaperPreset) -> Mapping[str, Any]:
    """How the numbers were measured.

    Network: 5 hidden layers of 512 with batch normalization and ReLU

    Training: {n_train:,} images, Adam at 0.001, batches of {SMALL} and {LARGE:,}, until the
    training loss has not improved by {IMPROVEMENT:g} nats for {patience} epochs, {epochs} at most;
    at the weights of the lowest loss

    Sharpness: on 10,000 training images, batch statistics over 1,000 each
    """
    return {"IMPROVEMENT": IMPROVEMENT}


STUDY = Study(
    name="keskar-f1",
    title="Keskar et al. 2017, network F1, repeated",
    lead="Large batches end in sharp minimizers, small ones in flat ones: the paper's own network "
    "on the paper's own data, its numbers beside ours.",
    arms=arms,
    # All images but one of each class are for training: the runs never look at validation images.
    presets={
        "paper": PaperPreset(seeds=5, epochs=200, patience=10, n_train=59_990, n_validation=10)
    },
    sections=sections,
    facts=facts,
    default_model="mlp",
    default_dataset="mnist",
)
