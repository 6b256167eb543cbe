from genixer.report.charts import Frame, loss_plot, precision_recall, reliability_plot
from genixer.report.model import Curve
from genixer.report.statistics import JudgeTally


def test_corner_values_lie_on_the_corners_of_the_frame() -> None:
    frame = Frame(x=(0, 10), y=(0.5, 1.0))
    assert frame.at(0, 0.5) == (frame.left, frame.height - frame.bottom)
    assert frame.at(10, 1.0) == (frame.width - frame.right, frame.top)


def test_values_outside_are_drawn_on_the_edge() -> None:
    frame = Frame(x=(0, 1), y=(0, 1))
    assert frame.at(-5, 9) == frame.at(0, 1)


def test_perfect_judge_draws_precision_one_down_to_all_rows() -> None:
    tally = JudgeTally()
    for score, verdict in ((0.9, "right"), (0.8, "right"), (0.1, "wrong"), (0.2, "wrong")):
        tally.add("rec", score, verdict)
    judge = tally.judge("judge", 0.5)
    assert judge is not None
    plot = precision_recall(judge)
    assert plot.frame.y[0] == 0.4
    everything = plot.frame.at(1.0, 0.5)
    best = plot.frame.at(1.0, 1.0)
    assert plot.path.startswith(f"M{everything[0]:g} {everything[1]:g}")
    assert f"L{best[0]:g} {best[1]:g}" in plot.path


def test_judge_without_truth_draws_no_line_and_no_dot() -> None:
    tally = JudgeTally()
    tally.add("rec", 0.9, "unknown")
    judge = tally.judge("judge", 0.5)
    assert judge is not None
    assert precision_recall(judge).path == ""
    assert reliability_plot(judge).dots == []


def test_one_high_loss_does_not_flatten_the_rest() -> None:
    plot = loss_plot(Curve("x", [(0.0, 80.0), *((float(n), 1.0) for n in range(1, 100))]))
    assert plot.frame.y == (0.0, 1.0)


def test_constant_zero_loss_is_drawn() -> None:
    assert loss_plot(Curve("x", [(0.0, 0.0)])).path.startswith("M")
