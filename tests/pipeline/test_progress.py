import io

import pytest
from rich.console import Console

from genixer.data import SCHEMA
from genixer.pipeline.progress import LineProgress, TerminalProgress
from genixer.store.manifest import Counts, Manifest

MANIFEST = Manifest(SCHEMA, "mix", "mix", 1, "f", "c", {}, True, Counts(9, 9), [], {}, {}, 0.5, {})


def test_lines_give_counts_and_seconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with LineProgress() as progress:
        progress.started("mix", 0, None)
        progress.advanced("mix", 1, 2)
        progress.finished("mix", MANIFEST)
        progress.started("dedup", 3, 4)
    first, second, third = caplog.messages
    assert first == "mix: begins"
    assert second.startswith("mix: 9 in = 9 kept + 0 rejected + 0 quarantined, 0.0 s")
    assert third == "dedup: goes on, 3 of 4 shards are done"


def test_a_terminal_gets_bars(caplog: pytest.LogCaptureFixture) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with TerminalProgress(console) as progress:
        progress.started("mix", 0, None)
        progress.advanced("mix", 1, 2)
        progress._bars.refresh()
        progress.finished("mix", MANIFEST)
    assert isinstance(console.file, io.StringIO)
    assert "mix" in console.file.getvalue()
    assert "2/4" in console.file.getvalue()
