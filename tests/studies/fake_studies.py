"""Studies whose runs train nothing: `run_study` with made-up accuracies, in threads."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

from dlip_reg.evidence.paired import minus
from dlip_reg.experiments import Workers
from dlip_reg.studies import Arm, Claim, Preset, Study, Tuning, run_study, workspace
from dlip_reg.training import DataSpec, RunSpec
from dlip_reg.training.records import make_record

DATA = "fashion_mnist_subset"
FINGERPRINT, CLASSES = "the data", 4
PRESETS = {"standard": Preset(), "quick": Preset(seeds=3)}


def spec(rate, **changes):
    """A specification that only its learning rate tells from others."""
    return RunSpec(**{"model": "mlp", "data": DataSpec(DATA), "learning_rate": rate} | changes)


NONE, CLEAR, NOISY, SMALL, LARGE = 0.1, 0.2, 0.3, 0.4, 0.5  # the learning rates of the arms


def accuracy(run):
    """Clear is 10 points better than none with each seed; noisy is anything between +-10 points."""
    return {
        NONE: 0.5 + 0.001 * (run.seed % 3),
        CLEAR: 0.6 + 0.001 * (run.seed % 2),
        NOISY: 0.5 + 0.1 * (-1) ** run.seed,
        SMALL: 0.55,
        LARGE: 0.56,
    }[run.learning_rate]


def difference(arm, base="none"):
    """The measure of a claim: accuracy of `arm` minus that of `base`."""

    def measure(runs):
        read = [runs.values(name, lambda record: record.measures.val_accuracy)
                for name in (arm, base)]  # fmt: skip
        return minus(*read)

    return measure


def make_claim(arm, **changes):
    changes = {
        "controls": (), "id": f"{arm}-better", "experiment": "Accuracy, minus that of none."
    } | changes  # fmt: skip
    return Claim(
        sentence=f"{arm} is better.",
        unit="share",
        direction=+1,
        smallest_effect=0.02,
        smallest_effect_source="two points",
        measure=changes.pop("measure", difference(arm)),
        needs=changes.pop("needs", ("none", arm)),
        **changes,
    )


ARMS = (
    Arm("none", spec(NONE)),
    Arm("clear", spec(CLEAR)),
    Arm("noisy", spec(NOISY)),
    Arm("tuned", tuning=Tuning([spec(SMALL), spec(LARGE)])),
)


def make_study(*claims, **changes):
    changes = {"name": "fake", "arms": ARMS, "presets": PRESETS} | changes
    return Study(claims=claims, **changes)


class FakeMachine:
    """Takes the place of the workers; notes which runs were trained, as (rate, seed)."""

    def __init__(self, monkeypatch, value=accuracy, writes_report=True):
        self.value, self.trained, self._lock = value, [], threading.Lock()
        self.reports = []  # (look, open claims) of each report that was written
        self.stop_after = None  # a number of runs
        machine = self

        class OneThread(Workers):
            def __init__(self, count=None):
                super().__init__(lambda: ThreadPoolExecutor(1), 1)

            def submit(self, *call):
                if machine.stop_after is not None and len(machine.trained) >= machine.stop_after:
                    raise KeyboardInterrupt
                return super().submit(*call)

        for name, fake in (
            ("local_workers", OneThread),
            ("timing_worker", OneThread),
            ("run_spec", self.run),
            ("run_timed", self.run),
            ("kernel_kinds", lambda spec, data_dir: {"dense"}),
            (
                "dataset_info",
                lambda *data, size: SimpleNamespace(
                    fingerprint=FINGERPRINT, classes=CLASSES, left_out=""
                ),
            ),
        ):
            monkeypatch.setattr(workspace, name, fake)
        if writes_report:  # one that costs no time
            monkeypatch.setattr("dlip_reg.studies.reporting.write_study_report", self.report)

    def run(self, run, data_dir):
        with self._lock:
            self.trained.append((run.learning_rate, run.seed))
        value = self.value(run)
        if value is None:
            raise RuntimeError("no luck")
        return make_record(
            run, FINGERPRINT, value == value, measures={"val_accuracy": value, "val_loss": 1.0}
        )

    def report(self, study, parts, workspace, look):
        still_open = [claim.id for part in parts for claim in part.open_claims()]
        self.reports.append((look, still_open))
        results = [part.results[claim.id] for part in parts for claim in part.claims]
        page = workspace.path / "report.html"
        page.write_text(f"as of {look} seeds", encoding="utf-8")
        return page, {}, results

    def seeds(self, rate):
        """The seeds with which runs of that learning rate were trained, in order."""
        return sorted(seed for trained, seed in self.trained if trained == rate)


def run_quietly(study, out, **options):
    """`run_study`, and the lines that it announced."""
    lines = []
    result = run_study(study, out=out, announce=lines.append, **options)
    return result, lines


def files(folder):
    """Name and content of each file of records and verdicts."""
    kept = [*folder.glob("records/*.json"), folder / "records.csv", folder / "claims.json"]
    return {path.name: path.read_bytes() for path in kept}
