"""What a run may spend, what it notes of itself, and how it says so."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import genixer
from genixer.config import Costs, ExecutorName
from genixer.errors import BudgetSpentError, ConfigError
from genixer.pipeline.budget import Budget
from genixer.pipeline.meter import EVENTS, read_events
from genixer.pipeline.one_stage import run_stage
from genixer.pipeline.progress import Pace, Progress
from genixer.pipeline.run import RunResult, run


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    folder = tmp_path / "pool"
    folder.mkdir()
    for number in range(300):
        Image.new("RGB", (8 + number % 40, 8 + number // 40), (number % 256, 0, 9)).save(
            folder / f"{number:03}.png"
        )
    return folder


def generate(pool: Path, out: Path, budget: Budget | None = None, **settings: Any) -> RunResult:
    given = {
        "images": str(pool),
        "backend": "scripted",
        "model": "any",
        "tasks": ["rec", "common_vqa", "md"],
        "modes": {"agnostic": 2, "specific": 2},
        **settings,
    }
    return run_stage("generate", out, given, workers=0, budget=budget)


PRICES = {"output_per_million": 1000.0, "input_per_million": 1.0, "prompt_tokens": 500}


def test_a_run_stops_at_its_cost_and_the_same_command_goes_on(pool: Path, tmp_path: Path) -> None:
    whole = generate(pool, tmp_path / "whole", costs=PRICES)
    events = read_events(whole.folder)
    costs = [one["spent"] for one in events if one["event"] == "advance"]
    assert costs[-1] == pytest.approx(events[-1]["spent"])
    shard_costs = sorted(b - a for a, b in pairwise(costs) if b > a)
    most = 2.5 * shard_costs[-1]
    for _ in range(2):
        budget = Budget(max_cost=most)
        with pytest.raises(BudgetSpentError, match="--max-cost"):
            generate(pool, tmp_path / "cut", budget, costs=PRICES)
        assert 0 < budget.spent <= most
        assert read_events(tmp_path / "cut")[-1]["why"] == "BudgetSpentError"
    result = generate(pool, tmp_path / "cut", Budget(max_cost=most), costs=PRICES)
    assert result.manifests["generate"].content == whole.manifests["generate"].content
    assert genixer.verify(tmp_path / "cut").ok


@pytest.mark.parametrize("executor", ["local", "leases"])
def test_hours_stop_a_run_before_its_next_unit(
    toy_config: Callable[..., Path], tmp_path: Path, executor: ExecutorName
) -> None:
    ticks = iter(range(10**6))
    budget = Budget(max_hours=4 / 3600, clock=lambda: next(ticks))
    with pytest.raises(BudgetSpentError, match=r"of 0\.00111 hours"):
        run(toy_config(), out=tmp_path / "run", budget=budget, executor=executor)
    assert 1 <= sum(one["event"] == "advance" for one in read_events(tmp_path / "run")) <= 4
    assert run(toy_config(), out=tmp_path / "run").worked


@pytest.mark.parametrize("workers", [0, 2])
def test_no_money_begins_nothing(
    toy_config: Callable[..., Path], tmp_path: Path, workers: int
) -> None:
    config = toy_config()
    config.write_text(config.read_text() + "costs: {per_hour: 1.0}\n")
    with pytest.raises(BudgetSpentError, match="spent 0 of 0 USD"):
        run(config, out=tmp_path / "run", workers=workers, budget=Budget(max_cost=0.0))
    assert not [one for one in read_events(tmp_path / "run") if one["event"] == "advance"]


def test_a_limit_on_money_needs_prices(toy_config: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--max-cost needs prices"):
        run(toy_config(), out=tmp_path / "run", budget=Budget(max_cost=1.0))
    assert not (tmp_path / "run").exists()


def test_prices_may_change_while_a_run_goes_on(pool: Path, tmp_path: Path) -> None:
    generate(pool, tmp_path / "run", costs=PRICES)
    assert generate(pool, tmp_path / "run", costs={"per_hour": 2.0}).worked == ()


def test_time_of_a_worker_has_its_price() -> None:
    assert Costs(per_hour=3.0).of(10, 10, 1200.0) == pytest.approx(1.0)


def test_events_add_up_to_the_ledger(pool: Path, tmp_path: Path) -> None:
    manifest = generate(pool, tmp_path / "run").manifests["generate"]
    events = read_events(tmp_path / "run")
    assert [one["event"] for one in events if one["event"] != "advance"] == [
        *("begin", "start", "finish", "end")
    ]
    units = [one for one in events if one["event"] == "advance"]
    assert [one["unit"] for one in units] == [
        *("prepare", *(f"{shard:05}" for shard in range(5)), "finish")
    ]
    assert sum(one["in"] for one in units) == manifest.counts.items == 2400
    files = (tmp_path / "run" / "generate").glob("part-*")
    rows = [row for one in files for row in one.read_bytes().splitlines()]
    tokens = sum(len(json.loads(row)["completion"]["token_ids"]) for row in rows)
    assert sum(one["tokens"] for one in units) == tokens
    assert units[3]["rows_per_s"] > 0
    assert units[3]["tokens_per_s"] > 0
    assert units[3]["left_s"] > 0 == units[5]["left_s"]
    generate(pool, tmp_path / "run")
    assert read_events(tmp_path / "run") == events, "a rerun with nothing to do says nothing"


@pytest.mark.parametrize("kept", range(0, 70, 7))
def test_a_torn_event_costs_itself_alone(
    toy_config: Callable[..., Path], tmp_path: Path, kept: int
) -> None:
    run(toy_config(scale=None, total=None), out=tmp_path / "run")
    path = tmp_path / "run" / EVENTS
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    path.write_bytes(whole[: first + kept])
    (tmp_path / "run" / "numbers" / "part-00003.jsonl").unlink()
    run(toy_config(scale=None, total=None), out=tmp_path / "run")
    events = [one["event"] for one in read_events(tmp_path / "run")]
    assert events[0] == "begin"
    assert events[-4:] == ["start", "advance", "finish", "end"]
    assert len(events) == 6
    assert genixer.verify(tmp_path / "run").ok


def test_a_failure_is_noted(toy_config: Callable[..., Path], tmp_path: Path) -> None:
    broken = {"stage": "toy_scale", "from": ["numbers"], "with": {"mode": "raises"}}
    with pytest.raises(genixer.errors.GenixerError):
        run(toy_config(scale=broken, total=None), out=tmp_path / "run")
    last = read_events(tmp_path / "run")[-1]
    assert (last["event"], last["why"]) == ("stop", "GenixerError")


class Listener(Progress):
    """Keeps every pace."""

    def __init__(self) -> None:
        self.paces: list[Pace] = []

    def paced(self, step: str, pace: Pace) -> None:
        self.paces.append(pace)


def test_pace_counts_what_this_run_has_done_alone(
    toy_config: Callable[..., Path], tmp_path: Path
) -> None:
    config = toy_config(scale=None, total=None)
    run(config, out=tmp_path / "run")
    (tmp_path / "run" / "numbers" / "part-00003.jsonl").unlink()
    (tmp_path / "run" / "numbers" / "manifest.json").unlink()
    ear = Listener()
    run(config, out=tmp_path / "run", progress=ear)
    assert ear.paces[0].first == 7
    assert ear.paces[0].items == 4
    assert ear.paces[0].left_s == 0
