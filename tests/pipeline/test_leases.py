"""Runs that several processes share, in this process: seals, failures, dead workers, repairs."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from genixer.errors import ConfigError, GenixerError, LockedError, SettingsChangedError
from genixer.pipeline.run import run
from genixer.pipeline.verify import verify
from genixer.store.lock import RunLock

Write = Callable[..., Path]


def test_two_at_once_end_with_one_run(toy_config: Write, tmp_path: Path) -> None:
    numbers = {"stage": "toy_numbers", "with": {"count": 30, "pictures": True, "sleep_ms": 5}}
    config = toy_config(numbers=numbers)
    one_go = run(config, out=tmp_path / "one_go")
    folder = tmp_path / "shared"
    with ThreadPoolExecutor(2) as shells:
        ends = [shells.submit(run, config, out=folder, executor="leases") for _ in range(2)]
        results = [end.result() for end in ends]
    assert results[0].manifests == results[1].manifests
    for name, manifest in one_go.manifests.items():
        assert results[0].manifests[name].content == manifest.content
    assert verify(folder).ok
    assert run(config, out=folder, executor="leases").worked == ()
    assert run(config, out=folder).worked == ()
    assert not list(folder.rglob("*.tmp"))


def test_changed_settings_are_refused(toy_config: Write, tmp_path: Path) -> None:
    config = toy_config(total=None, scale=None)
    run(config, out=tmp_path / "run", executor="leases")
    with pytest.raises(SettingsChangedError, match="seed: 7 -> 8"):
        run(config, ["seed=8"], out=tmp_path / "run", executor="leases")


def test_one_who_wants_to_be_alone_is_refused(toy_config: Write, tmp_path: Path) -> None:
    config = toy_config(total=None, scale=None)
    folder = run(config, out=tmp_path / "run").folder
    with RunLock(folder, shared=True), pytest.raises(LockedError, match="is running here"):
        run(config, out=folder)
    with RunLock(folder), pytest.raises(LockedError, match="is running here"):
        run(config, out=folder, executor="leases")


def test_a_failure_gives_its_lease_back(toy_config: Write, tmp_path: Path) -> None:
    scale = {"stage": "toy_scale", "from": ["numbers"], "with": {"mode": "raises"}}
    config = toy_config(scale=scale, total=None)
    for _ in range(2):
        with pytest.raises(GenixerError, match="ValueError: toy trouble"):
            run(config, out=tmp_path / "run", executor="leases")


def test_a_worker_that_dies_once_is_replaced(
    toy_config: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"mode": "dies_once", "flag": str(tmp_path / "flag")}
    scale = {"stage": "toy_scale", "from": ["numbers"], "with": settings}
    config = toy_config(scale=scale, total=None)
    run(config, out=tmp_path / "run", workers=1, executor="leases")
    assert "its worker died because it ended with status 11; trying once more" in caplog.text
    assert verify(tmp_path / "run").ok


def test_a_corrupt_shard_is_made_again(toy_config: Write, tmp_path: Path) -> None:
    config, folder = toy_config(), tmp_path / "run"
    run(config, out=folder, executor="leases")
    shard = folder / "numbers" / "part-00001.jsonl"
    whole = shard.read_bytes()
    shard.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    (folder / "scale-3" / "part-00002.jsonl").unlink()
    assert set(run(config, out=folder, executor="leases").worked) == {"scale-3", "numbers"}
    assert shard.read_bytes() == whole
    assert verify(folder).ok


def test_the_environment_and_the_config_name_an_executor(
    toy_config: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config(total=None, scale=None)
    run(config, ["executor=leases"], out=tmp_path / "one")
    monkeypatch.setenv("GENIXER_EXECUTOR", "leases")
    run(config, out=tmp_path / "two")
    assert (tmp_path / "one" / ".leases").is_dir()
    assert (tmp_path / "two" / ".leases").is_dir()
    monkeypatch.setenv("GENIXER_EXECUTOR", "slurm")
    with pytest.raises(ConfigError, match=r"GENIXER_EXECUTOR: no executor is called 'slurm'"):
        run(config, out=tmp_path / "three")
