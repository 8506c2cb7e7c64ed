"""`run_study`: which seeds are spent on which arm, and what a stopped run leaves."""

import contextlib
import json
import math
import os
import sys
import threading
from dataclasses import replace

import pytest
from fake_studies import (
    ARMS,
    CLEAR,
    DATA,
    LARGE,
    NOISY,
    NONE,
    SMALL,
    FakeMachine,
    accuracy,
    files,
    make_claim,
    make_study,
    run_quietly,
    spec,
)

from dlip_reg.cli import main
from dlip_reg.datasets.errors import DataError
from dlip_reg.experiments import OutputDirConflictError
from dlip_reg.regularization import Regularization
from dlip_reg.studies import (
    Arm,
    Control,
    Preset,
    Study,
    StudyGroup,
    Tuning,
    UsageError,
    run_study,
    varied,
    workspace,
)
from dlip_reg.studies.arm_resolver import TUNING_SEEDS_FROM
from dlip_reg.studies.progress import Progress
from dlip_reg.studies.setting import Setting
from dlip_reg.training import DataSpec
from dlip_reg.training.model_functions import ModelArgumentError

CLAIMS = (make_claim("clear"), make_claim("noisy"))


@pytest.fixture
def machine(monkeypatch):
    return FakeMachine(monkeypatch)


def verdicts(result):
    return {claim.id: (claim.verdict, claim.look, claim.n_seeds) for claim in result.claims}


def test_a_decided_claim_gets_no_further_seeds_and_an_open_one_does(machine, tmp_path):
    result, _ = run_quietly(make_study(*CLAIMS), tmp_path)
    assert verdicts(result) == {
        "clear-better": ("supported", 5, 5),
        "noisy-better": ("undecided", None, 20),
    }
    assert machine.seeds(CLEAR) == list(range(5))
    assert machine.seeds(NOISY) == machine.seeds(NONE) == list(range(20))
    assert SMALL not in dict(machine.trained)  # no claim needs the arm
    # Each report says what is open; the run ends with the last open claim.
    first = (2, ["clear-better", "noisy-better"])
    assert machine.reports == [first, *((look, ["noisy-better"]) for look in (5, 10, 20))]
    machine.reports.clear()
    machine.trained.clear()
    alone, _ = run_quietly(make_study(*CLAIMS), tmp_path / "one", claims="clear-better")
    # It shares the error of all.
    assert machine.reports[1:] == [(5, [])] and alone.claims == result.claims[:1]
    assert alone.claims[0].level == 1 - 0.01 / 2
    assert NOISY not in dict(machine.trained)


def test_a_decided_effect_whose_negative_control_is_open_gets_seeds_for_the_control(
    machine, tmp_path
):
    control = Control("negative", "The noisy one.", make_claim("noisy").measure, ("none", "noisy"))
    claim = make_claim("clear", controls=(control,))
    result, _ = run_quietly(make_study(claim), tmp_path)
    assert verdicts(result) == {"clear-better": ("supported", 5, 5)}
    assert [(c.verdict, c.n_seeds) for c in result.claims[0].controls] == [("undecided", 20)]
    assert machine.seeds(CLEAR) == list(range(5))
    assert machine.seeds(NOISY) == machine.seeds(NONE) == list(range(20))


@pytest.mark.parametrize(("seeds", "looks"), [(5, [2, 5]), (10, [2, 5, 10]), (3, [3]), (2, [2])])
def test_seeds_says_where_to_stop(machine, tmp_path, seeds, looks):
    result, _ = run_quietly(make_study(*CLAIMS), tmp_path, seeds=seeds)
    assert [look for look, _ in machine.reports] == looks
    assert machine.seeds(NOISY) == list(range(seeds))
    if seeds < 5:
        assert {claim.verdict for claim in result.claims} == {None}


def test_the_first_report_has_estimates_of_two_seeds_and_replaces_no_later_one(machine, tmp_path):
    study = make_study(CLAIMS[0])
    machine.stop_after = 4 + 3
    with pytest.raises(KeyboardInterrupt):
        run_quietly(study, tmp_path)
    (claim,) = json.loads((tmp_path / "claims.json").read_text())
    assert (claim["n_seeds"], claim["verdict"], claim["look"]) == (2, None, None)
    machine.stop_after = None
    run_quietly(study, tmp_path)
    assert [look for look, _ in machine.reports] == [2, 5]
    assert machine.seeds(CLEAR) == list(range(5))


def test_first_seed_begins_the_seeds_elsewhere_and_moves_those_of_tuning(machine, tmp_path):
    study = make_study(make_claim("tuned"))
    run_quietly(study, tmp_path, first_seed=100, seeds=5)
    assert machine.seeds(NONE) == list(range(100, 105))
    tuned_with = [TUNING_SEEDS_FROM + 100, TUNING_SEEDS_FROM + 101]
    assert machine.seeds(SMALL) == tuned_with
    assert machine.seeds(LARGE) == [*range(100, 105), *tuned_with]


WRONG = [
    *(({"seeds": seeds}, "seeds must be ") for seeds in (7, 0, -5, 15, 40, 5.0, "5", True)),
    *(({"workers": count}, "workers must be a whole number of 1 or more") for count in (0, "2")),
    *(({"first_seed": seed}, "first_seed must be a whole number from 0 to")
      for seed in (0.5, -1, TUNING_SEEDS_FROM - 19)),
    *(({"claims": names}, ".*clear-better, noisy-better")
      for names in ([], "nonsense", ["clear-better", "clear"], 3)),
    ({"fresh": "no"}, "fresh must be True or False, not 'no'"),
    ({"scheduler": ""}, "scheduler must be a text that is not empty"),
    ({"replicate": 1}, "replicate takes pairs of a data set and a model, not 1"),
    ({"size": 28}, "--size applies to images in folder:PATH"),
    ({"data_dir": "nowhere"}, "--data-dir nowhere is not a folder"),
    ({"study": "mine"}, "study must be a Study or a StudyGroup, not str"),
    ({"out": 300 * "x"}, r"x+ cannot be written to \([^()]*\); choose another --out"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "says"), WRONG)
def test_arguments_that_have_to_change_are_one_sentence(machine, tmp_path, options, says):
    with pytest.raises(UsageError, match=rf"^{says}[^\n]*\.$"):
        run_quietly(**{"study": make_study(*CLAIMS), "out": tmp_path / "out"} | options)
    assert not (tmp_path / "out").exists()


def test_each_set_of_options_of_a_model_function_is_tried_before_anything_is_trained(
    machine, tmp_path, monkeypatch, capsys
):
    def kernel_kinds(run, data_dir):
        if run.regularization.batch_norm:
            raise ValueError("must accept batch_norm")
        return {"dense"}

    monkeypatch.setattr(workspace, "kernel_kinds", kernel_kinds)
    plain = spec(NONE, model="fake_studies:make_study")  # which takes any option
    arms = (
        Arm("none", plain),
        Arm("clear", replace(plain, regularization=Regularization(batch_norm=True))),
        Arm("noisy", replace(plain, learning_rate=NOISY)),
    )
    claim = make_claim("clear", needs=("none", "clear", "noisy"))
    assert main(make_study(claim, arms=arms), ["--out", str(tmp_path / "out")]) == 2
    assert "must accept batch_norm" in capsys.readouterr().err
    assert machine.trained == []


@pytest.mark.parametrize("error", [DataError("no images."), ModelArgumentError("no module.")])
def test_what_only_a_worker_of_a_cluster_lacks_is_said_to_be_missing_there(
    machine, tmp_path, monkeypatch, capsys, error
):
    def kernel_kinds(run, data_dir):
        raise error

    monkeypatch.setattr(workspace, "kernel_kinds", kernel_kinds)
    monkeypatch.setattr(workspace, "dask_workers", lambda address: workspace.local_workers())
    cluster = ("--scheduler", "tcp://127.0.0.1:1")
    for place, is_there in (((), False), (cluster, True)):
        assert main(make_study(*CLAIMS), ["--out", str(tmp_path / "out"), *place]) == 2
        said = capsys.readouterr().err
        assert str(error) in said and ("a worker of the cluster" in said) == is_there


def test_a_model_that_exits_when_it_is_tried_ends_no_lab_without_a_word(
    machine, tmp_path, monkeypatch, capsys
):
    def kernel_kinds(run, data_dir):
        sys.exit(0)

    monkeypatch.setattr(workspace, "kernel_kinds", kernel_kinds)
    assert main(make_study(*CLAIMS), ["--out", str(tmp_path / "out")]) == 1
    assert "(SystemExit: 0)." in capsys.readouterr().err


@pytest.mark.parametrize("after", [0, 3, 9, 11, 19, 24])
def test_a_run_stopped_anywhere_resumes_to_the_same_records_and_verdicts(machine, tmp_path, after):
    study = make_study(*CLAIMS)
    whole, _ = run_quietly(study, tmp_path / "whole")
    machine.trained.clear()
    machine.stop_after = after
    with pytest.raises(KeyboardInterrupt):
        run_quietly(study, tmp_path / "parts")
    machine.stop_after = None
    resumed, _ = run_quietly(study, tmp_path / "parts")
    assert resumed.claims == whole.claims
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    # Nothing that has a record was trained twice.
    assert len(machine.trained) == len(set(machine.trained))


def test_what_is_announced_is_what_is_run_and_more_seeds_use_what_is_there(
    machine, tmp_path, monkeypatch
):
    def chance(runs):
        return [(-1.0) ** seed for seed in runs.seeds]

    minutes = []

    def progress(expected, *arguments):
        minutes.append(expected)
        return Progress(expected, *arguments)

    monkeypatch.setattr("dlip_reg.studies.run.Progress", progress)
    study = make_study(
        make_claim("noisy"), make_claim("tuned", measure=chance),
        presets={"standard": Preset(minutes=64)},
    )  # fmt: skip
    to_first = "about 4 runs for tuning, about 15 runs to the first look at 5 seeds"
    to_last = f"{to_first}, at most about 60 at 20 seeds"
    for seeds, stop_after, announced in (
        (None, 3, to_last),
        (5, 9, f"{to_first}; about 16 of these are left"),
        (5, None, f"{to_first}; about 10 of these are left"),
        (None, 30, f"{to_last}; at most about 45 of these are left"),
        (None, None, f"{to_last}; at most about 34 of these are left"),
        (None, None, f"{to_last}; 0 of these are left"),
    ):
        machine.stop_after = stop_after
        lines = []
        with contextlib.suppress(KeyboardInterrupt):
            run_study(study, seeds=seeds, out=tmp_path, announce=lines.append)
        assert f": {announced}. " in lines[0]
    assert minutes == [64, None, None, 45, 34, 0]
    tuning = [seed for _, seed in machine.trained if seed >= TUNING_SEEDS_FROM]
    assert len(tuning) == 4
    assert len(set(machine.trained)) == len(machine.trained) == 4 + 60


def test_arms_that_choose_otherwise_among_the_same_candidates_are_announced_apart(
    machine, tmp_path
):
    candidates = [spec(SMALL), spec(LARGE)]
    choices = {"tuned": max, "worst": min, "alike": max}
    chooses = {of: lambda trials, of=of: of(trials, key=lambda s: s.learning_rate)
               for of in (max, min)}  # fmt: skip
    tuned = [Arm(name, tuning=Tuning(candidates, chooses[of])) for name, of in choices.items()]
    arms = [ARMS[0], *tuned]
    claim = make_claim("tuned", needs=("none", "tuned", "worst", "alike"))
    _, lines = run_quietly(make_study(claim, arms=arms), tmp_path, seeds=5)
    assert "4 runs for tuning" in lines[0] and "15 runs to the first look" in lines[0]
    assert len(machine.trained) == 4 + 15


def test_an_arm_that_is_only_used_or_shown_is_announced_for_no_look(machine, tmp_path):
    arms = (*ARMS, Arm("slow", lambda chosen: spec(NOISY), uses=("tuned",)))
    claim = make_claim("slow", shown=("clear",))
    _, lines = run_quietly(make_study(claim, arms=arms), tmp_path)
    assert "15 runs to the first look" in lines[0] and "at most about 45 at 20 seeds" in lines[0]
    assert lines[1] == "Not run, because no claim needs them: noisy."
    assert machine.seeds(CLEAR) == list(range(5))
    assert max(machine.seeds(LARGE)) >= TUNING_SEEDS_FROM > NOISY
    assert len(machine.seeds(LARGE)) == 2


def test_a_lost_run_is_tried_again_when_the_study_is_and_not_at_its_next_look(machine, tmp_path):
    tries = []

    def unlucky_once(run):
        lost = (run.learning_rate, run.seed) == (NOISY, 1)
        tries.extend([run] * lost)
        return None if lost and len(tries) == 1 else accuracy(run)

    machine.value = unlucky_once
    study = make_study(make_claim("noisy"))
    first, _ = run_quietly(study, tmp_path)
    assert len(tries) == 1
    assert first.notes == ("1 run failed: RuntimeError: no luck.",)
    assert first.runs["fake"]["noisy"][1] is None
    assert [estimate.n_seeds for estimate in first.claims[0].estimates] == [4, 9, 19]
    again, _ = run_quietly(study, tmp_path)
    assert len(tries) == 2
    assert [estimate.n_seeds for estimate in again.claims[0].estimates] == [5, 10, 20]


def test_a_diverged_run_is_not_lost(machine, tmp_path):
    machine.value = lambda run: math.nan if run.learning_rate == CLEAR else accuracy(run)

    def measure(runs):
        return runs.values("clear", lambda record: 1.0, failure=0.0)

    result, _ = run_quietly(make_study(make_claim("clear", measure=measure)), tmp_path)
    assert verdicts(result) == {"clear-better": ("no effect", 20, 20)}
    assert result.notes == ("20 runs diverged (a loss became NaN or infinite).",)


@pytest.mark.skipif(os.name == "nt", reason="Windows moves no folder with an open file")
def test_no_report_is_written_to_a_folder_that_was_moved_while_the_claims_were_judged(
    machine, tmp_path
):
    def measure(runs):
        (tmp_path / "lab").rename(tmp_path / "moved")
        return runs.values("clear", lambda record: 1.0)

    with pytest.raises(OutputDirConflictError, match="lab was deleted or moved"):
        run_quietly(make_study(make_claim("clear", measure=measure)), tmp_path / "lab")
    assert not (tmp_path / "lab").exists()


def test_a_study_without_claims_runs_all_arms_with_all_seeds(machine, tmp_path):
    study = Study(name="fake", arms=ARMS[:2], presets={"paper": Preset(seeds=10)})
    run_quietly(study, tmp_path)
    assert machine.seeds(NONE) == machine.seeds(CLEAR) == list(range(10))


def test_timed_arms_run_alone_after_the_others_of_each_look_and_seed_by_seed(machine, tmp_path):
    """A slow spell of the machine must not hit one arm alone, nor another run share it."""
    arms = (
        Arm("none", spec(NONE), timed=True),
        Arm("clear", spec(CLEAR, batch_size=8), timed=True),  # which a sweep would keep together
        Arm("noisy", spec(NOISY)),
    )
    pools = []

    def value(run):
        pools.append(sum(t.name.startswith("ThreadPool") for t in threading.enumerate()))
        return accuracy(run)

    machine.value = value
    claim = make_claim("noisy", needs=("none", "clear", "noisy"))
    run_quietly(make_study(claim, arms=arms), tmp_path, seeds=10)
    expected = []
    for seeds in (range(2), range(2, 5), range(5, 10)):
        expected += [(NOISY, seed) for seed in seeds]
        expected += [(rate, seed) for seed in seeds for rate in (NONE, CLEAR)]
    assert machine.trained == expected
    assert set(pools) == {1}


def test_measures_of_the_first_seeds_only(machine, tmp_path):
    arms = (Arm("none", spec(NONE), watch=("curvature",), watch_seeds=2), *ARMS[1:])
    result, _ = run_quietly(make_study(make_claim("clear"), arms=arms), tmp_path)
    watched = [bool(record.spec.measures) for record in result.runs["fake"]["none"] if record]
    assert watched == [True, True, False, False, False]


def test_arms_that_cannot_be_made_are_one_sentence_too(machine, tmp_path, capsys):
    def refuse(chosen):
        return spec(-1)

    circle = (Arm("none", spec, uses=("clear",)), Arm("clear", spec, uses=("none",)))
    itself = (Arm("none", spec, uses=("none",)), Arm("clear", spec(CLEAR)))
    derived = (ARMS[0], Arm("clear", refuse, uses=("none",)))
    tuned = (*derived[:1], Arm("clear", refuse, uses=("tuned",)), ARMS[3])
    misspelt = (ARMS[0], varied("clear", "none", learning_rat=0.1))
    clear = [spec(CLEAR)]
    odd = (
        (varied("clear", "none", loss=lambda targets, outputs: 0), "loss must be an object"),
        (varied("clear", "none", epochs=lambda epochs: epochs / 0), "its changes failed in line"),
        (varied("clear", "none", data=DataSpec("mnist_subset")), f"{DATA} and mnist_subset"),
        (varied("clear", "none", data=DataSpec(DATA, size=9)), f"{DATA} and {DATA} at 9"),
        (varied("clear", "none", kind="run"), "no 'kind' that could be changed"),
        (Arm("clear", *clear, watch=("nonsense",)), "not ('nonsense',)"),
        (Arm("clear", lambda chosen: 3), "'clear' must get a specification, not 3"),
        (Arm("clear", lambda chosen: chosen["no"]), "function failed in line"),
        (Arm("clear", tuning=Tuning([{"epochs": 3}])), "a specification that its candidates"),
        (Arm("clear", tuning=Tuning(clear, lambda trials: 3)), "not 3"),
        (Arm("clear", tuning=Tuning(clear, lambda trials: 1 / 0)), "tuning failed in line"),
        (Arm("clear", tuning=Tuning(clear, extend=lambda trials: [3])), "specifications, not 3 in"),
    )
    for arms, says in (
        (misspelt, "no 'learning_rat' that could be changed; there are model, "),
        (tuned, "learning_rate"),
        (circle, "in a circle"),
        (itself, "in a circle: none"),
        (derived, "learning_rate"),
        ((), "No arm"),
        (lambda setting: None, "What a function of the setting gives must be a list or tuple of"),
        *(((ARMS[0], arm), says) for arm, says in odd),
    ):
        status = main(make_study(make_claim("clear"), arms=arms), ["--out", str(tmp_path / "out")])
        *progress, message = capsys.readouterr().err.splitlines()
        assert status == 2 and says in message and "<string>" not in message
        assert all(" runs" in line for line in progress)


def test_studies_of_a_group_share_runs_and_keep_an_error_of_their_own(machine, tmp_path):
    first = make_study(CLAIMS[0], name="first")
    second = make_study(CLAIMS[1], make_claim("noisy", id="noisy-again"), name="second")
    group = StudyGroup(name="both", title="", lead="", description="", studies=[first, second])
    result, lines = run_quietly(group, tmp_path, seeds=10)
    assert lines[1] == "Not run, because no claim needs them: tuned."
    assert [claim.level for claim in result.claims] == [1 - 0.01, 1 - 0.015 / 2, 1 - 0.015 / 2]
    assert machine.reports[1:] == [(look, ["noisy-better", "noisy-again"]) for look in (5, 10)]
    assert machine.seeds(NONE) == list(range(10)) and machine.seeds(CLEAR) == list(range(5))
    assert set(result.runs) == {"first", "second"}
    assert len(result.records) == 10 + 10 + 5
    machine.trained.clear()
    alone, lines = run_quietly(group, tmp_path, seeds=10, claims=["noisy-again"])
    assert len(lines) == 2  # claims that are not measured may need the other arms
    assert alone.claims == result.claims[2:] and machine.trained == []


def test_an_edited_model_is_trained_anew_in_the_same_process(machine, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    study = make_study(make_claim("clear"))
    for version in (1, 2):
        (tmp_path / "edited_net.py").write_text(f"def build(): return {version}")
        run_study(study, out=tmp_path / "out", model="edited_net:build")
        assert len(machine.trained) == 10 * version


def test_arms_with_different_models_are_not_all_given_one(machine, tmp_path):
    arms = (ARMS[0], varied("clear", "none", model="lenet5", learning_rate=CLEAR))
    study = make_study(make_claim("clear"), arms=arms)
    for options in ({"model": "resnet20"}, {"replicate": [("mnist_subset", "mlp")]}):
        with pytest.raises(UsageError, match=r"The arms compare models \(mlp, lenet5\), so"):
            run_study(study, out=tmp_path / "out", **options)
    assert machine.trained == []


def test_a_module_that_hides_the_package_of_callbacks_is_named(machine, tmp_path, monkeypatch):
    (tmp_path / "callbacks.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "callbacks", raising=False)
    with pytest.raises(UsageError, match=r"callbacks\.py hides the package callbacks"):
        run_study(make_study(make_claim("clear")), out=tmp_path / "out")


def test_studies_of_a_group_go_on_to_the_last_look_of_each(machine, tmp_path):
    few, many = (
        make_study(make_claim(arm), name=arm, presets={"standard": Preset(seeds=seeds)})
        for arm, seeds in (("clear", 5), ("noisy", 20))
    )
    for first, second in ((few, many), (many, few)):
        group = StudyGroup(name="g", title="", lead="", description="", studies=[first, second])
        out = tmp_path / first.name
        claims = {claim.id: claim.n_seeds for claim in run_study(group, out=out).claims}
        assert claims == {"clear-better": 5, "noisy-better": 20}


def test_a_tuned_arm_that_cannot_be_trained_decides_nothing(machine, tmp_path):
    failing = {SMALL: None, LARGE: math.nan}
    machine.value = lambda run: failing.get(run.learning_rate, accuracy(run))
    result, _ = run_quietly(make_study(make_claim("tuned")), tmp_path)
    assert verdicts(result) == {"tuned-better": ("undecided", None, 0)}
    assert result.runs["fake"].chosen["tuned"] is None


def test_one_model_may_take_the_place_of_those_that_no_claim_compares():
    one = [replace(arm, changes={"model": "lenet5"}) for arm in ARMS[:2]]
    other = [Arm("a", spec(NONE)), Arm("b", spec(CLEAR))]
    first = make_claim("clear", arms=one)
    second = make_claim("b", arms=other, needs=("a", "b"))
    arms = make_study(first, second, arms=()).arms_for(
        Setting(None, "resnet20", ""), [first, second]
    )
    assert {(arm.changes or vars(arm.spec))["model"] for arm in arms.values()} == {"resnet20"}
