"""Images looked at by the doctor, beside the same files through a loop over Pillow's `verify`.

Command:  python benchmarks/doctor.py [IMAGES]     (3000 by default, 640 x 480, one in ten a PNG)
Target:   at least 1.5 x the loop over all of them in one process; more with several.

In one process the processor's clock counts, with several the clock on the wall. A PNG is read and
summed by both ways; how long that alone takes is printed, with the ratio it leaves room for.

The loop sees neither a JPEG that is cut off nor how an image is turned; the doctor does. Also
printed: rows a second of a LLaVA file from the command line, and the memory that it takes.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from genixer.doctor.crew import MANY, look_at_all
from genixer.doctor.images import ImageDoctor

ROUNDS, ROWS = 5, 200_000


def write_images(folder: Path, count: int) -> list[str]:
    """Photograph-like pictures: smooth noise, the JPEGs of 80 kB, the PNGs of 540 kB."""
    rng = np.random.default_rng(7)
    small = rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((640, 480), Image.Resampling.BICUBIC)
    picture.save(folder / "one.jpg", quality=85)
    picture.save(folder / "one.png")
    names = []
    for number in range(count):
        suffix = "png" if number % 10 == 0 else "jpg"
        names.append(f"{number:06d}.{suffix}")
        (folder / names[-1]).write_bytes((folder / f"one.{suffix}").read_bytes())
    return names


def verify(folder: Path, names: list[str]) -> None:
    for name in names:
        with Image.open(folder / name) as image:
            image.verify()


def read_and_sum(folder: Path, names: list[str]) -> None:
    buffer = memoryview(bytearray((folder / names[0]).stat().st_size))
    for name in names:
        with (folder / name).open("rb", buffering=0) as file:
            zlib.crc32(buffer[: file.readinto(buffer)])


def look(folder: Path, names: list[str]) -> None:
    assert not any(health.faults for health in ImageDoctor(folder).look_at(names))


def look_together(folder: Path, names: list[str]) -> None:
    assert not any(health.faults for health in look_at_all(folder, names, many=1))


def microseconds(
    ways: list[Callable[..., None]],
    folder: Path,
    names: list[str],
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.process_time,
) -> list[float]:
    """For an image; ways take turns, and the best round is the least disturbed."""
    best = [float("inf")] * len(ways)
    for _ in range(rounds):
        for at, way in enumerate(ways):
            began = clock()
            way(folder, names)
            best[at] = min(best[at], clock() - began)
    return [seconds / len(names) * 1e6 for seconds in best]


def write_rows(path: Path, names: list[str]) -> None:
    def rows() -> Iterator[str]:
        for number in range(ROWS):
            said = [{"from": "human", "value": f"<image>\nWhere is number {number}?"}]
            said.append({"from": "gpt", "value": "It is [0.100,0.200,0.300,0.400]."})
            image = names[number % len(names)]
            yield json.dumps({"id": f"{number:x}", "image": image, "conversations": said})

    path.write_text("[" + ",\n".join(rows()) + "]")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        names = write_images(folder, count)
        cores = len(os.sched_getaffinity(0))
        kinds = {"all": names, "jpg": names[1:10] * 100, "png": names[::10][:200]}
        for kind, some in kinds.items():
            loop, alone = microseconds([verify, look], folder, some)
            print(f"{kind}: verify {loop:.1f} us, doctor {alone:.1f} us: {loop / alone:.2f} x")
        loop, least = microseconds([verify, read_and_sum], folder, kinds["png"])
        print(f"png: reading and summing alone {least:.1f} us: {loop / least:.2f} x at most")
        many = names * (MANY // count + 1)
        ways = [verify, look_together]
        loop, together = microseconds(ways, folder, many, rounds=1, clock=time.perf_counter)
        print(f"{len(many)} images, {cores} processes: {together:.1f} us: {loop / together:.2f} x")
        write_rows(folder / "rows.json", names)
        words = ("doctor", folder / "rows.json", "--frame", "unit", "--json")
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "genixer.cli", *words], capture_output=True)
        seconds = time.perf_counter() - began
        assert json.loads(done.stdout)["counts"] == {}
        size = (folder / "rows.json").stat().st_size
        print(f"{ROWS} rows, {size / 1e6:.0f} MB, a box each: {ROWS / seconds:.0f} rows/s")
        most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        print(f"memory at most: {most / 1e3:.0f} MB, the interpreter and Pillow included")


if __name__ == "__main__":
    main()
