"""The Ray executor on three raylets of this machine: the bytes of one process, whatever dies."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from genixer.pipeline.run import run
from genixer.pipeline.verify import verify
from tests.faults.soak import SMALL

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
SLOW = {"stage": "toy_numbers", "with": {"count": 80, "sleep_ms": 200, "pictures": True}}
"""Units of nearly a second."""
MIDDLE_S = 0.4
"""From the receipt of a unit to somewhere in the middle of the next."""
PLUGINS = Path(__file__).parent.parent / "plugins"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without CPUs and three nodes with one each."""
    pytest.importorskip("ray")
    quick = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(PLUGINS))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # loopback
        for name, value in (quick | {"health_check_failure_threshold": 4}).items():
            patch.setenv(f"RAY_{name}", str(value))
        from ray.cluster_utils import Cluster

        own: dict[str, Any] = {"object_store_memory": 80 << 20}
        made = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **own}
        )
        for _ in range(3):
            made.add_node(num_cpus=1, **own)
        patch.setenv("RAY_ADDRESS", made.address)
        yield made
        made.shutdown()


@pytest.fixture
def config(cluster: Any, toy_config: Callable[..., Path]) -> Path:
    return toy_config(numbers=SLOW)


@pytest.fixture
def expected(bench: Any, config: Path, tmp_path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = bench.data_of(run(config, out=tmp_path / "one_go").folder)
    return found


def words(config: Path, folder: Path) -> tuple[object, ...]:
    return ("run", config, "stale_s=1", "--out", folder, "--executor", "ray", "--workers", 3)


def actors() -> list[int]:
    """Process ids of the executor's actors; their title says so."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # one that ended meanwhile
            if place.read_bytes().startswith(b"ray::Bench"):
                found.append(int(place.parent.name))
    return found


def finish(bench: Any, process: "subprocess.Popen[str]", folder: Path) -> str:
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors
    assert verify(folder).ok
    return str(errors)


def test_three_executors_give_the_same_bytes(cluster: Any, bench: Any, tmp_path: Path) -> None:
    """One process, two shells that share by leases, three raylets; all stages of the loop."""
    expected = bench.data_of(run("smoke", SMALL, out=tmp_path / "one_go", workers=0).folder)
    leases = ("run", "smoke", *SMALL, "--out", tmp_path / "leases", "--executor", "leases")
    for shell in [bench.start(*leases, "--workers", 1) for _ in range(2)]:
        finish(bench, shell, tmp_path / "leases")
    over_ray = ("run", "smoke", *SMALL, "--out", tmp_path / "ray", "--executor", "ray")
    finish(bench, bench.start(*over_ray, "--workers", 3), tmp_path / "ray")
    assert bench.data_of(tmp_path / "leases") == expected
    assert bench.data_of(tmp_path / "ray") == expected


@pytest.mark.long
def test_a_real_model_gives_the_same_bytes_wherever_it_runs(
    cluster: Any, bench: Any, tiny: Path, tmp_path: Path
) -> None:
    """Trained, asked and asked to judge: here, by two workers, by two shells, on three raylets."""
    more = "steps.world.with.pools.unlabelled.images=16"
    expected = bench.data_of(run(tiny, [more], out=tmp_path / "here", workers=0).folder)
    assert sum("generate/part-" in name for name in expected) == 6
    for executor, shells, workers in (("local", 1, 2), ("leases", 2, 1), ("ray", 1, 3)):
        folder = tmp_path / executor
        words = ("run", tiny, more, "--out", folder, "--executor", executor, "--workers", workers)
        for shell in [bench.start(*words) for _ in range(shells)]:
            finish(bench, shell, folder)
        assert bench.data_of(folder) == expected, executor


@pytest.mark.long
def test_a_killed_actor_gives_its_unit_back(
    bench: Any, config: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    with bench.start(*words(config, tmp_path / "run")) as driver:
        assert bench.wait_for(driver, tmp_path / "run", 4, 300)
        time.sleep(MIDDLE_S)
        for pid in actors():
            os.kill(pid, signal.SIGKILL)
        errors = finish(bench, driver, tmp_path / "run")
    assert "its worker died because" in errors
    assert bench.data_of(tmp_path / "run") == expected


def test_a_killed_driver_goes_on_where_it_was(
    bench: Any, config: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    with bench.start(*words(config, tmp_path / "run")) as driver:
        assert bench.wait_for(driver, tmp_path / "run", 6, 300)
        bench.signal_group(driver, signal.SIGKILL)
        driver.communicate()
    committed = set((tmp_path / "run").glob("*/receipts/0*.json"))
    before = {path: path.stat().st_ino for path in committed}
    with bench.start(*words(config, tmp_path / "run")) as again:
        finish(bench, again, tmp_path / "run")
    assert {path: path.stat().st_ino for path in committed} == before
    assert bench.data_of(tmp_path / "run") == expected


@pytest.mark.long
def test_a_lost_node_gives_its_units_back(
    bench: Any, config: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    with bench.start(*words(config, tmp_path / "run")) as driver:
        assert bench.wait_for(driver, tmp_path / "run", 4, 300)
        time.sleep(MIDDLE_S)
        status = Path(f"/proc/{actors()[0]}/stat").read_text().rpartition(")")[2].split()
        os.kill(int(status[1]), signal.SIGKILL)  # the raylet is the parent of its workers
        errors = finish(bench, driver, tmp_path / "run")
    # Its workers outlive a raylet by a moment, in which they may commit.
    assert "given back because its node is gone" in errors or "is done, or was taken over" in errors
    assert "its worker died" not in errors
    assert bench.data_of(tmp_path / "run") == expected
