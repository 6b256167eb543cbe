"""What is asked: the requests an image gets, in every byte."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genixer.data import Request, encode_row
from genixer.stages.base import Step
from genixer.stages.requests import GenerateSettings, RequestPlan
from genixer.store.images import ImageCatalog

GOLDEN = Path(__file__).parent / "golden"
IMAGES = Path(__file__).parents[1] / "fixtures" / "images"


def planned(step: Step, writer: Any, **given: Any) -> Iterator[Request]:
    """Requests of a step in order, its plan written."""
    plan = RequestPlan(GenerateSettings.model_validate(given))
    plan.write(step, writer)
    yield from plan.requests(step, range(plan.count(step)), ImageCatalog(step.images), writer)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("default", {}),
        (
            "own",
            {
                "tasks": ["rec", "md", "common_vqa"],
                "modes": {"agnostic": 2, "specific": 3},
                "temperature": 0.5,
                "per_task": {"rec": {"temperature": 0.0}, "agnostic": {"top_k": 4}},
            },
        ),
    ],
)
def test_plans_of_old_settings_stay_the_same_to_the_byte(
    name: str, given: dict[str, Any], tmp_path: Path, memory_writer: Any
) -> None:
    step = Step("generate", 7, IMAGES, run=tmp_path)
    found = planned(step, memory_writer, images=str(IMAGES / "train"), **given)
    rows = b"".join(encode_row(request) + b"\n" for request in found)
    assert rows == (GOLDEN / f"requests_{name}.jsonl").read_bytes()
