"""A training under launchers of others: our own bytes, whatever starts it and whoever dies."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SMALL = str(Path(__file__).parent.parent / "fixtures" / "models" / "small.yaml")
COMMON = ["steps=6", "save_every=2", "lr=0.003", f"model=new:{SMALL}", "images_per_step=4"]
TORCHRUN = ["-m", "torch.distributed.run"]
ACCELERATE = ["-m", "accelerate.commands.launch"]

pytestmark = pytest.mark.slow

Started = Callable[..., "subprocess.Popen[str]"]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    """Starts `python WORDS -m genixer.cli MORE`; what is left of it ends with the test."""
    every = []

    def start(words: list[str], more: list[str], **environment: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, *words, "-m", "genixer.cli", *more],
            cwd=tmp_path,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        )
        every.append(process)
        return process

    yield start
    for process in every:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def training(rows: Path, out: str, *how: str) -> list[str]:
    return ["train", *COMMON, "processes=2", *how, "--from", str(rows), "--out", out]


def results(run: Path) -> dict[str, bytes]:
    files = run / "train" / "files"
    return {str(p.relative_to(files)): p.read_bytes() for p in files.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def ours(training_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What our own launcher makes of two processes."""
    folder = tmp_path_factory.mktemp("ours")
    command = [sys.executable, "-m", "genixer.cli", *training(training_rows, "run")]
    path = os.pathsep.join(sys.path)
    subprocess.run(command, cwd=folder, check=True, env={**os.environ, "PYTHONPATH": path})
    return results(folder / "run")


@pytest.mark.parametrize(
    "launcher",
    [
        [*TORCHRUN, "--standalone", "--nproc-per-node", "2"],
        pytest.param(
            [*ACCELERATE, "--cpu", "--num_processes", "2", "--num_machines", "1"],
            marks=pytest.mark.long,
        ),
        pytest.param(
            [*ACCELERATE, "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"],
            marks=pytest.mark.long,
        ),
    ],
    ids=["torchrun", "accelerate on a CPU", "accelerate"],
)
def test_a_launcher_of_others_gives_the_bytes_of_ours(
    started: Started,
    training_rows: Path,
    tmp_path: Path,
    ours: dict[str, bytes],
    launcher: list[str],
) -> None:
    process = started(launcher, training(training_rows, "run"))
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert results(tmp_path / "run") == ours
    # One process tells what was done, not both.
    assert said.count("train: begins") == 1, said


def two_machines(started: Started, more: list[str]) -> list["subprocess.Popen[str]"]:
    port = str(free_port())
    where = ["--nnodes", "2", "--master-addr", "127.0.0.1", "--master-port", port]
    return [started([*TORCHRUN, *where, "--node-rank", rank], more) for rank in "01"]


def test_two_machines_give_the_bytes_of_one(
    started: Started, training_rows: Path, tmp_path: Path, ours: dict[str, bytes]
) -> None:
    machines = two_machines(started, training(training_rows, "run"))
    for machine in machines:
        said, _ = machine.communicate(timeout=300)
        assert machine.returncode == 0, said
    assert results(tmp_path / "run") == ours


@pytest.mark.long
def test_without_a_launchers_store_the_first_process_keeps_it(
    started: Started, training_rows: Path, tmp_path: Path, ours: dict[str, bytes]
) -> None:
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    both = [started([], training(training_rows, "run"), RANK=rank, **place) for rank in "10"]
    for process in both:
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
    assert results(tmp_path / "run") == ours


def children(pid: int) -> list[int]:
    """Processes that `pid` started, in the order of their birth."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid:
            found.append((int(fields[19]), int(path.parent.name)))
    return [number for _, number in sorted(found)]


@pytest.mark.long
@pytest.mark.parametrize("who", ["process", "child"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_training_whose_process_is_killed_goes_on_with_the_same_bits(
    started: Started,
    training_rows: Path,
    tmp_path: Path,
    ours: dict[str, bytes],
    rank: int,
    who: str,
) -> None:
    launcher = [*TORCHRUN, "--standalone", "--nproc-per-node", "2"]
    process = started(launcher, training(training_rows, "run"))
    end = time.monotonic() + 600
    while not list(tmp_path.glob("run/train/.work/*/steps/step-*")) and process.poll() is None:
        assert time.monotonic() < end, "nothing happens"
        time.sleep(0.002)
    victim = children(process.pid)[rank]
    while who == "child" and children(victim):
        victim = children(victim)[-1]
    os.kill(victim, signal.SIGKILL)
    said, _ = process.communicate(timeout=120)
    assert process.returncode != 0, said
    assert who == "process" or f"process {rank} of 2: it was killed by SIGKILL" in said
    process = started(launcher, training(training_rows, "run"))
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert results(tmp_path / "run") == ours


def test_an_error_in_one_process_ends_all_with_its_words(
    started: Started, training_rows: Path, tmp_path: Path
) -> None:
    launcher = [*TORCHRUN, "--standalone", "--nproc-per-node", "2"]
    process = started(launcher, training(training_rows, "run", "lr=1e30", "steps=9"))
    said, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "loss is nan; rows of the batch" in said
    assert not (tmp_path / "run/train/manifest.json").exists()


def test_another_number_of_processes_than_was_started_is_refused(
    started: Started, training_rows: Path
) -> None:
    launcher = [*TORCHRUN, "--standalone", "--nproc-per-node", "3"]
    process = started(launcher, training(training_rows, "run"))
    said, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "processes: 2, but 3 were started; set processes=3, or start as many" in said


@pytest.mark.long
def test_a_machine_that_does_not_see_the_run_folder_is_named(
    started: Started, training_rows: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    first = started([], training(training_rows, "run"), RANK="0", **place)
    code = "import os; os.chdir('elsewhere'); from genixer.cli import main; main()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, "train"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "RANK": "1", **place},
    )
    said, _ = first.communicate(timeout=300)
    assert first.returncode == 2, said
    assert "does not see run: share it" in said
    assert other.wait(timeout=60) == 0


@pytest.mark.long
def test_steps_of_one_process_leave_the_others_waiting(
    started: Started, training_rows: Path, tmp_path: Path
) -> None:
    launcher = [*TORCHRUN, "--standalone", "--nproc-per-node", "2"]
    process = started(launcher, training(training_rows, "run", "processes=1"))
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert said.count("train: processes: 1, so the other processes do nothing") == 1
    assert json.loads(results(tmp_path / "run")["seen.json"])["images"] == 6
