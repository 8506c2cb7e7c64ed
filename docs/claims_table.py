"""Print the table of the claims that a lab has measured, as in docs/results.md.

python docs/claims_table.py docs/gallery/claims_batch_size.json [REPETITION]

REPETITION is the claims.json of a run with other seeds, whose verdicts get a column.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from dlip_reg.codec import from_plain
from dlip_reg.evidence import ClaimResult
from dlip_reg.report.wording import look_reached, threshold_text
from dlip_reg.studies.result import effect_text

COLUMNS = ("the note says", "verdict", "effect [interval]", "what counts", "seeds", "controls")


def table_rows(path: Path, repetition: Path | None = None) -> Iterator[str]:
    """One row a claim: statement, verdict, effect beside what counts, seeds and controls.

    Args:
        path: The claims.json of a lab.
        repetition: That of a run with other seeds, for one more column.
    """
    again = {claim.id: claim for claim in claims_in(repetition)} if repetition else {}
    columns = (*COLUMNS, "with other seeds") if again else COLUMNS
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"
    for claim in claims_in(path):
        controls = "; ".join(f"{control.kind}: {control.verdict}" for control in claim.controls)
        cells = [
            claim.sentence, f"*{claim.verdict}*", effect_text(claim), threshold_text(claim),
            str(claim.look or look_reached(claim)), controls,
        ]  # fmt: skip
        if again:
            repeated = again[claim.id]
            cells.append(f"*{repeated.verdict}*, {effect_text(repeated)}")
        yield f"| {' | '.join(cells)} |"


def claims_in(path: Path) -> list[ClaimResult]:
    """The claims of a claims.json."""
    return [from_plain(ClaimResult, claim) for claim in json.loads(path.read_text("utf-8"))]


if __name__ == "__main__":
    for row in table_rows(*map(Path, sys.argv[1:])):
        # A page is UTF-8, whatever the terminal's encoding.
        sys.stdout.buffer.write(f"{row}\n".encode())
