"""The executor, through `run`: what it does with good stages, bad ones and dying workers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from genixer.errors import GenixerError, IncompleteError, StoreError
from genixer.pipeline.progress import Progress
from genixer.pipeline.run import RunResult, run

Write = Callable[..., Path]


def scale(**settings: object) -> dict[str, object]:
    return {"stage": "toy_scale", "from": ["numbers"], "with": settings}


def shards(folder: Path) -> dict[str, bytes]:
    """Everything that must be byte-identical: not receipts, manifests and files of the run."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in found
        if path.suffix != ".json" and path.name not in (".lock", "errors.log", "events.jsonl")
    }


def test_any_number_of_workers_gives_the_same_bytes(toy_config: Write, tmp_path: Path) -> None:
    results = {n: run(toy_config(), out=tmp_path / str(n), workers=n) for n in (0, 1, 3)}
    bytes_of = {n: shards(tmp_path / str(n)) for n in results}
    assert bytes_of[0] == bytes_of[1] == bytes_of[3]
    assert len(bytes_of[0]) > 8 + 30 + 1 + 2 * 10 + 1
    contents = [{k: m.content for k, m in one.manifests.items()} for one in results.values()]
    assert contents[0] == contents[1] == contents[2]


def test_any_shard_size_gives_the_same_rows(toy_config: Write, tmp_path: Path) -> None:
    rows = []
    for size in (1, 7, 100):
        numbers = {"stage": "toy_numbers", "with": {"count": 30, "pictures": True}}
        config = toy_config(
            numbers=numbers | {"rows_per_shard": size},
            scale={**scale(), "rows_per_shard": 8 - size % 8},
            total={"stage": "toy_sum", "from": ["scale"]},
        )
        result = run(config, out=tmp_path / str(size))
        rows.append((result.rows("scale"), shards(result.folder)["total/files/result/sum.txt"]))
    assert rows[0] == rows[1] == rows[2]


def test_every_item_is_kept_rejected_or_quarantined(toy_config: Write, tmp_path: Path) -> None:
    counts = run(toy_config(), out=tmp_path / "run").manifests["scale-2"].counts
    assert counts.items == 30
    assert counts.balanced
    assert counts.rejected == {"too_small": 3}
    assert counts.quarantined == {"unlucky": 1}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stage_that_raises_stops_the_run_with_a_short_message(
    toy_config: Write, tmp_path: Path, workers: int
) -> None:
    config = toy_config(scale=scale(mode="raises"), total={"stage": "toy_sum", "from": ["scale"]})
    with pytest.raises(GenixerError) as caught:
        run(config, out=tmp_path / "run", workers=workers)
    message = str(caught.value)
    assert message.startswith("step scale (stage toy_scale), shard 1: ValueError: toy trouble")
    assert "\n" not in message
    log = (tmp_path / "run" / "errors.log").read_text()
    assert "in _misbehave" in log
    assert (tmp_path / "run" / "scale" / "part-00000.jsonl").exists()
    assert not (tmp_path / "run" / "scale" / "part-00001.jsonl").exists()
    assert not (tmp_path / "run" / "scale" / "manifest.json").exists()


def test_a_ledger_that_does_not_add_up_names_the_stage(toy_config: Write, tmp_path: Path) -> None:
    config = toy_config(scale=scale(mode="loses_a_row"), total=None)
    with pytest.raises(StoreError, match=r"stage toy_scale.*3 items, but 4 kept"):
        run(config, out=tmp_path / "run")


def test_two_shards_may_not_write_the_same_file(toy_config: Write, tmp_path: Path) -> None:
    config = toy_config(numbers={"stage": "toy_numbers", "with": {"same_file": True}})
    with pytest.raises(StoreError, match=r"step numbers.*'same\.txt' is written by two shards"):
        run(config, out=tmp_path / "run")


def test_a_worker_that_dies_once_is_replaced(
    toy_config: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flag = str(tmp_path / "flag")
    config = toy_config(
        scale=scale(mode="dies_once", flag=flag), total={"stage": "toy_sum", "from": ["scale"]}
    )
    result = run(config, out=tmp_path / "run", workers=2)
    assert result.manifests["scale"].counts.items == 30
    assert "died because it ended with status 11; trying once more" in caplog.text


@pytest.mark.parametrize(
    ("mode", "cause"), [("dies", "it ended with status 11"), ("is_killed", "killed by SIGKILL")]
)
def test_a_worker_that_dies_again_ends_the_run(
    toy_config: Write, tmp_path: Path, mode: str, cause: str
) -> None:
    config = toy_config(scale=scale(mode=mode), total={"stage": "toy_sum", "from": ["scale"]})
    with pytest.raises(IncompleteError, match=rf"scale.*shard \d.*died 2 times.*{cause}"):
        run(config, out=tmp_path / "run", workers=1)
    assert run(toy_config(scale=None, total=None), out=tmp_path / "other", workers=1).worked


def test_logs_of_a_worker_reach_the_parent(
    toy_config: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    numbers = {"stage": "toy_numbers", "with": {"says": "half way"}}
    run(toy_config(numbers=numbers, scale=None, total=None), out=tmp_path / "run", workers=1)
    assert "half way" in caplog.text


class Heard(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def cached(self, step: str, manifest: object) -> None:
        self.lines.append(f"cached {step}")

    def started(self, step: str, done: int, total: int | None) -> None:
        self.lines.append(f"started {step} {done}/{total}")

    def finished(self, step: str, manifest: object) -> None:
        self.lines.append(f"finished {step}")


def test_progress_hears_of_every_step(toy_config: Write, tmp_path: Path) -> None:
    config = toy_config(scale=scale(), total=None)
    for expected in (
        ["started numbers 0/None", "finished numbers", "started scale 0/None", "finished scale"],
        ["cached numbers", "cached scale"],
        ["cached numbers", "started scale 9/10", "finished scale"],
    ):
        heard = Heard()
        run(config, out=tmp_path / "run", progress=heard)
        assert heard.lines == expected
        (tmp_path / "run" / "scale" / "part-00003.jsonl").unlink()
        if expected[0] != "cached numbers":
            run(config, out=tmp_path / "run")


def test_independent_steps_share_the_workers(toy_config: Write, tmp_path: Path) -> None:
    def sleeper() -> dict[str, object]:
        return {"stage": "toy_scale", "from": ["numbers"], "with": {"meet": str(tmp_path)}}

    numbers = {"stage": "toy_numbers", "with": {"count": 3}}
    config = toy_config(numbers=numbers, scale=None, total=None, one=sleeper(), two=sleeper())
    # Each waits until the other one runs too: with one worker at a time this would never end.
    result: RunResult = run(config, ["images=."], out=tmp_path / "run", workers=2)
    assert result.manifests["one"].counts.items == 3
