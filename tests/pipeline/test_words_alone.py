"""Conversations without an image, from a LLaVA file through a mixture to training and export."""

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from genixer.data import Sample, SftRow
from genixer.pipeline.api import export, import_samples
from genixer.pipeline.run import run
from genixer.store.reader import open_step

IMAGES = Path(__file__).parents[1] / "fixtures" / "images"


def rows() -> list[dict[str, object]]:
    """Six rows about two images, five of words alone, one that only lost its image."""

    def said(*texts: str) -> list[dict[str, str]]:
        return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]

    about = [
        {"id": i, "image": f"{1 + i % 2}.png", "conversations": said(f"<image>\nNo. {i}?", "cat")}
        for i in range(6)
    ]
    alone = [
        {"id": 10 + i, "conversations": said(f"Sort [0.{i},0.2].", "[0.1,0.2]", "Sure?", "Yes.")}
        for i in range(5)
    ]
    return [*about, *alone, {"id": 20, "conversations": said("<image>\nWhere?", "here")}]


@pytest.fixture
def mixture(tmp_path: Path) -> Path:
    path = tmp_path / "mix665k.json"
    path.write_text(json.dumps(rows()))
    return path


@pytest.mark.slow
def test_words_alone_are_mixed_taught_and_trained_on(mixture: Path, tmp_path: Path) -> None:
    steps = {
        "base": {"stage": "import", "with": {"format": "llava", "path": str(mixture)}},
        "mix": {"stage": "mix", "from": {"base": ["base"]}, "with": {"arm": "none"}},
        "lessons": {
            "stage": "instruct",
            "from": ["mix"],
            "with": {"purpose": "student", "frame": "padded_square", "decimals": 3},
        },
        "student": {
            "stage": "train",
            "from": ["lessons"],
            "with": {
                "model": "new:tiny_llava",
                "epochs": 1,
                "order": "grouped",
                "images_per_step": 2,
                "conversations_per_image": 1,
            },
        },
    }
    config = tmp_path / "words.yaml"
    config.write_text(yaml.safe_dump({"name": "words", "images": str(IMAGES), "steps": steps}))
    out = tmp_path / "run"
    run(config, out=out, workers=0)
    imported = open_step(out / "base")
    assert [one.reason for one in imported.quarantined()] == ["no_image"]
    mixed = Counter(sample.image is None for sample in open_step(out / "mix").rows(Sample))
    assert mixed == {False: 6, True: 5}
    lessons = list(open_step(out / "lessons").rows(SftRow))
    assert Counter(row.image is None for row in lessons) == {False: 6, True: 5}
    log = (out / "student" / "files" / "log.jsonl").read_text().splitlines()
    assert json.loads(log[-1])["step"] == 6


def test_an_export_carries_them_or_counts_them_by_name(mixture: Path, tmp_path: Path) -> None:
    out = tmp_path / "imported"
    import_samples(mixture, out, images=IMAGES, allow_loss=True)
    for name in ("llava", "messages"):
        file = tmp_path / f"{name}.jsonl"
        assert export(out, file, format=name)["written"] == 11
        written = [json.loads(line) for line in file.read_text().splitlines()]
        assert sum(not (row.get("image") or row.get("images")) for row in written) == 5
        assert "<image>" not in json.dumps(written[6:])
    done = export(out, tmp_path / "out.jsonl", format="shikra", allow_loss=True)
    assert done == {"written": 6, "no_image": 5}
    copied = export(out, tmp_path / "c.json", copy_images=tmp_path / "copies")
    assert copied == {"written": 11}
    assert len(list((tmp_path / "copies").iterdir())) == 2
