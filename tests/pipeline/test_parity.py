from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import yaml
from PIL import Image

from genixer.errors import DataError, ParityError, StoreError
from genixer.inference.parity import ParityBar, ParityReport
from genixer.pipeline.parity import parity
from genixer.pipeline.run import RunResult, run

Made = Callable[..., RunResult]


@pytest.fixture
def generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """`generated(name, malformed=..)`: a run of one generate step, its folder below this one."""
    monkeypatch.chdir(tmp_path)
    Path("pool").mkdir()
    for number in range(6):
        Image.new("RGB", (40, 30), (number, 0, 0)).save(f"pool/{number}.png")

    def make(name: str, malformed: float = 0.0, temperature: float = 0.0) -> RunResult:
        settings = {
            "images": "pool",
            "backend": "scripted",
            "backend_settings": {"malformed": malformed},
            "temperature": temperature,
        }
        steps = {
            "generate": {"stage": "generate", "with": settings},
            "read": {"stage": "decode", "from": ["generate"]},
        }
        path = Path(f"{name}.yaml")
        path.write_text(yaml.safe_dump({"name": name, "steps": steps}))
        return run(path, out=name, workers=0)

    return make


def test_two_runs_of_one_backend_are_the_same(generated: Made, tmp_path: Path) -> None:
    generated("here"), generated("there")
    report = parity("here", "there/generate", out="parity.json")
    assert report.passed
    assert (report.requests, report.same_text, report.same_boxes) == (42, 1.0, 1.0)
    assert report.boxes > 5
    stored = msgspec.json.decode(Path("parity.json").read_bytes(), type=ParityReport)
    assert stored == report


def test_a_report_that_fails_is_written_too(generated: Made) -> None:
    generated("here"), generated("there", malformed=1.0)
    report = parity("here", "there", bar=ParityBar(requests=20), out="parity.json")
    assert not report.passed
    assert report.requests == 20
    assert report.worst[0].first != report.worst[0].second
    assert msgspec.json.decode(Path("parity.json").read_bytes())["failures"]


def test_sampled_runs_prove_nothing(generated: Made) -> None:
    generated("here", temperature=0.7)
    with pytest.raises(ParityError, match="temperature: 0"):
        parity("here", "here")


def test_what_is_no_generate_step_is_refused(generated: Made, tmp_path: Path) -> None:
    generated("here")
    with pytest.raises(DataError, match="a step of the stage decode"):
        parity("here/read", "here")
    with pytest.raises(StoreError, match="no finished step"):
        parity("pool", "here")
