"""Results of claims as the JSON that claims.json holds."""

import json
import math
from dataclasses import fields

import pytest

from dlip_reg.codec import to_plain
from dlip_reg.evidence import ClaimResult, ControlResult, PartResult, Question, judge

NUMBERS = ("effect", "ci_low", "ci_high", "n_seeds", "level")


def result(values, **extra):
    question = Question(1, 0.5, null=-0.5)
    judgement = judge(values, question, claims=7)
    return ClaimResult(
        id="bn-no-dropout",
        sentence="With BN dropout can be removed.",
        experiment="BN against BN and its best dropout",
        unit="percentage points",
        direction=question.direction,
        null=question.null,
        smallest_effect=question.smallest_effect,
        smallest_effect_source="what a practitioner would act on",
        **{name: getattr(judgement.estimate, name) for name in NUMBERS},
        verdict=judgement.verdict,
        look=judgement.look,
        estimates=judgement.estimates,
        **extra,
    )


def test_json_has_every_attribute_in_order_and_survives_a_file():
    claim = result(
        [0.4, 0.5, 0.6, 0.5, 0.5],
        controls=(ControlResult("negative", "BN twice", 0.0, -0.1, 0.1, 5, "no effect"),),
        parts=(PartResult.of("steps to target", "log-ratio", (1.0, 2.0, 3.0)),),
        figures=("dropout",),
        notes=("No run diverged.",),
    )
    document = to_plain(claim, defaults=True)
    assert list(document) == [field.name for field in fields(ClaimResult)]
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert (document["verdict"], document["look"], document["null"]) == ("supported", 5, -0.5)
    assert document["effect"] == pytest.approx(1.0)
    assert document["estimates"] == [{name: document[name] for name in NUMBERS}]
    assert document["controls"][0]["verdict"] == "no effect"
    assert document["parts"][0]["effect"] == 2.0
    assert (document["figures"], document["notes"]) == (["dropout"], ["No run diverged."])


def test_unknown_numbers_are_null():
    document = to_plain(result([0.4, 0.5]), defaults=True)
    assert (document["verdict"], document["look"], document["level"]) == (None, None, 0.95)
    document = to_plain(result([math.nan] * 5), defaults=True)
    assert (document["effect"], document["ci_low"], document["n_seeds"]) == (None, None, 0)
    json.dumps(document, allow_nan=False)
    assert PartResult.of("gap", "nats", (1.5, math.nan)) == PartResult(
        "gap", "nats", 1.5, None, None
    )
