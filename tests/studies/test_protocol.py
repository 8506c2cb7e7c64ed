"""The protocol's hash: what changes it, and what may be changed after data was seen."""

import functools
import sys
from dataclasses import dataclass, replace
from importlib.util import module_from_spec, spec_from_file_location

import pytest
from fake_studies import ARMS, difference, make_claim, spec

from dlip_reg.studies import Arm, Control, Preset, Setting, Study, Tuning
from dlip_reg.studies.protocol import protocol, protocol_hash
from dlip_reg.studies.regularization import STUDY as REGULARIZATION

SETTING = Setting(Preset(), "", "")


def measure_with(threshold, runs=None):
    return [threshold for _ in runs.seeds]


def measure_at(runs, threshold=0.4):
    return measure_with(threshold, runs)


def control(**changes):
    changes = {
        "kind": "negative", "description": "none against itself", "measure": difference("none"),
        "needs": ("none",),
    } | changes  # fmt: skip
    return Control(**changes)


CLAIM = make_claim("tuned", controls=(control(),))
BASE = Study(name="fake", arms=ARMS, claims=(CLAIM, make_claim("clear")))


def hash_of(study=BASE, setting=SETTING):
    return protocol_hash(study, setting)


def with_claim(claim):
    return hash_of(replace(BASE, claims=(claim, *BASE.claims[1:])))


def with_arm(arm):
    return hash_of(replace(BASE, arms=[arm if a.name == arm.name else a for a in ARMS]))


def test_it_is_the_same_each_time():
    assert hash_of() == hash_of() and len(hash_of()) == 12
    assert with_claim(CLAIM) == with_arm(ARMS[0]) == hash_of()


def test_all_that_decides_a_verdict_changes_it(monkeypatch):
    """What a claim says and measures, how an arm is trained, the setting, and the rule."""
    claims = {
        "sentence": ["Another."],
        "experiment": ["Another."],
        "unit": ["points"],
        "direction": [-1],
        "smallest_effect": [0.021],
        "smallest_effect_source": ["a feeling"],
        "null": [-0.01],
        "needs": [("none", "tuned", "clear")],
        "measure": [
            difference("tuned", "clear"),  # another value in the closure
            measure_with,
            functools.partial(measure_with, 0.5),
            functools.partial(measure_with, 0.6),
            functools.partial(measure_at, threshold=0.5),
            functools.partial(measure_at, threshold=0.6),
        ],
        "controls": [
            (),
            (control(kind="positive"),),
            (control(description="another"),),
            (control(measure=difference("clear")),),
            (control(needs=("clear",)),),
        ],
    }
    arms = [
        Arm("none", spec(0.11)),
        Arm("none", lambda chosen: spec(0.1)),
        Arm("none", lambda chosen: spec(0.1), uses=("tuned",)),
        Arm("none", "tuned"),
        Arm("none", spec(0.1), changes={"epochs": 3}),
        Arm("tuned", tuning=Tuning([spec(0.4)])),
        Arm("tuned", tuning=Tuning([spec(0.4), spec(0.5)], choose=max)),
        Arm("tuned", tuning=Tuning([spec(0.4), spec(0.5)], extend=lambda tried: [])),
        Arm("tuned", spec(0.4), tuning=Tuning([spec(0.4), spec(0.5)])),
    ]
    settings = [
        Setting(Preset(seeds=10), "", ""),
        Setting(Preset(tuning_seeds=3), "", ""),
        Setting(Preset(), "lenet5", ""),
        Setting(Preset(), "", "mnist"),
    ]
    hashes = [hash_of(), *map(with_arm, arms), *(hash_of(setting=s) for s in settings)]
    hashes += [with_claim(replace(CLAIM, **{n: x})) for n, values in claims.items() for x in values]
    for name, value in (("LOOKS", (5, 10, 40)), ("ERROR_SPENT", (0.01, 0.02, 0.02))):
        with monkeypatch.context() as patch:
            patch.setattr(f"dlip_reg.studies.protocol.{name}", value)
            hashes.append(hash_of())
    assert len(set(hashes)) == len(hashes) == 1 + 9 + 4 + 19 + 2


SOURCE = """
from dlip_reg.studies import figure

LIMIT = 0.5


def measure(runs):
    return [share(seed) for seed in runs.seeds]


def share(seed):
    return LIMIT + seed


@figure("shares")
def draw(runs):
    '''The shares.'''
    yield None
"""


@pytest.fixture
def hash_of_module(tmp_path, monkeypatch):
    """The hash of a study whose claim is measured by a module with the given code."""

    def hash_of_code(code):
        path = tmp_path / f"claim_{len(list(tmp_path.iterdir()))}.py"
        path.write_bytes(code.encode() if isinstance(code, str) else code)
        module_spec = spec_from_file_location("claim_of_ones_own", path)
        module = module_from_spec(module_spec)
        module_spec.loader.exec_module(module)
        monkeypatch.setitem(sys.modules, "claim_of_ones_own", module)
        return with_claim(replace(CLAIM, measure=module.measure))

    return hash_of_code


@pytest.mark.parametrize(
    ("old", "new", "matters"),
    [
        ("LIMIT = 0.5", "LIMIT = 0.6", True),
        ("LIMIT + seed", "LIMIT - seed", True),  # of a function that the measure calls
        ("for seed in runs.seeds", "for seed in runs.seeds if seed", True),
        ("share(seed) for", "(lambda: share(seed))() for", True),
        ("LIMIT = 0.5", "LIMIT = 0.5  # half", False),
        ("def share(seed):", 'def share(seed):\n    """A share."""\n', False),
        ("return LIMIT + seed", "return (\n        LIMIT + seed\n    )", False),
        ("The shares.", "Another caption.", False),
        ("yield None", "yield None, {}", False),
    ],
)
def test_code_changes_it_and_comments_docstrings_and_figures_do_not(
    hash_of_module, old, new, matters
):
    assert old in SOURCE
    assert (hash_of_module(SOURCE.replace(old, new)) != hash_of_module(SOURCE)) == matters


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp949"])
def test_a_module_as_windows_programs_save_it_has_the_same(hash_of_module, encoding):
    code = f"# -*- coding: {encoding} -*-\n# \N{HANGUL SYLLABLE HAN}\n{SOURCE}"
    written = code.replace("\n", "\r\n").encode(encoding)
    assert hash_of_module(written) == hash_of_module(SOURCE)


def test_values_that_a_function_holds_change_it():
    @dataclass(frozen=True)
    class Grid:
        low: float

    def closure(value):
        return lambda runs: [value for _ in runs.seeds]

    def default(value):
        return lambda runs, held=value: [held for _ in runs.seeds]

    values = (0.5, 0.6, (0.5, 0.6), {"a": 1}, {"a": 2}, Grid(1), Grid(2), spec(0.1), spec(0.2))
    for make in (closure, default):
        made = [with_claim(replace(CLAIM, measure=make(value))) for value in values]
        assert len(set(made)) == len(values)

    def recursive(value):
        def measure(runs, more=False):
            if more:
                return unassigned
            return measure(runs, value)  # which holds itself

        if not value:
            unassigned = 0
        return measure

    made = [with_claim(replace(CLAIM, measure=recursive(value))) for value in (1, 2)]
    assert made[0] != made[1] == with_claim(replace(CLAIM, measure=recursive(2)))


def test_sizes_that_only_derived_arms_read_change_it():
    preset = REGULARIZATION.presets["standard"]
    shorter = replace(preset, label_epochs=preset.label_epochs - 1)
    assert protocol_hash(REGULARIZATION, Setting(preset, "lenet5", "mnist")) != protocol_hash(
        REGULARIZATION, Setting(shorter, "lenet5", "mnist")
    )


def test_labels_captions_and_times_do_not_change_it():
    assert with_arm(replace(ARMS[0], label="no regularization")) == hash_of()
    assert with_claim(replace(CLAIM, figures=("curves",), draw=lambda runs: [])) == hash_of()
    assert hash_of(replace(BASE, title="Another", lead="Another.")) == hash_of()
    assert hash_of(setting=Setting(Preset(minutes=10, run_seconds=2), "", "")) == hash_of()


def test_no_address_of_this_process_is_in_it():
    for preset in REGULARIZATION.presets.values():
        assert " at 0x" not in str(protocol(REGULARIZATION, Setting(preset, "lenet5", "mnist")))
