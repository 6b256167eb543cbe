from collections.abc import Callable
from pathlib import Path

from genixer.pipeline.api import plan
from genixer.pipeline.run import run


def test_a_plan_says_what_is_cached_torn_and_to_do(
    toy_config: Callable[..., Path], tmp_path: Path
) -> None:
    config, out = toy_config(), tmp_path / "run"

    def status() -> dict[str, str]:
        return {one.name: one.status for one in plan(config, out=out).steps}

    assert set(status().values()) == {"to do"}
    assert not out.exists()
    run(config, out=out)
    assert set(status().values()) == {"cached"}
    (out / "numbers" / "part-00003.jsonl").unlink()
    (out / "scale-2" / "manifest.json").unlink()
    assert status() == {
        "numbers": "partial 7 of 8",
        "scale-2": "partial 10 of 10",
        "scale-3": "cached",
        "total": "to do",
    }


def test_estimates_follow_the_rows_and_the_limit(
    toy_config: Callable[..., Path], tmp_path: Path
) -> None:
    def items(limit: int | None) -> dict[str, int | None]:
        steps = plan(toy_config(), out=tmp_path / "run", limit=limit).steps
        return {one.name: one.items for one in steps}

    assert items(None) == {"numbers": 30, "scale-2": 30, "scale-3": 30, "total": 60}
    assert items(4) == {"numbers": 4, "scale-2": 4, "scale-3": 4, "total": 4}


def test_a_finished_step_is_estimated_by_what_it_did(
    toy_config: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run(toy_config(), out=out)
    (out / "total" / "manifest.json").unlink()
    found = {one.name: one for one in plan(toy_config(), out=out).steps}
    assert (found["scale-2"].items, found["scale-2"].kept) == (30, 26)
    assert found["total"].items == 52
