"""Where everything of a step lies on disk."""

from __future__ import annotations

from pathlib import Path

__all__ = ["FINISH", "PREPARE", "StepFolder", "shard_unit"]

PREPARE, FINISH = "prepare", "finish"
"""Names of the two units of work that are not shards."""


def shard_unit(index: int) -> str:
    """Name of the unit of work that makes shard `index`.

    >>> shard_unit(12)
    '00012'
    """
    return f"{index:05d}"


class StepFolder:
    """Paths of one step: `part-*.jsonl` are kept rows, `manifest.json` is written last.

    >>> StepFolder(Path("runs/demo/mix")).output("part", "00012").as_posix()
    'runs/demo/mix/part-00012.jsonl'
    """

    def __init__(self, root: Path) -> None:
        """Paths below `root`, which need not exist yet."""
        self.root = root
        self.name = root.name
        self.files = root / "files"
        self.receipts = root / "receipts"
        self.manifest = root / "manifest.json"
        self.scratch = root / ".tmp"
        """Unfinished work; whatever lies here at the start of a run is left from a crash."""
        self.work = root / ".work"
        """Half-done units that can go on after a crash, a folder each; gone when one is done."""
        self.logs = root / "logs"
        """What a step tells of its own speed; no part of its result."""

    def output(self, kind: str, unit: str) -> Path:
        """File of rows of one shard; `kind` is `part`, `rejected` or `quarantined`."""
        return self.root / f"{kind}-{unit}.jsonl"

    def receipt(self, unit: str) -> Path:
        """What proves that a unit of work is committed."""
        return self.receipts / f"{unit}.json"
