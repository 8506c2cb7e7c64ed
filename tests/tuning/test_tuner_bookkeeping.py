"""The tuner's own work, on executions that train nothing."""

import functools
import json
import statistics
import sys
from pathlib import Path

import keras
import keras_tuner
import pytest
from fake_executions import FakeExecutions
from tuning_samples import (
    damage_execution,
    fake_search,
    l2_only,
    make_tuner,
    run_fake,
    small_net,
    state_files,
    thread_workers,
)

from dlip_reg.experiments import OutputDirConflictError
from dlip_reg.tuning import ParallelTuner, make_objective, make_oracle, oracles
from dlip_reg.tuning.folder import Log
from dlip_reg.tuning.results import best_json, execution_rows, trial_rows
from dlip_reg.tuning.tuner import AllTrialsFailedError

KINDS = ("random", "bayesian", "hyperband", "grid")


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
def test_every_oracle_runs_to_its_end_and_is_read_back_without_running_anything(tmp_path, kind):
    fake = FakeExecutions(tmp_path / "calls")
    options = {"oracle": {"max_trials": 9, "max_epochs": 4}, "executions_per_trial": 2}
    tuner = fake_search(tmp_path, 3, kind, fake=fake, **options)
    rows = trial_rows(tuner)
    # A grid of 2 x 2 points; of Hyperband's trials 5 to epoch 2, 2 of them and 3 more to epoch 4.
    expected = {"grid": 4, "hyperband": 10}.get(kind, 9)
    assert [row["trial"] for row in rows] == list(range(expected))
    assert {row["status"] for row in rows} == {"completed"}
    points = {(row["conv_l2"], row["dense_l2"], row.get("tuner/epochs")) for row in rows}
    assert len(points) == expected
    assert tuner.oracle.ongoing_trials == {}
    best = tuner.oracle.get_best_trials(expected)
    trained = [trial.hyperparameters.values.get("tuner/epochs", 0) for trial in best]
    assert trained == sorted(trained, reverse=True)  # scores of more epochs come first
    files = state_files(tmp_path / "search")
    read = make_tuner(tmp_path / "search", thread_workers(1), kind, **options)
    for results in (trial_rows, execution_rows, best_json):
        assert results(read) == results(tuner)
    fake_search(tmp_path, 2, kind, fake=fake, **options)
    assert sum(fake.count().values()) == 2 * expected
    assert state_files(tmp_path / "search") == files


def test_scores_are_means_over_executions(tmp_path):
    tuner = fake_search(tmp_path, 2, executions_per_trial=3)
    trials, executions = trial_rows(tuner), execution_rows(tuner)
    assert [(row["trial"], row["seed"]) for row in executions] == [
        (trial, seed) for trial in range(4) for seed in range(3)
    ]
    # Else the tests of this file would pass for any mix-up of trials.
    assert len({row["score"] for row in executions}) == 12
    assert len({row["id"] for row in executions}) == 12
    assert [row["epochs"] for row in trials] == [2] * 4
    for trial, row in zip(tuner.oracle.trials.values(), trials, strict=True):
        curves = [record.curve["clean_val_accuracy"] for record in tuner.executions(trial)]
        assert all(len(curve) == 2 for curve in curves)
        assert row["score"] == pytest.approx(statistics.mean(curve[-1] for curve in curves))
        assert row["score_sd"] == pytest.approx(statistics.stdev(curve[-1] for curve in curves))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pandas", None)  # as if it were not installed
        with pytest.raises(ImportError, match=r"pip install pandas, or .* executions\(trial\)\.$"):
            tuner.to_dataframe()
    pytest.importorskip("pandas")
    means = tuner.to_dataframe().groupby("trial")["score"].mean().tolist()
    assert means == pytest.approx([row["score"] for row in trials])


@pytest.mark.parametrize(
    ("objective", "best"), [("clean_val_accuracy", max), ("clean_val_loss", min)]
)
def test_the_best_trial_is_the_best_in_the_objective_s_direction(tmp_path, objective, best):
    tuner = fake_search(tmp_path, 2, oracle={"max_trials": 8, "objective": objective})
    scores = {row["trial"]: row["score"] for row in trial_rows(tuner)}
    found = best_json(tuner)
    assert found["score"] == best(scores.values()) == scores[found["trial"]]
    names = [trial.score for trial in tuner.oracle.get_best_trials(8)]
    assert names == sorted(scores.values(), reverse=best is max)


@pytest.mark.parametrize(
    ("how", "cause"), [("fails", "MemoryError: no room for trial 4"), ("diverges", "diverged")]
)
def test_failed_trials_are_shown_and_stay_failed_until_they_are_to_be_retried(
    tmp_path, capsys, how, cause
):
    fake = FakeExecutions(tmp_path / "calls", **{how: 3})
    options = {"oracle": {"max_trials": 6}, "executions_per_trial": 2}
    tuner = fake_search(tmp_path, 2, fake=fake, **options)
    rows = trial_rows(tuner)
    assert [row["trial"] for row in rows if row["status"] == "failed"] == [1, 4]
    assert rows[4]["score"] is None and rows[4]["error"].count(cause) == 2
    assert rows[4]["error"].startswith("seed 0: ") and "; seed 1: " in rows[4]["error"]
    json.dumps(rows, allow_nan=False)
    assert {int(t.trial_id) for t in tuner.oracle.get_best_trials(6)} == {0, 2, 3, 5}
    assert len(tuner.get_best_hyperparameters(6)) == 4
    tuner.results_summary()
    assert f"Trial 0004 failed: {rows[4]['error']}" in capsys.readouterr().out
    # What diverged is kept, with the curve for whoever asks why.
    records = tuner.executions(tuner.oracle.trials["0004"])
    curves = [record.curve["clean_val_accuracy"] for record in records]
    assert curves == ([[None, None]] * 2 if how == "diverges" else [])
    fake.fails = fake.diverges = None
    fake_search(tmp_path, 2, fake=fake, **options)
    assert sum(fake.count().values()) == 12
    tuner = fake_search(tmp_path, 2, fake=fake, search={"retry_failed": True}, **options)
    again = {(trial, number): n for (trial, number), n in fake.count().items() if n > 1}
    assert again == dict.fromkeys(((1, 0), (1, 1), (4, 0), (4, 1)), 2)
    assert trial_rows(tuner) == trial_rows(fake_search(tmp_path / "whole", 2, **options))


def test_a_failed_trial_gets_the_executions_that_it_lacks(tmp_path):
    fake = FakeExecutions(tmp_path / "calls", diverges=3)
    for seeds in (1, 2):
        tuner = fake_search(tmp_path, 1, fake=fake, executions_per_trial=seeds)
    assert [int(trial.trial_id) for trial in tuner.failed_trials()] == [1]
    assert fake.count() == {(trial, seed): 1 for trial in range(4) for seed in range(2)}


class Fatal(FakeExecutions):
    """Ends the search with the second trial."""

    def __call__(self, spec, job):
        if spec.trial == "0001":
            raise keras_tuner.errors.FatalValueError("no more")
        return super().__call__(spec, job)


def test_a_fatal_error_keeps_what_is_in_flight(tmp_path):
    with pytest.raises(keras_tuner.errors.FatalValueError, match="no more"):
        fake_search(tmp_path, 2, fake=Fatal(tmp_path / "calls", seconds=0.3))
    fake_search(tmp_path, 2)
    assert set(FakeExecutions(tmp_path / "calls").count().values()) == {1}


def test_a_search_where_all_fails_ends_with_no_best(tmp_path):
    def fails(spec, job):
        raise RuntimeError("out of luck")

    with pytest.raises(AllTrialsFailedError, match="failed: seed 0: RuntimeError: out of luck"):
        fake_search(tmp_path, 2, fake=fails, oracle={"max_trials": 7})
    tuner = make_tuner(tmp_path / "search", None, oracle={"max_trials": 7})
    assert len(tuner.failed_trials()) == 7  # and not three, after which keras-tuner gives up
    assert best_json(tuner) is None
    assert tuner.get_best_hyperparameters(3) == tuner.get_best_models(3) == []


def session(trials, seeds=1, **options):
    oracle = {"max_trials": trials, "max_epochs": 4}
    return {"oracle": oracle, "executions_per_trial": seeds, **options}


@pytest.mark.parametrize(
    ("kind", "before", "after", "calls"),
    [
        ("random", session(3), session(7), 7),
        ("grid", session(3), session(7), 7),
        ("random", session(4, seeds=2), session(4, seeds=3), 12),
        ("grid", session(4, seeds=2), session(4, seeds=3), 12),
        ("random", session(4, seeds=3), session(4), 12),
        # keras-tuner's ids have as many digits as the number of trials.
        ("random", session(8), session(12, seeds=2), 24),
        ("hyperband", session(10), session(11), 20),  # another run
        ("random", session(2, folds=3), session(2, seeds=2, folds=3), 12),
    ],
)
def test_other_numbers_of_trials_and_seeds_keep_what_is_there(tmp_path, kind, before, after, calls):
    points = {"hypermodel": l2_only(points=3 if kind == "grid" else None)}
    fake_search(tmp_path, 1, kind, **points, **before)
    other = fake_search(tmp_path, 1, kind, **points, **after)
    whole = fake_search(tmp_path / "whole", 1, kind, **points, **after)
    assert trial_rows(other) == trial_rows(whole)
    assert execution_rows(other) == execution_rows(whole)
    assert len(list((tmp_path / "calls").iterdir())) == calls


@pytest.mark.thorough
def test_bayesian_optimization_comes_near_the_best_strength_and_chance_does_not(tmp_path):
    options = {"oracle": {"max_trials": 12}, "hypermodel": l2_only(tied=True)}
    best = 10**-2.5625  # for the samples' accuracy where both strengths are one
    near = {}
    for kind, workers in (("bayesian", 1), ("bayesian", 3), ("random", 1)):
        path = tmp_path / f"{kind}{workers}"
        fake = FakeExecutions(path / "calls", seconds=0.02)  # one ends after the other
        tuner = fake_search(path, workers, kind, fake=fake, **options)
        tried = [row["l2"] for row in trial_rows(tuner)]
        near[kind, workers] = sum(best / 1.3 < strength < best * 1.3 for strength in tried)
        # With trials in flight, too, each is another one.
        assert len(set(tried)) == 12
    assert near["bayesian", 1] >= 3 > near["random", 1]


@pytest.mark.parametrize(("kind", "in_flight"), [("bayesian", {1}), ("random", {0})])
def test_an_oracle_that_takes_long_is_asked_while_the_worker_is_busy(
    tmp_path, monkeypatch, kind, in_flight
):
    ask, seen = oracles.ask, []

    def noted(oracle):
        seen.append(len(oracle.ongoing_trials))
        return ask(oracle)

    monkeypatch.setattr(oracles, "ask", noted)
    fake = FakeExecutions(tmp_path / "calls", seconds=0.1)
    fake_search(tmp_path, 1, kind, fake=fake, oracle={"max_trials": 6})
    assert seen[0] == 0 and set(seen[1:6]) == in_flight


def test_a_small_grid_is_tried_to_its_last_point(tmp_path):
    # keras-tuner's own random search stops at 8 of 9: it draws too often what it had.
    hypermodel = l2_only(points=3)
    tuner = fake_search(tmp_path, 2, hypermodel=hypermodel, oracle={"max_trials": 20})
    assert len({(row["conv_l2"], row["dense_l2"]) for row in trial_rows(tuner)}) == 9


def test_what_another_session_has_saved_meanwhile_is_kept(tmp_path):
    fake_search(tmp_path, 1, executions_per_trial=2)
    log, executions = (tmp_path / "search" / f"{n}.jsonl" for n in ("log", "executions"))
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    whole = executions.read_text()
    executions.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    with thread_workers(1) as pool:
        tuner = make_tuner(tmp_path / "search", pool, executions_per_trial=2)
        executions.write_text(whole)  # by the other one, which is killed then
        (tmp_path / "again").mkdir()
        run_fake(tuner, FakeExecutions(tmp_path / "again"))
    assert not list((tmp_path / "again").iterdir())
    assert executions.read_text() == whole


def test_the_log_of_a_search_whose_folder_is_gone_says_so(tmp_path):
    with pytest.raises(OutputDirConflictError, match="search was deleted or moved"):
        Log(tmp_path / "search" / "log.jsonl").append({})
    assert not (tmp_path / "search").exists()


def test_a_search_goes_on_in_its_folder_with_more_trials_wherever_the_program_is(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    fake = FakeExecutions(tmp_path / "calls")
    tuner = fake_search(Path(), 1, fake=fake)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    tuner.oracle.max_trials += 2
    with thread_workers(1) as pool:
        tuner._workers = pool
        run_fake(tuner, fake)
    assert len(trial_rows(tuner)) == sum(fake.count().values()) == 6


def test_fewer_trials_keep_every_trial_of_hyperband(tmp_path):
    options = {"max_trials": 12, "max_epochs": 4}
    before = trial_rows(fake_search(tmp_path, 1, "hyperband", oracle=options))
    assert len(before) > 10  # the second run of Hyperband has begun
    options["max_trials"] = 2
    assert trial_rows(fake_search(tmp_path, 1, "hyperband", oracle=options)) == before


PLAIN, BIASED = (l2_only(functools.partial(small_net, bias=bias)) for bias in ("zeros", "ones"))


ADAPTIVE, FOLDED = {"kind": "hyperband"}, {"folds": 3}


@pytest.mark.parametrize(
    ("before", "change", "said"),
    [
        ({}, {"oracle": {"seed": 5}}, "oracle_seed"),
        ({}, {"hypermodel": l2_only(l2=(1e-3, 1e-1))},
         "space.conv_l2.min_value 0.0001 where this run has 0.001"),
        ({}, {"hypermodel": l2_only("mlp")}, "mlp"),
        ({}, {"search": {"batch_size": 8}}, "batch_size"),
        ({}, {"search": {"sample_weight": [1.0] * 60}}, 'data "DataSpec'),
        ({}, {"search": {"callbacks": keras.callbacks.TerminateOnNaN()}}, "callbacks "),
        ({}, {"kind": "bayesian"}, "BayesianOptimizationOracle"),
        ({}, {"hypermodel": l2_only(tied=True)}, "space"),
        ({"hypermodel": PLAIN}, {"hypermodel": BIASED}, "hypermodel "),
        (ADAPTIVE, ADAPTIVE | {"executions_per_trial": 2},
         "executions_per_trial 1 where this run has 2"),
        (FOLDED, {}, "folds 3 where this run has None"),
        (FOLDED, {"folds": 4}, "folds 3 where this run has 4"),
    ],
)  # fmt: skip
def test_the_folder_of_another_search_is_left_alone(tmp_path, before, change, said):
    fake_search(tmp_path, 1, **before)
    fake_search(tmp_path, 1, **before, search={"verbose": 0})  # not another one
    files = state_files(tmp_path / "search")
    with pytest.raises(OutputDirConflictError, match="another configuration") as caught:
        fake_search(tmp_path, 1, **change)
    assert said in str(caught.value) and str(caught.value).endswith(".")
    assert state_files(tmp_path / "search") == files
    assert "--" not in str(caught.value)  # that is for the labs alone
    fake_search(tmp_path, 1, overwrite=True, **change)


ACTIVATION = "relu"


def activated(hp, builds=[]):  # noqa: B006 - it changes itself, as a cache does
    builds.append(hp)
    hp.Choice("unused", [1, 2])
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, ACTIVATION)])
    model.compile("sgd", "mse")
    return model


def test_a_builder_that_has_changed_since_the_tuner_was_made_is_refused(tmp_path, monkeypatch):
    tuner = fake_search(tmp_path, 1, hypermodel=activated)
    monkeypatch.setitem(globals(), "ACTIVATION", "tanh")
    for call in (tuner.search, tuner.get_best_models):
        with pytest.raises(ValueError, match="has changed since the tuner was made"):
            call()


def test_scores_of_other_kernels_are_not_mixed_with_those_of_a_folder(tmp_path, monkeypatch):
    fake_search(tmp_path, 1)
    monkeypatch.setenv("DLIP_REG_ONEDNN", "1")
    with pytest.raises(OutputDirConflictError, match="ONEDNN"):
        fake_search(tmp_path, 1)


def test_an_oracle_made_without_a_seed_goes_on_with_the_folder_s(tmp_path):
    def session(trials, **seed):
        kind = keras_tuner.oracles.BayesianOptimizationOracle
        oracle = kind(make_objective(), max_trials=trials, num_initial_points=2, **seed)
        tuner = ParallelTuner(
            oracle, l2_only(), workers=thread_workers(1), directory=tmp_path, project_name="search"
        )
        (tmp_path / "calls").mkdir(exist_ok=True)
        run_fake(tuner, FakeExecutions(tmp_path / "calls"))
        return trial_rows(tuner)

    first = session(3, seed=1)
    assert session(5)[:3] == first
    assert session(5, seed=2)[:3] == first  # keras-tuner may have drawn it
    assert len(list((tmp_path / "calls").iterdir())) == 5
    with pytest.raises(OutputDirConflictError, match="oracle_seed"):  # one that somebody chose
        session(5, seed=20_000)


@pytest.mark.parametrize("kind", ["random", "hyperband"])
@pytest.mark.parametrize(
    "damage", ["truncated", "empty", "no object", "no values", "lost", "middle", "other values"]
)
def test_a_damaged_log_repeats_its_steps_and_no_execution(tmp_path, kind, damage):
    options = session(10, seeds=2)
    fake = FakeExecutions(tmp_path / "calls")
    whole = trial_rows(fake_search(tmp_path, 1, kind, fake=fake, **options))
    path = tmp_path / "search" / "log.jsonl"
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    first = json.loads(lines[0])
    first["values"]["conv_l2"] *= 2  # which the oracle does not propose
    damaged = {
        "truncated": content[: len(content) // 2],
        "empty": b"",
        "no object": b"3\n",
        "no values": b'{"ask": "0000"}\n',
        "middle": b"".join([*lines[:6], b'{"ask": \n', *lines[7:]]),
        "other values": b"".join([json.dumps(first).encode() + b"\n", *lines[1:]]),
    }
    if damage == "lost":
        path.unlink()
    else:
        path.write_bytes(damaged[damage])
    again = fake_search(tmp_path, 1, kind, fake=fake, **options)
    assert trial_rows(again) == whole
    assert set(fake.count().values()) == {1}  # every finished execution was found again
    assert path.read_bytes() == content


@pytest.mark.parametrize("log", ["lost", "there"])
@pytest.mark.parametrize("part", ["record", "state"])
def test_a_damaged_execution_runs_again(tmp_path, log, part):
    fake = FakeExecutions(tmp_path / "calls")
    whole = trial_rows(fake_search(tmp_path, 2, fake=fake))
    if part == "record":
        damage_execution(tmp_path / "search", "0001")
    else:
        (tmp_path / "search" / "trial_0001" / "execution_0.npz").unlink()
    if log == "lost":
        (tmp_path / "search" / "log.jsonl").unlink()
    tuner = fake_search(tmp_path, 2, fake=fake)
    assert trial_rows(tuner) == whole
    assert len(execution_rows(tuner)) == 4
    assert fake.count() == {(0, 0): 1, (1, 0): 2, (2, 0): 1, (3, 0): 1}


def test_hyperband_does_not_go_on_from_a_damaged_execution(tmp_path):
    options = {"oracle": {"max_trials": 10, "max_epochs": 4}}
    whole = trial_rows(fake_search(tmp_path / "whole", 1, "hyperband", **options))
    parent = whole[5]["tuner/trial_id"]  # of the first trial that goes on
    for ended in (5, 6):  # that one is not begun; it is under way
        path = tmp_path / str(ended)
        fake, calls = FakeExecutions(path / "calls"), []

        def stop(ended=ended, calls=calls):
            calls.append(1)
            if len(calls) == ended:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fake_search(path, 1, "hyperband", fake=fake, on_progress=stop, **options)
        damage_execution(path / "search", parent)
        tuner = fake_search(path, 1, "hyperband", fake=fake, **options)
        assert trial_rows(tuner) == whole
        assert len(execution_rows(tuner)) == len(whole)


def rated_by_kind(hp):
    kind = hp.Choice("kind", ["sgd", "adam"])
    for other, least in (("sgd", 0.1), ("adam", 1e-3)):
        with hp.conditional_scope("kind", [other]):
            rate = hp.Float("rate", least, 2 * least)
        assert (rate is None) == (kind != other)
    return keras.Sequential()


MINIMISED = keras_tuner.Objective("clean_val_accuracy", "min")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": type("Own", (ParallelTuner,), {"run_trial": print})}, "override HyperModel.fit"),
        ({"kind": type("Own", (ParallelTuner,), {"on_trial_end": print})}, "on_trial_end is not"),
        ({"project_name": "x" * 300}, r"at most 255 bytes, so .*xx is too long\.$"),
        ({"oracle": "random"}, "keras_tuner.Oracle"),
        ({"oracle": keras_tuner.oracles.RandomSearchOracle(MINIMISED)}, "must have the direction"),
        ({"hypermodel": "lenet5"}, "a function of its HyperParameters"),
        ({"hypermodel": lambda hp: 1 / 0}, "cannot be built .ZeroDivisionError"),
        ({"hypermodel": lambda hp: sys.exit(2)}, "cannot be built .SystemExit: 2"),
        ({"hypermodel": rated_by_kind}, "name rate stands for several"),
        *(({"workers": count}, "workers") for count in (0, 2.5)),
        *(({"executions_per_trial": count}, "executions_per_trial") for count in (0, True)),
        *(({"folds": folds}, "folds") for folds in (1, 2.5, True)),
        ({"racing": True}, "several executions_per_trial or folds"),
        ({"racing": True, "executions_per_trial": 3, "oracle": make_oracle("hyperband")},
         "another oracle than Hyperband"),
    ],
)  # fmt: skip
def test_a_tuner_of_something_else_is_one_sentence(tmp_path, change, said):
    good = {"oracle": make_oracle(), "hypermodel": l2_only(), "directory": tmp_path / "out"}
    options = {"kind": ParallelTuner, **good, **change}
    with pytest.raises(ValueError, match=said):
        options.pop("kind")(**options)
    assert not (tmp_path / "out").exists()
