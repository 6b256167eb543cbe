from pathlib import Path

from genixer.report.training import read_curve, read_seen


def test_rows_seen_are_added_up_by_source(tmp_path: Path) -> None:
    (tmp_path / "seen.json").write_text(
        '{"rows": {"vqav2/common_vqa": 3, "vqav2/count": 2, "refcoco/rec": 4}, '
        '"images": 9, "start": "base"}'
    )
    seen = read_seen("generator", tmp_path)
    assert seen is not None
    assert (seen.rows, seen.start) == ({"vqav2": 5, "refcoco": 4}, "base")


def test_step_that_says_nothing_has_neither(tmp_path: Path) -> None:
    assert read_seen("x", tmp_path) is None
    assert read_curve("x", tmp_path) is None


def test_lessons_of_the_tower_are_no_part_of_the_loss(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(
        '{"phase": "tower", "step": 1, "loss": 9.0}\n{"step": 1, "loss": 2.0, "lr": 0.1}\n'
    )
    curve = read_curve("x", tmp_path)
    assert curve is not None
    assert curve.points == [(1.0, 2.0)]


def test_log_of_the_tower_alone_has_no_curve(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"phase": "tower", "step": 1, "loss": 9.0}\n')
    assert read_curve("x", tmp_path) is None
