"""`replicate`: the same claims on other data sets and models, and where they hold."""

import json
from types import SimpleNamespace

import pytest
from fake_studies import (
    ARMS,
    CLEAR,
    DATA,
    FakeMachine,
    accuracy,
    files,
    make_claim,
    make_study,
    run_quietly,
)

from dlip_reg.cli import main
from dlip_reg.report import figures
from dlip_reg.studies import Preset, Study, UsageError
from dlip_reg.studies.replication import SETTINGS, default_settings, where_it_holds

DIGITS, RESIDUAL = ("mnist_subset", "mlp"), (DATA, "resnet_small")
FURTHER = (DIGITS, RESIDUAL)


def clear_on_clothes(run):
    """The arm "clear" is better than "none" on clothes and worse on digits."""
    value = accuracy(run)
    on_digits = run.data.name == DIGITS[0] and run.learning_rate == CLEAR
    return value - 0.2 if on_digits else value


@pytest.fixture
def machine(monkeypatch):
    return FakeMachine(monkeypatch, clear_on_clothes, writes_report=False)


def test_each_setting_is_judged_by_itself_and_the_main_one_is_run_once(machine, tmp_path):
    settings = (*FURTHER, (DATA, "mlp"))  # the last is the study's own
    study = make_study(make_claim("clear"))
    result, lines = run_quietly(study, tmp_path, replicate=settings, seeds=5)
    verdicts = {r.name: [c.verdict for c in r.claims] for r in result.replications}
    assert verdicts == {
        f"{DATA} × mlp": ["supported"],
        "mnist_subset × mlp": ["contradicted"],
        f"{DATA} × resnet_small": ["supported"],
    }
    assert [r.main for r in result.replications] == [True, False, False]
    assert [claim.verdict for claim in result.claims] == ["supported"]
    assert len(machine.trained) == 3 * 2 * 5
    assert "mnist_subset × mlp" in lines[0]
    others = {f"fake ({name})" for name in list(verdicts)[1:]}
    assert set(result.runs) == {"fake"} | others
    page = result.report.read_text("utf-8")
    assert "at most 0.15 in a table of 3 verdicts" in page
    assert (
        f"clear-better: supported on {DATA} × mlp and {DATA} × resnet_small; "
        "contradicted on mnist_subset × mlp." in page
    )
    assert (tmp_path / "figures" / "replication.png").is_file()
    held = json.loads((tmp_path / "replication.json").read_text("utf-8"))
    assert [r["claims"][0]["verdict"] for r in held] == ["supported", "contradicted", "supported"]
    # The matrix has a cell for each result, and none where there is none.
    here, there, _ = result.replications
    matrix = {"one": {here.name: here.claims[0], there.name: there.claims[0]}, "two": {}}
    figure = figures.replication_matrix(matrix, [here.name, there.name])
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[::2] == ["supported", "contradicted"]
    assert len(figure.axes[0].patches) == 2


def test_without_claims_there_is_nothing_to_replicate(machine, tmp_path):
    with pytest.raises(UsageError, match=r"^plain has no claims to replicate\.$"):
        run_quietly(Study(name="plain", arms=ARMS), tmp_path, replicate=FURTHER)
    with pytest.raises(UsageError, match="pairs of a data set and a model, not 'mnist_subset'"):
        run_quietly(make_study(make_claim("clear")), tmp_path, replicate=["mnist_subset"])


def test_replicating_later_keeps_what_was_run_and_the_main_verdicts(machine, tmp_path):
    study = make_study(make_claim("clear"))
    run_quietly(study, tmp_path, seeds=5)
    before = files(tmp_path)
    trained = len(machine.trained)
    run_quietly(study, tmp_path, replicate=FURTHER, seeds=5)
    assert len(machine.trained) == 3 * trained
    after = files(tmp_path)
    assert after["claims.json"] == before["claims.json"]
    assert all(after[name] == content for name, content in before.items() if name != "records.csv")
    # A later run without further settings leaves none of their verdicts beside its own.
    run_quietly(study, tmp_path, seeds=5)
    assert files(tmp_path) == before | after | {"records.csv": before["records.csv"]}
    assert not (tmp_path / "replication.json").exists()


def test_the_time_of_all_settings_is_announced_by_what_their_networks_take(machine, tmp_path):
    presets = {"standard": Preset(seeds=5, minutes=40)}
    study = make_study(make_claim("clear"), presets=presets, default_model="mlp")
    _, lines = run_quietly(study, tmp_path / "known", replicate=FURTHER)
    assert "together take about 13 hours on two cores" in lines[0]  # 40 minutes times 1 + 1 + 18
    _, lines = run_quietly(study, tmp_path / "unknown", replicate=[(DATA, "vgg_small")])
    assert "together take" not in lines[0]


def test_an_interrupted_replication_resumes_with_the_same_records(monkeypatch, tmp_path):
    machine = FakeMachine(monkeypatch, clear_on_clothes)
    study = make_study(make_claim("clear"), make_claim("noisy"))
    options = {"replicate": FURTHER, "seeds": 10}
    run_quietly(study, tmp_path / "whole", **options)
    for runs in (13, 21, 17, 10):
        machine.stop_after = len(machine.trained) + runs
        with pytest.raises(KeyboardInterrupt):
            run_quietly(study, tmp_path / "parts", **options)
    machine.stop_after = None
    run_quietly(study, tmp_path / "parts", **options)
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_the_page_of_a_look_names_the_claims_that_are_open_elsewhere(monkeypatch, tmp_path):
    def noisy_on_digits(run):
        is_clear = run.data.name == DIGITS[0] and run.learning_rate == CLEAR
        return 0.5 + 0.1 * (-1) ** run.seed if is_clear else accuracy(run)

    machine = FakeMachine(monkeypatch, noisy_on_digits, writes_report=False)
    machine.stop_after = 20  # after the look at 5 seeds
    options = {"replicate": [DIGITS], "seeds": 10}
    said = f"Still open on {' × '.join(DIGITS)}, and continued: clear-better."
    with pytest.raises(KeyboardInterrupt):
        run_quietly(make_study(make_claim("clear")), tmp_path, **options)
    assert said in (tmp_path / "report.html").read_text("utf-8")
    machine.stop_after = None
    result, _ = run_quietly(make_study(make_claim("clear")), tmp_path, **options)
    assert "Still open" not in result.report.read_text("utf-8")


def test_the_command_line_replicates_on_the_packaged_settings(machine, tmp_path, capsys):
    study = make_study(make_claim("clear"), default_dataset=DATA, default_model="lenet5")
    assert main(study, ["--replicate", "--seeds", "5", "--out", str(tmp_path)]) == 0
    held = json.loads((tmp_path / "replication.json").read_text("utf-8"))
    assert [(r["dataset"], r["model"]) for r in held] == list(SETTINGS)
    assert [r["main"] for r in held] == [True, False, False]
    last_row = capsys.readouterr().out.split("clear-better")[-1]
    assert last_row.split()[:4] == ["supported", "contradicted", "supported", "Report:"]


def test_cifar10_joins_where_its_file_is(tmp_path, monkeypatch):
    monkeypatch.delenv("DLIP_DATA_DIR", raising=False)
    assert default_settings() == default_settings(tmp_path) == SETTINGS
    (tmp_path / "cifar10.npz").touch()
    assert default_settings(tmp_path) == (*SETTINGS, ("cifar10", "lenet5"))
    monkeypatch.setenv("DLIP_DATA_DIR", str(tmp_path))
    assert default_settings() == (*SETTINGS, ("cifar10", "lenet5"))


def outcome(verdict, effect=1.0, direction=1, **controls):
    """A result, with the verdicts of its controls by kind."""
    found = [SimpleNamespace(kind=k, verdict=v, n_seeds=5) for k, v in controls.items()]
    return SimpleNamespace(
        verdict=verdict, effect=effect, direction=direction, look=5, n_seeds=5, controls=found
    )


def test_where_a_claim_holds_in_words():
    assert (
        where_it_holds({"a": outcome("supported"), "b": outcome("supported")})
        == "supported on all 2 settings"
    )
    fitted = {
        "a": outcome("supported", negative="undecided", positive="supported"),
        "b": outcome("not measurable", negative="no effect", positive="undecided"),
        "c": outcome("not measurable", negative="supported", positive="no effect"),
    }
    assert where_it_holds(fitted) == (
        "supported on a; not measurable on b (positive control failing) and "
        "c (negative and positive control failing)"
    )
    estimates = {
        "a": outcome(None, 1.0, -1),
        "b": outcome(None, -1.0, -1),
        "c": outcome(None, None),
    }
    assert where_it_holds(estimates) == (
        "estimate on the opposite side on a; estimate on the asserted side on b; not measured on c"
    )
    assert where_it_holds({"a": outcome(None, 0.0)}) == "estimate of 0"
    # A claim that asserts a value has no side.
    assert where_it_holds({"a": outcome(None, 1.0, 0), "b": outcome(None, -1.0, 0)}) == (
        "estimate on all 2 settings"
    )
