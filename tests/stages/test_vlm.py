"""An image-text model of the library in the stages: zero-shot, trained here, and as a judge."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from tiny_vlms import FAMILIES, PRESETS

from genixer.data import Box, Generation, Message, Origin, Sample, SftRow, Turn
from genixer.filters.judge import JudgeFilter, JudgeSettings, yes_share
from genixer.inference.vlm import VlmBackend
from genixer.models.vlm import LoadedVlm, load_vlm
from genixer.stages.decode import DecodeSettings, DecodeStage
from genixer.stages.generate import GenerateStage
from genixer.stages.requests import GenerateSettings
from genixer.store.images import ImageCatalog
from genixer.tasks import load_task
from genixer.training.batch import Visit
from genixer.training.chat import VlmLesson, encode_chat

TASKS = ("rec", "common_vqa")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pool")
    for number, colour in enumerate(["red", "green"]):
        image = Image.new("RGB", (80, 60), "white")
        ImageDraw.Draw(image).rectangle((8, 6, 40 + 10 * number, 50), fill=colour)
        image.save(root / f"{number}.png")
    (root / "broken.png").write_bytes(b"no picture")
    return root


@pytest.fixture(params=["qwen2_5_vl", "smolvlm", "paligemma"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> LoadedVlm:
    FAMILIES[request.param](tmp_path / "theirs")
    return load_vlm(str(tmp_path / "theirs"), PRESETS[request.param])


def generate(run_stage, pool: Path, model: Path, **settings: object):
    given = {
        "images": str(pool),
        "model": str(model),
        "backend": "vlm",
        "tasks": TASKS,
        "max_new_tokens": 48,
        "temperature": 0.0,
        **settings,
    }
    return run_stage(
        GenerateStage(GenerateSettings.model_validate(given)), images=pool, name="generate"
    )


@pytest.mark.parametrize("hint", ["pairs", "json"])
def test_zero_shot_every_row_is_accounted_for(
    run_stage, pool: Path, model: LoadedVlm, hint: str
) -> None:
    settings = {"preset": model.preset.name, "hint": hint}
    done = generate(run_stage, pool, model.folder, backend_settings=settings, temperature=1.0)
    assert len(done.kept) == 2 * 3
    assert [one.where.partition("#")[0] for one in done.quarantines] == ["broken.png"] * 3
    rows = list(done.rows(Generation))
    assert {(row.frame, row.decimals) for row in rows} == {
        (model.preset.frame, model.preset.decimals)
    }
    stage = DecodeStage(DecodeSettings(readers=("json", "fenced_json", "marks", "bold")))
    read = run_stage(stage, rows, name="decode")
    assert len(read.kept) + len(read.rejects) == len(rows)
    assert all(one.reason for one in read.rejects)


def test_zero_shot_prompts_fit_every_model_and_every_row_is_accounted_for(
    run_stage, pool: Path, model: LoadedVlm
) -> None:
    settings = {"preset": model.preset.name}
    tasks = ("rec", "reg", "md", "mc_vqa")
    given = {"prompts": "zero_shot", "tasks": tasks, "temperature": 1.0}
    done = generate(run_stage, pool, model.folder, backend_settings=settings, **given)
    assert len(done.kept) == 2 * 5
    assert {one.reason for one in done.quarantines} == {"not_an_image"}
    rows = list(done.rows(Generation))
    assert all(row.request.schema and row.completion.token_ids for row in rows)
    stage = DecodeStage(DecodeSettings(readers=("json", "fenced_json")))
    read = run_stage(stage, rows, name="decode")
    assert len(read.kept) + len(read.rejects) == len(rows)


def _taught(model: LoadedVlm, pool: Path) -> tuple[list[SftRow], dict[tuple[str, str], Sample]]:
    """What the generator should write for each picture and task."""
    catalog, rows, truth = ImageCatalog(pool), [], {}
    for number, name in enumerate(["red", "green"]):
        image = catalog.ref(f"{number}.png")
        canvas = model.canvas(image.width, image.height)
        box = Box(0.1, 0.1, 0.5 + 0.125 * number, 50 / 60)
        conversations = {
            "rec": (Turn("user", f"the {name} thing"), Turn("assistant", "<box>", (box,))),
            "common_vqa": (Turn("user", "What colour is it?"), Turn("assistant", name)),
        }
        for task, turns in conversations.items():
            said = load_task(task).encode(turns, canvas)
            truth[image.path, task] = Sample.of(task, image, turns, Origin("truth"))
            rows += [
                SftRow(
                    f"{task}{number}", "", task, "generator", image,
                    (Message("user", asked), Message("assistant", said)),
                    "specific", model.preset.frame, model.preset.decimals,
                )
                for asked in (f"Write for {task}.",)
            ]  # fmt: skip
    return rows, truth


def _train(model: LoadedVlm, rows: list[SftRow], pool: Path, steps: int = 150) -> None:
    lesson = VlmLesson(model, pool)
    visits = []
    for row in rows:
        found = encode_chat(row, model)
        assert not isinstance(found, str), found
        visits.append((Visit(row.image, (found,)),))
    optimiser = torch.optim.AdamW(lesson.network.parameters(), lr=4e-3)
    batch = lesson.batch(visits)
    model.model.train()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 4e-3 * (1 - step / steps)
        total, weight = lesson.loss(batch)
        optimiser.zero_grad()
        (total / weight).backward()
        optimiser.step()
    model.model.eval()


def test_what_it_was_taught_it_writes_and_the_codec_reads(
    run_stage, pool: Path, model: LoadedVlm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, truth = _taught(model, pool)
    _train(model, rows, pool)
    model.save(tmp_path / "ours")
    for task in TASKS:
        kind = type(load_task(task))
        monkeypatch.setattr(kind, "ask", lambda self, rng, mode: f"Write for {self.name}.")
    done = generate(
        run_stage, pool, tmp_path / "ours", modes={"agnostic": 0, "specific": 1}, block=8
    )
    assert len(done.kept) == 4
    read = run_stage(DecodeStage(DecodeSettings()), list(done.rows(Generation)), name="decode")
    assert not read.rejects
    for sample in read.rows(Sample):
        expected = truth[sample.image.path, sample.task]
        assert [turn.text for turn in sample.turns] == [turn.text for turn in expected.turns]
        for turn, true in zip(sample.turns, expected.turns, strict=True):
            for box, other in zip(turn.boxes, true.boxes, strict=True):
                assert box.iou(other) > 0.9


def test_as_judge_it_scores_what_its_probabilities_say(pool: Path, model: LoadedVlm) -> None:
    image = ImageCatalog(pool).ref("0.png")
    turns = [
        (Turn("user", "Is it red?"), Turn("assistant", "yes")),
        (Turn("user", "Where?"), Turn("assistant", "<box>", (Box(0.1, 0.1, 0.5, 0.5),))),
        (Turn("user", "Is it red?"), Turn("assistant", f"yes {model.chat.tokenizer.eos_token}")),
    ]
    samples = [Sample.of("common_vqa", image, turn, Origin("x")) for turn in turns]
    given = {"model": str(model.folder), "backend": "vlm", "keep_above": 0.0}
    settings = JudgeSettings(**given, backend_settings={"preset": model.preset.name})
    judge = JudgeFilter(settings)
    verdicts = judge.judge(samples, pool)
    assert [verdict.keep for verdict in verdicts[:2]] == [True, True]
    assert verdicts[2].reason != "judge_failed"
    requests = [request for one in samples for request in judge._requests(one)]
    choices = VlmBackend.of(model).choose(requests, ["Yes", "No"], pool)
    assert [verdict.score for verdict in verdicts] == [
        pytest.approx(yes_share(*choice.logprobs), abs=1e-5) for choice in choices
    ]


def test_a_step_depends_on_its_presets_file(tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text("name: mine\n", encoding="utf-8")
    settings = {"preset": str(preset)}
    made = GenerateStage(
        GenerateSettings.model_validate(
            {"images": "@a/b", "backend": "vlm", "model": "@c/d", "backend_settings": settings}
        )
    )
    assert made.external() == [preset]


def test_an_image_of_no_shape_the_model_takes_is_quarantined(
    run_stage, tmp_path: Path, model: LoadedVlm
) -> None:
    root = tmp_path / "pool"
    root.mkdir()
    Image.fromarray(np.zeros((2, 900, 3), np.uint8)).save(root / "strip.png")
    settings = {"preset": model.preset.name}
    done = generate(run_stage, root, model.folder, backend_settings=settings)
    assert len(done.kept) + len(done.quarantines) == 3
    if model.preset.name == "qwen2_5_vl":
        assert {one.reason for one in done.quarantines} == {"backend_error"}
