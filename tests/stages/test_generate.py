import json
import tarfile
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from genixer.data import Completion, Generation, Request, Sample, encode_row
from genixer.errors import BackendError, ConfigError
from genixer.filters.rules import RulesFilter, RulesSettings
from genixer.inference.scripted import ScriptedBackend, ScriptedSettings
from genixer.stages.base import Step
from genixer.stages.decode import DecodeSettings, DecodeStage
from genixer.stages.generate import GenerateStage
from genixer.stages.requests import GenerateSettings
from genixer.tasks.instructions import lines
from genixer.tasks.zero_shot import ZERO_SHOT


class Desk:
    """A writer that keeps everything in memory, files excepted."""

    deaths = 0

    def __init__(self, step: Step) -> None:
        self.work = Path(tempfile.mkdtemp(dir=step.run))
        self.files = step.run / step.name / "files"
        self.kept: list[Generation] = []
        self.quarantines: list[tuple[str, str]] = []
        self.raw: list[str | bytes] = []

    def file(self, path: str, data: bytes) -> None:
        target = self.files / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def hold(self, who: str, revision: str) -> None:
        assert who
        assert revision

    def workspace(self) -> Path:
        return self.work

    def keep(self, row: Generation) -> None:
        self.kept.append(row)

    def reject(
        self, id: str, reason: str, row: Any, scores: Mapping[str, float] | None = None
    ) -> None:
        raise AssertionError(f"generate rejected {id}: {reason}")

    def quarantine(self, where: str, reason: str, detail: str = "", raw: str | bytes = "") -> None:
        self.quarantines.append((where, reason))
        self.raw.append(raw)


@pytest.fixture
def step(tmp_path: Path) -> Step:
    pictures = tmp_path / "world" / "files" / "pool"
    (pictures / "deep").mkdir(parents=True)
    for number in range(6):
        Image.new("RGB", (20 + number, 30), (40 * number, 90, 200)).save(pictures / f"{number}.png")
    Image.new("RGB", (9, 9)).save(pictures / "deep" / "z.jpg")
    return Step("generate", 7, tmp_path / "world" / "files", run=tmp_path)


def stage(**settings: Any) -> GenerateStage:
    given = {"images": "@world/pool", "backend": "scripted", "block": 8, **settings}
    return GenerateStage(GenerateSettings.model_validate(given))


def run(made: GenerateStage, step: Step, shard: int = 512) -> Desk:
    desk = Desk(step)
    made.prepare(step, desk)  # type: ignore[arg-type]
    items = made.items(step)
    for first in range(0, items, shard):
        made.process(step, first, min(shard, items - first), desk)  # type: ignore[arg-type]
    return desk


def test_tasks_with_places_go_from_request_to_sample_in_both_modes(step: Step, run_stage) -> None:
    placed = {"point_qa", "qcboxa", "rd"}
    asked = {"tasks": sorted(placed), "modes": {"agnostic": 9, "specific": 2}}
    desk = run(stage(backend_settings={"malformed": 0.0}, max_new_tokens=64, **asked), step)
    done = run_stage(DecodeStage(DecodeSettings()), desk.kept, name="decode")
    assert not done.rejects
    samples = list(done.rows(Sample))
    by_mode = Counter((sample.task, sample.origin.mode) for sample in samples)
    for task in placed:
        assert by_mode[task, "specific"] == 14
        assert by_mode[task, "agnostic"] > 0
    limits = RulesSettings(min_side_px=0.1, max_box_aspect=100.0)
    verdicts = RulesFilter(limits).judge([one for one in samples if one.task in placed], Path())
    assert {verdict.reason for verdict in verdicts} == {""}


def test_every_image_gets_each_task_in_both_modes(step: Step) -> None:
    desk = run(stage(tasks=["rec", "md"], modes={"agnostic": 2, "specific": 3}), step)
    asked = Counter((row.request.task, row.request.mode) for row in desk.kept)
    assert asked == {("", "agnostic"): 14, ("rec", "specific"): 21, ("md", "specific"): 21}
    assert len({row.id for row in desk.kept}) == 56


def test_the_licence_of_the_pictures_goes_along_to_the_samples(step: Step, run_stage) -> None:
    asked = {"tasks": ["rec"], "licence": "CC BY 4.0", "backend_settings": {"malformed": 0.0}}
    done = run_stage(DecodeStage(DecodeSettings()), run(stage(**asked), step).kept, name="decode")
    samples = list(done.rows(Sample))
    assert samples
    assert {one.origin.licence for one in samples} == {"CC BY 4.0"}


def test_requests_about_one_image_lie_side_by_side_in_the_order_of_names(step: Step) -> None:
    paths = [row.request.image.path for row in run(stage(tasks=["rec"]), step).kept]
    assert paths == sorted(paths)
    assert paths[-2:] == ["pool/deep/z.jpg"] * 2


def test_shards_of_any_size_give_the_same_rows(step: Step) -> None:
    one, many = run(stage(), step, 512), run(stage(), step, 16)
    assert one.kept == many.kept
    assert len(one.kept) == 49


def test_unreadable_images_cost_all_their_requests_and_no_others(step: Step) -> None:
    whole = run(stage(), step)
    (step.images / "pool" / "2.png").write_bytes(b"\x89PNG and then nothing")
    (step.images / "pool" / "3.png").write_bytes(b"")
    broken = run(stage(), step)
    reasons = Counter(reason for _, reason in broken.quarantines)
    assert reasons == {"corrupt_image": 7, "empty_image": 7}
    assert {"pool/3.png#agnostic:0", "pool/3.png#rec:0"} <= {
        where for where, _ in broken.quarantines
    }
    spared = [row for row in whole.kept if row.request.image.path[5] not in "23"]
    assert broken.kept == spared


def test_an_image_that_vanishes_after_the_plan_is_quarantined(step: Step) -> None:
    made, desk = stage(), Desk(step)
    made.prepare(step, desk)  # type: ignore[arg-type]
    (step.images / "pool" / "5.png").unlink()
    made.process(step, 0, 49, desk)  # type: ignore[arg-type]
    assert Counter(reason for _, reason in desk.quarantines) == {"missing_image": 7}
    assert len(desk.kept) == 42


class Blind(ScriptedBackend):
    """A model that never finds its images."""

    def generate(self, requests: Sequence[Request], images: Path) -> list[Completion]:
        return super().generate(requests, images / "elsewhere")


def test_an_image_the_model_cannot_take_is_quarantined_with_its_request(step: Step) -> None:
    made = stage(tasks=["rec"])
    made._backend = Blind("any", 1, ScriptedSettings())
    desk = run(made, step)
    assert {reason for _, reason in desk.quarantines} == {"backend_error"}
    assert len(desk.quarantines) == 14
    assert json.loads(desk.raw[1])["task"] == "rec"


def test_words_and_luck_follow_from_the_request_and_the_seed_of_the_run(step: Step) -> None:
    first, again = run(stage(), step).kept, run(stage(), step).kept
    other = run(stage(), Step(step.name, 8, step.images, run=step.run)).kept
    assert first == again
    assert [row.id for row in first] == [row.id for row in other]
    seeds = [{row.request.sampling.seed for row in rows} for rows in (first, other)]
    assert not seeds[0] & seeds[1]


def test_agnostic_requests_hold_a_general_line_only(step: Step) -> None:
    rows = run(stage(), step).kept
    free = [row.request.prompt for row in rows if row.request.mode == "agnostic"]
    assert set(free) <= set(lines("general"))
    named = [row.request.prompt.splitlines()[1] for row in rows if row.request.task == "reg"]
    assert named
    assert set(named) <= set(lines("reg"))


def test_sampling_is_set_in_general_and_by_task(step: Step) -> None:
    made = stage(
        tasks=["rec", "md"],
        temperature=0.5,
        max_new_tokens=30,
        per_task={"rec": {"temperature": 0.0}, "agnostic": {"max_new_tokens": 9, "top_k": 4}},
    )
    found = {row.request.task: row.request.sampling for row in run(made, step).kept}
    assert (found["rec"].temperature, found["rec"].max_new_tokens) == (0.0, 30)
    assert (found["md"].temperature, found["md"].top_k) == (0.5, 0)
    assert (found[""].max_new_tokens, found[""].top_k) == (9, 4)


def test_rows_say_how_their_boxes_are_written_and_who_wrote_them(step: Step) -> None:
    row = run(stage(model="/home/someone/models/mine"), step).kept[0]
    assert (row.frame, row.decimals, row.generator) == ("unit", 3, "mine")
    assert row.revision
    assert row.id == row.request.id == row.completion.request_id


def test_a_limited_step_plans_no_more_images_than_it_needs(step: Step) -> None:
    limited = Step(step.name, 7, step.images, run=step.run, limit=10)
    desk = Desk(limited)
    made = stage()
    made.prepare(limited, desk)  # type: ignore[arg-type]
    assert len((desk.files / "plan" / "00000.jsonl").read_bytes().splitlines()) == 2
    made.process(limited, 0, 10, desk)  # type: ignore[arg-type]
    assert len(desk.kept) == 10


def test_the_plan_may_span_files(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(stage(), step).kept
    monkeypatch.setattr("genixer.stages.requests._PLAN_ROWS", 2)
    assert run(stage(), step, 16).kept == whole
    assert len(list((step.run / "generate" / "files" / "plan").iterdir())) == 4


def test_a_failing_model_stops_the_shard(step: Step) -> None:
    with pytest.raises(BackendError, match="fail_every"):
        run(stage(backend_settings={"fail_every": 2}), step)


def test_rows_of_answers_that_were_kept_are_the_same_bytes_without_a_model(step: Step) -> None:
    first, again = Desk(step), Desk(step)
    again.work = first.work
    for desk, backend in ((first, "scripted"), (again, "vlm")):
        made = stage(backend=backend, model="nothing here")
        made.prepare(step, desk)  # type: ignore[arg-type]
        made.process(step, 0, 49, desk)  # type: ignore[arg-type]
    assert list(map(encode_row, again.kept)) == list(map(encode_row, first.kept))
    assert len(first.kept) == 49


def test_a_shard_that_starts_inside_a_block_is_refused(step: Step) -> None:
    with pytest.raises(ConfigError, match="inside a block of 8; set rows_per_shard"):
        run(stage(), step, 20)


def test_a_folder_outside_the_image_root_is_refused(step: Step, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(ConfigError, match="not inside the run's image root"):
        stage(images=str(tmp_path / "elsewhere")).items(step)
    with pytest.raises(ConfigError, match="no folder or file @world/pol"):
        stage(images="@world/pol").items(step)


def test_a_pool_without_images_is_refused_and_archives_in_it_are_hinted_at(step: Step) -> None:
    (step.images / "empty").mkdir()
    (step.images / "empty" / "0.tar").touch()
    with pytest.raises(ConfigError, match=r"@world/empty holds no images.*pool/\*\.tar"):
        stage(images="@world/empty").items(step)


def test_images_of_a_tar_are_asked_about_like_those_of_its_folder(step: Step) -> None:
    pool = step.images / "pool"
    with tarfile.open(step.images / "pool.tar", "w") as out:
        for path in sorted(pool.rglob("*.*")):
            out.add(path, path.relative_to(pool).as_posix())
        out.addfile(tarfile.TarInfo("/abs.png"))
    whole, packed = run(stage(), step), run(stage(images="@world/pool.tar"), step, 16)
    assert [row.id for row in packed.kept] == [row.id for row in whole.kept]
    assert packed.kept[0].request.image.path == "pool.tar/0.png"
    assert Counter(reason for _, reason in packed.quarantines) == {"path_escapes": 7}


def test_what_is_broken_in_a_pool_costs_its_requests_and_keeps_its_bytes(step: Step) -> None:
    rows = ['{"image": "pool/1.png"}', '{"image": 7}', '{"conversations": []}']
    (step.images / "data.jsonl").write_text("\n".join(rows))
    made = stage(images="@world/data.jsonl", tasks=["rec"])
    desk = run(made, step)
    assert made.items(step) == 4
    assert [row.request.image.path for row in desk.kept] == ["pool/1.png"] * 2
    assert desk.quarantines == [
        ("data.jsonl:2#agnostic:0", "bad_entry"),
        ("data.jsonl:2#rec:0", "bad_entry"),
    ]
    assert desk.raw == [b'{"image": 7}'] * 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": ["rce"]}, "no task is called 'rce'; did you mean reg, rec"),
        ({"tasks": ["rec", "rec"]}, "stands twice"),
        ({"per_task": {"mdd": {}}}, "did you mean md"),
        ({"per_task": {"md": {"heat": 1}}}, "heat"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stage(**settings)


def test_files_of_the_user_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    assert stage(model="@train/model").external() == []
    assert stage(model="@train/model", images=str(tmp_path)).external() == [tmp_path]
    assert [path.name for path in stage(model="base").external()] == ["base"]
    for name in ("1.tar", "0.tar"):
        (tmp_path / name).touch()
    many = stage(model="@train/model", images=str(tmp_path / "*.tar"))
    assert many.external() == [tmp_path / "0.tar", tmp_path / "1.tar"]
    column = stage(model="@train/model", images=str(tmp_path / "0.tar" / "image"))
    assert column.external() == [tmp_path / "0.tar"]
    assert stage(model="@train/model", images="gone.tar").external() == [Path("gone.tar")]


def test_the_estimate_counts_requests_where_the_folder_is_known(step: Step) -> None:
    assert stage(images=str(step.images / "pool")).estimate({}).items == 49
    assert stage().estimate({}).items is None


def test_a_request_id_leaves_the_place_of_the_image_out(step: Step) -> None:
    row = run(stage(tasks=["rec"]), step).kept[0].request
    moved = Request.of(row.image, row.task, row.mode, row.draw, "", row.sampling)
    assert moved.id == row.id


def test_a_real_model_writes_the_same_rows_whatever_the_shards(step: Step) -> None:
    from genixer.models.base import load_preset
    from genixer.models.llava import create
    from genixer.models.tokenizer import train_tokenizer

    preset = Path(__file__).parent.parent / "fixtures" / "models" / "small.yaml"
    weights = step.run / "generator" / "files" / "model"
    create(
        load_preset(str(preset)), train_tokenizer(["Where is the red book?"] * 3, 800, 2), seed=1
    ).save(weights)
    real = {"backend": "transformers", "model": "@generator/model", "max_new_tokens": 6}
    one, many = run(stage(**real), step), run(stage(**real), step, 24)
    assert one.kept == many.kept
    assert len(one.kept) == 49
    assert (one.kept[0].generator, one.kept[0].frame) == ("@generator/model", "padded_square")
    (step.images / "pool" / "4.png").write_bytes(b"")
    left = run(stage(**real), step)
    assert len(left.kept) == 42
    assert len(left.quarantines) == 7


def test_zero_shot_answers_in_json_are_read_for_every_task(step: Step, run_stage) -> None:
    asked = {"tasks": sorted(ZERO_SHOT), "prompts": "zero_shot", "max_new_tokens": 100}
    desk = run(stage(backend_settings={"malformed": 0.0}, **asked), step)
    assert all(row.completion.text.startswith("{") for row in desk.kept)
    settings = DecodeSettings(readers=("json", "fenced_json"))
    done = run_stage(DecodeStage(settings), desk.kept, name="decode")
    assert not done.rejects
    samples = list(done.rows(Sample))
    by_task = Counter(one.task for one in samples if one.origin.mode == "specific")
    assert by_task == dict.fromkeys(ZERO_SHOT, 7)
    assert {one.origin.reader for one in samples} == {"json"}


def test_answers_of_another_kind_than_asked_for_are_refused(step: Step, run_stage) -> None:
    quotas = {"agnostic": 0, "adv_vqa": {"present": None, "absent": None}}
    asked = {"tasks": ["adv_vqa"], "quotas": quotas, "modes": {"specific": 4}}
    desk = run(stage(backend_settings={"malformed": 0.0}, **asked), step)
    done = run_stage(DecodeStage(DecodeSettings()), desk.kept, name="decode")
    assert {one.reason for one in done.rejects} == {"other_kind"}
    samples = list(done.rows(Sample))
    assert samples
    told = {"yes": "present", "no": "absent"}
    assert all(told[one.turns[1].text] == one.origin.question_type for one in samples)
    assert len(done.kept) + len(done.rejects) == 7 * 4 * 2
