import math
import random

from hypothesis import given
from hypothesis import strategies as st

from genixer.report.model import THRESHOLDS, Page
from genixer.report.statistics import EvenChoice, JudgeTally, precision_rows, share, thin, tiles


def test_wilson_interval_agrees_with_published_values() -> None:
    # Newcombe 1998, table I, method 3: 81 of 263 and 15 of 148.
    assert [round(end, 4) for end in (share(81, 263).low, share(81, 263).high)] == [0.2553, 0.3662]
    assert [round(end, 4) for end in (share(15, 148).low, share(15, 148).high)] == [0.0624, 0.1605]


@given(st.integers(0, 300), st.integers(0, 300))
def test_share_lies_inside_its_interval_and_the_interval_inside_0_1(right: int, wrong: int) -> None:
    one = share(right, right + wrong)
    if one.value is None:
        assert right + wrong == 0
    else:
        assert 0.0 <= one.low <= one.value + 1e-12
        assert one.value - 1e-12 <= one.high <= 1.0


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.sampled_from(["right", "wrong", "unknown"])), min_size=1
    ),
    st.integers(0, THRESHOLDS),
)
def test_tally_counts_what_a_loop_over_the_rows_counts(
    rows: list[tuple[float, str]], step: int
) -> None:
    tally = JudgeTally()
    for score, verdict in rows:
        tally.add("rec", score, verdict)
    judge = tally.judge("judge", 0.5)
    assert judge is not None
    threshold = step / THRESHOLDS
    for verdict in ("right", "wrong", "unknown"):
        least = sum(1 for score, v in rows if v == verdict and score >= threshold + 1e-8)
        most = sum(1 for score, v in rows if v == verdict and score >= threshold - 1e-8)
        assert least <= judge.passing["rec"][verdict][step] <= most
        assert judge.passing[""][verdict] == judge.passing["rec"][verdict]


def test_score_on_a_threshold_passes_it_however_it_is_rounded() -> None:
    for step in range(THRESHOLDS + 1):
        tally = JudgeTally()
        tally.add("rec", step / THRESHOLDS, "right")
        judge = tally.judge("judge", 0.5)
        assert judge is not None
        assert sum(judge.passing["rec"]["right"]) == step + 1


def test_rows_without_a_number_are_left_out_of_the_tally() -> None:
    tally = JudgeTally()
    tally.add("rec", math.nan, "right")
    assert tally.judge("judge", 0.5) is None


def test_reliability_has_the_mean_score_and_the_true_share_of_each_tenth() -> None:
    tally = JudgeTally()
    for score, verdict in ((0.91, "right"), (0.97, "wrong"), (1.0, "right"), (0.05, "wrong")):
        tally.add("rec", score, verdict)
    tally.add("rec", 0.95, "unknown")
    judge = tally.judge("judge", 0.5)
    assert judge is not None
    assert [(round(t.mean, 2), t.share.right, t.share.n) for t in judge.reliability] == [
        (0.05, 0, 1),
        (0.96, 2, 3),
    ]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.text("0123456789abcdef", min_size=4))))
def test_choice_does_not_depend_on_the_order_of_the_rows(rows: list[tuple[str, str]]) -> None:
    shuffled = list(rows)
    random.Random(3).shuffle(shuffled)
    chosen = []
    for order in (rows, shuffled):
        choice: EvenChoice[tuple[str, str]] = EvenChoice(5)
        for group, id in order:
            choice.add(group, id, (group, id))
        chosen.append(choice.chosen())
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == min(5, len(rows))


def test_rare_outcome_is_shown_beside_a_common_one() -> None:
    choice: EvenChoice[str] = EvenChoice(4)
    for number in range(1000):
        choice.add("kept", f"{number:04}", "kept")
    choice.add("rejected", "ffff", "rejected")
    assert sorted(choice.chosen()) == ["kept", "kept", "kept", "rejected"]


def test_choice_holds_rows_that_cannot_be_compared_and_share_an_id() -> None:
    choice: EvenChoice[object] = EvenChoice(2)
    for _ in range(3):
        choice.add("duplicate", "same", object())
    assert len(choice.chosen()) == 2


def test_choice_of_nothing_is_empty_however_many_rows_come() -> None:
    choice: EvenChoice[int] = EvenChoice(0)
    choice.add("kept", "a", 1)
    assert choice.chosen() == []


def test_last_precision_row_sums_all_tasks() -> None:
    counts = {"right": 3, "wrong": 1, "unknown": 2}
    rows = precision_rows({"raw": {"rec": counts, "reg": counts}})
    assert [row.task for row in rows] == ["rec", "reg", "all tasks"]
    assert (rows[-1].columns["raw"].right, rows[-1].columns["raw"].n) == (6, 8)
    assert rows[-1].unknown["raw"] == 4


def test_thinned_curve_keeps_its_mean_and_is_short() -> None:
    points = [(float(n), float(n % 7)) for n in range(700)]
    thinned = thin(points, 100)
    assert len(thinned) == 100
    assert math.isclose(sum(y for _, y in thinned) / 100, 3.0)


def test_tiles_name_the_arm_that_gains(example_page: Page) -> None:
    found = {tile.label: tile for tile in tiles(example_page)}
    assert found["Students"].value == "3 of 3"
    assert found["Students"].note == "benchmarks higher with kept than none; 3 clear of zero"
    assert found["Kept"].note == "50.7% of them, after judge"
