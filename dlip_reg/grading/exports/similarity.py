"""Which submissions resemble each other: a ranked list to look at, not a verdict.

Sources are compared as token sequences without names, literals, comments and layout, by the share
of common runs of tokens (k-grams: Schleimer, Wilkerson and Aiken 2003, section 2). Runs that many
submissions have, above all the starter file's, count for nothing.
"""

from __future__ import annotations

import io
import keyword
import token as tokens
import tokenize
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from zlib import crc32

from dlip_reg.grading.names import BETWEEN_SOURCES

_RUN = 12
_MOST_BYTES, _MOST_LINES = 500_000, 10_000
# Python 3.11 takes time by the square of a line that it cannot read.
_LONGEST_LINE, _MOST_FAULTS = 400, 1_000  # bytes, and characters that begin no token
_COMMON_SHARE, _COMMON_LEAST = 0.25, 4


@dataclass(frozen=True)
class Similar:
    """Two students and the share of the smaller one's runs that the other has, 0 to 1."""

    first: str
    second: str
    share: float


def fingerprints(source: bytes) -> frozenset[int]:
    """The source's k-grams, hashed; empty where it cannot be read as Python."""
    return frozenset(_runs(_words(source)))


def shared_lines(source: bytes, other: bytes, starter: bytes) -> set[int]:
    """The numbers of the source's lines that the other has too, and the starter file has not."""
    words = _words(source)
    common = fingerprints(other) - fingerprints(starter)
    found = [at for at, run in enumerate(_runs(words)) if run in common]
    return {line for at in found for _, line in words[at : at + _RUN]}


def compared_lines(source: bytes) -> list[bytes]:
    """The first lines; what follows is not compared."""
    return source[:_MOST_BYTES].split(b"\n")[:_MOST_LINES]


def _runs(words: list[tuple[str, int]]) -> list[int]:
    """A hash of each k-gram."""
    texts = [word for word, _ in words]
    return [crc32(" ".join(texts[at : at + _RUN]).encode()) for at in range(len(texts) - _RUN + 1)]


def _words(source: bytes) -> list[tuple[str, int]]:
    """The tokens that count, with the lines that they begin in."""
    words: list[tuple[str, int]] = []
    faults = 0
    lines = compared_lines(source)
    short = b"\n".join(line if len(line) <= _LONGEST_LINE else b"" for line in lines)
    before = 0  # lines
    for file in short.split(BETWEEN_SOURCES):  # each has an encoding, and faults, of its own
        try:
            for item in tokenize.tokenize(io.BytesIO(file).readline):
                word = item.string
                faults += item.type == tokens.ERRORTOKEN
                if faults > _MOST_FAULTS:
                    break
                if item.type == tokens.NAME:
                    word = word if keyword.iskeyword(word) else "name"
                elif item.type in (tokens.NUMBER, tokens.STRING):
                    word = tokens.tok_name[item.type]
                if word.strip() and item.type not in (tokens.COMMENT, tokens.ENCODING):
                    words.append((word, before + item.start[0]))
        except (tokenize.TokenError, SyntaxError, ValueError, RecursionError):
            pass  # what came before the fault is compared
        before += file.count(b"\n") + 2
    return words


def similar(
    sources: Mapping[str, bytes], starter: bytes = b"", most: int = 50, least: float = 0.3
) -> list[Similar]:
    """Pairs of students from the most alike down, at most `most` of them."""
    prints = {student: fingerprints(source) for student, source in sources.items()}
    holders = Counter(one for found in prints.values() for one in found)
    limit = max(_COMMON_LEAST, _COMMON_SHARE * len(prints))
    common = {one for one, count in holders.items() if count > limit} | fingerprints(starter)
    own = {student: found - common for student, found in prints.items()}
    pairs = []
    for first, second in combinations(sorted(own), 2):
        smaller = min(len(own[first]), len(own[second]))
        share = len(own[first] & own[second]) / max(1, smaller)
        if share >= least:
            pairs.append(Similar(first, second, share))
    return sorted(pairs, key=lambda pair: (-pair.share, pair.first, pair.second))[:most]
