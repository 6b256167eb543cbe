"""POPE's rule and its numbers."""

import pytest

from genixer.data import ImageRef
from genixer.evaluation.base import Prediction
from genixer.evaluation.yes_no import PopeBenchmark, PopeSettings, said

IMAGE = ImageRef("a.png", 1, 1, "")


@pytest.mark.parametrize(
    ("text", "first", "strict"),
    [
        ("yes", "yes", "yes"),
        ("Yes.", "yes", "yes"),
        ("No", "no", "no"),
        ("no, there is none. Yes!", "no", ""),
        ("There is not a dog", "no", ""),
        ("NO", "yes", "no"),
        ("Nothing", "yes", ""),
        ("a dog", "yes", ""),
        ("", "", ""),
        ("Yes. There is no cat.", "yes", ""),
    ],
)
def test_what_an_answer_comes_down_to(text: str, first: str, strict: str) -> None:
    assert (said(text), said(text, "strict")) == (first, strict)
    assert said(text, "official") == (first or "yes")


def scores(*pairs: tuple[str, str], protocol: str = "first_sentence") -> dict[str, float]:
    benchmark = PopeBenchmark(PopeSettings(protocol=protocol), None)
    predictions = [
        Prediction(
            str(i),
            "pope",
            "adv_vqa",
            IMAGE,
            "?",
            text,
            float(said(text, protocol) == gold),
            (gold,),
        )
        for i, (gold, text) in enumerate(pairs)
    ]
    return {score.metric: score.value for score in benchmark.score(predictions)}


def test_numbers_by_hand() -> None:
    pairs = [("yes", "yes")] * 3 + [("yes", "no")] + [("no", "yes")] * 2 + [("no", "no")] * 4
    found = scores(*pairs)
    assert found["accuracy"] == 0.7
    assert found["precision"] == pytest.approx(3 / 5)
    assert found["recall"] == pytest.approx(3 / 4)
    assert found["f1"] == pytest.approx(2 * 3 / (5 + 4))
    assert found["yes_ratio"] == 0.5


def test_silence_is_wrong_and_no_yes() -> None:
    found = scores(("yes", ""), ("no", ""))
    assert found == dict.fromkeys(("accuracy", "precision", "recall", "f1", "yes_ratio"), 0.0)


def test_the_official_rule_takes_silence_for_yes() -> None:
    assert scores(("yes", ""), ("no", ""), protocol="official")["yes_ratio"] == 1.0


def test_the_interval_of_f1_holds_it() -> None:
    benchmark = PopeBenchmark(PopeSettings(), None)
    predictions = [
        Prediction(
            str(i), "pope", "adv_vqa", IMAGE, "?", "yes", float(i % 2), (("no", "yes")[i % 2],)
        )
        for i in range(60)
    ]
    f1 = next(score for score in benchmark.score(predictions) if score.metric == "f1")
    assert f1.ci95[0] < f1.value < f1.ci95[1]
    assert f1.ci95[1] - f1.ci95[0] < 0.35
