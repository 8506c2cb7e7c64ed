"""The note's seven statements on the batch size, and how each is measured.

Outcomes are those of `dlip_reg.experiments.batch_size`. Each measurement pairs by seed: the same
initial weights, data split and order of examples. What is said of seconds combines runs, which
repeat bit for bit, with the speed of the machine, which was measured on its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dlip_reg.claims.claim import Claim, Measurement, Part
from dlip_reg.claims.convergence import (
    TRAINING,
    best_rates_by_seed,
    curve_of,
    distances_to_base,
    fit_knee,
    log_log_slope,
    loss_at,
    rates_by_seed,
    to_target,
)
from dlip_reg.claims.paired import (
    LOG_RATIO,
    POINTS,
    Record,
    Records,
    Values,
    log_ratio,
    mean_of,
    measure,
    minus,
    per_seed,
    percent,
)

Outcomes = Mapping[str, Any]
WORTH_TELLING = 0.1  # of a log-ratio: about ten per cent


def _faster_than_full(outcomes: Outcomes) -> Measurement:
    tuned, speeds = outcomes["rates"], rates_by_seed(outcomes["throughput"])
    *minis, full = tuned
    at_the_end = {size: _last_loss(tuned[size].finals) for size in tuned}
    # The loss of a mini-batch at the moment when the full batch has done its epochs.
    in_time = {
        size: tuple(
            _loss_after(record, _epochs_meanwhile(record, speeds, seed, size, full))
            for seed, record in tuned[size].finals.items()
        )
        for size in minis
    }
    examples = {size: log_ratio(at_the_end[size], at_the_end[full]) for size in minis}
    seconds = {size: log_ratio(in_time[size], at_the_end[full]) for size in minis}
    return Measurement(
        mean_of(*examples.values()),
        (
            Part("training loss of the full batch at the end", "nats", at_the_end[full]),
            Part(
                "mini-batch over full batch after equal seconds",
                LOG_RATIO,
                mean_of(*seconds.values()),
            ),
            *(
                Part(f"batch {size:,} alone, equal examples", LOG_RATIO, values)
                for size, values in examples.items()
            ),
            *(
                Part(f"batch {size:,} alone, equal seconds", LOG_RATIO, values)
                for size, values in seconds.items()
            ),
        ),
    )


def _parallel(outcomes: Outcomes) -> Measurement:
    of_size = outcomes["throughput"]
    one, *_, largest, full = of_size
    rates = {size: per_seed(records, measure("examples_per_second")) for size, records in
             of_size.items()}  # fmt: skip
    busy = {size: per_seed(of_size[size], measure("busy_cores")) for size in (one, full)}
    knees = tuple(fit_knee(by_size).size for by_size in rates_by_seed(of_size).values())
    return Measurement(
        log_ratio(rates[largest], rates[one]),
        (
            Part(f"examples per second at batch {one}", "1/s", rates[one]),
            Part(f"examples per second at batch {largest:,}", "1/s", rates[largest]),
            Part("knee: the batch size that reaches half of the peak", "examples", knees),
            Part(f"full batch over batch {largest:,}", LOG_RATIO,
                 log_ratio(rates[full], rates[largest])),
            *(
                Part(f"processor cores busy at batch {size:,}", "cores", values)
                for size, values in busy.items()
            ),
        ),
    )  # fmt: skip


def _small_better(outcomes: Outcomes) -> Measurement:
    arms, tuned = outcomes["one_rate"], outcomes["rates"]
    small, *_, large, _ = tuned

    def gain(records: Mapping[int, Records], name: str = "test_accuracy") -> Values:
        """Points of accuracy that the small batch is ahead."""
        ends = (records.get(size, dict.fromkeys(tuned[small].finals)) for size in (small, large))
        return percent(minus(*(per_seed(end, measure(name)) for end in ends)))

    finals = {size: own.finals for size, own in tuned.items()}
    accuracy = percent(per_seed(arms["equal epochs"].get(small, {}), measure("test_accuracy")))
    return Measurement(
        gain(arms["equal epochs"]),
        (
            Part(f"test accuracy of batch {small}", "%", accuracy),
            Part("after equal updates", POINTS, gain(arms["equal updates"])),
            Part("equal epochs, each at its own best rate", POINTS, gain(finals)),
            Part(
                "equal epochs, nets with batch normalization, statistics re-estimated",
                POINTS,
                gain(arms["batch norm"], "recalibrated_test_accuracy"),
            ),
        ),
    )


def _flat_sharp(outcomes: Outcomes) -> Measurement:
    plain, normalised = outcomes["sharpness"]["plain"], outcomes["sharpness"]["batch norm"]
    small, *_, large = plain

    def sharper(records: Mapping[int, Records], name: str, ends=(large, small)) -> Values:
        return log_ratio(*(per_seed(records[size], measure(name)) for size in ends))

    gain = minus(*(percent(per_seed(plain[s], measure("test_accuracy"))) for s in (small, large)))
    sgd = outcomes["stability"]
    nothing = (math.nan,) * len(plain[small])
    return Measurement(
        sharper(plain, "keskar_1e-3"),
        (
            Part("φ at ε = 5·10⁻⁴", LOG_RATIO, sharper(plain, "keskar_5e-4")),
            Part("φ at ε = 10⁻³ in 100 random dimensions", LOG_RATIO,
                 sharper(plain, "keskar_subspace_1e-3")),
            Part("φ at ε = 5·10⁻⁴ in 100 random dimensions", LOG_RATIO,
                 sharper(plain, "keskar_subspace_5e-4")),
            Part("top eigenvalue of the Hessian", LOG_RATIO, sharper(plain, "lambda_max")),
            Part("SAM sharpness", LOG_RATIO, sharper(plain, "sam_sharpness")),
            Part("adaptive sharpness, which no rescaling changes", LOG_RATIO,
                 sharper(plain, "adaptive_sharpness")),
            Part("φ at ε = 10⁻³ of nets with batch normalization", LOG_RATIO,
                 sharper(normalised, "keskar_1e-3")),
            Part("top eigenvalue after SGD, full batch over smallest", LOG_RATIO,
                 sharper(sgd, "lambda_max", (max(sgd), min(sgd))) if len(sgd) > 1 else nothing),
            Part(f"test accuracy, batch {small} minus batch {large:,}", POINTS, gain),
        ),
    )  # fmt: skip


def _lr_match(outcomes: Outcomes) -> Measurement:
    tuned = outcomes["rates"]
    best = best_rates_by_seed(tuned)
    *minis, full = tuned
    ends = [tuple(by_size.get(size, math.nan) for by_size in best.values()) for size in
            (minis[0], minis[-1], full)]  # fmt: skip
    return Measurement(
        tuple(_slope(by_size, tuned) for by_size in best.values()),
        (
            Part("the slope over the mini-batches alone", "decades per decade",
                 tuple(_slope(by_size, minis) for by_size in best.values())),
            Part(f"best rate, batch {minis[-1]:,} over batch {minis[0]}", LOG_RATIO,
                 log_ratio(ends[1], ends[0])),
            Part(f"best rate, full batch over batch {minis[-1]:,}", LOG_RATIO,
                 log_ratio(ends[2], ends[1])),
        ),
    )  # fmt: skip


def _linear_scaling(outcomes: Outcomes) -> Measurement:
    arms = outcomes["scaling"]
    distances = {name: distances_to_base(runs) for name, runs in arms.items()}
    if not all(distances.values()):
        return Measurement(())
    means = {name: mean_of(*of_size.values()) for name, of_size in distances.items()}
    sizes = list(distances["scaled"])
    return Measurement(
        log_ratio(means["scaled"], means["unscaled"]),
        (
            Part("distance of the unscaled curves from the base's", LOG_RATIO,
                 means["unscaled"]),
            Part("distance of the scaled curves", LOG_RATIO, means["scaled"]),
            Part("scaled with warm-up over unscaled", LOG_RATIO,
                 log_ratio(means["scaled, warm-up"], means["unscaled"])),
            *(
                Part(f"batch {size:,} alone, scaled over unscaled", LOG_RATIO,
                     log_ratio(distances["scaled"][size], distances["unscaled"][size]))
                for size in sizes
            ),
        ),
    )  # fmt: skip


def _large_faster(outcomes: Outcomes) -> Measurement:
    reached = to_target(outcomes)
    *minis, _ = outcomes["rates"]
    small, *between, large = minis

    def ratio(size: int, quantity: str) -> Values:
        return log_ratio(reached[size][quantity], reached[small][quantity])

    return Measurement(
        ratio(large, "seconds"),
        (
            Part(f"seconds to the target at batch {small}", "s", reached[small]["seconds"]),
            Part(f"updates to the target, batch {large:,} over batch {small}", LOG_RATIO,
                 ratio(large, "updates")),
            Part(f"examples to the target, batch {large:,} over batch {small}", LOG_RATIO,
                 ratio(large, "examples")),
            *(
                Part(f"seconds to the target, batch {size:,} over batch {small}", LOG_RATIO,
                     ratio(size, "seconds"))
                for size in between
            ),
        ),
    )  # fmt: skip


def _slope(best: Mapping[int, float], sizes: Sequence[int]) -> float:
    if any(size not in best for size in sizes):
        return math.nan
    return log_log_slope({size: best[size] for size in sizes})


def _last_loss(records: Records) -> Values:
    return per_seed(records, lambda record: record["curves"][TRAINING][-1])


def _epochs_meanwhile(
    record: Record | None,
    speeds: Mapping[int, Mapping[int, float]],
    seed: int,
    size: int,
    full: int,
) -> float:
    """How many epochs batches of `size` get through while the full batch does all of its own."""
    speed = speeds.get(seed, {})
    if record is None or size not in speed or full not in speed:
        return math.nan
    epochs = record["spec"]["epochs"]
    return min(epochs, epochs * speed[size] / speed[full])


def _loss_after(record: Record | None, epochs: float) -> float:
    curve = curve_of(record)
    return math.nan if curve is None else loss_at(curve, TRAINING, epochs)


CLAIMS: Sequence[Claim] = (
    Claim(
        "bs-faster-than-full",
        "Mini-batches converge more quickly than the full batch.",
        "Log-ratio of the clean training loss after equally many examples, mini-batch over full "
        "batch, averaged over the mini-batch sizes, each at its own best learning rate (SGD).",
        LOG_RATIO,
        direction=-1,
        smallest_effect=WORTH_TELLING,
        measure=_faster_than_full,
        needs=("rates", "throughput"),
        figures=("convergence",),
    ),
    Claim(
        "bs-parallel",
        "Mini-batches let computation run in parallel.",
        "Log-ratio of the examples trained on per second on this machine, the largest mini-batch "
        "over single examples; what an update costs whatever its size counts, too.",
        LOG_RATIO,
        direction=+1,
        smallest_effect=WORTH_TELLING,
        measure=_parallel,
        needs=("throughput",),
        figures=("speed",),
    ),
    Claim(
        "bs-small-better",
        "Usually small batches perform better.",
        "Test accuracy of the smallest minus the largest mini-batch after equally many epochs of "
        "SGD at one learning rate, the one that does best over all sizes together.",
        POINTS,
        direction=+1,
        smallest_effect=0.5,
        measure=_small_better,
        needs=("one_rate", "rates"),
        figures=("one_rate", "equal_updates", "accuracy_by_size"),
    ),
    Claim(
        "bs-flat-sharp",
        "Small batches converge to flat minimizers, large batches to sharp ones.",
        "Log-ratio of Keskar's sharpness φ (full space, ε = 10⁻³), batches of a tenth of the "
        "training set over the smallest ones: Adam until the training loss stops improving, at the "
        "weights of the lowest.",
        LOG_RATIO,
        direction=+1,
        smallest_effect=WORTH_TELLING,
        measure=_flat_sharp,
        needs=("sharpness", "stability"),
        figures=(
            "sharpness",
            "interpolation",
            "filter_normalised",
            "surfaces",
            "rescaled",
            "stability",
        ),
    ),
    Claim(
        "bs-lr-match",
        "Small batches want a small learning rate, large batches a large one.",
        "Slope of the logarithm of the best learning rate (lowest validation loss after equal "
        "epochs of SGD) against the logarithm of the batch size, the full batch included.",
        "decades per decade",
        direction=+1,
        smallest_effect=0.1,
        measure=_lr_match,
        needs=("rates",),
        figures=("best_rates",),
    ),
    Claim(
        "bs-linear-scaling",
        "Linear scaling rule: when the batch grows k times, multiply the learning rate by k.",
        "Log-ratio of the distance between the training curves of k-fold batches and of the "
        "smallest batch (mean over epochs of |Δ ln loss|, averaged over k), scaled over unscaled.",
        LOG_RATIO,
        direction=-1,
        smallest_effect=WORTH_TELLING,
        measure=_linear_scaling,
        needs=("scaling",),
        figures=("scaling",),
    ),
    Claim(
        "bs-large-faster",
        "With the right learning rate larger batches train faster.",
        "Log-ratio of the seconds to a validation loss that all sizes reach, largest over smallest "
        "mini-batch, each at its best rate: updates counted, speed measured on this machine.",
        LOG_RATIO,
        direction=-1,
        smallest_effect=WORTH_TELLING,
        measure=_large_faster,
        needs=("rates", "throughput"),
        figures=("speed",),
    ),
)
