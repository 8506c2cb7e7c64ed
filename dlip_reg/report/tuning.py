"""The tuning lab's report: sections on its searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlip_reg.report import figures
from dlip_reg.report.figures.kit import power_of_ten
from dlip_reg.report.figures.search import all_whole, display_name
from dlip_reg.report.numbers import format_number
from dlip_reg.report.page import Code, FigureItem, Section
from dlip_reg.report.wording import seeds_text

Trials = Mapping[str, Sequence[Mapping[str, Any]]]  # search -> its trials, see `figures.search`

_EARLY = (
    " Of Hyperband's trials only those that trained all epochs are drawn: accuracies after fewer "
    "epochs are not comparable."
)


def tuning_sections(
    searches: Mapping[str, Mapping[str, Any]],
    ranges: Mapping[str, tuple[float, float]],
    baseline: Sequence[float],
) -> list[Section]:
    """Return the report's sections.

    Args:
        searches: Label -> `tied`, `trials` (see `figures.search`), `best` (that of best.json, or
            None), `test` (test accuracies of the best trial, by final seed), and `errors` (why
            trials failed).
        ranges: Strength -> the range that was searched.
        baseline: Validation accuracies without penalty, by search seed.
    """
    trials = {label: search["trials"] for label, search in searches.items()}
    if not any(trials.values()):
        return []
    # Without those that were stopped early.
    whole = {
        label: [trial for trial in found if trial.get("whole", True)]
        for label, found in trials.items()
    }
    whole = {label: found for label, found in whole.items() if found}
    sections = [_best_trials(searches)]
    if whole:
        with figures.shared_styles(searches):
            sections += [
                _surface(searches, whole, ranges, baseline),
                _progress(trials, whole, ranges),
            ]
    return sections


def _best_trials(searches: Mapping[str, Mapping[str, Any]]) -> Section:
    paragraphs: list[str] = []
    for label, search in searches.items():
        best, causes = search["best"], "; ".join(search["errors"])
        if best is None:
            paragraphs.append(f"{label}: no trial has a score ({causes}).")
            continue
        parts = ", ".join(
            f"{display_name(name)} {power_of_ten(float(f'{value:.3g}'))}"
            for name, value in best["hyperparameters"].items()
            if isinstance(value, float)
        )
        score = _percent([best["score"]])
        text = f"{label}: trial {best['trial']} ({parts}), validation accuracy {score} after "
        text += "1 epoch" if best["epochs"] == 1 else f"{best['epochs']} epochs"
        if test := [value for value in search["test"] if value is not None]:
            text += f", test accuracy {_percent(test)} (mean over {seeds_text(len(test))})"
        if failed := sum(not trial["scores"] for trial in search["trials"]):
            text += f"; {failed} of {len(search['trials'])} trials without a score"
            text += f" ({causes})" if causes else ""
        paragraphs += [f"{text}. To rebuild its model:", Code(best["python"])]
    return Section(
        "Best trials",
        (
            "Each search's best trial by mean validation accuracy over the seeds after the last "
            "epoch. This accuracy is biased upwards, because it is the best of many trials. The "
            "test accuracy is not: it comes from new runs with seeds that no search has used.",
            *paragraphs,
        ),
    )


def _surface(
    searches: Mapping[str, Mapping[str, Any]],
    whole: Trials,
    ranges: Mapping[str, tuple[float, float]],
    baseline: Sequence[float],
) -> Section:
    # Of the first kind of search that was asked for: surfaces of several would hide one another.
    first = next(iter(whole)).partition(",")[0]
    separate: list[Mapping[str, Any]] = []
    tied: list[Mapping[str, Any]] = []
    for label, found in whole.items():
        if label.partition(",")[0] == first:
            (tied if searches[label]["tied"] else separate).extend(found)
    counted = f"{len(separate)} trials with separate strengths and {len(tied)} with a tied one"
    early = "" if all_whole({n: s["trials"] for n, s in searches.items()}) else _EARLY
    return Section(
        "The response surface",
        (
            "A strength is Keras' l in l · Σw²; a weight decay of λ in a paper is l = λ / 2. All "
            "trials have the same seeds, and so the same initial weights, splits and order of "
            f"examples: two trials differ only in their strengths.{early}",
        ),
        (
            FigureItem(
                "response_surface",
                figures.response_surface(separate, tied, (ranges["conv_l2"], ranges["dense_l2"])),
                f"Mean validation accuracy over convolution and dense L2 strength: {counted} of "
                f"the {first} search, the tied diagonal, the best of each search and, where there "
                "are enough trials, a smoothed surface among them.",
                f"Marks are trials of the {first} search, coloured by their accuracy. The surface "
                "is smoothed (thin-plate spline): marks that differ from it show how much trials "
                "scatter, and it is unreliable far from trials. A tied search covers only the "
                "dashed diagonal.",
            ),
            FigureItem(
                "strengths",
                figures.score_against_strength(whole, ranges, baseline),
                f"Validation accuracy of every trial against each strength, for "
                f"{', '.join(searches)}.",
                "Each mark is a trial: the mean over seeds with a within-seed interval, from the "
                "pooled scatter without the differences between seeds. Trials far worse than the "
                "best may lie below the axis. Where two strengths are searched, the other one "
                "varies, too.",
            ),
        ),
    )


def _progress(trials: Trials, whole: Trials, ranges: Mapping[str, tuple[float, float]]) -> Section:
    longest = max(whole, key=lambda label: len(whole[label][0]["strengths"]))
    others = [label for label in trials if label != longest]
    alone = f" The figure of all trials shows one search: {longest}." if others else ""
    notes = ""
    if not all_whole(trials):
        notes += " A trial stopped early has no mark and counts by its share of all epochs."
    if {label.partition(",")[0] for label in trials} >= {"random", "bayesian"}:
        notes += (
            " Random search and Bayesian optimization start with the same trials, whose marks "
            "coincide."
        )
    return Section(
        "The searches",
        (f"How many trials each search needed for its best accuracy.{alone}",),
        (
            FigureItem(
                "best_so_far",
                figures.best_so_far(trials),
                f"Best mean validation accuracy so far against trials, for {', '.join(trials)}.",
                "Trials in the order of their start. Searches that end at the same height "
                f"found equally good strengths.{notes}",
            ),
            FigureItem(
                "parallel_coordinates",
                figures.parallel_coordinates(whole[longest], ranges),
                f"Every trial of {longest} as a line through its strengths to its accuracy.",
                f"The trials of {longest}. A line has the colour of its accuracy on the last axis; "
                "those far worse than the best end at its lower end.",
            ),
        ),
    )


def _percent(values: Sequence[float]) -> str:
    return f"{format_number(100 * sum(values) / len(values))} %"
