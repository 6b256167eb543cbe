from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from genixer.data import Completion, Generation, ImageRef, Quarantined, Request, Sampling
from genixer.errors import ParityError
from genixer.inference.parity import Compared, Lost, ParityBar, compare, lost, report_on, unlike
from genixer.inference.scripted import ScriptedBackend, ScriptedSettings
from genixer.inference.transformers import TransformersBackend
from genixer.models.llava import LoadedModel

CAT = ImageRef("cat.png", 640, 480, "ab12")
BAR = ParityBar()


def row(
    text: str = "Question: Where is it? Answer: [0.100,0.200,0.300,0.400]",
    logprobs: tuple[float, ...] = (-0.5, -0.25),
    tokens: tuple[int, ...] = (7, 8),
    task: str = "rec",
    number: int = 0,
    **sampling: float,
) -> Generation:
    request = Request.of(CAT, task, "specific", number, "Ask.", Sampling(**sampling))
    done = Completion(request.id, text, tokens, logprobs, "stop")
    return Generation(request.id, request, done, "unit", 3)


def many(same: int, other: int) -> list[Compared]:
    alike = [compare(row(number=n), row(number=n)) for n in range(same)]
    return alike + [compare(row(number=n), row("no", number=n)) for n in range(other)]


def test_equal_answers_are_equal_in_everything() -> None:
    one = compare(row(), row(" " + row().completion.text + "\n"))
    assert (one.same, one.gaps, one.ious) == (True, (0.0, 0.0), (1.0,))


def test_the_share_of_equal_texts_decides_at_the_bar_itself() -> None:
    assert report_on(many(95, 5), ParityBar(same_boxes=0.0)).passed
    below = report_on(many(94, 6), ParityBar(same_boxes=0.0))
    assert below.failures == ("same greedy text: 94.0% of 100 requests, at least 95.0% expected",)


def test_gaps_count_as_far_as_both_wrote_the_same_tokens() -> None:
    other = row("other", (-0.45, -3.0), (7, 9))
    assert compare(row(), other).gaps == (0.05,)
    assert compare(row(), row("other", (-9.0, -9.0), (1, 8))).gaps == ()


def test_without_token_ids_equal_text_stands_for_equal_tokens() -> None:
    bare = row(tokens=(), logprobs=(-0.5, -0.35))
    assert compare(row(), bare).gaps == (0.0, pytest.approx(0.1))
    assert compare(row(), row("other", tokens=())).gaps == ()


@pytest.mark.parametrize(("gap", "passed"), [(0.05, True), (0.06, False)])
def test_the_median_gap_decides_unless_one_gives_no_raw_ones(gap: float, passed: bool) -> None:
    rows = [compare(row(), row(logprobs=(-0.5 - gap, -0.25 - gap)))]
    report = report_on(rows, BAR)
    assert report.passed == passed
    assert report.logprob_gap == pytest.approx(gap)
    assert report_on(rows, ParityBar(raw_logprobs=False)).logprob_gap is None
    assert report_on([compare(row(), row(logprobs=()))], BAR).passed


def test_a_box_beside_the_other_fails_though_the_words_are_nearly_the_same() -> None:
    moved = row("Question: Where is it? Answer: [0.100,0.200,0.300,0.300]")
    report = report_on([compare(row(), moved)], ParityBar(same_text=0.0))
    assert report.same_boxes == 0.0
    assert report.failures == (
        "boxes with an IoU of 0.95 or more: 0.0% of 1, at least 95.0% expected",
    )
    assert report_on([compare(row(), moved)], ParityBar(same_text=0.0, box_iou=0.5)).passed


def test_a_missing_box_is_a_box_that_differs() -> None:
    assert compare(row(), row("no box")).ious == (0.0,)
    assert compare(row("no box"), row()).ious == (0.0,)


def test_no_answer_is_another_answer() -> None:
    alone = compare(row(), None)
    assert (alone.same, alone.second) == (False, None)
    assert unlike(row(), None) == ""


def test_only_greedy_answers_to_the_very_same_request_are_compared() -> None:
    assert unlike(row(), row()) == ""
    assert unlike(row(temperature=0.7), row(temperature=0.7)) == "sampled"
    assert unlike(row(), row(max_new_tokens=9)) == "other_request"
    asked = msgspec.structs.replace(row().request, prompt="Ask otherwise.")
    assert unlike(row(), msgspec.structs.replace(row(), request=asked)) == "other_request"


def test_nothing_to_compare_is_no_pass() -> None:
    with pytest.raises(ParityError, match="nothing to compare"):
        report_on([], BAR)


def test_the_error_shows_the_worst_examples_and_no_good_ones() -> None:
    report = report_on(many(3, 1), BAR)
    with pytest.raises(ParityError) as error:
        report.check()
    assert "first:  'Question: Where is it?" in str(error.value)
    assert "second: 'no'" in str(error.value)
    assert len(report.worst) == 1
    assert len(report_on(many(0, 30), BAR).worst) == 5


def rows(backend: object, requests: Sequence[Request], images: Path) -> list[Generation]:
    answers = backend.generate(requests, images)  # type: ignore[attr-defined]
    canvas = backend.canvas(31, 20)  # type: ignore[attr-defined]
    pairs = zip(requests, answers, strict=True)
    return [Generation(r.id, r, one, canvas.frame, canvas.decimals) for r, one in pairs]


def test_one_model_in_other_blocks_passes_and_a_stand_in_does_not(
    model: LoadedModel,
    pictures: list[ImageRef],
    ask: Callable[..., list[Request]],
    tmp_path: Path,
) -> None:
    requests = ask(pictures[:3], 30)
    backend = TransformersBackend.of(model)
    whole = rows(backend, requests, tmp_path)
    parts = [one for r in requests for one in rows(backend, [r], tmp_path)]
    compared = list(map(compare, whole, parts))
    assert report_on(compared, BAR).passed
    assert report_on(compared, BAR).tokens > 100
    scripted = rows(ScriptedBackend("any", 1, ScriptedSettings()), requests, tmp_path)
    report = report_on(map(compare, whole, scripted), BAR)
    assert not report.passed
    assert report.same_text < 0.1


@pytest.mark.parametrize(("failed", "passed"), [(5, True), (6, False)])
def test_what_the_first_alone_fails_at_counts(failed: int, passed: bool) -> None:
    both = [Quarantined("both failed", "backend_error")]
    aside = [Quarantined(row(number=n).id, "backend_error") for n in range(failed)]
    missing = lost(aside + both, [row(number=n) for n in range(100)])
    assert missing == (failed, 100)
    report = report_on(many(9, 0), BAR, missing)
    assert report.passed == passed
    assert report.answered == pytest.approx(1 - failed / 100)
    if not passed:
        assert report.failures == (
            "answers of the second that the first gave, too: 94.0% of 100, at least 95.0% expected",
        )


def test_exactly_as_many_answers_as_the_bar_asks_for_are_enough() -> None:
    for failed in range(100):
        bar = ParityBar(answered=float(f"{(100 - failed) / 100:.2f}"))
        assert report_on(many(9, 0), bar, Lost(failed, 100)).passed, failed


def test_a_first_that_fails_at_everything_is_said_to() -> None:
    with pytest.raises(ParityError, match=r"nothing to compare.*first failed at 9 of 9"):
        report_on([], BAR, Lost(9, 9))
