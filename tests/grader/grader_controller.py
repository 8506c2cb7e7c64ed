"""Grades a folder by the tiny assignment: a program to be killed. Arguments: submissions, out,
tests, probes."""

import sys
from pathlib import Path

from tiny_assignment import tiny_setting

from dlip_reg.grading.grade import grade_folder
from dlip_reg.grading.results import Results

if __name__ == "__main__":
    submissions, out, tests, probes = map(Path, sys.argv[1:])
    with Results(out) as results:
        grade_folder(submissions, results, tiny_setting(tests, packages=[probes]), workers=2)
