"""What is said before a study's first run: how many runs there are, and how long they take."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from dlip_reg.studies.part import StudyPart, looks_of
from dlip_reg.studies.progress import counted, duration
from dlip_reg.studies.replication import relative_seconds
from dlip_reg.studies.setting import total_minutes
from dlip_reg.training.records import Record
from dlip_reg.training.specification import Spec


def minutes_of(parts: Sequence[StudyPart]) -> float | None:
    """What the parts take on the reference machine; None where that is not known."""
    presets = []
    for part in parts:
        preset = part.setting.preset
        if part.replicates and preset.minutes is not None:
            factor = relative_seconds(part.model_name, part.study.default_model)
            preset = replace(preset, minutes=factor and preset.minutes * factor)
        presets.append(preset)
    return total_minutes(presets)


def expected_runs(
    parts: Sequence[StudyPart], saved: Callable[[Spec], Record | None] = lambda spec: None
) -> tuple[int, int, int, int]:
    """How many runs there are for tuning, to the first look, and at the last one; and left in all.

    A run that several arms or studies share counts once; one with a `saved` record is not left.
    What tuning will choose is not known yet, nor how far a grid will be extended, so before tuning
    the numbers are estimates.
    """
    tuning: set[Spec] = set()
    to_first: set[Spec] = set()
    at_most: set[Spec] = set()
    added = 0
    for part in parts:
        assumed = replace(part, records={}, results={})  # with a resolver of its own
        while requests := assumed.resolver.requests():
            tuning.update(requests)
            records = {spec: record for spec in requests if (record := saved(spec)) is not None}
            if len(records) == len(set(requests)):
                assumed.resolver.advance(records)
            else:
                assumed.resolver.assume()
        first, most = (
            {spec for *_, spec in assumed.missing(look)} for look in (part.looks[0], part.looks[-1])
        )
        to_first |= first
        at_most |= first | most
        unknown = [part.arms[name] for name, best in assumed.resolver.best.items() if best is None]
        tunings = [arm.tuning for arm in unknown if arm.tuning is not None]
        more = sum(one.size - len(one.candidates) for one in tunings)
        added += more * part.setting.preset.tuning_seeds
    left = added + sum(saved(spec) is None for spec in tuning | at_most)
    return len(tuning) + added, len(to_first), len(at_most), left


def runs_text(
    parts: Sequence[StudyPart], saved: Callable[[Spec], Record | None]
) -> tuple[str, float]:
    """How many runs there are, and which share of them is left at most."""
    looks = looks_of(parts)
    first, most = looks[0], looks[-1]
    try:
        tuning, to_first, at_most, left = expected_runs(parts, saved)
    except ValueError:  # an arm that can only be made of what tuning will choose
        return "how many runs there are depends on the tuning", 1.0
    about = "about " * bool(tuning)
    texts = [f"about {counted(tuning, 'run')} for tuning"] if tuning else []
    texts.append(f"{about}{counted(to_first, 'run')} to the first look at {counted(first, 'seed')}")
    if most > first:
        texts.append(f"at most {about}{at_most} at {most} seeds")
    total = tuning + at_most
    text = ", ".join(texts)
    if left < total:
        bound = "at most " * (most > first) + about if left else ""
        text += f"; {bound}{left} of these are left"
    return text, left / total


def idle_arms(parts: Sequence[StudyPart]) -> str:
    """A sentence on the arms that are in no part, where all claims are measured; "" without any."""
    needed = {name for part in parts for name in part.arms}  # studies of a group may share arms
    names = [
        arm.name
        for part in parts
        if not callable(part.study.arms)
        for arm in part.study.arms
        if arm.name not in needed
    ]
    return (
        f"Not run, because no claim needs them: {', '.join(dict.fromkeys(names))}." if names else ""
    )


def announcement(parts: Sequence[StudyPart], runs: str) -> str:
    """How much will be run, and how long that takes on the reference machine."""
    sentence = f"Preset {parts[0].preset_name}: {runs}."
    others = dict.fromkeys(part.setting.name for part in parts if part.replicates)
    minutes = minutes_of(parts)
    if others:
        sentence += f" Replicated on {', '.join(others)}."
    if minutes is None:
        return sentence
    if others:
        return (
            f"{sentence} All settings together take about {duration(60 * minutes)} on two cores, "
            "and longer where more claims need the last look."
        )
    return (
        f"{sentence} The whole preset takes about {duration(60 * minutes)} on two cores with the "
        "default model and data."
    )
