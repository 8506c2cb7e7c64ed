"""How attacks are written: each is the body of a function that was to add squares; what it gives
back is what it hopes to be paid for."""

import re
import textwrap

# Attacks that would harm a machine without a sandbox first look whether there is one.
GUARD = """
import os
try:
    open(CANARY, "w").close()
except OSError:
    pass
else:
    return "there is no sandbox"
"""
LIBC = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
WIRE = """
import gc, os, struct, sys, time
from dlip_reg.grading import wire
channel = next(o for o in gc.get_objects() if type(o) is wire.Channel)
frame = sys._getframe()
while "nonce" not in frame.f_locals: frame = frame.f_back
nonce = frame.f_locals["nonce"]
"""
BEGINNINGS = {"": "", "guard": GUARD, "libc": LIBC, "wire": WIRE}


def attacks(text: str) -> dict[str, str]:
    """Attacks by name, from `name: body` or a `name:` with the body indented below it; a name is
    followed by [guard], [libc] or [wire] where the body begins with that code."""
    found = {}
    for written in re.split(r"\n(?=\S)", text.strip("\n")):
        name, body = written.split(":", 1)
        name, _, beginning = name.removesuffix("]").partition(" [")
        found[name] = BEGINNINGS[beginning] + textwrap.dedent(body).strip()
    return found
