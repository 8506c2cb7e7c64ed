"""Which candidate wins, and that one whose runs are not all there never does."""

from dlip_reg.studies.readings import most_accurate
from dlip_reg.training.records import Measures, Record


def record(accuracy, loss=1.0, status="finished"):
    return Record("id", None, status, Measures(val_accuracy=accuracy, val_loss=loss))


DIVERGED = record(None, None, "diverged")


def test_the_mean_over_seeds_decides():
    uneven = [record(0.9, 0.1), record(0.1, 9.0)]
    even = [record(0.6, 1.0), record(0.6, 1.0)]
    assert most_accurate({"uneven": uneven, "even": even}) == "even"


def test_the_loss_decides_nothing_but_ties_of_accuracy():
    candidates = {"high": [record(0.6, 0.9)], "low": [record(0.6, 0.7)]}
    assert most_accurate(candidates) == "low"
    assert most_accurate(candidates | {"worst": [record(0.61, 5.0)]}) == "worst"


def test_one_that_diverged_or_misses_a_seed_never_wins():
    best = most_accurate
    good = [record(0.3, 3.0), record(0.3, 3.0)]
    assert best({"good": good, "broken": [record(0.9), DIVERGED]}) == "good"
    assert best({"good": good, "partial": [record(0.9), None]}) == "good"
    assert best({"broken": [DIVERGED], "lost": [None]}) is None
    assert best({}) is None
