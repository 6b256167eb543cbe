"""What holds for every test, and one report page that several draw."""

import base64
import io
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, settings
from PIL import Image, ImageDraw

from genixer.pipeline.run import run
from genixer.report.model import (
    Curve,
    Effect,
    Exhibit,
    Gallery,
    Ledger,
    Page,
    Seen,
    StudentRow,
    Students,
    Words,
)
from genixer.report.statistics import JudgeTally, precision_rows
from genixer.stages import STAGES

PLUGINS = Path(__file__).parent / "plugins"
# Makers of small models, and a scripted server, for tests in several folders.
sys.path += [str(Path(__file__).parent / "fixtures" / name) for name in ("models", "servers")]

# A busy machine is slow to build hypothesis's tables of characters; the code is not to blame.
settings.register_profile(
    "genixer", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("genixer")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Toy stages, found through entry points the way another package's would be."""
    monkeypatch.syspath_prepend(str(PLUGINS))
    monkeypatch.setenv("PYTHONPATH", str(PLUGINS), prepend=os.pathsep)
    monkeypatch.setattr(STAGES, "_all", None)


@pytest.fixture
def toy_config(toys: None, tmp_path: Path) -> Callable[..., Path]:
    """Writes a config of three toy stages; keywords replace whole steps, None removes one."""

    def write(**steps: object) -> Path:
        config = {
            "name": "toy",
            "seed": 7,
            "images": "@numbers/images",
            "workers": 0,
            "steps": {
                "total": {
                    "stage": "toy_sum",
                    "from": ["scale-*"],
                    "with": {"start": "@numbers/shared.txt"},
                },
                "numbers": {"stage": "toy_numbers", "with": {"count": 30, "pictures": True}},
                "scale": {
                    "stage": "toy_scale",
                    "matrix": {"factor": [2, 3]},
                    "from": ["numbers"],
                    "with": {"factor": "{factor}", "drop_below": 100},
                },
            }
            | steps,
        }
        config["steps"] = {name: one for name, one in config["steps"].items() if one is not None}
        path = tmp_path / "toy.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return path

    return write


@pytest.fixture(scope="session")
def example_page() -> Page:
    """A page with every section filled, 120 rows in the gallery."""
    rng = random.Random(7)
    tally = JudgeTally()
    exhibits = [_exhibit(number, rng) for number in range(120)]
    for row in exhibits:
        if "judge" in row.scores:
            tally.add(row.task, row.scores["judge"], row.truth)
    reasons = {"no_answer": 214, "box_outside": 61, "too_long": 7}
    funnel = [
        Ledger("generate", "generate", 3200, 3187, {}, {"image_gone": 13}),
        Ledger("decode", "decode", 3187, 2905, reasons, {}),
        Ledger("dedup", "dedup", 2905, 2410, {"duplicate": 495}, {}),
        Ledger("judge", "filter", 2410, 1622, {"judge_says_no": 702, "region_unlike_name": 86}, {}),
    ]
    return Page(
        title="example",
        digest="3f2a90cc51d8e7b64410",
        funnel=funnel,
        ledgers=[Ledger("world", "scenes", 2600, 2600), *funnel],
        seen=[Seen("generator", "base", {"vqav2": 900, "refcoco": 1400})],
        precision=precision_rows(_precision(rng)),
        judge=tally.judge("judge", 0.5),
        students=_students(rng),
        gallery=Gallery(2905, exhibits, [_picture(rng) for _ in range(12)]),
        curves=[
            Curve("generator", [(n, 3.2 / (1 + n / 20) + rng.random() / 5) for n in range(200)])
        ],
        versions={"genixer": "0.1.0", "torch": "2.13.0"},
        licences=["OpenMoji, CC BY-SA 4.0"],
        config="name: example\nseed: 7\n",
    )


def _picture(rng: random.Random) -> str:
    image = Image.new("RGB", (96, 96), (rng.randrange(150, 256), rng.randrange(150, 256), 210))
    ImageDraw.Draw(image).ellipse((20, 20, 60, 56), fill=(rng.randrange(200), 80, 90))
    data = io.BytesIO()
    image.save(data, "PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def _exhibit(number: int, rng: random.Random) -> Exhibit:
    task = ("rec", "common_vqa", "adversarial_vqa")[number % 3]
    score = rng.random()
    shared = {
        "id": f"{number:032x}",
        "task": task,
        "mode": ("agnostic", "specific")[number % 2],
        "image": number % 12,
        "size": (96, 96),
    }
    if number % 10 == 9:
        words = [Words("raw", [f"Question: what {number}"])]
        return Exhibit(
            outcome="unreadable", words=words, step="decode", reason="no_answer", **shared
        )
    kept = score >= 0.5
    answer: list[str | int] = ["at ", 0] if task == "rec" else [f"answer {number}"]
    return Exhibit(
        outcome="kept" if kept else "rejected",
        words=[
            Words("user", [f"Where is the red circle, number {number}?"]),
            Words("assistant", answer),
        ],
        marks=[[0.21, 0.21, 0.63, 0.59]] if task == "rec" else [],
        step="judge",
        reason="" if kept else "judge_says_no",
        scores={"judge": score},
        truth="right" if rng.random() < score else "wrong",
        detail="the picture has one circle",
        **shared,
    )


def _precision(rng: random.Random) -> dict[str, dict[str, dict[str, int]]]:
    tasks = ("adversarial_vqa", "common_vqa", "multiple_choice", "rec", "reg")
    return {
        column: {
            task: {"right": right * rng.randrange(2, 9), "wrong": wrong * 8, "unknown": 2}
            for task in tasks
        }
        for column, right, wrong in (("raw", 30, 12), ("kept", 30, 2))
    }


def _students(rng: random.Random) -> Students:
    rows = []
    for benchmark, kind in (("pope", ""), ("rec", ""), ("vqav2", ""), ("vqav2", "number")):
        base = rng.uniform(50, 60)
        arms = {"none": Effect(base, 3, (base - 2, base + 2))}
        for arm, gain in (("kept", 4.0), ("shuffled", -5.0), ("truth", 1.5)):
            value = base + gain
            arms[arm] = Effect(value, 3, (value - 2, value + 2), gain, (gain - 2.1, gain + 2.1))
        rows.append(StudentRow(benchmark, kind, "accuracy", 500, arms))
    return Students(["none", "kept", "shuffled", "truth"], "none", rows)


@pytest.fixture(scope="session")
def training_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished step of training text."""
    config = tmp_path_factory.mktemp("world") / "c.yaml"
    config.write_text("""
name: c
images: "@world"
steps:
  world: {stage: scenes, with: {pools: {labelled: {images: 6, backgrounds: [sky, sand]}}}}
  collect:
    stage: collect
    with:
      sources:
        - name: vqav2
          questions: "@world/labelled/annotations/vqav2_questions.json"
          annotations: "@world/labelled/annotations/vqav2_annotations.json"
          image_pattern: "labelled/images/{image_id:06d}.jpg"
          licence: CC BY-SA 4.0 (OpenMoji)
  instruct:
    stage: instruct
    from: [collect]
    with: {purpose: student, frame: padded_square, decimals: 2}
""")
    return run(config, out=config.parent / "run", workers=0).folder / "instruct"
