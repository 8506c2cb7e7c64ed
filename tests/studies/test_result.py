"""What `run_study` gives back, from Python and in a notebook."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.figure
import pytest
from fake_studies import (
    ARMS,
    CLASSES,
    CLEAR,
    DATA,
    LARGE,
    SMALL,
    FakeMachine,
    difference,
    make_claim,
    make_study,
    run_quietly,
    spec,
)

from dlip_reg.errors import DlipRegError
from dlip_reg.report import FigureItem
from dlip_reg.report.wording import looks_text
from dlip_reg.studies import Arm, Control, Tuning, UsageError, together


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        FakeMachine(monkeypatch)
        absent = Control("negative", "The same arm.", difference("none"), ("none",))
        study = make_study(make_claim("clear", controls=[absent]), make_claim("noisy"))
        return run_quietly(study, tmp_path_factory.mktemp("out"), seeds=5)[0]


def test_a_dataframe_has_a_row_for_each_arm_and_seed(result):
    pandas = pytest.importorskip("pandas")
    frame = result.to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == len({record.id for record in result.records}) == 15
    assert frame.groupby("arm").seed.apply(list).to_dict() == {
        arm: list(range(5)) for arm in ("clear", "noisy", "none")
    }
    clear = frame[frame.arm == "clear"]
    assert set(clear.dataset) == {DATA} and set(clear.status) == {"finished"}
    assert list(clear.val_accuracy) == pytest.approx([0.6, 0.601, 0.6, 0.601, 0.6])
    assert set(frame.study) == {"fake"}
    assert result.runs["fake"].guessing == 1 / CLASSES


def test_without_pandas_one_sentence_says_what_to_do(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)  # as if it were not installed
    with pytest.raises(ImportError, match=r"pip install pandas, or read .*records\.csv\.$"):
        result.to_dataframe()


def test_a_notebook_shows_the_claims_as_a_table(result):
    shown = result._repr_html_()
    assert shown.count("<tr>") == 3  # with the head
    texts = ("clear-better", "clear is better.", "supported", "undecided", "report.html")
    for text in (*texts, "negative: 0 share (the same with every seed), undecided"):
        assert text in shown


def test_the_table_escapes_what_claims_say_and_shows_missing_effects(monkeypatch, tmp_path):
    FakeMachine(monkeypatch)
    claim = make_claim("clear", id="a<b", measure=lambda runs: [None] * len(runs.seeds))
    result, _ = run_quietly(make_study(claim), tmp_path, seeds=3)
    shown = result._repr_html_()
    assert "a&lt;b" in shown and "a<b" not in shown
    assert "None" not in shown and "nan" not in shown
    assert "no verdict below 5 seeds" in shown


def test_the_report_and_its_figures(monkeypatch, tmp_path):
    FakeMachine(monkeypatch, writes_report=False)

    def draw(runs):
        figure = matplotlib.figure.Figure()
        figure.subplots().plot(runs.values("clear", lambda r: r.measures.val_accuracy))
        return [FigureItem("own", figure, f"{len(runs.seeds)} seeds.", "A caption.")]

    def draw_shared(runs):
        return [replace(item, name="shared") for item in draw(runs)]

    study = make_study(
        make_claim("clear", draw=draw),
        make_claim("clear", id="again", draw=draw_shared),
        make_claim("noisy", draw=draw_shared),
        make_claim("tuned"),
    )
    with monkeypatch.context() as elsewhere:
        elsewhere.chdir(tmp_path.parent)
        result, _ = run_quietly(study, Path(tmp_path.name), seeds=10)
    assert set(result.figures) == {"claims", "looks", "own", "shared"}
    assert all(isinstance(f, matplotlib.figure.Figure) for f in result.figures.values())
    page = result.report.read_text(encoding="utf-8")
    # The claim's own figure shows the seeds that its verdict rests on.
    assert 'alt="5 seeds."' in page and result.claims[0].look == 5
    assert (tmp_path / "figures" / "own.png").exists()
    # One that claims share has the seeds of the last of them.
    assert 'alt="10 seeds."' in page
    assert [claim.figures for claim in result.claims] == [("own",), *[("shared",)] * 2, ()]
    assert "lies at the end of what was tried (learning_rate 0.5 is the largest tried)" in page
    assert ">tuned: learning_rate 0.5<" in page
    assert "after 10 seeds" in page and "still open" not in page
    bare = make_study(make_claim("clear", draw=lambda runs: [draw(runs)[0].figure]))
    with pytest.raises(UsageError, match=r"dlip_reg\.report\.FigureItem, not Figure"):
        run_quietly(bare, tmp_path / "bare", seeds=3)
    twice = make_study(*(make_claim(arm, draw=together(draw)) for arm in ("clear", "noisy")))
    with pytest.raises(DlipRegError, match="Two figures are named 'own'"):
        run_quietly(twice, tmp_path / "twice", seeds=3)
    single = make_study(make_claim("clear", draw=lambda runs: draw(runs)[0]))
    assert "own" in run_quietly(single, tmp_path / "single", seeds=3)[0].figures
    panel = make_study(make_claim("clear", draw=lambda runs: FigureItem("own", "axes", "A.", "C.")))
    with pytest.raises(UsageError, match=r"its figure failed .*must be a Matplotlib figure, not s"):
        run_quietly(panel, tmp_path / "panel", seeds=3)
    failing = make_study(make_claim("clear", draw=lambda runs: draw(runs)[1]))
    with pytest.raises(UsageError, match=r"clear-better: its figure failed in line \d+ of test_"):
        run_quietly(failing, tmp_path / "failing", seeds=3)


def test_the_report_names_the_models_of_all_arms(monkeypatch, tmp_path):
    FakeMachine(monkeypatch, writes_report=False)
    arms = (ARMS[0], Arm("clear", spec(CLEAR, model="lenet5")))
    result, _ = run_quietly(make_study(make_claim("clear"), arms=arms), tmp_path, seeds=1)
    assert "mlp, lenet5" in result.report.read_text(encoding="utf-8")


def test_the_first_report_has_estimates_and_says_that_all_is_open(monkeypatch, tmp_path):
    machine = FakeMachine(monkeypatch, writes_report=False)
    machine.stop_after = 4  # two seeds of two arms
    with pytest.raises(KeyboardInterrupt):
        run_quietly(make_study(make_claim("clear")), tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "First estimates at 2 seeds: 1 of 1 claim is still open: clear-better." in page
    assert "no verdict with fewer than 5 seeds" in page


def test_tuned_arms_with_the_same_label_are_told_apart_by_their_names(monkeypatch, tmp_path):
    FakeMachine(monkeypatch, writes_report=False)
    tuning = Tuning([spec(SMALL), spec(LARGE)])
    arms = [ARMS[0], *(Arm(name, label="alike", tuning=tuning) for name in ("here", "there"))]
    claims = map(make_claim, ("here", "there"))
    result, _ = run_quietly(make_study(*claims, arms=arms), tmp_path, seeds=1)
    page = result.report.read_text(encoding="utf-8")
    assert "alike (here): learning_rate 0.5; alike (there): learning_rate 0.5" in page
    assert "alike (there): the best candidate lies at the end" in page


def test_a_stopped_run_leaves_a_report_that_says_what_is_open(monkeypatch, tmp_path):
    machine = FakeMachine(monkeypatch, writes_report=False)
    machine.stop_after = 20  # after the look at 5 seeds
    study = make_study(*map(make_claim, ("clear", "noisy", "tuned")))
    with pytest.raises(KeyboardInterrupt):
        run_quietly(study, tmp_path, claims=["clear-better", "noisy-better"], first_seed=20)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "First estimates at 2 seeds" not in page
    assert "Look at 5 seeds: 1 of 2 claims are still open: noisy-better." in page
    assert "still open at 5 seeds: continues" in page
    assert "decided at the look at 5 seeds" in page
    assert looks_text([len(study.claims)]) in page  # whatever claims are chosen
    assert "from seed 20 on" in page
    held = json.loads((tmp_path / "claims.json").read_text())
    assert [claim["verdict"] for claim in held] == ["supported", "undecided"]
