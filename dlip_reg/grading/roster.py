"""Who is in the course, by a CSV file of the course system or your own, and which submission is
whose."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from dlip_reg.grading.entries import decoded
from dlip_reg.grading.errors import GradingError
from dlip_reg.grading.names import Label, label_of, shown

# The columns that say who somebody is, the most readable first. The headers are those of Canvas,
# Gradescope, and Moodle in English, Korean and German.
_NAMES = ("student", "full name", "name", "성명", "이름", "vollständiger name")
_FIRST = ("first name", "firstname", "vorname", "이름")
_LAST = ("last name", "lastname", "surname", "nachname", "성")
_NUMBERED = ("identifier", "식별자", "bezeichner")  # "Participant 4711", of Moodle's file names
_NUMBER_ALONE = ("student", "id")
_IN_FILE_NAMES = (*_NUMBER_ALONE, *_NUMBERED)  # whose numbers Canvas and Moodle write into those
_IDENTIFYING = (
    *("sis login id", "login id", "username", "사용자 이름", "anmeldename", *_NAMES),
    *("email address", "email", "e-mail", "이메일 주소", "e-mail-adresse"),
    *("sis user id", "sid", "id number", "student id", "학번", "matrikelnummer", "orgdefinedid"),
    *("id", *_NUMBERED, "github_username"),
)
_STAFF = ("instructor", "teacher", "ta", "reader")
_NOBODY = ("Points Possible", "Test Student")  # rows of Canvas'
METADATA = "submission_metadata.yml"
# What course systems add to what they export: Gradescope, Brightspace and Sakai.
_BESIDE = (METADATA, "index.html", "grades.csv", "grades.xls")
WORKSHEET_COLUMNS = 8  # of Moodle's, in whatever language
_PARTICIPANT = re.compile(r"(?:\D+ )?(\d+)")
_IDENTIFIER = re.compile(r"\D*(\d+)")  # most languages have no space: "Teilnehmer/in4711"
# What Moodle calls a student who is marked blindly, also after the name of a group; in a language
# other than English and German it is recognized by being everybody's name.
_BLIND = re.compile(r"(?:.+-)?((?:Participant|Teilnehmer.?in)[ \d]*)")
_NUMBER = re.compile(r"^.+?_(\d+)_")
_BEFORE_HEADERS = re.compile(r"((sep=.|[ \t,;]*)\r?\n)*")  # the first is Excel's
_TEXT = re.compile(r'^(?:#+|="(.*)"$)', re.DOTALL)  # Brightspace's and Excel's mark of a text
_STUDENT_ID = re.compile(r"[\s_(-]*(\d{5,})[\s_)-]*")  # so long that it is not a version or year
_UNNAMED = re.compile(r"submission[\W\d_]*", re.IGNORECASE)  # as every student's file is called
# Each student with whatever else identifies them.
Roster = Mapping[str, Collection[str]]


def read_table(path: Path, needed: Iterable[str]) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and rows of a CSV file; GradingError where a needed column is not there."""
    try:
        text = _BEFORE_HEADERS.sub("", decoded(path.read_bytes()), count=1)
        first = text.partition("\n")[0]
        separator = max(",;\t", key=first.count)
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
        columns = list(reader.fieldnames or [])
        found = list(reader)
        rows = [{name: row[name] or "" for name in columns} for row in found]
    except FileNotFoundError:
        raise GradingError(f"There is no {path}.") from None
    except UnicodeDecodeError:
        raise GradingError(f"{path} is in an unknown encoding: save it as CSV UTF-8.") from None
    except (OSError, csv.Error) as error:
        raise GradingError(f"{path} cannot be read as CSV: {error}.") from None
    # What an unquoted comma moves would make another student of one.
    if long := next((row for row in found if any(map(str.strip, row.get(None) or ()))), None):
        raise GradingError(
            f"{path} has a row with more cells than columns, {next(iter(long.values()))!r}: put "
            f"what has a {separator!r} in it in quotation marks."
        )
    for column in needed:
        if column not in columns:
            raise GradingError(f"{path} has no column {column!r}; it has {_listed(columns)}.")
    return columns, rows


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(map(repr, columns)) or "none"


def read_roster(path: Path) -> Roster:
    """The students in the file's order, called by the first column that tells all of them apart."""
    columns, rows = read_table(path, [])
    headers, everybody = identified(columns, rows)
    people = [(values, keys) for values, keys in everybody if keys]
    if not people:
        raise GradingError(
            f"{path} names no student in a column such as 'student', 'SIS Login ID' or 'Full name';"
            f" its columns are {_listed(columns)}."
        )
    twice = ""
    for header in headers:
        found = Counter(values[header] for values, _ in people)
        if len(found) == len(people) and "" not in found:
            return {values[header]: keys for values, keys in people}
        twice = twice or found.most_common(1)[0][0]
    raise GradingError(f"{path} names {twice!r} twice.")


def identified(
    columns: Sequence[str], rows: Sequence[Mapping[str, str]]
) -> tuple[list[str], list[tuple[dict[str, str], set[str]]]]:
    """What in a table identifies people: the columns' headers, and for each row its values by
    header and all that its student is known by, nothing for a row that belongs to no student.

    A number that course systems write into names of files is there as `_NUMBER_`: people have other
    numbers, such as a student ID, that can be the same as another's.
    """
    headers = [name.strip().casefold() for name in columns]
    parts = [next((name for name in names if name in headers), "") for names in (_FIRST, _LAST)]
    halves = parts if all(parts) else []
    known = [
        n for n in _IDENTIFYING if (n in headers and n not in halves) or (n == "name" and halves)
    ]
    names = [name for name in known if name in _NAMES]
    numbered = [name for name in known if name in _IN_FILE_NAMES]
    if not known and len(columns) >= WORKSHEET_COLUMNS:
        known = [*headers[1:3], headers[0]]
        names, numbered = known[:1], known[2:]
    people = []
    for row in rows:
        values = {
            header: shown(_TEXT.sub(r"\1", row[name].strip()))
            for header, name in zip(headers, columns, strict=True)
        }
        if halves:
            values.setdefault("name", " ".join(values[half] for half in halves).strip())
        keys = {values[name] for name in known}
        for name in names:
            keys |= _name_forms(values[name])
        if halves:  # sites may write the last name first
            keys.add(" ".join(values[half] for half in reversed(halves)).strip())
        for name in numbered:
            is_alone = name in _NUMBER_ALONE
            if match := (_PARTICIPANT if is_alone else _IDENTIFIER).fullmatch(values[name]):
                keys.add(in_file_name(match[1]))
                keys |= set() if is_alone else {in_file_name(one_word(values[name]))}
        if values.get("role", "").casefold() in _STAFF or not keys.isdisjoint(_NOBODY):
            keys = set()
        people.append((values, keys - {""}))
    return known, people


def in_file_name(number: str) -> str:
    """The number as what a course system wrote into a file's name; see `identified`."""
    return f"_{number}_" if number else ""


def one_word(text: str) -> str:
    """The letters and digits of `text`, small."""
    return "".join(filter(str.isalnum, text)).lower()


def _name_forms(name: str) -> set[str]:
    """A person's name as it may be written: "Ng, Ann", "Ann Ng", and "ngann" in Canvas' files."""
    last, comma, first = name.partition(", ")
    if not comma:
        first, _, last = name.rpartition(" ")
    written = (name, f"{first} {last}", f"{last}, {first}", one_word(f"{last}{first}"))
    return {form.strip(", ") for form in written} - {""}


def _read_metadata(path: Path) -> dict[str, list[list[str]]]:
    """Of each submission that Gradescope exported its submitters: what identifies each of them."""
    if not path.is_file():
        return {}
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        found = yaml.load(decoded(path.read_bytes()), loader)
        return {
            str(name): [
                [shown(str(person[f":{key}"])) for key in ("email", "sid", "name")]
                for person in submission[":submitters"]
            ]
            for name, submission in found.items()
        }
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError, AttributeError):
        raise GradingError(f"{path} cannot be read as Gradescope's metadata.") from None


@dataclass(frozen=True)
class Assigned:
    """Which files are whose submission; `problems` says, one sentence each, what staff must settle.

    `unsettled` are students with several submissions, or with one that may be another's, each with
    its sentence.
    """

    of_student: dict[str, tuple[Path, ...]]
    unsettled: dict[str, str]
    absent: tuple[str, ...]
    problems: tuple[str, ...]


def assign(paths: Sequence[Path], roster: Roster | None, single: bool = False) -> Assigned:
    """Each submission to its student: by Gradescope's metadata, by what a course system wrote at
    the beginning of the file's name, or by the whole name.

    What a course system has put side by side for one student is one submission; else several of
    one student are left to staff. Where there is a `single` one, its name need not say whose.
    """
    metadata = _read_metadata(paths[0].with_name(METADATA)) if paths else {}
    labels = {path: label_of(path) for path in paths if path.name not in _BESIDE}
    labels = _with_anonymous(labels)
    namesakes = Counter(name for name, _ in {label[:2] for label in labels.values()})
    found: dict[str, list[Path]] = {}
    problems: list[str] = []
    anonymous: set[str] = set()
    uncertain: dict[str, str] = {}
    for path, label in labels.items():
        name = label.name if namesakes[label.name] == 1 else f"{label.name}_{label.number}"
        own = _whole_name(label, roster or {})
        for *numbers, own_name in metadata.get(path.name, [[in_file_name(label.number), own]]):
            student = own_name if path.name in metadata else name
            matching = _on_roster(numbers, own_name, roster or {}, label.is_anonymous)
            if len(matching) == 1:
                student = matching[0]
            elif label.is_anonymous:
                anonymous.add(student)
            elif roster is not None:
                whose = " or ".join(matching) or "nobody on the roster"
                said = (
                    f"{shown(path.name)} belongs to {whose}; it is graded as {student!r}. While it "
                    "is there, nobody gets 0 for a missing submission."
                )
                problems.append(said)
                uncertain |= dict.fromkeys(matching, said)
            found.setdefault(student, []).append(path)
        is_unnamed = path.name not in metadata and _UNNAMED.fullmatch(label.name)
        if is_unnamed and roster is None and not single:
            problems.append(
                f"{path.name} does not say whose it is; it is graded as {name!r}. A folder that is "
                "one student's submission is graded with --single."
            )
    settled = {}
    unsettled = {student: said for student, said in uncertain.items() if student not in found}
    for student, several in found.items():
        files = [path for path in several if not labels[path].is_text] or several
        if len(files) == 1 or _are_one([labels[path] for path in files]):
            settled[student] = tuple(files)
        else:
            newest = max(files, key=lambda path: (path.lstat().st_mtime, path.name))
            names = ", ".join(shown(path.name) for path in files)
            unsettled[student] = (
                f"{student} has {len(files)} submissions ({names}): keep one, for instance the "
                f"newest, {shown(newest.name)}, and grade again."
            )
    absent = tuple(s for s in roster or () if s not in found and s not in unsettled)
    if anonymous and absent:
        problems.append(
            f"The course system exported {len(anonymous)} of {len(found)} submissions anonymously: "
            f"each is graded as {min(anonymous)!r} or the like, and who handed in nothing is not "
            "known. Export them again with names to give these marks to students."
        )
        absent = ()
    problems = list(dict.fromkeys((*problems, *unsettled.values())))
    return Assigned(settled, unsettled, absent, tuple(problems))


def _with_anonymous(labels: dict[Path, Label]) -> dict[Path, Label]:
    """The labels, anonymous where the name is "Participant", of Moodle's blind marking, or all have
    one but for numbers; its worksheet has the number behind that name."""
    numbered = {path: label for path, label in labels.items() if label.number.isdecimal()}
    names = {label.name.rstrip("0123456789") for label in numbered.values()}
    is_everybodys = len(names) == 1 and len({label.number for label in numbered.values()}) > 1
    blind = {}
    for path, label in numbered.items():
        match = _BLIND.fullmatch(label.name)
        if match or is_everybodys:
            name = match[1] if match else label.name
            name = name if name[-1].isdigit() else f"{name} {label.number}"
            blind[path] = label._replace(name=name, is_anonymous=True)
    return labels | blind


def _are_one(labels: Sequence[Label]) -> bool:
    """Whether a course system has put these files side by side, each under a name of its own."""
    people, names = {label[:2] for label in labels}, {label.own for label in labels} - {""}
    return len(people) == 1 and len(names) == len(labels)


def _whole_name(label: Label, roster: Roster) -> str:
    """The label's name, with as much of what stands before it as makes it one on the roster, or
    what stands before it, if that is one."""
    known = set(roster).union(*roster.values())
    parts = [*label.before.split("_"), label.name]
    names = (*("_".join(parts[at:]) for at in range(1, len(parts))), label.before)
    return next((name for name in names if name in known), label.name)


def _on_roster(numbers: Sequence[str], name: str, roster: Roster, is_anonymous: bool) -> list[str]:
    """The students that a submission may be of: those with one of its numbers and its name, else
    those with either. A student ID may stand anywhere in a name that a course system has not put in
    the place of one; a group or a title before the name."""
    if not any(numbers):
        if name in roster:
            return [name]
        # Google Classroom's: what follows is the student's own choice, and could be another's.
        google = {s: tuple(f"{key} - " for key in {s, *keys}) for s, keys in roster.items()}
        if by_start := [student for student, start in google.items() if name.startswith(start)]:
            return by_start
        name = name.partition(" - ")[0]
        numbers = [in_file_name(name), *_NUMBER.findall(name)[:1]]
    numbers = [*filter(None, numbers), *([] if is_anonymous else _STUDENT_ID.findall(name))]
    ends = [k for s, keys in roster.items() for k in (s, *keys) if name.endswith(f"-{k}")]
    names = {name, _STUDENT_ID.sub("_", name).strip("_"), *sorted(ends, key=len)[-1:]}
    known = {student: {student, *keys} for student, keys in roster.items()}
    by_number = [s for s, keys in known.items() if not keys.isdisjoint(numbers)]
    # What follows a student ID may be another's name.
    starts = {s: keys.difference(numbers) for s, keys in known.items()}
    by_name = [s for s in roster if names & known[s] or any(_begins(n, starts[s]) for n in names)]
    both = [student for student in by_number if student in by_name]
    return both or [student for student in roster if student in (*by_number, *by_name)]


def _begins(name: str, keys: Iterable[str]) -> bool:
    """Whether `name` begins with one of the keys up to a _: the student chooses what follows, which
    could be another's name."""
    return any(name.startswith(f"{key}_") for key in keys)
