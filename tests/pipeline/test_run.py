"""Whole runs: resuming, repairing, refusing, taking over."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from genixer.errors import ConfigError, CorruptShardError, LockedError, SettingsChangedError
from genixer.pipeline.run import move_aside, run
from genixer.pipeline.verify import verify
from genixer.store.lock import RunLock

Write = Callable[..., Path]


@pytest.fixture
def config(toy_config: Write) -> Path:
    return toy_config()


@pytest.fixture
def folder(config: Path, tmp_path: Path) -> Path:
    return run(config, out=tmp_path / "run").folder


def times(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (".lock", "events.jsonl")
    }


def test_a_rerun_does_nothing(config: Path, folder: Path) -> None:
    before = times(folder)
    assert run(config, out=folder).worked == ()
    assert times(folder) == before


def test_a_deleted_shard_alone_is_made_again(config: Path, folder: Path) -> None:
    before = times(folder)
    (folder / "numbers" / "part-00003.jsonl").unlink()
    assert run(config, out=folder).worked == ("numbers",)
    after = times(folder)
    changed = {path for path in after if after[path] != before[path]}
    pictures = {f"numbers/files/images/{n}.bin" for n in range(12, 16)}
    assert changed - pictures == {
        "numbers/part-00003.jsonl",
        "numbers/receipts/00003.json",
        "numbers/manifest.json",
    }
    assert verify(folder).ok


@pytest.mark.parametrize(
    "path",
    [
        "numbers/files/images/7.bin",
        "numbers/files/shared.txt",
        "total/files/result/sum.txt",
        "scale-2/part-00001.jsonl",
        "scale-2/manifest.json",
        "scale-2/receipts/00004.json",
        "scale-2/receipts/prepare.json",
    ],
)
def test_whatever_is_deleted_comes_back(config: Path, folder: Path, path: str) -> None:
    (folder / path).unlink()
    assert run(config, out=folder).worked == (path.partition("/")[0],)
    assert (folder / path).is_file()
    assert verify(folder).ok


def test_a_deleted_step_comes_back_and_the_rest_stays(config: Path, folder: Path) -> None:
    shutil.rmtree(folder / "scale-3")
    assert run(config, out=folder).worked == ("scale-3",)


def test_a_shard_that_is_redone_otherwise_redoes_what_hangs_on_it(
    config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "numbers" / "part-00003.jsonl").unlink()
    import genixer_toys

    monkeypatch.setattr(genixer_toys, "random_for", lambda *_: _Always())
    result = run(config, out=folder)
    assert set(result.worked) == {"numbers", "scale-2", "scale-3", "total"}
    assert verify(folder).ok


class _Always:
    def randrange(self, _: int) -> int:
        return 500


def test_a_corrupt_shard_is_moved_aside_and_made_again(
    config: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shard = folder / "numbers" / "part-00001.jsonl"
    whole = shard.read_bytes()
    for number in ("", ".2"):
        shard.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        (folder / "scale-3" / "part-00002.jsonl").unlink()
        result = run(config, out=folder)
        assert set(result.worked) == {"scale-3", "numbers"}
        assert shard.read_bytes() == whole
        assert (folder / "numbers" / f"part-00001.jsonl{number}.corrupt").exists()
    assert "moved to part-00001.jsonl.2.corrupt, its shard is made again" in caplog.text
    assert verify(folder).ok


def test_check_finds_what_a_plain_rerun_does_not_read(config: Path, folder: Path) -> None:
    picture = folder / "numbers" / "files" / "images" / "3.bin"
    whole = picture.read_bytes()
    picture.write_bytes(b"x" * len(whole))
    assert run(config, out=folder).worked == ()
    assert run(config, out=folder, check=True).worked == ("numbers",)
    assert picture.read_bytes() == whole


def test_stray_temporary_files_are_removed(config: Path, folder: Path) -> None:
    stray = folder / "scale-2" / ".tmp" / "00000" / "part-00000.jsonl"
    stray.parent.mkdir(parents=True)
    stray.write_text("half")
    run(config, out=folder)
    assert not stray.exists()
    assert verify(folder).ok


def test_changed_settings_are_refused_key_by_key(config: Path, folder: Path) -> None:
    with pytest.raises(SettingsChangedError) as caught:
        run(config, ["seed=8", "steps.scale.with.drop_below=50"], out=folder)
    message = str(caught.value)
    assert "  seed: 7 -> 8\n" in message
    assert "  steps.scale-3.with.drop_below: 100 -> 50\n" in message
    assert "--new-run DIR" in message
    assert message.count("seed") == 1


def test_new_and_gone_steps_are_changes(toy_config: Write, folder: Path) -> None:
    config = toy_config(total=None, extra={"stage": "toy_numbers"})
    with pytest.raises(SettingsChangedError, match=r"(?s)steps\.extra: new.*steps\.total: gone"):
        run(config, out=folder)


def test_a_changed_outside_file_is_a_change(toy_config: Write, tmp_path: Path) -> None:
    data = tmp_path / "data.json"
    data.write_text("one")
    numbers = {"stage": "toy_numbers", "with": {"files": [str(data)]}}
    config = toy_config(numbers=numbers, scale=None, total=None)
    run(config, out=tmp_path / "run")
    assert run(config, out=tmp_path / "run").worked == ()
    data.write_text("other")
    with pytest.raises(SettingsChangedError, match="a file outside the run that it reads has chan"):
        run(config, out=tmp_path / "run")


def test_the_worker_count_is_no_setting(config: Path, folder: Path) -> None:
    assert run(config, ["workers=1"], out=folder).worked == ()


def test_a_new_run_takes_over_what_is_unchanged(config: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "numbers" / "part-00001.jsonl.corrupt").touch()
    new = tmp_path / "new"
    for expected in (("scale-4", "total"), ()):
        overrides = ["steps.scale.matrix.factor=[2, 4]"]
        assert run(config, overrides, out=folder, new_run=new).worked == expected
    assert (new / "numbers" / "part-00000.jsonl").samefile(folder / "numbers/part-00000.jsonl")
    assert verify(new).ok
    assert verify(folder).ok


def test_a_new_run_needs_an_old_one_and_a_place_of_its_own(
    config: Path, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="this is the old run folder"):
        run(config, out=folder, new_run=folder)
    with pytest.raises(ConfigError, match="there is no run in"):
        run(config, out=tmp_path / "nothing", new_run=tmp_path / "new")


def test_a_folder_with_other_things_is_refused(config: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(ConfigError, match=r"not a run folder.*choose another one with --out"):
        run(config, out=tmp_path / "mine")
    with pytest.raises(ConfigError, match="this is a file"):
        run(config, out=tmp_path / "mine" / "thesis.tex")


def test_a_second_run_in_one_folder_is_refused(config: Path, folder: Path) -> None:
    with RunLock(folder), pytest.raises(LockedError, match=f"process {os.getpid()} on"):
        run(config, out=folder)


def test_a_limit_caps_every_step_in_a_folder_of_its_own(config: Path, tmp_path: Path) -> None:
    result = run(config, out=tmp_path / "run", limit=5)
    assert result.folder == tmp_path / "run-limit-5"
    assert {name: one.counts.items for name, one in result.manifests.items()} == {
        "numbers": 5,
        "scale-2": 5,
        "scale-3": 5,
        "total": 0,
    }
    assert result.preview(2).splitlines()[:3] == [
        "numbers:",
        '  {"id": "numbers-0", "value": 395}',
        '  {"id": "numbers-1", "value": 272}',
    ]
    assert verify(result.folder).ok


def test_runs_lie_where_the_environment_says(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENIXER_RUNS", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GENIXER_WORKERS", "0")
    assert run(config, ["workers=7"]).folder == tmp_path / "elsewhere" / "toy"


def test_damage_nobody_can_place_is_not_repaired_for_ever(
    config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def always(*_: object) -> None:
        error = CorruptShardError("again")
        error.path = folder / "numbers" / "part-00000.jsonl"
        raise error

    monkeypatch.setattr("genixer.pipeline.executor.Executor.run", always)
    with pytest.raises(CorruptShardError, match="again"):
        run(config, out=folder)


def test_moving_a_missing_file_aside_is_no_error(tmp_path: Path) -> None:
    move_aside(tmp_path / "gone.jsonl", "gone.jsonl: it is missing; run again")
    assert list(tmp_path.iterdir()) == []
