"""Write the report of a study: its judged claims, its figures, and the methods."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dlip_reg import report
from dlip_reg.evidence import ClaimResult, expected_false_verdicts
from dlip_reg.report.page import summary_figures
from dlip_reg.report.wording import seeds_text
from dlip_reg.studies.judging import explained
from dlip_reg.studies.part import StudyPart
from dlip_reg.studies.protocol import protocol_hash
from dlip_reg.studies.replication import replication_section, replications
from dlip_reg.studies.study import Study, StudyGroup
from dlip_reg.studies.workspace import UsageError, Workspace


def write_study_report(
    study: Study | StudyGroup, parts: Sequence[StudyPart], workspace: Workspace, look: int
) -> tuple[Path, dict[str, Any], list[ClaimResult]]:
    """Write the report as of the look at `look` seeds.

    Returns:
        The page's path, the figures by name, and the claims with the names of their figures.
    """
    claims: list[ClaimResult] = []
    sections: list[report.Section] = []
    facts: dict[str, str] = {}
    main = [part for part in parts if not part.replicates]
    for part in main:
        # Figure names that no other study of the report has.
        prefix = f"{part.study.name.removeprefix('lab_')}_" if len(study.studies) > 1 else ""
        results, drawn = _with_figures(part, look, prefix)
        claims += results
        sections += drawn
        suffix = f" ({part.study.name})" if len(main) > 1 else ""
        facts |= {name + suffix: text for name, text in _facts(part).items()}
    still_open = [
        (part, [claim.id for claim in part.open_claims()] if look < part.looks[-1] else [])
        for part in parts
    ]
    waiting = [name for part, names in still_open if not part.replicates for name in names]
    facts |= {
        "Model": ", ".join(dict.fromkeys(model for part in parts for model in part.models)),
        "Data": ", ".join(
            f"{name} (SHA-256 {workspace.fingerprints[name][:12]}…)"
            for name in dict.fromkeys(part.data.name for part in parts)
        ),
        "Runs": f"{workspace.number_of_records():,}",
        "Software": ", ".join(map(" ".join, workspace.versions.items())),
    }
    families = [len(part.study.claims) for part in parts if part.claims]
    if len(families) > 1:
        most, table = expected_false_verdicts(families), f"a table of {sum(families)} verdicts"
        facts["False verdicts to expect"] = f"at most {most:.2g} in {table}"
    if replicated := replications(parts):
        sections[:0] = replication_section(
            replicated,
            [
                f"Still open on {part.setting.name}, and continued: {', '.join(names)}."
                for part, names in still_open
                if part.replicates and names
            ],
        )
    notes = [
        *workspace.notes(),
        *(note for part in parts for note in part.grid_notes()),
    ]
    summary = summary_figures(claims, waiting)
    page = report.write_report(
        workspace.path,
        title=study.title or study.name,
        lead=study.lead,
        claims=claims,
        sections=sections,
        facts=facts,
        notes=notes,
        protocol=", ".join(protocol_hash(part.study, part.setting) for part in main),
        open_claims=waiting,
        seeds=look,
        families=[len(part.study.claims) for part in main if part.claims],
        summary=summary,
    )
    items = [*summary, *(item for section in sections for item in section.figures)]
    return page, {item.name: item.figure for item in items}, claims


def _with_figures(
    part: StudyPart, look: int, prefix: str
) -> tuple[list[ClaimResult], list[report.Section]]:
    """The claims with the names of their figures, and the sections of claims and study."""

    def named(items: Iterable[report.FigureItem]) -> tuple[report.FigureItem, ...]:
        items = tuple(items) if isinstance(items, Iterable) else (items,)
        if odd := [item for item in items if not isinstance(item, report.FigureItem)]:
            raise UsageError(
                "A function that draws must yield figures of the type dlip_reg.report.FigureItem, "
                f"not {type(odd[0]).__name__}."
            )
        return tuple(replace(item, name=prefix + item.name) for item in items)

    runs = part.runs(look)
    results, own = [], []
    names: dict[Any, tuple[str, ...]] = {None: ()}
    looks: dict[Any, int] = {}  # claims may share their figures, with the seeds of the last look
    for claim in part.claims:
        reached = part.results[claim.id].look or look
        looks[claim.draw] = max(reached, looks.get(claim.draw, 0))
    with report.figures.shared_styles(part.study.styled_first):
        for claim in part.claims:
            result = part.results[claim.id]
            if claim.draw is not None and claim.draw not in names:
                seen = runs.first(looks[claim.draw])
                with explained(f"{claim.id}: its figure"):
                    items = named(claim.draw(seen) or ())
                names[claim.draw] = tuple(item.name for item in items)
                own.append(report.Section(claim.sentence, figures=items, claim=claim.id))
            shared = tuple(prefix + name for name in claim.figures)
            results.append(replace(result, figures=(*shared, *names[claim.draw])))
        with explained(f"{part.study.name}: a section"):
            sections = list(part.study.sections(runs, results))
        others = [replace(section, figures=named(section.figures)) for section in sections]
    return results, [*own, *others]


def _facts(part: StudyPart) -> Mapping[str, str]:
    preset = part.setting.preset
    facts = {
        "Preset": part.preset_name,
        "Seeds": f"{', '.join(map(str, part.looks))}, from seed {part.first_seed} on; the figures "
        "count them from 1",
    }
    if any(arm.tuning for arm in part.arms.values()):
        facts["Tuning"] = (
            f"each candidate with {seeds_text(preset.tuning_seeds)} of its own, which no verdict "
            "sees; the intervals, and the probability of a false verdict, are those for the "
            "candidates chosen and do not contain what another choice would have changed"
        )
    if chosen := "; ".join(part.chosen_notes()):
        facts["Chosen"] = chosen
    return {**facts, **part.study.facts(part.setting)}
