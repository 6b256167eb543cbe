"""Intervals: what they cover, and when they stay quiet."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genixer.evaluation.statistics import (
    bootstrap,
    mean_over_seeds,
    mean_score,
    paired_difference,
    t_quantile,
    wilson,
)


@given(st.integers(0, 500), st.integers(1, 500))
def test_a_share_lies_in_its_interval_and_both_in_range(hits: int, n: int) -> None:
    score = wilson("accuracy", min(hits, n), n)
    assert 0.0 <= score.ci95[0] <= score.value <= score.ci95[1] <= 1.0
    assert score.ci95[0] < score.ci95[1]


def test_wilson_agrees_with_a_published_example() -> None:
    # 81 of 263 (Newcombe 1998, table I): 0.2553 to 0.3662.
    assert wilson("share", 81, 263).ci95 == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_nothing_measured_says_nothing() -> None:
    assert wilson("accuracy", 0, 0).ci95 == (0.0, 1.0)
    assert mean_score("accuracy", []).ci95 == (0.0, 1.0)
    assert bootstrap("mean", [[]], lambda c: c[0].mean(axis=-1)).n == 0
    assert paired_difference("accuracy", [], []).ci95 == (-1.0, 1.0)


def test_the_bootstrap_repeats_itself_and_changes_with_its_seed() -> None:
    values = [i / 40 for i in range(40)]
    one, two, other = (mean_score("iou", values, seed) for seed in (1, 1, 2))
    assert one == two
    assert one.ci95 != other.ci95


def test_the_bootstrap_of_a_mean_is_about_the_textbook_interval() -> None:
    values = np.random.default_rng(3).uniform(0.0, 1.0, 400).tolist()
    score = mean_score("iou", values)
    half = 1.96 * np.std(values) / math.sqrt(400)
    assert score.ci95 == pytest.approx((score.value - half, score.value + half), abs=0.006)


def test_the_bootstrap_does_not_depend_on_how_it_is_cut_into_pieces(monkeypatch) -> None:
    values = [i / 7 for i in range(7)]
    whole = mean_score("iou", values)
    monkeypatch.setattr("genixer.evaluation.statistics._RESAMPLES_AT_ONCE", 700)
    assert mean_score("iou", values) == whole


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (5, 2.57058), (30, 2.04227), (120, 1.97993)],
)
def test_t_quantiles_agree_with_the_tables(freedom: int, expected: float) -> None:
    assert t_quantile(float(freedom)) == pytest.approx(expected, abs=2e-4)


def test_t_quantiles_fall_with_the_degrees_of_freedom() -> None:
    found = [t_quantile(x / 2) for x in range(2, 40)]
    assert found == sorted(found, reverse=True)


def test_pairing_takes_out_hard_items_and_lucky_seeds() -> None:
    rng = np.random.default_rng(4)
    hard = rng.uniform(0.2, 0.8, 200)
    luck = np.array([[-0.1], [0.0], [0.1]])
    control = hard + luck
    arm = control + 0.1
    paired = paired_difference("accuracy", arm.tolist(), control.tolist())
    assert paired.value == pytest.approx(0.1)
    assert paired.ci95[1] - paired.ci95[0] < 0.03
    alone = mean_over_seeds("accuracy", arm.tolist())
    assert alone.ci95[1] - alone.ci95[0] > 0.2


def test_seeds_that_disagree_make_the_interval_wide() -> None:
    agree = [[1.0, 0.0] * 100] * 3
    disagree = [[1.0] * 200, [0.0] * 200, [1.0, 0.0] * 100]
    narrow, wide = mean_over_seeds("accuracy", agree), mean_over_seeds("accuracy", disagree)
    assert narrow.value == wide.value == 0.5
    assert narrow.ci95[0] > 0.4
    assert wide.ci95 == (0.0, 1.0)


def test_arms_that_never_differ_still_have_an_interval() -> None:
    same = [[1.0] * 50] * 3
    low, high = paired_difference("accuracy", same, same).ci95
    assert -0.1 < low < 0.0 < high < 0.1


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(9)
    rounds, covered = 200, 0
    for _ in range(rounds):
        hard = rng.normal(0.0, 0.25, 60)
        luck = rng.normal(0.0, 0.05, (4, 1))
        chance = np.clip(0.6 + hard + luck, 0.0, 1.0)
        runs = (rng.uniform(size=(4, 60)) < chance).astype(float)
        low, high = mean_over_seeds("accuracy", runs.tolist()).ci95
        covered += low <= 0.6 - 0.005 <= high
    assert covered / rounds >= 0.92


def test_only_the_seeds_both_arms_have_are_compared() -> None:
    assert paired_difference("accuracy", [[1.0], [0.0]], [[0.0]]).value == 1.0
