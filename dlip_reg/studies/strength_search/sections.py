"""The report's sections on searches; their texts are docstrings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlip_reg.report import Code, Section, figures
from dlip_reg.report.figures.kit import power_of_ten
from dlip_reg.report.figures.search import all_whole, display_name
from dlip_reg.report.numbers import format_number
from dlip_reg.report.wording import seeds_text
from dlip_reg.studies.drawing import Drawn, figure, paragraphs, section

Searches = Mapping[str, Mapping[str, Any]]
Trials = Mapping[str, Sequence[Mapping[str, Any]]]  # search -> its trials, see `figures.search`
Ranges = Mapping[str, tuple[float, float]]


def tuning_sections(searches: Searches, ranges: Ranges, baseline: Sequence[float]) -> list[Section]:
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
    whole = {
        label: kept  # without those that were stopped early
        for label, found in trials.items()
        if (kept := [trial for trial in found if trial.get("whole", True)])
    }
    sections = [_best_trials(searches)]
    if whole:
        with figures.shared_styles(searches):
            sections += _surface(searches, trials, whole, ranges, baseline)
            sections += _progress(trials)
    return sections


def _best_trials(searches: Searches) -> Section:
    """Each search's best trial by mean validation accuracy over the seeds after the last epoch.
    This accuracy is biased upwards, because it is the best of many trials. The test accuracy is
    not: it comes from new runs with seeds that no search has used.
    """
    texts = paragraphs(_best_trials)
    for label, search in searches.items():
        best, causes = search["best"], "; ".join(search["errors"])
        if best is None:
            texts.append(f"{label}: no trial has a score ({causes}).")
            continue
        parts = ", ".join(
            f"{display_name(name)} {power_of_ten(value)}"
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
        texts += [f"{text}. To rebuild its model:", Code(best["python"].replace("; ", "\n"))]
    return Section("Best trials", texts)


@section("The response surface")
def _surface(
    searches: Searches, trials: Trials, whole: Trials, ranges: Ranges, baseline: Sequence[float]
) -> Drawn:
    """A strength is Keras' l in l · Σw²; a weight decay of λ in a paper is l = λ / 2. All trials
    have the same seeds, and so the same initial weights, splits and order of examples: two trials
    differ only in their strengths.{early}
    """
    early = (
        " Of Hyperband's trials only those that trained all epochs are drawn: accuracies after "
        "fewer epochs are not comparable."
    )
    items = [*_draw_strengths(whole, ranges, baseline)]
    if not all(searches[label]["tied"] for label in whole):  # else a line is all that was searched
        items = [*_draw_surface(searches, whole, ranges), *items]
    yield items, {"early": "" if all_whole(trials) else early}


@figure("response_surface")
def _draw_surface(searches: Searches, whole: Trials, ranges: Ranges) -> Drawn:
    """Mean validation accuracy over convolution and dense L2 strength: {separate} trials with
    separate strengths and {tied} with a tied one of the {first} search, the tied diagonal, the best
    of each search and, where there are enough trials, a smoothed surface among them.

    Marks are trials of the {first} search, coloured by their accuracy. The surface is smoothed
    (thin-plate spline): marks that differ from it show how much trials scatter, and it is
    unreliable far from trials. A tied search covers only the dashed diagonal.
    """
    # Of the first kind of search that was asked for: surfaces of several would hide one another.
    first = next(iter(whole)).partition(",")[0]
    shown = {label: found for label, found in whole.items() if label.partition(",")[0] == first}
    separate, tied = (
        [t for label, found in shown.items() if searches[label]["tied"] == is_tied for t in found]
        for is_tied in (False, True)
    )
    plot = figures.response_surface(separate, tied, (ranges["conv_l2"], ranges["dense_l2"]))
    yield plot, {"separate": len(separate), "tied": len(tied), "first": first}


@figure("strengths")
def _draw_strengths(whole: Trials, ranges: Ranges, baseline: Sequence[float]) -> Drawn:
    """Validation accuracy of every trial against each strength, for {searches}.

    Each mark is a trial: the mean over seeds with a within-seed interval, from the pooled scatter
    without the differences between seeds. Trials far worse than the best may lie below the axis.
    Where two strengths are searched, the other one varies, too.{stopped}
    """
    scores = [[len(t["scores"]) for t in found if t["scores"]] for found in whole.values()]
    stopped = " A search in which a race stopped trials has no intervals."
    facts = {"searches": whole, "stopped": stopped * any(len(set(n)) > 1 for n in scores)}
    yield figures.score_against_strength(whole, ranges, baseline), facts


@section("The searches")
def _progress(trials: Trials) -> Drawn:
    """How many trials each search needed for its best accuracy."""
    yield _draw_progress(trials), {}


@figure("best_so_far")
def _draw_progress(trials: Trials) -> Drawn:
    """Best mean validation accuracy so far against trials, for {searches}.

    Trials in the order of their start. Searches that end at the same height found equally good
    strengths.{notes}
    """
    notes = ""
    if not all_whole(trials):
        notes += " A trial stopped early has no mark and counts by its share of all epochs."
    if {label.partition(",")[0] for label in trials} >= {"random", "bayesian"}:
        notes += (
            " Random search and Bayesian optimization start with the same trials, whose marks "
            "coincide."
        )
    yield figures.best_so_far(trials), {"searches": dict(trials), "notes": notes}


def _percent(values: Sequence[float]) -> str:
    return f"{format_number(100 * sum(values) / len(values))} %"
