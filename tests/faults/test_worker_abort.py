"""A request that ends its worker, or wants more memory than there is, costs itself alone."""

import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genixer.data import Generation
from genixer.errors import IncompleteError
from genixer.pipeline.run import run
from genixer.pipeline.verify import verify
from genixer.store.reader import open_step

PICTURES = 12


def answers(folder: Path) -> dict[str, str]:
    return {row.id: row.completion.text for row in open_step(folder).rows(Generation)}


@pytest.mark.parametrize("backend", ["toy_model", "toy_stream"])
@pytest.mark.parametrize("how", ["aborts_on", "hogs_on"])
def test_requests_that_cannot_be_borne_are_quarantined_and_others_go_on(
    generate: Callable[..., Path], tmp_path: Path, backend: str, how: str
) -> None:
    spared = run(generate(backend), out=tmp_path / "spared", workers=1)
    harmed = run(generate(backend, **{how: ["4.png"]}), out=tmp_path / "harmed", workers=1)
    assert verify(harmed.folder).ok
    counts = harmed.manifests["generate"].counts
    assert (counts.items, counts.quarantined) == (2 * PICTURES, {"backend_error": 2})
    step = open_step(harmed.folder / "generate")
    assert {row.detail for row in step.quarantined()} == {
        "the model's process ended, or ran out of memory, whenever it was asked this"
    }
    whole = answers(spared.folder / "generate")
    gone = {row.where for row in step.quarantined()}
    assert answers(step._folder.root) == {id: whole[id] for id in whole.keys() - gone}


def test_a_step_whose_every_request_ends_the_worker_ends_the_run(
    generate: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genixer.stages.generate.GenerateStage.max_deaths", 3)
    everything = [f"{number}.png" for number in range(PICTURES)]
    config = generate("toy_model", aborts_on=everything)
    with pytest.raises(IncompleteError, match=r"its worker died 3 times.*SIGABRT"):
        run(config, out=tmp_path / "run", workers=1)
    assert verify(tmp_path / "run").problems == []


def test_a_killed_run_asks_a_server_for_nothing_twice(
    bench: Any, generate: Callable[..., Path], tmp_path: Path
) -> None:
    log = tmp_path / "asked"
    config = generate("toy_stream", asked=str(tmp_path), delay_s=0.02)
    for _ in range(3):
        before = len(log.read_text().splitlines()) if log.exists() else 0
        with bench.start("run", config, "--out", tmp_path / "run", "--workers", 0) as process:
            while process.poll() is None:
                if log.exists() and len(log.read_text().splitlines()) >= before + 4:
                    bench.signal_group(process, signal.SIGKILL)
                    break
            process.communicate()
        assert process.returncode == -signal.SIGKILL
    done = run(config, out=tmp_path / "run", workers=0)
    asked = Counter(log.read_text().splitlines())
    # The answer on its way when the process was killed is no answer yet.
    assert len(asked) == 2 * PICTURES
    assert sum(asked.values()) <= 2 * PICTURES + 3
    log.unlink()
    one_go = run(config, out=tmp_path / "one_go", workers=0)
    assert bench.data_of(done.folder) == bench.data_of(one_go.folder)
