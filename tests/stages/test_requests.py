"""What is asked: the requests an image gets, in every byte."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as over
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from genixer.data import Request, encode_row
from genixer.stages.base import Step
from genixer.stages.quotas import Lane, Spread
from genixer.stages.requests import GenerateSettings, RequestPlan
from genixer.store.images import ImageCatalog
from genixer.tasks.base import Canvas

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


LANES = st.lists(
    st.tuples(st.integers(0, 3), st.none() | st.integers(0, 40)).map(
        lambda drawn: Lane("rec", "specific", "", *drawn)
    ),
    max_size=4,
)


@over(LANES, st.integers(1, 30))
def test_quotas_are_met_exactly_and_spread_evenly(lanes: list[Lane], images: int) -> None:
    spread = Spread(lanes, images)
    for at, lane in enumerate(lanes):
        most = lane.draws * images
        assert spread.planned(at) == min(most, most if lane.quota is None else lane.quota)
        alone = [spread._before(at, one + 1) - spread._before(at, one) for one in range(images)]
        assert max(alone) - min(alone) <= 1
        assert max(alone) <= lane.draws
    numbered = [image for image in range(images) for _ in spread.asked(image)]
    assert len(numbered) == spread.total
    assert [spread.image_of(number) for number in range(spread.total)] == numbered
    assert [spread.before(image) for image in numbered] == [numbered.index(one) for one in numbered]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    (tmp_path / "many").mkdir()
    for number in range(20):
        Image.new("RGB", (20 + number, 30)).save(tmp_path / "many" / f"{number:02}.png")
    return tmp_path / "many"


QUOTAS = {"rec": 5, "common_vqa": {"yes_no": 7, "number": 3, "any": None}, "agnostic": 0}


def test_tasks_and_kinds_get_their_quota_and_no_two_requests_are_one(
    many: Path, tmp_path: Path, memory_writer: Any
) -> None:
    step = Step("generate", 7, many, run=tmp_path)
    asked = {"tasks": ["rec", "common_vqa", "md"], "quotas": QUOTAS, "modes": {"specific": 2}}
    found = list(planned(step, memory_writer, images=str(many), **asked))
    assert Counter((one.task, one.kind) for one in found) == {
        ("rec", ""): 5,
        ("common_vqa", "yes_no"): 7,
        ("common_vqa", "number"): 3,
        ("common_vqa", ""): 40,
        ("md", ""): 40,
    }
    assert len({one.id for one in found}) == len(found)
    assert {one.prompt.splitlines()[2] for one in found if one.kind == "yes_no"} == {
        "The answer is yes or no."
    }
    about = [one.image.path for one in found]
    assert about == sorted(about)


def test_any_cut_into_shards_gives_the_same_requests(
    many: Path, tmp_path: Path, memory_writer: Any
) -> None:
    step = Step("generate", 7, many, run=tmp_path)
    given = {"images": str(many), "tasks": ["rec", "common_vqa"], "quotas": QUOTAS}
    whole = list(planned(step, memory_writer, **given))
    plan, catalog = RequestPlan(GenerateSettings.model_validate(given)), ImageCatalog(many)
    for size in (1, 7, 13):
        starts = range(0, len(whole), size)
        cuts = [range(start, min(start + size, len(whole))) for start in starts]
        parts = [plan.requests(step, cut, catalog, memory_writer) for cut in cuts]
        assert [one for part in parts for one in part] == whole


def test_a_limit_takes_the_first_requests_of_the_whole(
    many: Path, tmp_path: Path, memory_writer: Any
) -> None:
    step = Step("generate", 7, many, run=tmp_path, limit=6)
    given = {"images": str(many), "tasks": ["rec"], "quotas": {"rec": 10, "agnostic": 5}}
    plan = RequestPlan(GenerateSettings.model_validate(given))
    plan.write(step, memory_writer)
    found = list(plan.requests(step, range(6), ImageCatalog(many), memory_writer))
    assert plan.count(step) == 15
    names = (memory_writer.files / "plan" / "00000.jsonl").read_bytes().splitlines()
    assert len(names) == len(set(names)) < 20
    assert found[-1].image.path == names[-1].decode().strip('"')


def test_a_quota_out_of_reach_is_told(
    many: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    plan = RequestPlan(
        GenerateSettings(images=str(many), tasks=("rec",), quotas={"rec": 30, "agnostic": 20})
    )
    assert plan.count(Step("generate", 7, many, run=tmp_path)) == 40
    assert [line for line in caplog.messages if "quota" in line] == [
        "generate: rec: 20 requests of a quota of 30; raise modes for more of each image"
    ]


@pytest.mark.parametrize(
    ("quotas", "says"),
    [
        ({"recc": 3}, "did you mean rec"),
        ({"common_vqa": {"yesno": 3}}, "did you mean yes_no"),
        ({"rec": {"yes_no": 3}}, "known: any"),
        ({"rd": 3}, "rd is not among `tasks`"),
        ({"rec": -1}, "greater than or equal to 0"),
    ],
)
def test_quotas_of_what_there_is_not_are_refused(quotas: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        GenerateSettings(images="pool", quotas=quotas)


def test_zero_shot_requests_carry_schema_and_box_convention(
    many: Path, tmp_path: Path, memory_writer: Any
) -> None:
    step = Step("generate", 7, many, run=tmp_path)
    given = {"images": str(many), "tasks": ["rec"], "prompts": "zero_shot"}
    trained = list(planned(step, memory_writer, images=str(many), tasks=["rec"]))
    plan = RequestPlan(GenerateSettings.model_validate(given))
    found = list(
        plan.requests(
            step,
            range(40),
            ImageCatalog(many),
            memory_writer,
            lambda width, height: Canvas("per_1000", 0, width, height),
        )
    )
    assert [one.id for one in found] == [one.id for one in trained]
    assert [one.sampling for one in found] == [one.sampling for one in trained]
    assert all(one.schema["additionalProperties"] is False for one in found)
    assert "from 0 to 1000 across" in found[1].prompt
