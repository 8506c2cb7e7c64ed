"""Print the README's table of the claims of a lab.

python docs/claims_table.py docs/gallery/claims_regularization.json
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


def table_rows(path: Path) -> Iterator[str]:
    """One row a claim: statement, verdict, effect beside what counts, seeds and controls.

    Args:
        path: The claims.json of a lab.
    """
    yield "| the note says | verdict | effect [interval] | what counts | seeds | controls |"
    yield "|---|---|---|---|---|---|"
    for written in json.loads(path.read_text("utf-8")):
        claim = from_plain(ClaimResult, written)
        controls = "; ".join(f"{control.kind}: {control.verdict}" for control in claim.controls)
        cells = (
            claim.sentence, f"*{claim.verdict}*", effect_text(claim), threshold_text(claim),
            str(claim.look or look_reached(claim)), controls,
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    for row in table_rows(Path(sys.argv[1])):
        # A page is UTF-8, whatever the terminal's encoding.
        sys.stdout.buffer.write(f"{row}\n".encode())
