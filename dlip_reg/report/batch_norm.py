"""The batch normalization lab's report: its outcomes turned into figures and text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlip_reg.claims.batch_norm.rates import largest_rates
from dlip_reg.claims.batch_norm.readings import quickest, steps_by_seed, steps_per_epoch, targets
from dlip_reg.claims.batch_norm.regularizers import best_strengths, loss_and_gap, steps_with_dropout
from dlip_reg.claims.paired import Record, Records, Values, measure, per_seed
from dlip_reg.experiments.batch_norm import DECAY, FASTER, most_accurate_of
from dlip_reg.report import figures
from dlip_reg.report.batch_norm_signals import colour_section, depth_section, input_section
from dlip_reg.report.figures.style import plain
from dlip_reg.report.numbers import format_constant, format_estimate
from dlip_reg.report.page import FigureItem, Section
from dlip_reg.report.two_arms import ARMS, columns, each, finished, means_told, two_styles

Outcomes = Mapping[str, Any]
Claims = Sequence[Mapping[str, Any]]

_LONGEST = 4  # of the landscape's steps, in initial learning rates


def batch_norm_sections(outcomes: Outcomes, claims: Claims) -> list[Section]:
    """The report's sections, of those experiments that were run."""
    styles = two_styles()
    return [
        _landscape(outcomes, styles),
        _rates(outcomes, styles),
        _regularizers(outcomes, claims, styles),
        depth_section(outcomes, styles),
        input_section(outcomes, styles),
        colour_section(outcomes, styles),
    ]


def _landscape(outcomes: Outcomes, styles) -> Section:
    title = "The loss landscape along the gradient"
    arms = outcomes.get("same_rate", {})
    if not any(finished(records) for records in arms.values()):
        return Section(title)
    keys = (
        "step",
        "loss_low",
        "loss_high",
        "loss_range",
        "gradient_distance_low",
        "gradient_distance_high",
        "gradient_distance_range",
        "effective_beta",
    )
    curves = {
        label: [columns(record["landscape"], keys) for record in finished(arms[arm])]
        for arm, label in ARMS.items()
    }
    return Section(
        title,
        (
            "Both nets start from the same weights, see the same batches in the same order and "
            f"train at the same learning rate, {format_constant(_rate(arms))} in the beginning: of "
            "all that were tried, the best one for the net without batch normalization.",
            "Away from the trained weights the moving statistics are wrong, so that everything "
            "here normalizes by the statistics of the fixed batch it is measured on.",
            "A step of the same length in the weights is not the same step for both nets: behind "
            "a batch normalization the scale of a kernel does not matter, only its direction, and "
            "the larger the kernel has grown the less such a step turns it. Nor need the two be "
            "equally far on in training at the same step: their training losses end at "
            f"{means_told(arms, _last_loss, 'nats')}.",
        ),
        (
            FigureItem(
                "landscape",
                figures.landscape_bands(curves, styles),
                "Range of the loss, range of the gradient's change and effective beta along the "
                "gradient through training, with and without batch normalization.",
                "Figure 4 of Santurkar et al. 2018: at each probe the weights move along the "
                f"gradient by 0.5 to {_LONGEST} times the initial learning rate and come back; as "
                f"the rate falls to {100 * DECAY:g} % of that, the longest is "
                f"{_LONGEST / DECAY:.0f} of its last steps. Above: the lowest and the highest "
                "value on the way; the narrower the band, the more a step finds what the gradient "
                "promised. Below: how wide these bands are, and effective beta, which is what the "
                "claims compare.",
            ),
        ),
    )


def _rates(outcomes: Outcomes, styles) -> Section:
    items, paragraphs = [], []
    if "rates" in outcomes:
        grids = outcomes["rates"]
        best = {arm: most_accurate_of(grid) for arm, grid in grids.items()}
        items += [_tried_rates(grids, styles), _steps(grids, styles)]
        paragraphs.append(
            "Both nets try the same learning rates: plain SGD, the rate falling to a twentieth by "
            "the end. Best by mean validation accuracy: "
            + ", ".join(f"{_told(best[arm])} {label}" for arm, label in ARMS.items())
            + ". A comparison at one common rate would favour whichever net it suits, so what is "
            "not about the rate runs at each net's own best."
        )
    if "fast_decay" in outcomes:
        items.append(_decay(outcomes["fast_decay"], styles))
    return Section("Learning rates", tuple(paragraphs), tuple(items))


def _tried_rates(grids, styles) -> FigureItem:
    accuracy = {
        label: {rate: _measured(records, "val_accuracy") for rate, records in grids[arm].items()}
        for arm, label in ARMS.items()
    }
    largest = largest_rates(grids)
    marked = {"largest that trains": {label: largest[arm] for arm, label in ARMS.items()}}
    return FigureItem(
        "rates",
        figures.tried_values(accuracy, marked, "initial learning rate", styles),
        "Validation accuracy against the initial learning rate with and without batch "
        "normalization, and for each seed the largest rate that trains.",
        "Mean over seeds; crosses at the foot: a loss became NaN or infinite. A rate trains if "
        "the run ends more than half-way from chance to the best accuracy without batch "
        "normalization. Where the largest rate is the last of the axis, more might do.",
    )


def _steps(grids, styles) -> FigureItem:
    goals = targets(grids["plain"])
    rates = {arm: quickest(grids[arm], goals) for arm in ARMS}
    curves, steps = {}, {}
    for arm, label in ARMS.items():
        if rates[arm] is None:
            continue
        records = grids[arm][rates[arm]]
        name = f"{label} at {_told(rates[arm])}"
        curves[name] = [
            {
                "step": [e * steps_per_epoch(record) for e in record["curves"]["epoch"]],
                "accuracy": record["curves"]["clean_val_accuracy"],
            }
            for record in finished(records)
        ]
        steps[name] = steps_by_seed(records, goals)
    wanted = [goal for goal in goals.values() if goal is not None]
    looks = {name: styles[label] for name in curves for label in styles if name.startswith(label)}
    return FigureItem(
        "steps_to_target",
        figures.way_to_target(
            curves or {label: [] for label in styles},
            sum(wanted) / len(wanted) if wanted else None,
            steps,
            looks or styles,
        ),
        "Validation accuracy against training steps, and the steps to the best accuracy of the "
        "net without batch normalization, for each net at its quickest learning rate.",
        "The target of a seed is the best validation accuracy that the net without batch "
        "normalization reached with it. Ioffe & Szegedy 2015 (figure 3) needed 31.0 million steps "
        "to 72.2 % for Inception, 13.3 with batch normalization, 2.1 at 5 and 2.7 at 30 times the "
        "rate.",
    )


def _decay(arms, styles) -> FigureItem:
    levels = {1.0: "slow", FASTER: f"{FASTER:g} times faster"}
    cells = {
        label: {
            level: _measured(arms[arm][speed], "test_accuracy") for speed, level in levels.items()
        }
        for arm, label in ARMS.items()
    }
    return FigureItem(
        "fast_decay",
        figures.two_by_two({"test accuracy (%)": cells}, styles=styles),
        "Test accuracy with slow and with fast decay of the learning rate, with and without batch "
        "normalization.",
        "The rate falls exponentially to a twentieth by the end of training, or "
        f"{FASTER:g} times as fast. Each net at its own best initial rate.",
    )


def _regularizers(outcomes: Outcomes, claims: Claims, styles) -> Section:
    items, paragraphs = [], []
    if "dropout" in outcomes:
        items.append(_dropout(outcomes["dropout"], styles))
        paragraphs.append(_contradiction(claims))
    if "l2" in outcomes:
        items.append(_l2(outcomes["l2"], styles))
        paragraphs.append(
            "Behind a batch normalization L2 does not make the function smaller: a kernel's scale "
            "is divided out again. What it does is to keep the kernel short, and so the steps "
            "large in comparison, which acts like a higher learning rate (van Laarhoven 2017). "
            "The strengths with and without batch normalization are therefore two different "
            "knobs, and the best values of each depend on the learning rate."
        )
    if "gaps" in outcomes:
        items.append(_noise(outcomes["gaps"], outcomes.get("same_rate", {}), styles))
        paragraphs.append(
            "The noise of batch normalization comes from an example's companions in its batch; as "
            "that of a mean it should fall like one over the batch size. Whether it regularizes is "
            "asked at equal training losses: after equally many epochs the two nets need not have "
            "fitted the training images equally far (training losses at the end: "
            f"{means_told(outcomes['gaps'], _last_loss, 'nats')})."
        )
    return Section("Batch normalization beside other regularizers", tuple(paragraphs), tuple(items))


def _contradiction(claims: Claims) -> str:
    """The note's two sentences about dropout, side by side."""
    verdicts = {
        claim["id"]: f"{claim['verdict']} ("
        f"{format_estimate(claim['effect'], claim['ci_low'], claim['ci_high'])} {claim['unit']})"
        for claim in claims
        if claim["effect"] is not None
    }
    told = "".join(
        f" “{sentence}”: {verdicts[name]}."
        for name, sentence in (
            ("bn-no-dropout", "dropout can be removed, it can hurt or slow training"),
            ("bn-with-dropout", "better used together with dropout"),
        )
        if name in verdicts
    )
    return (
        "On dropout the note contradicts itself: it says that batch normalization makes dropout "
        "superfluous, and that the two are better together. The same 2 × 2 experiment speaks to "
        "both: the first is about how much of dropout's gain batch normalization takes away (are "
        "the lines parallel?), the second about the gain that is left (does the line with batch "
        "normalization rise?)." + told + " Both sentences come from papers on other nets and "
        "data: dropout helps where a net overfits, and how much this one does depends on the "
        "number of images."
    )


def _dropout(arms, styles) -> FigureItem:
    accuracy = {
        label: {
            f"{level} dropout": _measured(arms[arm][level], "test_accuracy")
            for level in ("without", "with")
        }
        for arm, label in ARMS.items()
    }
    steps = steps_with_dropout(arms)
    amounts = {
        label: {f"{level} dropout": steps[arm][level] for level in ("without", "with")}
        for arm, label in ARMS.items()
    }
    shares = ", ".join(
        f"{format_constant(share)} {label}"
        for arm, label in ARMS.items()
        if (share := _share(arms[arm]["with"])) is not None
    )
    return FigureItem(
        "dropout",
        figures.two_by_two(
            {"test accuracy (%)": accuracy},
            {"training steps to a common accuracy": amounts},
            styles,
        ),
        "Test accuracy and training steps of the four nets with and without batch normalization "
        "and dropout.",
        "Each arm at its own learning rate and dropout rate, tuned on validation data "
        f"({shares or 'none'}). Right: steps to the lowest of the best validation accuracies of "
        "the seed's four nets.",
    )


def _l2(grids, styles) -> FigureItem:
    accuracy = {
        label: {s: _measured(records, "val_accuracy") for s, records in grids[arm].items()}
        for arm, label in ARMS.items()
    }
    best = {label: best_strengths(grids[arm]) for arm, label in ARMS.items()}
    return FigureItem(
        "l2",
        figures.tried_values(accuracy, {"best": best}, "strength l of l · Σw²", styles),
        "Validation accuracy against the strength of L2 with and without batch normalization, and "
        "the best strength of each seed.",
        "Best: the geometric mean of the strengths, weighted by e to the accuracy in percentage "
        "points, so that strengths that do alike count alike. Where a net does as well with hardly "
        "any L2, that is the middle of what does no harm, and hangs on where the grid begins. "
        "Ioffe & Szegedy 2015 divided their strength by 5.",
    )


def _noise(arms, watched, styles) -> FigureItem:
    variance: dict[int, list[float | None]] = {}
    for record in finished(watched.get("bn", {})):
        for row in record["companions"]:
            variance.setdefault(row["batch_size"], []).append(row["relative_variance"])
    gaps = {
        label: [list(loss_and_gap(record))[1:] for record in finished(arms[arm])]
        for arm, label in ARMS.items()
    }
    return FigureItem(
        "noise",
        figures.companion_noise(variance, gaps, styles),
        "Left: relative variance of batch normalization's noise against the batch size. Right: "
        "generalization gap against the training loss with and without batch normalization.",
        "Left: how much the inputs of the last hidden activation of a fixed example vary over "
        "random companions in its batch, as a share of how much they vary between examples. "
        "Right: a line for each seed, from the first epoch on; a lower line at the same training "
        "loss is a smaller gap.",
    )


def _measured(records: Records, name: str) -> Values:
    return per_seed(records, measure(name))


def _last_loss(record: Record) -> float | None:
    return record["curves"]["clean_loss"][-1]


def _rate(arms: Mapping[str, Records]) -> float:
    return next(r["spec"]["learning_rate"] for records in arms.values() for r in finished(records))


def _share(records: Records) -> float | None:
    return next(each(records, lambda r: r["spec"]["regularization"]["dense_dropout"]), None)


def _told(value: float | None) -> str:
    return "none" if value is None else plain(value)
