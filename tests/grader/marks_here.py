"""Grades four submissions by the tiny assignment and prints tier and marks as JSON. Arguments: the
folder of tests, the folder of probes."""

import json
import os
import sys
from pathlib import Path

from tiny_assignment import attacking, honest_submission, tiny_setting

from dlip_reg.grading.grader import Grader

BODIES = (
    "import os; os._exit(0)",
    "kept = []\nwhile True: kept.append(bytearray(8 << 20))",
    "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "open('file', 'wb').truncate(1 << 50)",
    "import threading; [threading.Thread(target=input).start() for _ in range(9)]; return 1",
    "import shutil; shutil.copy('submission.py', 'copy.py'); return open('/etc/hosts').read()",
    "import os; return os.fork()",
)

if __name__ == "__main__":
    setting = tiny_setting(Path(sys.argv[1]), packages=[Path(sys.argv[2])])
    with Grader(setting, "a seed") as grader:
        marks = [grader.grade(honest_submission()), *map(grader.grade, map(attacking, BODIES))]
    found = [[(test.score, test.verdict) for test in each.tests] for each in marks]
    print(json.dumps({"uid": os.getuid(), "tier": marks[0].tier, "marks": found}))
