"""Claims with controls: what makes one not measurable, and what keeps it open."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from fake_studies import ARMS, make_claim, make_study

from dlip_reg.evidence import Bound, Question, judge
from dlip_reg.report.wording import control_status
from dlip_reg.studies import (
    Arm,
    Claim,
    Control,
    Measurement,
    Part,
    Preset,
    Runs,
    StudyGroup,
    Tuning,
    UsageError,
    claimed,
    controlled,
    drawn_by,
    gap,
    matched_difference,
    negative,
    readings,
    training_loss,
)
from dlip_reg.studies.judging import is_open, judge_claim
from dlip_reg.training.records import Measures

CLEAR = [0.1 + 0.001 * (-1) ** i for i in range(20)]  # +10 points, delta is 2
AGAINST = [-x for x in CLEAR]
SLIGHT = [0.001 * (-1) ** i for i in range(20)]  # no effect
NOISE = [0.1 * (-1) ** i for i in range(20)]  # undecided at each look
LATE = [*NOISE[:5], *[0.1] * 15]  # undecided at 5 and 10, supported at 20


def runs_of(seeds):
    return Runs(range(seeds), {}, {}, {}, {})


def series(values):
    return lambda runs: values[: len(runs.seeds)]


def judged(seeds, values, *controls, **changes):
    made = tuple(Control(kind, kind, series(of), ()) for kind, of in controls)
    claim = make_claim("clear", measure=series(values), controls=made, **changes)
    return judge_claim(claim, runs_of(seeds), 1)


VERDICTS = [(CLEAR, "supported"), (AGAINST, "contradicted"), (SLIGHT, "no effect")]


@pytest.mark.parametrize(("values", "verdict"), [*VERDICTS, (NOISE, "undecided")])
def test_a_control_that_fails_makes_any_claim_not_measurable(values, verdict):
    result = judged(5, values, ("negative", SLIGHT), ("positive", CLEAR))
    assert result.verdict == verdict
    assert is_open(result) == (verdict == "undecided")
    for controls in (
        (("negative", CLEAR), ("positive", CLEAR)),
        (("negative", SLIGHT), ("positive", AGAINST)),
        (("negative", SLIGHT), ("positive", SLIGHT)),
    ):
        result = judged(5, values, *controls)
        assert result.verdict == "not measurable"
        assert not is_open(result)  # more seeds mend no measurement


NOTHING = [math.nan] * 20
FEW = [*SLIGHT[:2], *NOTHING[2:]]


@pytest.mark.parametrize(
    ("seeds", "values", "kind", "control", "verdict", "stays_open"),
    [
        # A decided claim waits for its positive control ...
        (5, CLEAR, "positive", LATE, "not measurable", True),
        (20, CLEAR, "positive", LATE, "supported", False),
        # ... and an undecided one stays undecided until that had all its seeds.
        (10, NOISE, "positive", NOISE, "undecided", True),
        (20, NOISE, "positive", NOISE, "not measurable", True),
        (20, NOISE, "positive", LATE, "undecided", True),
        # An effect waits for its negative control, which may show it later,
        (5, CLEAR, "negative", LATE, "supported", True),
        (20, CLEAR, "negative", LATE, "not measurable", False),
        (10, AGAINST, "negative", [-x for x in LATE], "contradicted", True),
        (20, AGAINST, "negative", [-x for x in LATE], "not measurable", False),
        # what has no effect does not,
        (5, SLIGHT, "negative", LATE, "no effect", False),
        # and a control that stays undecided or is on the other side leaves the verdict,
        (20, CLEAR, "negative", NOISE, "supported", True),
        (20, CLEAR, "negative", AGAINST, "supported", False),
        (20, AGAINST, "negative", NOISE, "contradicted", True),
        # but a measurement that is biased against the claim contradicts nothing,
        (20, AGAINST, "negative", AGAINST, "not measurable", False),
        # and a control without values, or with those of fewer than half the seeds, does not count.
        (20, CLEAR, "negative", NOTHING, "not measurable", False),
        (20, CLEAR, "negative", FEW, "not measurable", False),
        (20, CLEAR, "positive", NOTHING, "not measurable", True),
    ],
)
def test_a_control_decides_what_a_verdict_is_worth(
    seeds, values, kind, control, verdict, stays_open
):
    result = judged(seeds, values, (kind, control))
    assert (result.verdict, is_open(result)) == (verdict, stays_open)
    assert result.look == (None if values is NOISE else 5)


@pytest.mark.parametrize(
    ("values", "bounds", "verdict"),
    [(SLIGHT, 10, "no effect"), (SLIGHT, 11, "undecided"), (CLEAR, 20, "supported")],
)
def test_bounds_show_an_effect_and_never_that_there_is_none(values, bounds, verdict):
    result = judged(20, [*map(Bound, values[:bounds]), *values[bounds:]])
    assert result.verdict == verdict
    assert any("may be larger" in note for note in result.notes) == (verdict == "undecided")


@pytest.mark.parametrize(("seeds", "known"), [(3, 3), (20, 9)])
def test_nothing_is_said_of_bounds_where_too_few_seeds_decide(seeds, known):
    result = judged(seeds, [*map(Bound, SLIGHT[:known]), *NOTHING[known:seeds]])
    assert not any("may be larger" in note for note in result.notes)


def test_a_control_has_the_claim_s_own_confidence():
    claim = make_claim("clear", measure=series(NOISE))
    claim = replace(claim, controls=(Control("negative", "The same.", claim.measure, ()),))
    result = judge_claim(claim, runs_of(5), 7)
    (control,) = result.controls
    assert result.level == 1 - 0.01 / 7
    assert (control.ci_low, control.ci_high) == (result.ci_low, result.ci_high)


def test_later_seeds_do_not_reopen_a_verdict():
    turned = [*CLEAR[:5], *AGAINST[5:]]
    # A negative control that had its verdict, and that later seeds would support, plays no part.
    passed = [*SLIGHT[:5], *CLEAR[5:]]
    first, later = (judged(n, turned, ("negative", passed)) for n in (5, 20))
    assert (later.verdict, later.look) == ("supported", 5)
    assert later == first
    # Nor are later seeds missing of a control that has had its verdict.
    early = [*SLIGHT[:3], *NOTHING[3:]]
    assert judged(20, LATE, ("negative", early)).verdict == "supported"


def test_the_control_of_a_claim_that_asserts_a_value_may_be_elsewhere():
    for values in (CLEAR, LATE):
        control = Control("negative", "No effect.", series(values), ())
        claim = make_claim("clear", measure=series(CLEAR), controls=(control,))
        result = judge_claim(replace(claim, direction=0), runs_of(5), 1)
        assert (result.verdict, is_open(result)) == ("contradicted", False)


@pytest.mark.parametrize(
    ("effect", "deviation", "supported", "at_its_look"),
    [
        (1.2, 1, 0.13, 0.31),
        (2, 1, 0.0, 0.18),
        (3, 1, 0.0, 0.25),
        # The most and the least of those that the documentation quotes.
        (1.5, 2, 0.25, 0.31),
        (3, 0.5, 0.0, 0.025),
    ],
)
def test_a_bias_that_the_negative_control_shares_is_supported_less_often_than_at_its_look(
    effect, deviation, supported, at_its_look
):
    """In labs of 7 claims; delta is 1. Chance fails 3 in 1,000 of them."""
    trials = 300
    claim, control = np.random.default_rng(5).normal(effect, deviation, (2, trials, 20))
    question = Question(1, 1.0)
    found = {"at its look": 0, "closed": 0}
    for values, of_control in zip(claim.tolist(), control.tolist(), strict=True):
        made = replace(
            make_claim("clear", measure=series(values)),
            smallest_effect=1.0,
            controls=(Control("negative", "Biased alike.", series(of_control), ()),),
        )
        result = judge_claim(made, runs_of(20), 7)
        found["closed"] += result.verdict == "supported"
        if result.look is not None and result.verdict in ("supported", "not measurable"):
            then = judge(of_control[: result.look], question, 7)
            found["at its look"] += then.verdict != "supported"
    for name, share in (("closed", supported), ("at its look", at_its_look)):
        error = 3 * math.sqrt(share * (1 - share) / trials)
        assert found[name] / trials == pytest.approx(share, abs=error)


def test_a_claim_that_is_not_measurable_has_a_control_that_fails_and_no_other_has():
    """What claim and controls show changes from look to look, or cannot be measured."""
    rng = np.random.default_rng(0)
    shown = np.array([CLEAR, AGAINST, SLIGHT, NOISE, NOTHING])

    def drawn():
        of_looks = zip(
            shown[rng.integers(len(shown), size=3)], (5, 10, 20), (0, 5, 10), strict=True
        )
        return np.concatenate([values[start:end] for values, end, start in of_looks]).tolist()

    for _ in range(500):
        values, first, second = drawn(), drawn(), drawn()
        controls = (("negative", first), (str(rng.choice(["negative", "positive"])), second))
        for seeds in (5, 10, 20):
            result = judged(seeds, values, *controls)
            waits = seeds < 20 and is_open(result)
            fails = "fails" in {control_status(of, result, waits) for of in result.controls}
            assert fails == (result.verdict == "not measurable") or waits
            assert not fails or result.verdict == "not measurable"


def test_a_number_estimated_from_all_seeds_is_that_of_its_look():
    """Each seed's number is its distance from the median: later seeds move it."""

    def measure(runs):
        values = [*NOISE[1 : len(runs.seeds)], float(len(runs.seeds))]
        return [x - sorted(values)[len(values) // 2] for x in values]

    claim = make_claim("clear", measure=measure)
    five, twenty = (judge_claim(claim, runs_of(n), 1) for n in (5, 20))
    assert len(twenty.estimates) == 3 and twenty.estimates[:1] == five.estimates


def test_no_difference_between_runs_that_all_diverged_is_no_result():
    def made(failed):
        record = {
            gone: SimpleNamespace(status="diverged" if gone else "finished") for gone in (0, 1)
        }
        by_arm = {arm: {s: record[s < failed] for s in range(20)} for arm in ("none", "clear")}
        return Runs(range(20), by_arm, {}, {}, {})

    def measure(runs):
        return [
            0.0 if r.status == "diverged" else x for r, x in zip(runs["none"], SLIGHT, strict=False)
        ]

    claim = make_claim("clear", measure=measure)
    few, most = (judge_claim(claim, made(failed), 1) for failed in (2, 20))
    assert (few.verdict, few.n_seeds) == ("no effect", 5)
    assert (most.verdict, most.effect) == ("undecided", None)
    assert most.notes == (
        "Only 0 of 20 seeds could be compared, fewer than half, so nothing is decided.",
    )


def test_numbers_beside_the_headline_are_those_of_the_look():
    def measure(runs):
        n = len(runs.seeds)
        yield CLEAR[:n]
        yield Part("seeds", "1", [float(n)] * n)
        yield f"{n} seeds"

    waiting = Control("positive", "Undecided for longer.", series(LATE), ())
    for controls in ((), (waiting,)):
        claim = make_claim("clear", measure=measure, controls=controls)
        result = judge_claim(claim, runs_of(20), 1)
        assert (result.look, result.parts[0].effect, result.notes) == (5, 5.0, ("5 seeds",))
    open_claim = make_claim("clear", measure=lambda runs: Measurement(NOISE[: len(runs.seeds)]))
    assert judge_claim(open_claim, runs_of(10), 1).n_seeds == 10


@pytest.mark.parametrize("seeds", [1, 2, 3, 4])
def test_below_5_seeds_there_are_estimates_and_no_verdicts(seeds):
    result = judged(seeds, CLEAR, ("negative", CLEAR), ("positive", SLIGHT))
    assert result.verdict is None and result.look is None
    assert result.effect == pytest.approx(0.1, abs=0.002)
    assert (result.ci_low is None) == (seeds == 1)
    assert {control.verdict for control in result.controls} == {None}


class Frame(list):
    """Its items are the names of columns, as those of a DataFrame."""

    columns = property(list)


BAD_MEASURES = [
    *((gave, "A measure gives one number for each")
      for gave in (0.5, None, "0.5", np.array(0.5), dict(enumerate(CLEAR[:5])), set(CLEAR[:5]),
                   iter([{"clear": CLEAR[:5]}, "a note"]), Frame(range(5)), np.ones((5, 1)),
                   Measurement(0.5), Measurement(None))),
    *((gave, "in place of numbers")
      for gave in (["0.5"] * 5, [1j] * 5, [10**400] * 5, ([None] * 5, CLEAR[:5]),
                   *(Measurement(CLEAR[:5], (Part("half", "1", values),))
                     for values in (0.5, {0: 0.5}, [None])))),
    *((Measurement(gave), r"its measure gave \d numbers for 5 seeds")
      for gave in (CLEAR[:4], CLEAR[:6], [], (CLEAR[:5], CLEAR[:4]))),
    *((iter([CLEAR[:5], odd]), "several series as one tuple, and then parts and notes")
      for odd in (CLEAR[:5], (Part("half", "1", [0.5] * 5),), None)),
]  # fmt: skip


@pytest.mark.parametrize(("gave", "says"), BAD_MEASURES)
def test_what_a_measure_must_not_give_is_one_sentence(gave, says):
    claim = make_claim("clear", measure=lambda runs: gave)
    with pytest.raises(UsageError, match=rf"^clear-better: .*{says}[^\n]*\.$"):
        judge_claim(claim, runs_of(5), 1)


def test_a_value_beyond_the_bound_is_one_sentence_in_the_report():
    said = "The value of one seed is 0.101, beyond the largest effect of 0.1, and takes its place"
    assert any(note.startswith(said) for note in judged(5, CLEAR, bound=0.1).notes)
    assert not judged(5, CLEAR, bound=0.101).notes


def test_an_error_in_a_measure_is_one_sentence_and_names_its_line():
    def measure(runs):
        yield np.ones(5) @ np.ones((2, 2))

    fails_at = measure.__code__.co_firstlineno + 1
    said = rf"^clear-better: its measure failed in line {fails_at} of test_judging\.py: ValueError"
    with pytest.raises(UsageError, match=said) as raised:
        judge_claim(make_claim("clear", measure=measure), runs_of(5), 1)
    assert "\n" not in str(raised.value)
    assert isinstance(raised.value.__cause__.__cause__, ValueError)


def test_a_measure_reads_no_arm_that_is_not_among_its_needs():
    """Of an arm that only another claim needs, later looks may have no more seeds."""
    made = Runs(range(5), {arm: {} for arm in ("none", "clear", "shown", "noisy")}, {}, {}, {})

    def reading(*arms):
        return lambda runs: [float(all(runs[arm] == (None,) * 5 for arm in arms))] * 5

    named = make_claim("clear", measure=reading("none", "clear"), shown=("shown",))
    assert judge_claim(named, made, 1).effect == 1
    # Nor of one that only figures show.
    for other in ("noisy", "shown"):
        reads = replace(named, measure=reading("none", other))
        with pytest.raises(UsageError, match=rf"clear-better: .*'{other}'.* needs \(none, clear\)"):
            judge_claim(reads, made, 1)
        finished = replace(named, measure=lambda runs, arm=other: runs.finished(arm))
        with pytest.raises(UsageError, match=rf"'{other}' here"):
            judge_claim(finished, made, 1)
    # Nor one of those that a pattern names.
    made = Runs(range(5), {arm: {} for arm in ("none", "rate/1", "rate/2")}, {}, {}, {})
    read = make_claim("none", measure=lambda runs: [float(len(runs.grid("rate/*")))] * 5)
    assert judge_claim(replace(read, needs=("none", "rate/1", "rate/2")), made, 1).effect == 2
    with pytest.raises(UsageError, match=r"'rate/2' here: .* needs \(none, rate/1\)"):
        judge_claim(replace(read, needs=("none", "rate/1")), made, 1)


def test_what_the_runs_did_not_measure_is_one_sentence():
    record = SimpleNamespace(curves=None, status="finished", measures=Measures())
    made = Runs(range(5), {arm: dict.fromkeys(range(5), record) for arm in ("none", "clear")},
                {}, {}, {})  # fmt: skip
    for arms, measure in (
        ("none or clear", lambda runs: matched_difference(runs, "clear", "none", gap)),
        ("clear", lambda runs: runs.values("clear", training_loss)),
        ("clear", lambda runs: runs.values("clear", readings.test_accuracy)),
    ):
        said = rf"^clear-better: arm {arms}: A run has not measured .* the arm's specification\.$"
        with pytest.raises(UsageError, match=said):
            judge_claim(make_claim("clear", measure=measure), made, 1)


def test_claims_and_controls_need_their_texts():
    control = Control("negative", "Nothing.", list, ("none",))
    twice = make_claim("noisy", id="clear-better")

    def make_group(*names, **last):
        studies = [make_study(make_claim("clear"), name=name) for name in names]
        studies += [make_study(name="last", **last)] if last else []
        return StudyGroup(name="group", title="", lead="", description="", studies=studies)

    for make, said in (
        (
            lambda: replace(make_claim("clear"), sentence="", measure=lambda runs: []),
            "clear-better needs a sentence, or a docstring of its measure",
        ),
        (lambda: negative("none")(lambda runs: CLEAR[:5]), ".*must describe the control"),
        (lambda: negative("A text.", list), ".*takes names of arms and is used as a decorator"),
        (lambda: make_study(make_claim("clear"), twice), "Two claims are named 'clear-better'; "),
        (lambda: make_group(), "studies must have a study to run"),
        (lambda: make_group("a", "a"), "Two studies are named 'a'"),
        (lambda: make_group("a", "b"), "Two claims are named 'clear-better'"),
        (lambda: make_group("a", presets={"other": Preset()}), "studies must have presets of the"),
        (lambda: Preset(minutes="3"), "minutes must be a finite number above 0, not '3'"),
        (lambda: Tuning([]), "candidates must have a specification to try"),
        (lambda: Tuning({"epochs": 3}), "candidates must be a list .*, not {'epochs': 3}"),
        (lambda: Tuning([3]), r"candidates must be a list .*, not \[3\]"),
        (lambda: Tuning([{}], choose=None), "choose must be a function of the trials, not None"),
        (lambda: Tuning([{}], extend=3), "extend must be a function of the trials, not 3"),
        (lambda: Tuning([{}], expected=True), "expected must be a whole number .*, not True"),
        (lambda: Arm("a", tuning=[{}]), r"tuning must be a Tuning, not \[{}\]"),
        (lambda: Arm("a", "none", watch_seeds="3"), "watch_seeds must be a whole .*, not '3'"),
        (lambda: Arm("a", "none", timed="no"), "timed must be True or False, not 'no'"),
        (lambda: Arm("a", "none", label=3), "label must be a text, not 3"),
        (lambda: Arm("a", "none", changes={3: 3}), "changes must be a dict of fields, not {3: 3}"),
        (lambda: Preset(tuning_seeds=0), "tuning_seeds must be a whole number of 1 or more"),
        (lambda: make_claim("clear", needs="none"), r"needs must be a list .*, not 'none'"),
        (lambda: replace(control, needs="none"), r"needs must be a list .*, not 'none'"),
        (lambda: replace(make_claim("clear"), unit=None), "unit must be a text, not None"),
        (lambda: make_claim("clear", measure=3), "measure must be a function .*, not 3"),
        (lambda: replace(control, measure="gap"), "measure must be a function .*, not 'gap'"),
        (lambda: make_claim("clear", measure=lambda: []), "measure must be a function of the"),
        (lambda: replace(control, description=None), "description must be a text .*, not None"),
        (lambda: make_claim("clear", experiment=3), "experiment must be a text, not 3"),
        (lambda: make_claim("clear", draw=3), "draw must be a function of the study's runs, not 3"),
        (lambda: make_claim("clear", arms=ARMS[0]), "arms must be a list or tuple of arms, not "),
        (lambda: make_study(arms=lambda: ARMS), "arms must be a function of the setting, not "),
        (lambda: make_study(sections=()), "sections must be a function of the study's runs"),
        (lambda: make_study(facts={}), "facts must be a function of the setting, not {}"),
        (lambda: make_study(check=3), "check must be a function of the setting and the arms and"),
        (lambda: make_study(lead=None), "lead must be a text, not None"),
        (lambda: make_claim("clear", controls=control), r"controls must be a list .*, not Control"),
        (lambda: make_study(make_claim), "claims must be a list or tuple of claims, not "),
        (lambda: replace(make_study(), claims=make_claim("clear")), "claims must be a list"),
        (lambda: make_study(arms=ARMS[0]), "arms must be a list or tuple of arms, not Arm"),
        (
            lambda: make_study(presets=[Preset()]),
            "presets must be a dict of names to presets, not ",
        ),
        (lambda: make_study(presets={"quick": 3}), "presets must be a dict .*, not {'quick': 3}"),
        (lambda: make_study(presets={}), "presets must be a dict .*, not {}"),
        (lambda: replace(make_study(), name=""), "name must be a text that is not empty, not ''"),
        (lambda: make_claim("clear", id=" "), "id must be a text that is not empty, not ' '"),
        (
            lambda: make_claim("clear", id="a, b"),
            "id must have no spaces and commas, unlike 'a, b'",
        ),
        (lambda: Arm("", "none"), "name must be a text that is not empty, not ''"),
        (lambda: Arm("a"), "Arm 'a' needs a specification or tuning"),
        (lambda: Arm("a", lambda: None), "spec must be a function of the chosen specifications"),
        (lambda: Arm("a", {"epochs": 3}), "spec must be a specification, .*, not {'epochs': 3}"),
        (lambda: Arm("a", "none", changes=3), "changes must be a dict of fields, not 3"),
        (lambda: Arm("a", "none", changes={"seed": 3}), "Arm 'a' must leave the seed"),
        # A text in place of several would be read letter by letter.
        (lambda: Arm("a", "none", uses="none"), "uses must be a list .*, not 'none'"),
        (lambda: Arm("a", "none", watch="test"), "watch must be a list .*, not 'test'"),
        (lambda: make_claim("clear", shown="none"), "shown must be a list .*, not 'none'"),
        (lambda: make_claim("clear", figures="own"), "figures must be a list .*, not 'own'"),
        (lambda: Measurement(CLEAR, notes="A note."), "notes must be a list .*, not 'A note.'"),
        (lambda: Measurement(CLEAR, Part("half", "1", CLEAR)), "parts must be a list .*, not Part"),
    ):
        with pytest.raises(ValueError, match=f"^{said}.*\\.$"):
            make()


def test_none_of_a_measure_is_a_missing_number():
    values = [None, *CLEAR[1:]]
    assert judged(5, values).n_seeds == 4
    claim = make_claim("clear", measure=lambda runs: iter(values[:5]))
    assert judge_claim(claim, runs_of(5), 1).n_seeds == 4


def test_texts_that_are_not_given_are_those_of_the_docstring_of_the_measure():
    def measure(runs):
        """A is better.

        Accuracy of a minus that of b.

        Smallest effect: two points,
        as in a paper
        """

    claim = Claim(id="a", unit="1", direction=1, smallest_effect=1, measure=measure, needs=())
    assert (claim.sentence, claim.experiment, claim.smallest_effect_source) == (
        "A is better.", "Accuracy of a minus that of b.", "two points, as in a paper"
    )  # fmt: skip
    # A text that is given is not that of the docstring.
    assert make_claim("clear", measure=measure).experiment == "Accuracy, minus that of none."


def test_claims_and_controls_are_decorated_measures():
    @negative("none", "slow")
    def slower(runs):
        """It only fits
        more slowly.
        """
        return ()

    @drawn_by(list, "shown")
    @controlled(slower)
    @claimed("mine", "share", Question(0, 0.2, 1.0, 3.0), "none", "a", arms=ARMS)
    def mine(runs):
        """A is better."""
        return (1.0,)

    assert (slower.kind, slower.description) == ("negative", "It only fits more slowly.")
    assert slower.needs == ("none", "slow") and slower.measure(None) == ()
    assert (mine.id, mine.unit, mine.sentence) == ("mine", "share", "A is better.")
    assert (mine.question, mine.needs) == (Question(0, 0.2, 1.0, 3.0), ("none", "a"))
    assert (mine.controls, mine.draw, mine.shown) == ((slower,), list, ("shown",))
    assert mine.arms == ARMS and mine.measure(None) == (1.0,)
