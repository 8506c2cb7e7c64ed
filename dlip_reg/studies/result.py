"""What a study run gives back: claims, records, figures and the report."""

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlip_reg.evidence.claims import ClaimResult, ControlResult
from dlip_reg.experiments.rows import record_row
from dlip_reg.extras import data_frame
from dlip_reg.report.wording import estimate_text
from dlip_reg.studies.replication import Replication
from dlip_reg.studies.runs import Runs
from dlip_reg.training.records import Record


@dataclass(frozen=True, repr=False)
class StudyResult:
    """The outcome of `run_study`; a notebook shows its claims as a table.

    Attributes:
        claims: The judged claims, in the study's order.
        runs: Per study, what measurements read: `runs["lab_regularization"]["l2"]`.
        report: The path of `report.html`.
        figures: Matplotlib figures by name.
        notes: Sentences such as those about runs that diverged or failed.
        replications: The claims of each setting, where the study was replicated.
    """

    claims: tuple[ClaimResult, ...]
    runs: Mapping[str, Runs]
    report: Path
    figures: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    replications: tuple[Replication, ...] = ()

    @property
    def records(self) -> list[Record]:
        """The record of each run that the verdicts rest on, arm by arm and seed by seed."""
        return list({record.id: record for *_, record in self._rows()}.values())

    def _rows(self) -> Iterator[tuple[str, str, Record]]:
        """The name of the study, of the arm, and the record, of each run."""
        for study, runs in self.runs.items():
            for arm in runs:
                yield from ((study, arm, record) for record in runs[arm] if record is not None)

    def to_dataframe(self) -> Any:
        """The records as a pandas DataFrame.

        Returns:
            One row for each run of an arm, not those of its tuning, with a column for the study,
            the arm and each number.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        rows = (
            {"study": study, "arm": arm, **record_row(record)}
            for study, arm, record in self._rows()
        )
        return data_frame(rows, f"read {self.report.with_name('records.csv')}")

    def __repr__(self) -> str:
        verdicts = ", ".join(f"{claim.id}: {claim.verdict or 'estimate'}" for claim in self.claims)
        return f"<StudyResult {verdicts or 'without claims'}; report: {self.report}>"

    def _repr_html_(self) -> str:
        def row(tag: str, *texts: str) -> str:
            cells = (f"<{tag} style='text-align:left'>{html.escape(x)}</{tag}>" for x in texts)
            return f"<tr>{''.join(cells)}</tr>"

        rows = [row("th", "claim", "statement", "effect [interval]", "verdict", "controls")]
        for claim in self.claims:
            verdict = claim.verdict or "estimate (no verdict below 5 seeds)"
            controls = "; ".join(
                f"{of.kind}: {effect_text(claim, of)}{f', {of.verdict}' if of.verdict else ''}"
                for of in claim.controls
            )
            texts = claim.sentence, effect_text(claim), verdict, controls
            rows.append(row("td", claim.id, *texts))
        report = html.escape(str(self.report))
        return f"<table>{''.join(rows)}</table><p>Report: <code>{report}</code></p>"


def effect_text(claim: ClaimResult, control: ControlResult | None = None) -> str:
    """The effect of a claim, or of a control of it, with interval and unit."""
    return estimate_text(control or claim, claim.unit, claim.null)
