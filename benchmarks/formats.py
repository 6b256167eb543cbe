"""LLaVA files in and out: microseconds a row beside `datasets` and `datatrove`, and memory a row.

Command:  python benchmarks/formats.py [--rows 20000] [--array-rows 5000000]
Target:   a JSON array of 5 million rows converted in at most 1 GB; rows as fast as can be.

`pip install datasets datatrove orjson` for the comparison; what is not installed is left out. All
check the same: turns alternate, the picture is marked once, the image is named. Ours also checks
boxes, knows the images, finds repeated ids, makes a record with the id of its content and writes
the sidecar: two conversions. `records.py` measures records alone. Without `--array-rows` memory is
measured on two small files, and that for 5 million rows computed from the difference.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from genixer.data import Quarantined, Sample
from genixer.formats.llava import LlavaFormat, LlavaSettings

IMAGES, ROUNDS, MILLIONS = 20, 3, 5_000_000


def row(number: int) -> dict[str, object]:
    """About 380 bytes, two turns, as the rows of LLaVA's pretraining; one in ten has a box."""
    box = (
        f" at [0.1{number % 90 + 10},0.250,0.5{number % 90 + 10},0.750]" if number % 10 == 0 else ""
    )
    asked = f"<image>\nWhat is to be seen in the picture number {number}, and where does it stand?"
    answered = f"There is a red circle{box}, with a green square to the left of it and two books."
    return {
        "id": f"{number:09d}",
        "image": f"{number % IMAGES:03d}.png",
        "conversations": [
            {"from": "human", "value": asked},
            {"from": "gpt", "value": answered + " It is larger than the square and behind it."},
        ],
    }


def make_images(folder: Path) -> None:
    folder.mkdir()
    for number in range(IMAGES):
        Image.new("RGB", (64, 48), (number, 0, 0)).save(folder / f"{number:03d}.png")


def make_array(path: Path, rows: int) -> None:
    with path.open("w") as out:
        for number in range(rows):
            out.write(("[" if number == 0 else ", ") + json.dumps(row(number)))
        out.write("]")


def is_sound(one: dict[str, Any]) -> bool:
    """What the others are given to check."""
    said = one["conversations"]
    roles = [turn["from"] for turn in said]
    marks = sum(turn["value"].count("<image>") for turn in said)
    return bool(one["image"]) and roles == ["human", "gpt"] * (len(roles) // 2) and marks == 1


def ours(source: Path, images: Path, place: Path) -> None:
    def sound(rows: Iterable[Sample | Quarantined]) -> Iterator[Sample]:
        for one in rows:
            if isinstance(one, Quarantined):
                raise SystemExit(f"{one.where}: {one.reason}")
            yield one

    llava = LlavaFormat(LlavaSettings(task="common_vqa"))
    llava.write(sound(llava.read(source, images)), place / "out.jsonl", images)


def with_datasets(source: Path, images: Path, place: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    rows = datasets.load_dataset(
        "json", data_files=str(source), split="train", cache_dir=str(place / "cache")
    )
    rows = rows.map(lambda one: {**one, "ok": is_sound(one)}, load_from_cache_file=False)
    rows.remove_columns("ok").to_json(place / "out.jsonl")


def with_datatrove(source: Path, images: Path, place: Path) -> None:
    from datatrove.data import Document
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.filters import LambdaFilter
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    def adapt(reader: Any, data: dict[str, Any], path: str, number: int) -> dict[str, Any]:
        return {"text": data["conversations"][0]["value"], "id": data["id"], "metadata": data}

    def check(document: Document) -> bool:
        return is_sound(document.metadata)

    LocalPipelineExecutor(
        [
            JsonlReader(str(source.parent), glob_pattern=source.name, adapter=adapt),
            LambdaFilter(check),
            JsonlWriter(str(place / "out"), compression=None),
        ],
        logging_dir=str(place / "logs"),
    ).run()


def seconds(way: Callable[[Path, Path, Path], None], source: Path, images: Path) -> float:
    """Of the processor; the best of some rounds: the least that others disturbed."""
    best = float("inf")
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as place:
            began = time.process_time()
            way(source, images, Path(place))
            best = min(best, time.process_time() - began)
    return best


def compare(rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, images = Path(folder) / "in.jsonl", Path(folder) / "images"
        make_images(images)
        source.write_text("".join(json.dumps(row(number)) + "\n" for number in range(rows)))
        mine = seconds(ours, source, images) / rows * 1e6
        print(f"genixer:   {mine:6.1f} us a row (read, validate, write, sidecar)")
        for name, way in (("datasets", with_datasets), ("datatrove", with_datatrove)):
            try:
                theirs = seconds(way, source, images) / rows * 1e6
            except ImportError as error:
                print(f"{name}: left out, {error}")
                continue
            ratio = theirs / mine
            print(f"{name + ':':10} {theirs:6.1f} us a row, {ratio:.1f} x ours")


def peak_mb(rows: int) -> float:
    """Peak memory of a process that converts an array of `rows` to JSONL (on Linux)."""
    with tempfile.TemporaryDirectory() as folder:
        source, images = Path(folder) / "in.json", Path(folder) / "images"
        make_images(images)
        make_array(source, rows)
        done = subprocess.run(
            [sys.executable, __file__, "--convert", str(source), str(images)],
            check=True,
            capture_output=True,
            text=True,
        )
    return float(done.stdout)


def convert(source: Path, images: Path) -> None:
    ours(source, images, source.parent)
    status = Path("/proc/self/status").read_text()
    print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--array-rows", type=int, default=0)
    parser.add_argument("--convert", nargs=2, type=Path)
    given = parser.parse_args()
    if given.convert:
        convert(*given.convert)
        return
    logging.disable(logging.INFO)
    os.environ["DATATROVE_COLORIZE_LOGS"] = "0"
    compare(given.rows)
    if given.array_rows:
        found = peak_mb(given.array_rows)
        print(
            f"array of {given.array_rows} rows: {found:.0f} MB at the most; 1 GB: {found <= 1000}"
        )
        return
    few, many = given.rows, 5 * given.rows
    small, large = peak_mb(few), peak_mb(many)
    each = max(0.0, large - small) / (many - few)
    total = large + each * (MILLIONS - many)
    print(f"array: {small:.0f} MB for {few} rows, {large:.0f} MB for {many}")
    print(
        f"       so {total:.0f} MB for {MILLIONS} rows, wanted 1000 ({each * 1e6:.0f} bytes a row)"
    )


if __name__ == "__main__":
    main()
