"""The tuning lab's report: its searches turned into figures and text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlip_reg.report import figures
from dlip_reg.report.figures.style import power_of_ten
from dlip_reg.report.numbers import format_number
from dlip_reg.report.page import FigureItem, Section


def tuning_sections(
    searches: Mapping[str, Mapping[str, Any]],
    ranges: Mapping[str, tuple[float, float]],
    baseline: Sequence[float],
) -> list[Section]:
    """The report's sections.

    `searches`: label -> `tied`, `trials` (see `figures.search`), `best` (that of best.json, or
    None), `test` (accuracies of the winner, by seed), `errors` (why trials failed). `ranges`:
    strength -> what was searched. `baseline`: validation accuracies without penalty, by seed.
    """
    if not any(search["trials"] for search in searches.values()):
        return []
    styles = figures.method_styles(searches)
    trials = {label: search["trials"] for label, search in searches.items()}
    return [
        _winners(searches),
        _surface(searches, ranges, baseline, styles),
        _way(trials, ranges, styles),
    ]


def _winners(searches: Mapping[str, Mapping[str, Any]]) -> Section:
    paragraphs = []
    for label, search in searches.items():
        best = search["best"]
        if best is None:
            paragraphs.append(f"{label}: no trial came to a score ({_causes(search)}).")
            continue
        told = ", ".join(
            f"{name.replace('_', ' ')} {power_of_ten(float(f'{value:.3g}'))}"
            for name, value in best["hyperparameters"].items()
            if isinstance(value, float)
        )
        score = _percent([best["score"]])
        text = f"{label}: trial {best['trial']} ({told}), validation accuracy {score}"
        if test := [value for value in search["test"] if value is not None]:
            seeds = "1 seed" if len(test) == 1 else f"{len(test)} seeds"
            text += f", test accuracy {_percent(test)} (mean over {seeds})"
        if failed := sum(not trial["scores"] for trial in search["trials"]):
            text += f"; {failed} of {len(search['trials'])} trials without a score"
            text += f" ({_causes(search)})" if search["errors"] else ""
        paragraphs += [f"{text}.", f"To rebuild its model: {best['python']}"]
    return Section(
        "The winners",
        (
            "Each search's best trial by mean validation accuracy over the seeds, after the last "
            "epoch, without the penalty. The mean of the best of many trials flatters; the test "
            "accuracy, looked at once, does not.",
            *paragraphs,
        ),
    )


def _surface(searches, ranges, baseline, styles) -> Section:
    # Of the first kind of search that was asked for: surfaces of several would hide one another.
    first = next(iter(searches)).partition(",")[0]
    own = {label: s for label, s in searches.items() if label.partition(",")[0] == first}
    separate = [t for s in own.values() if not s["tied"] for t in s["trials"]]
    tied = [t for s in own.values() if s["tied"] for t in s["trials"]]
    names = ("conv_l2", "dense_l2")
    counted = f"{len(separate)} trials apart and {len(tied)} tied"
    return Section(
        "The response surface",
        (
            "A strength means Keras' l in l · Σw²; a weight decay λ of a paper is l = λ / 2. Every "
            "trial has the same seeds, hence the same initial weights, split and order of "
            "examples: what differs between two trials is the strength.",
        ),
        (
            FigureItem(
                "response_surface",
                figures.response_surface(
                    separate, tied, names, (ranges[names[0]], ranges[names[1]])
                ),
                f"Mean validation accuracy over convolution and dense L2 strength: {counted}, a "
                "smooth surface through them, the tied diagonal and the best of each search.",
                "Marks are trials, coloured by their own accuracy; the surface between them is an "
                "interpolation (thin-plate spline). A tied search sees only the dashed diagonal.",
            ),
            FigureItem(
                "strengths",
                figures.score_against_strength(
                    {label: s["trials"] for label, s in searches.items()}, ranges, baseline, styles
                ),
                f"Validation accuracy of every trial against each strength, for "
                f"{', '.join(searches)}.",
                "Each mark is a trial: mean over seeds, and an interval that leaves out what all "
                "trials of a seed have in common. Where two strengths are searched, the other one "
                "varies, too.",
            ),
        ),
    )


def _way(trials: Mapping[str, Sequence[Mapping[str, Any]]], ranges, styles) -> Section:
    longest = max(trials, key=lambda label: len(_names(trials[label])))
    return Section(
        "The searches",
        ("How soon each search found what it found.",),
        (
            FigureItem(
                "best_so_far",
                figures.best_so_far(trials, styles),
                f"Best mean validation accuracy so far against trials, for {', '.join(trials)}.",
                "Trials in the order they were begun; two searches that end at the same height "
                "found equally good strengths.",
            ),
            FigureItem(
                "parallel_coordinates",
                figures.parallel_coordinates(trials[longest], ranges),
                f"Every trial of {longest} as a line through its strengths to its accuracy.",
                f"The trials of {longest}; the lines of good trials are bright.",
            ),
        ),
    )


def _causes(search: Mapping[str, Any]) -> str:
    return "; ".join(search["errors"])


def _names(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(trials[0]["strengths"]) if trials else []


def _percent(values: Sequence[float]) -> str:
    return f"{format_number(100 * sum(values) / len(values))} %"
