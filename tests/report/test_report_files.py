"""Numbers as people and programs read them: words, CSV and JSON."""

import csv
import io
import json
import math
import subprocess
import sys

import numpy as np
import pytest

from dlip_reg.report import write_claims, write_csv
from dlip_reg.report.numbers import (
    format_constant,
    format_estimate,
    format_interval,
    format_number,
    format_p_value,
)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (0.012345, "0.0123"),
        (-4.5, "−4.50"),
        (61_706, "61,700"),
        (0.9999, "1.00"),
        (1.234e-6, "1.23 × 10⁻⁶"),
        (-2.5e12, "−2.50 × 10¹²"),
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "–"),
    ],
)
def test_numbers_have_three_significant_digits(number, text):
    assert format_number(number) == text


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        ((-0.13421, -0.15712, -0.1113), "−0.134 [−0.157, −0.111]"),
        ((0.62, -0.21, 1.45), "0.62 [−0.21, 1.45]"),
        ((-0.001, -0.3, 0.3), "0.00 [−0.30, 0.30]"),
        ((1234.5, 1000.0, 1469.0), "1,230 [1,000, 1,470]"),
        ((18.2, -97.4, 133.8), "18 [−97, 134]"),
        ((138_473, 68_555, 208_390), "138,000 [69,000, 208,000]"),
        ((0.5, 0.5, 0.5), "0.500 [0.500, 0.500]"),
        ((3e-9, 1e-9, 5e-9), "3.00 × 10⁻⁹ [1.00 × 10⁻⁹, 5.00 × 10⁻⁹]"),
        ((0.25, None, None), "0.250"),
        ((None, None, None), "–"),
        ((math.nan, math.nan, math.nan), "–"),
    ],
)
def test_an_estimate_shows_the_digits_its_interval_warrants(estimate, text):
    assert format_estimate(*estimate) == text
    interval = text.partition(" [")[2]
    assert format_interval(*estimate[1:]) == (f"[{interval}" if interval else "")


def test_constants_and_p_values():
    assert [format_constant(x) for x in (0.05, -0.2, -0.0, 95.0)] == ["0.05", "−0.2", "0", "95"]
    assert [format_p_value(p) for p in (0.0123, 1e-9, None)] == ["p = 0.012", "p < 0.001", ""]


def test_csv_reads_back_exactly(tmp_path):
    rows = [
        {"name": 'a "quoted", comma', "loss": 0.1 + 0.2, "n": 3},
        {"name": "ünï", "extra": True, "loss": None, "n": np.int64(4)},
        {"loss": np.float64(1e-300), "name": "two\nlines"},
    ]
    path = tmp_path / "new" / "records.csv"
    write_csv(path, iter(rows))
    content = path.read_bytes()
    assert b"\r" not in content
    read = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    assert list(read[0]) == ["name", "loss", "n", "extra"]
    assert float(read[0]["loss"]) == 0.1 + 0.2
    assert float(read[2]["loss"]) == 1e-300
    assert [row["name"] for row in read] == [row["name"] for row in rows]
    assert read[1] == {"name": "ünï", "loss": "", "n": "4", "extra": "True"}
    assert [entry.name for entry in path.parent.iterdir()] == ["records.csv"]


def test_claims_are_strict_json_in_the_order_given(tmp_path):
    path = tmp_path / "claims.json"
    claims = [
        {
            "id": "b",
            "effect": math.nan,
            "ci_low": -math.inf,
            "parts": [{"effect": np.float32(0.5)}],
        },
        {"id": "a", "n_seeds": np.int64(5), "figures": ("gaps",), "verdict": "supported"},
    ]
    write_claims(path, claims)
    content = path.read_bytes()

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads(content, parse_constant=refuse) == [
        {"id": "b", "effect": None, "ci_low": None, "parts": [{"effect": 0.5}]},
        {"id": "a", "n_seeds": 5, "figures": ["gaps"], "verdict": "supported"},
    ]
    write_claims(path, claims)
    assert path.read_bytes() == content


@pytest.mark.parametrize("write", [write_csv, write_claims])
def test_what_can_not_be_written_leaves_the_old_file(tmp_path, write):
    path = tmp_path / "file"
    write(path, [{"id": 1}])
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write(path, [{"id": object()}] if write is write_claims else [3])
    with pytest.raises(OSError):
        write(path / "below a file", [{"id": 1}])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_report_needs_no_tensorflow():
    code = (
        "import sys, dlip_reg.report; print('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
