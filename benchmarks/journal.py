"""What it costs to keep each answer at once: the journal beside a plain file and a sync a row.

Command:  python benchmarks/journal.py [ROWS]
"""

import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from genixer.store.journal import SYNC_ROWS, SYNC_S, Journal

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
ROW_BYTES = 400
"""A completion of 30 tokens with their log-probabilities."""
FEW = 200
"""Rows for the naive way, which is slow."""


def journalled(path: Path, rows: list[bytes]) -> None:
    with Journal(path) as journal:
        for row in rows:
            journal.append([row])
        journal.sync()


def plain(path: Path, rows: list[bytes]) -> None:
    """Neither framed nor synced: a kill loses what is buffered, a power cut everything."""
    with path.open("wb") as file:
        for row in rows:
            file.write(row)


def synced(path: Path, rows: list[bytes]) -> None:
    with path.open("wb") as file:
        for row in rows:
            file.write(row)
            file.flush()
            os.fsync(file.fileno())


def microseconds(
    write: Callable[[Path, list[bytes]], None], path: Path, rows: list[bytes]
) -> tuple[float, float]:
    """Wall and processor time a row."""
    wall, cpu = time.perf_counter(), time.process_time()
    write(path, rows)
    per_row = 1e6 / len(rows)
    return (time.perf_counter() - wall) * per_row, (time.process_time() - cpu) * per_row


def main() -> None:
    rng = random.Random(0)
    rows = [rng.randbytes(ROW_BYTES) for _ in range(ROWS)]
    print(f"{ROWS} rows of {ROW_BYTES} bytes; a sync every {SYNC_ROWS} rows or {SYNC_S} s")
    with tempfile.TemporaryDirectory(dir=".") as name:
        home = Path(name)
        for what, write, some in (
            ("plain file, unsynced", plain, rows),
            ("journal", journalled, rows),
            ("file, a sync a row", synced, rows[:FEW]),
        ):
            wall, cpu = microseconds(write, home / what, some)
            print(f"{what:24}{wall:10.1f} us a row {cpu:8.1f} us of it on the processor")
        began = time.perf_counter()
        found = Journal(home / "journal").rows
        assert found == rows
        print(f"read back: {(time.perf_counter() - began) * 1e6 / len(found):.1f} us a row")


if __name__ == "__main__":
    main()
