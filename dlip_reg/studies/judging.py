"""Judge a study's claims on its runs: measurement, verdict rule, controls."""

import contextlib
import math
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from itertools import zip_longest
from numbers import Real
from pathlib import Path
from reprlib import repr as short
from typing import Any

import dlip_reg
from dlip_reg.errors import DlipRegError, cause_of
from dlip_reg.evidence.claims import ClaimResult, ControlResult, PartResult
from dlip_reg.evidence.paired import FAILED, Values, are_mostly_bounds, failures_as_zero
from dlip_reg.evidence.rule import (
    LOOKS,
    ROUNDING,
    Estimate,
    Judgement,
    as_series,
    judge_looks,
    looks_up_to,
)
from dlip_reg.studies.arm import expand
from dlip_reg.studies.claim import NEGATIVE, POSITIVE, Claim, Control, Measurement, Part
from dlip_reg.studies.readings import all_diverged
from dlip_reg.studies.runs import NotMeasuredError, Runs
from dlip_reg.studies.workspace import UsageError
from dlip_reg.training.sources import library_folders

DECIDED = ("supported", "contradicted", "no effect")
REFUTED = {(NEGATIVE, "supported"), (POSITIVE, "contradicted"), (POSITIVE, "no effect")}
# What a result repeats of its claim.
_OF_CLAIM = ("id", "sentence", "experiment", "unit", "direction", "null", "smallest_effect",
             "smallest_effect_source", "figures")  # fmt: skip


def judge_claim(claim: Claim, runs: Runs, family: int) -> ClaimResult:
    """The claim as it stands with the seeds of `runs`, in a study of `family` claims.

    Looks follow each other until one closes the claim, and each measures what is not decided yet
    with its own seeds alone: what it found is the same whether or not there are more.
    """
    measured: tuple[Claim | Control, ...] = (claim, *claim.controls)
    found: list[list[Measurement]] = [[] for _ in measured]
    judged: list[Judgement] = []
    for look in looks_up_to(len(runs.seeds)):
        seen = runs.first(look)
        for index, of in enumerate(measured):
            if not judged or judged[index].look is None:
                found[index].append(_measured(claim, of, seen))
        judged = [
            judge_looks([m.differences for m in so_far], claim.question, family) for so_far in found
        ]
        result = _result(claim, found[0][-1], judged, look)
        if not is_open(result):
            break
    return result


def _result(
    claim: Claim, measured: Measurement, judged: Sequence[Judgement], seeds: int
) -> ClaimResult:
    """The result at a look, from what was found so far of the claim and of each control.

    A claim whose negative control is supported, or whose positive control is not, is "not
    measurable": the measurement shows an effect where there is none, or misses one that is there.
    So is a contradicted claim whose negative control is contradicted as well, and one whose
    negative control could be measured with fewer than half of the seeds.
    """
    judgement, *of_controls = judged
    verdict, look = judgement.verdict, judgement.look
    controls = tuple(
        ControlResult(
            control.kind,
            control.description,
            verdict=found.verdict,
            seeds=found.look or seeds,
            **_numbers(found.estimate),
        )
        for control, found in zip(claim.controls, of_controls, strict=True)
    )
    verdicts = {(control.kind, control.verdict) for control in controls}
    unmeasured = any(of.kind == NEGATIVE and 2 * of.n_seeds < of.seeds for of in controls)
    # A positive control may still be undecided where the claim is, until there are no more looks.
    settled = verdict in DECIDED or seeds >= LOOKS[-1]
    # The control of a claim that asserts a value must be elsewhere.
    biased = claim.direction and verdict == "contradicted" and (NEGATIVE, verdict) in verdicts
    unfit = settled and (unmeasured or (POSITIVE, "undecided") in verdicts)
    if verdict is not None and (verdicts & REFUTED or unfit or biased):
        verdict = "not measurable"
    return ClaimResult(
        **{name: getattr(claim, name) for name in _OF_CLAIM},
        **_numbers(judgement.estimate),
        level=judgement.estimate.level,
        verdict=verdict,
        look=look,
        estimates=judgement.estimates,
        controls=controls,
        parts=tuple(PartResult.of(part.label, part.unit, part.values) for part in measured.parts),
        notes=(
            *measured.notes,
            *_beyond(claim.bound, measured),
            *_too_few(judgement, seeds),
            *_only_bounds(claim, judgement, measured, seeds),
        ),
    )


def _beyond(bound: float, measured: Measurement) -> Iterator[str]:
    """What to say of values beyond the bound, as a jackknife's or those in another unit are."""
    values = [abs(x) for series in as_series(measured.differences) for x in series]
    most = max(filter(math.isfinite, values), default=0.0)
    if most > bound * (1 + ROUNDING):
        yield (
            f"The value of one seed is {most:.3g}, beyond the largest effect of {bound:g}, and "
            "takes its place in the interval."
        )


def _too_few(judgement: Judgement, seeds: int) -> Iterator[str]:
    number = judgement.estimate.n_seeds
    if judgement.look is None and 2 * number < seeds:
        yield (
            f"Only {number} of {seeds} seeds could be compared, fewer than half, so nothing is "
            "decided."
        )


def _only_bounds(
    claim: Claim, judgement: Judgement, measured: Measurement, seeds: int
) -> Iterator[str]:
    """Why a narrow interval about 0 is undecided."""
    ends = (judgement.estimate.ci_low, judgement.estimate.ci_high)
    is_narrow = all(end is not None and abs(end) <= claim.smallest_effect for end in ends)
    are_bounds = any(map(are_mostly_bounds, as_series(measured.differences)))
    are_enough = 2 * judgement.estimate.n_seeds >= seeds
    if judgement.verdict == "undecided" and are_enough and is_narrow and are_bounds:
        yield (
            "With most seeds the difference may be larger than what is counted, so it is not "
            "called too small to matter."
        )


def _numbers(estimate: Estimate) -> dict[str, Any]:
    return {name: getattr(estimate, name) for name in ("effect", "ci_low", "ci_high", "n_seeds")}


def is_open(result: ClaimResult) -> bool:
    """Whether further seeds could still change the claim's verdict.

    An effect that is decided waits for its controls: were the measurement biased, the claim could
    reach its verdict some looks before the negative control shows the same.
    """
    verdicts = {(control.kind, control.verdict) for control in result.controls}
    waits = result.is_unconfirmed or (POSITIVE, "undecided") in verdicts
    return not verdicts & REFUTED and (result.look is None or waits)


def arms_of_next_look(claim: Claim, result: ClaimResult | None) -> tuple[str, ...]:
    """The arms that an open claim's next look reads: of a decided one, those of its controls."""
    if result is None or result.look is None:
        return claim.needed
    pairs = zip(claim.controls, result.controls, strict=True)
    return tuple(name for of, found in pairs if found.verdict == "undecided" for name in of.needs)


def as_measurement(measured: Any) -> Measurement:
    """A measurement from what a claim's function gave or yielded; None stands for NaN."""
    if isinstance(measured, Measurement):
        return replace(measured, differences=as_measurement(measured.differences).differences)
    beside: list[Any] = []
    if isinstance(measured, Iterator):
        measured = list(measured)
        if measured and not isinstance(measured[0], Real | None):  # what else was yielded
            measured, *beside = measured
    if odd := [item for item in beside if not isinstance(item, Part | str)]:
        raise UsageError(
            "A measure yields its numbers first, several series as one tuple, and then parts and "
            f"notes, not {type(odd[0]).__name__}."
        )
    # A set has no order, and a dict would give its keys, as a DataFrame the names of its columns.
    is_list = isinstance(measured, Iterable) and not isinstance(measured, str | Mapping | Set)
    if not is_list or getattr(measured, "ndim", 1) != 1 or hasattr(measured, "columns"):
        raise UsageError(
            "A measure gives one number for each seed, in the order of the seeds, not "
            f"{' '.join(short(measured).split())}."
        )
    numbers = tuple(math.nan if number is None else number for number in measured)
    parts = tuple(part for part in beside if isinstance(part, Part))
    return Measurement(numbers, parts, tuple(note for note in beside if isinstance(note, str)))


def _measured(claim: Claim, of: Claim | Control, runs: Runs) -> Measurement:
    """What the claim, or one of its controls, measures.

    No difference between runs all of which diverged is a failure, whatever these are worth.
    """
    # Other arms may have fewer seeds: those that figures or what is decided read.
    runs = runs.only(expand(of.needs, list(runs)))
    try:
        with explained("its measure"):
            measured = as_measurement(of.measure(runs))
    except (NotMeasuredError, UsageError) as error:
        raise UsageError(f"{claim.id}: {error}") from error
    parts = tuple(replace(p, values=_finite(claim, p.values)) for p in measured.parts)
    failed = all_diverged(runs, list(runs))
    series = []
    for numbers in as_series(measured.differences):
        finite = _finite(claim, numbers)
        # Pairs go by position, so a seed that is left out would shift all others.
        if len(finite) != len(runs.seeds):
            raise UsageError(
                f"{claim.id}: its measure gave {len(finite)} numbers for {len(runs.seeds)} seeds; "
                "it must give one for each, NaN where there is none."
            )
        marked = (FAILED if gone and not x else x for x, gone in zip_longest(finite, failed))
        series.append(failures_as_zero(tuple(marked)))
    return replace(measured, differences=tuple(series), parts=parts)


@contextlib.contextmanager
def explained(function: str) -> Iterator[None]:
    """Make one sentence of an error in a function that a study brings along.

    Args:
        function: What it is called in the sentence.

    Raises:
        UsageError: With the last line that is neither this package's nor a library's.
    """
    try:
        yield
    except DlipRegError:  # says what was wrong
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        others = [*dlip_reg.__path__, *library_folders()]
        files = [
            (Path(frame.filename), frame.lineno)
            for frame in frames
            if (frame.filename, frame.name) != ("<string>", "__init__")  # of a dataclass
        ]
        own = [(f, line) for f, line in files if not any(f.is_relative_to(o) for o in others)]
        if not own:  # no fault of theirs
            raise
        file, line = own[-1]
        where = f"line {line} of {file.name}"
        raise UsageError(f"{function} failed in {where}: {cause_of(error)}") from error


def _finite(claim: Claim, numbers: Any) -> Values:
    """The numbers, with NaN for those that are not finite."""
    try:
        if isinstance(numbers, Mapping):  # its keys are not what was measured
            raise TypeError
        return tuple(x if math.isfinite(x) else math.nan for x in numbers)
    except (OverflowError, TypeError) as error:
        raise UsageError(
            f"{claim.id}: its measure gave {short(numbers)} in place of numbers; it must give one "
            "for each seed, NaN where there is none."
        ) from error
