"""Print the README's table of the claims of a lab.

python docs/claims_table.py docs/gallery/claims_regularization.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from dlip_reg.codec import from_plain
from dlip_reg.evidence import ClaimResult
from dlip_reg.report.wording import look_reached, threshold_text
from dlip_reg.studies.result import effect_text


def claims_table(claims: Sequence[ClaimResult]) -> str:
    """One row a claim: statement, verdict, effect beside what counts, seeds and controls."""
    return "\n".join(_rows(claims)) + "\n"


def _rows(claims: Sequence[ClaimResult]) -> Iterator[str]:
    yield "| the note says | verdict | effect [interval] | what counts | seeds | controls |"
    yield "|---|---|---|---|---|---|"
    for claim in claims:
        controls = "; ".join(f"{control.kind}: {control.verdict}" for control in claim.controls)
        cells = (
            claim.sentence, f"*{claim.verdict}*", effect_text(claim), threshold_text(claim),
            str(claim.look or look_reached(claim)), controls,
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"


def read_claims(path: Path) -> list[ClaimResult]:
    """The claims in a lab's claims.json."""
    return [from_plain(ClaimResult, claim) for claim in json.loads(path.read_text("utf-8"))]


if __name__ == "__main__":
    # A page is UTF-8, whatever the terminal's encoding.
    sys.stdout.buffer.write(claims_table(read_claims(Path(sys.argv[1]))).encode())
