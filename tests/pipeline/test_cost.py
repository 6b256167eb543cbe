"""What a plan says of cost: sampled headers, stated or probed rates, error bars that hold."""

import json
import random
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import yaml
from PIL import Image

from genixer.pipeline.api import plan
from genixer.pipeline.cost import CostForecast, _reservoir, mean_interval, share_interval
from genixer.pipeline.meter import read_events
from genixer.pipeline.run import run


@pytest.fixture
def config(tmp_path: Path) -> Path:
    pool = tmp_path / "pool"
    pool.mkdir()
    for number in range(60):
        if number % 10 == 3:
            (pool / f"{number:02}.png").write_bytes(b"no image")
        else:
            Image.new("RGB", (1000, 500 + number)).save(pool / f"{number:02}.png")
    value = {
        "name": "costed",
        "images": str(pool),
        "workers": 2,
        "costs": {
            "input_per_million": 2.0,
            "output_per_million": 10.0,
            "per_hour": 1.5,
            "prompt_tokens": 1000,
            "answer_tokens": 30,
            "tokens_per_second": 300,
            "gpus": 4,
            "currency": "EUR",
        },
        "steps": {
            "ask": {
                "stage": "generate",
                "with": {
                    "images": str(pool),
                    "model": "any",
                    "backend": "scripted",
                    "backend_settings": {"delay_s": 0.05},
                    "tasks": ["rec", "md"],
                    "quotas": {"rec": 30},
                },
            }
        },
    }
    path = tmp_path / "costed.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


def costs(config: Path, out: Path, **given: Any) -> CostForecast:
    (one,) = plan(config, out=out, **given).costs
    return one


def test_stated_rates_and_sampled_headers_make_a_forecast(config: Path, tmp_path: Path) -> None:
    one = costs(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert (one.basis, one.images, one.requests, one.currency) == ("stated", 60, 150, "EUR")
    assert one.megapixels.mid == pytest.approx(0.53, abs=0.01)
    assert one.unreadable.mid == pytest.approx(0.1)
    assert one.unreadable.low < 0.1 < one.unreadable.high
    assert one.read_tokens.mid == pytest.approx(150 * 0.9 * 1000)
    assert one.written_tokens.mid == pytest.approx(150 * 0.9 * 30)
    seconds = one.written_tokens.mid / 300
    assert one.hours.mid == pytest.approx(seconds / 3600 / 2)
    assert one.gpu_hours.mid == pytest.approx(seconds / 3600 * 4)
    money = (one.read_tokens.mid * 2 + one.written_tokens.mid * 10) / 1e6 + seconds / 3600 * 1.5
    assert one.cost.mid == pytest.approx(money)
    for interval in (one.cost, one.hours, one.written_tokens, one.megabytes):
        assert interval.low < interval.mid < interval.high


def test_a_probe_counts_and_times_and_is_not_done_twice(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    one = costs(config, out, probe=40)
    assert one.basis == "probe"
    assert not out.exists()
    (folder,) = (path for path in (tmp_path / "run-probe").iterdir() if path.is_dir())
    before = read_events(folder)
    assert costs(config, out, probe=40) == one
    assert read_events(folder) == before
    # Four calls of ten requests that wait 50 ms each.
    assert one.hours.mid * 2 * 3600 / (150 * 0.9) > 0.005
    done = run(config, out=out, workers=0)
    rows = done.rows("ask")
    written = sum(len(row["completion"]["token_ids"]) for row in rows)
    assert one.written_tokens.low * 0.8 < written < one.written_tokens.high * 1.2
    on_disk = sum(path.stat().st_size for path in (out / "ask").glob("*.jsonl")) / 1e6
    assert one.megabytes.low * 0.8 < on_disk < one.megabytes.high * 1.2


def test_a_large_probe_asks_in_blocks_of_the_run(config: Path, tmp_path: Path) -> None:
    """Four shards of a probe may be larger than any block, and need not be whole blocks."""
    more = ["steps.ask.with.block=8", "steps.ask.with.modes.specific=500"]
    more += ["steps.ask.with.backend_settings.delay_s=0"]
    one = plan(config, more, out=tmp_path / "run", probe=2100).costs[0]
    assert one.basis == "probe"
    (asked,) = (tmp_path / "run-probe").glob("*/ask/manifest.json")
    assert json.loads(asked.read_bytes())["counts"]["in"] == 2100


def test_what_is_done_is_not_forecast_again(config: Path, tmp_path: Path) -> None:
    value = yaml.safe_load(config.read_text())
    value["steps"]["ask"]["rows_per_shard"] = 64
    config.write_text(yaml.safe_dump(value))
    out = tmp_path / "run"
    run(config, out=out, workers=0)
    assert plan(config, out=out).costs == ()
    (out / "ask" / "part-00001.jsonl").unlink()
    (out / "ask" / "manifest.json").unlink()
    assert costs(config, out).requests == 64
    assert costs(config, tmp_path / "other", limit=9).requests == 9


def test_a_plan_as_json_holds_the_intervals(config: Path, tmp_path: Path) -> None:
    report = plan(config, out=tmp_path / "run")
    value = json.loads(json.dumps(report.as_mapping()))
    low, mid, high = value["costs"][0]["cost"]
    assert low < mid < high


def test_nine_intervals_of_ten_hold_the_truth() -> None:
    rng = random.Random(5)
    means = shares = 0
    for _ in range(400):
        low, _, high = mean_interval([rng.gauss(10, 4) for _ in range(8)])
        means += low <= 10 <= high
        low, _, high = share_interval(sum(rng.random() < 0.15 for _ in range(60)), 60)
        shares += low <= 0.15 <= high
    assert 340 <= means <= 380
    assert 335 <= shares <= 385


def test_a_sample_is_drawn_evenly() -> None:
    hits = [0] * 50
    for seed in range(600):
        count, drawn = _reservoir(range(50), 10, random.Random(seed))
        assert count == 50
        assert len(set(drawn)) == 10
        for one in drawn:
            hits[one] += 1
    assert fmean(hits) == 120
    assert min(hits) > 85
    assert max(hits) < 160
