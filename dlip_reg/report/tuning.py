"""The tuning lab's report: its searches turned into figures and text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlip_reg.report import figures
from dlip_reg.report.figures.search import all_whole
from dlip_reg.report.figures.search import told as told_name
from dlip_reg.report.figures.style import power_of_ten
from dlip_reg.report.numbers import format_number
from dlip_reg.report.page import FigureItem, Section

_EARLY = (
    " Of Hyperband's trials those that trained all epochs are drawn: after fewer, accuracies are "
    "not to be compared."
)


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
    whole = {label: _whole(found) for label, found in trials.items()}
    sections = [_winners(searches)]
    if any(whole.values()):
        sections += [
            _surface(searches, whole, ranges, baseline, styles),
            _way(trials, whole, ranges, styles),
        ]
    return sections


def _winners(searches: Mapping[str, Mapping[str, Any]]) -> Section:
    paragraphs = []
    for label, search in searches.items():
        best = search["best"]
        if best is None:
            paragraphs.append(f"{label}: no trial came to a score ({_causes(search)}).")
            continue
        told = ", ".join(
            f"{told_name(name)} {power_of_ten(float(f'{value:.3g}'))}"
            for name, value in best["hyperparameters"].items()
            if isinstance(value, float)
        )
        score = _percent([best["score"]])
        text = f"{label}: trial {best['trial']} ({told}), validation accuracy {score} after "
        text += "1 epoch" if best["epochs"] == 1 else f"{best['epochs']} epochs"
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


def _surface(searches, whole, ranges, baseline, styles) -> Section:
    # Of the first kind of search that was asked for: surfaces of several would hide one another.
    first = next(label.partition(",")[0] for label, found in whole.items() if found)
    own = {label: found for label, found in whole.items() if label.partition(",")[0] == first}
    separate = [t for label, found in own.items() if not searches[label]["tied"] for t in found]
    tied = [t for label, found in own.items() if searches[label]["tied"] for t in found]
    names = ("conv_l2", "dense_l2")
    counted = f"{len(separate)} trials apart and {len(tied)} tied"
    early = "" if all_whole({n: s["trials"] for n, s in searches.items()}) else _EARLY
    return Section(
        "The response surface",
        (
            "A strength means Keras' l in l · Σw²; a weight decay λ of a paper is l = λ / 2. Every "
            "trial has the same seeds, hence the same initial weights, split and order of "
            f"examples: what differs between two trials is the strength.{early}",
        ),
        (
            FigureItem(
                "response_surface",
                figures.response_surface(
                    separate, tied, names, (ranges[names[0]], ranges[names[1]])
                ),
                f"Mean validation accuracy over convolution and dense L2 strength: {counted} of "
                f"the {first} search, the tied diagonal, the best of each search and, where there "
                "are enough trials, a smoothed surface among them.",
                f"Marks are trials of the {first} search, coloured by their own accuracy; the "
                "surface is smoothed (thin-plate spline): a mark that differs from its ground "
                "tells how far trials scatter, and ground that no mark is near is a guess. A tied "
                "search sees only the dashed diagonal.",
            ),
            FigureItem(
                "strengths",
                figures.score_against_strength(
                    {label: found for label, found in whole.items() if found},
                    ranges,
                    baseline,
                    styles,
                ),
                f"Validation accuracy of every trial against each strength, for "
                f"{', '.join(searches)}.",
                "Each mark is a trial: mean over seeds, and an interval that leaves out what all "
                "trials of a seed have in common and pools their scatter. Trials that did far "
                "worse than the best may lie below the axis. Where two strengths are searched, the "
                "other one varies, too.",
            ),
        ),
    )


def _way(trials, whole, ranges, styles) -> Section:
    longest = max(whole, key=lambda label: len(_names(whole[label])))
    others = [label for label in trials if label != longest]
    alone = f" All trials at once are drawn for one search alone: {longest}." if others else ""
    notes = ""
    if not all_whole(trials):
        notes += " A trial ended early has no mark, and counts by its share of all epochs."
    if {label.partition(",")[0] for label in trials} >= {"random", "bayesian"}:
        notes += (
            " Random search and Bayesian optimization begin with the same trials, whose marks "
            "coincide."
        )
    return Section(
        "The searches",
        (f"How soon each search found what it found.{alone}",),
        (
            FigureItem(
                "best_so_far",
                figures.best_so_far(trials, styles),
                f"Best mean validation accuracy so far against trials, for {', '.join(trials)}.",
                "Trials in the order they were begun; two searches that end at the same height "
                f"found equally good strengths.{notes}",
            ),
            FigureItem(
                "parallel_coordinates",
                figures.parallel_coordinates(whole[longest], ranges),
                f"Every trial of {longest} as a line through its strengths to its accuracy.",
                f"The trials of {longest}. A line has the colour of its accuracy on the last axis; "
                "what did far worse than the best ends at its foot.",
            ),
        ),
    )


def _whole(trials: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that trained all epochs, or would have."""
    return [trial for trial in trials if trial.get("whole", True)]


def _causes(search: Mapping[str, Any]) -> str:
    return "; ".join(search["errors"])


def _names(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(trials[0]["strengths"]) if trials else []


def _percent(values: Sequence[float]) -> str:
    return f"{format_number(100 * sum(values) / len(values))} %"
