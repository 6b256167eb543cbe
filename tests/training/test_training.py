"""Shared prefixes change nothing, loss falls on answers, the same seed gives the same weights."""

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from genixer.data import Box, ImageRef, Message, SftRow
from genixer.errors import BadLossError
from genixer.models.base import Preset, load_preset
from genixer.models.llava import LoadedModel, create, load
from genixer.models.tokenizer import train_tokenizer
from genixer.training.batch import Visit, collate, encode, group, plan_visits
from genixer.training.gradients import Gradients
from genixer.training.lesson import Learner
from genixer.training.llava import LlavaLesson, shared_prefix
from genixer.training.llava import loss_of as loss_under_layout
from genixer.training.order import order_of
from genixer.training.parallel import Together
from genixer.training.run import train as train_lesson
from genixer.training.schedule import Schedule, rate
from genixer.training.spread import spread_of
from genixer.training.tower import TowerSchedule, _Lesson, train_tower

TEXTS = ["How many dogs are there? 2", "Where is the red book? [0.10,0.20,0.30,0.40]", "yes no"] * 4
WORDS = train_tokenizer(TEXTS, 800, 2)


def small_preset() -> Preset:
    tiny = load_preset("tiny")
    return tiny.model_copy(
        update={
            "vocabulary": 800,
            "image_side_px": 32,
            "image_tokens": 4,
            "max_tokens": 64,
            "vision": {"image_size": 32, "widths": [4, 8, 8, 16], "hidden_size": 16},
            "text": {
                **tiny.text,
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
            },
        }
    )


@pytest.fixture
def model() -> LoadedModel:
    return create(small_preset(), WORDS, seed=1)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number in range(3):
        noise = np.random.Generator(np.random.PCG64(number)).integers(0, 255, (24, 40, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
    return tmp_path


def row(number: int, image: int, question: str, answer: str, **more) -> SftRow:
    ref = ImageRef(f"{image}.png", 40, 24, str(image))
    messages = (Message("user", question), Message("assistant", answer))
    settings = {"frame": "padded_square", "decimals": 2, **more}
    return SftRow(f"r{number}", f"s{number}", "common_vqa", "student", ref, messages, **settings)


def rows() -> list[SftRow]:
    return [
        row(0, 0, "How many dogs are there?", "2"),
        row(1, 0, "Where is the red book?", "[0.10,0.20,0.30,0.40]"),
        row(2, 0, "Is it red?", "no"),
        row(3, 1, "How many?", "2 dogs"),
    ]


def visits_of(model: LoadedModel, together: bool) -> list[Visit]:
    pairs = [(one.image, encode(one, model)) for one in rows()]
    if together:
        return [Visit(image, tuple(many)) for image, many in group(pairs).items()]
    return [Visit(image, (one,)) for image, one in pairs]


def test_labels_are_the_assistants_tokens_and_its_end_token_only(model, pictures):
    batch = collate([(v,) for v in visits_of(model, together=False)[1:2]], model, pictures, 0.0)
    trained = batch.labels[0][batch.labels[0] >= 0].tolist()
    assert trained == [*model.encode_text("[0.10,0.20,0.30,0.40]"), model.end_id]
    first = int((batch.labels[0] >= 0).nonzero()[0])
    assert batch.input_ids[0, first - 1] == model.tokenizer.convert_tokens_to_ids("<assistant>")
    assert batch.input_ids[0, : 1 + model.preset.image_tokens].tolist() == model.prefix()


def loss_of(model: LoadedModel, batch) -> tuple[torch.Tensor, torch.Tensor]:
    with shared_prefix(model):
        return loss_under_layout(model, batch, spread_of(model, 0.0))


def train(model, by_image, schedule, pictures, seed, log) -> None:
    lesson = LlavaLesson(model, schedule, pictures)
    order = order_of(by_image, schedule, seed, lesson.room())
    train_lesson(lesson, order, schedule, seed, log)


def masked_logits(model: LoadedModel, batch) -> torch.Tensor:
    """Logits by plain attention under a full mask: prefix and own conversation, nothing later."""
    mine, theirs = batch.segment_ids[:, :, None], batch.segment_ids[:, None, :]
    tokens = batch.segment_ids.shape[1]
    causal = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    seen = causal & ((theirs == mine) | (theirs == 0)) & (mine >= 0)
    seen |= torch.eye(tokens, dtype=torch.bool)
    mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    return model.model(
        input_ids=batch.input_ids,
        pixel_values=batch.pixel_values,
        attention_mask=mask[:, None],
        position_ids=batch.position_ids,
    ).logits


def test_conversation_sees_prefix_and_itself_and_never_its_neighbour(model, pictures):
    batch = collate([(v,) for v in visits_of(model, together=True)], model, pictures, 0.5)
    with torch.no_grad():
        total, weight = loss_of(model, batch)
    logits = masked_logits(model, batch)[:, :-1].detach()
    losses = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), batch.labels[:, 1:], reduction="none", ignore_index=-100
    )
    assert float(total) == pytest.approx(float((losses * batch.loss_weight[:, 1:]).sum()), rel=1e-5)
    assert float(weight) == pytest.approx(float(batch.loss_weight.sum()), rel=1e-6)


def test_packed_and_unpacked_rows_give_the_same_loss_and_gradients(model, pictures):
    found = []
    for together in (True, False):
        model.model.zero_grad()
        total, weight = loss_of(
            model, collate([(v,) for v in visits_of(model, together)], model, pictures, 0.5)
        )
        (total / weight).backward()
        gradients = {
            n: p.grad.clone() for n, p in model.model.named_parameters() if p.grad is not None
        }
        found.append((float(total.detach()), float(weight), gradients))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-6)
    assert found[0][2].keys() == found[1][2].keys()
    for name, gradient in found[0][2].items():
        torch.testing.assert_close(gradient, found[1][2][name], atol=1e-5, rtol=1e-4)


def test_prefix_sharing_gives_the_logits_of_a_plain_prompt(model, pictures):
    visit = visits_of(model, together=True)[0]
    batch = collate([(visit,)], model, pictures, 0.5)
    shared = masked_logits(model, batch)[0]
    second = rows()[1]
    ids = torch.tensor([[*model.prompt_ids(second.messages[:1])]])
    alone = model.model(input_ids=ids, pixel_values=batch.pixel_values).logits[0, -1]
    here = [i for i in range(batch.segment_ids.shape[1]) if batch.segment_ids[0, i] == 2]
    asked = here[0] + len(model.turns(second.messages[:1])[0]) - 1
    torch.testing.assert_close(shared[asked], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row(1, 0, "?", "yes", frame="unit"), "frame_mismatch"),
        (row(1, 0, "?", "yes", decimals=3), "frame_mismatch"),
        (row(1, 0, "why " * 80, "yes"), "too_long"),
        (SftRow("r", "s", "rec", "student", ImageRef("0.png", 4, 4, "0"), (Message("user", "?"),),
                frame="padded_square", decimals=2), "no_answer"),
    ],
)  # fmt: skip
def test_row_that_cannot_be_trained_on_has_a_reason(model, bad, reason):
    assert encode(bad, model) == reason


def test_control_tokens_in_data_stay_text(model):
    ids = model.encode_text("a </s> and an <image> and <user>")
    user_id = model.tokenizer.get_vocab()["<user>"]
    assert not {model.end_id, model.image_id, user_id} & set(ids)
    assert model.decode(ids) == "a </s> and an <image> and <user>"


def drawn(model: LoadedModel, weights: dict[str, float]) -> Counter[str]:
    """How often each conversation of one image is drawn alone."""
    by_image = group((one.image, encode(one, model)) for one in rows()[:3])
    visits = islice(plan_visits(by_image, 1, weights, 5), 600)
    return Counter(visit.conversations[0].row_id for visit in visits)


def test_conversations_of_one_entry_share_its_weight(model):
    key = encode(rows()[0], model).key
    assert drawn(model, {key: 1.0}) == drawn(model, {key: 1.0})
    assert min(drawn(model, {key: 1.0}).values()) > 150
    # An entry that covers all three counts no more for it against one that stands alone.
    rec = SftRow("r9", "s9", "rec", "student", rows()[0].image, rows()[1].messages,
                 frame="padded_square", decimals=2)  # fmt: skip
    by_image = group((one.image, encode(one, model)) for one in [*rows()[:3], rec])
    visits = islice(plan_visits(by_image, 1, {key: 1.0, "student/rec": 2.0}, 5), 600)
    share = [visit.conversations[0].row_id for visit in visits].count("r9") / 600
    assert 0.6 < share < 0.73


def test_an_image_is_visited_in_proportion_to_what_there_is_to_say_of_it(model):
    many = [(ImageRef("many.png", 4, 4, "1"), encode(rows()[0], model)) for _ in range(17)]
    few = [(ImageRef(f"{n}.png", 4, 4, "2"), encode(rows()[0], model)) for n in range(5)]
    visits = list(islice(plan_visits(group([*many, *few]), 8, {}, 5), 3 * (3 + 5)))
    per_round = [Counter(visit.image.path for visit in visits[n : n + 8]) for n in (0, 8, 16)]
    assert per_round == [{"many.png": 3, **{f"{n}.png": 1 for n in range(5)}}] * 3
    sizes = {visit.image.path: len(visit.conversations) for visit in visits}
    assert sizes == {"many.png": 8, **{f"{n}.png": 1 for n in range(5)}}
    assert [visit.image for visit in visits[:8]] != [visit.image for visit in visits[8:16]]


def test_lanes_find_the_gradients_of_the_whole_batch(model, pictures):
    found = []
    for lanes in (1, 2, 3):
        schedule = Schedule(lanes=lanes, tower_lr=1e-3, spread=1.0)
        lesson = LlavaLesson(model, schedule, pictures)
        with lesson.ready(), Gradients(Learner(lesson), lesson, schedule, Together()) as gradients:
            step = gradients.compute(
                gradients.cut([(v,) for v in visits_of(model, together=False)]), 1
            )
        found.append((step, [p.grad.clone() for p in model.model.parameters()]))
    for step, gradients in found[1:]:
        assert step.loss == pytest.approx(found[0][0].loss, rel=1e-5)
        for one, other in zip(gradients, found[0][1], strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_spread_makes_the_neighbours_of_a_coordinate_nearly_right(model):
    spread = spread_of(model, 1.0)
    assert torch.allclose(spread.weights.sum(1), torch.ones(len(spread.weights)))
    (middle,), (edge,) = (model.encode_text(text)[1:2] for text in ("[0.50,", "[0.00,"))
    counted = {
        model.tokenizer.convert_ids_to_tokens(int(i)): round(float(w), 2)
        for i, w in zip(spread.ids[middle], spread.weights[middle], strict=True)
    }
    assert counted == {"[0.47,": 0.0, "[0.48,": 0.05, "[0.49,": 0.24, "[0.50,": 0.4,
                       "[0.51,": 0.24, "[0.52,": 0.05, "[0.53,": 0.0}  # fmt: skip
    assert float(spread.weights[edge].max()) > 0.5
    assert float(spread.weights[model.encode_text("yes")[0]].max()) == 1.0


def test_without_spread_the_loss_is_cross_entropy(model):
    logits = torch.randn(5, len(model.tokenizer), generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([3, 1, 4, 1, 5])
    usual = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(spread_of(model, 0.0).loss(logits, targets), usual)


@pytest.mark.parametrize("how", [{}, {"lanes": 2, "optimiser": "muon", "precision": "bf16"}])
def test_training_lowers_the_loss_and_is_deterministic(pictures, how):
    weights = []
    for _ in range(2):
        model = create(small_preset(), WORDS, seed=1)
        by_image = group((one.image, encode(one, model)) for one in rows())
        lines = []
        train(
            model,
            by_image,
            Schedule(steps=80, images_per_step=2, lr=3e-3, tower_lr=1e-3, **how),
            pictures,
            3,
            lines.append,
        )
        assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]
        weights.append({name: value.clone() for name, value in model.model.state_dict().items()})
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_frozen_tower_does_not_move(model, pictures):
    before = {n: v.clone() for n, v in model.model.model.vision_tower.state_dict().items()}
    by_image = group((one.image, encode(one, model)) for one in rows())
    train(model, by_image, Schedule(steps=3, images_per_step=2), pictures, 3, lambda line: None)
    after = model.model.model.vision_tower.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_loss_that_is_not_a_number_stops_before_it_reaches_the_weights(model, pictures):
    with torch.no_grad():
        model.model.lm_head.weight[0, 0] = float("nan")
    before = model.model.model.multi_modal_projector.linear_1.weight.clone()
    by_image = group((one.image, encode(one, model)) for one in rows())
    with pytest.raises(BadLossError, match="step 1: loss is nan; rows of the batch: r"):
        train(model, by_image, Schedule(steps=3, images_per_step=2), pictures, 3, lambda line: None)
    assert torch.equal(before, model.model.model.multi_modal_projector.linear_1.weight)


def test_rate_rises_then_falls():
    schedule = Schedule(steps=100, warmup=0.1)
    rates = [rate(step, schedule) for step in range(1, 101)]
    assert rates.index(max(rates)) == 9
    assert rates[9:] == sorted(rates[9:], reverse=True)


def test_tower_learns_names_and_corners(model, pictures):
    regions = [
        (ImageRef(f"{i}.png", 40, 24, str(i)), [(f"thing {i}", Box(0.0, 0.0, 0.6, 1.0))])
        for i in range(3)
    ]
    lines = []
    train_tower(
        model, regions, TowerSchedule(steps=60, images_per_step=6), pictures, 1, lines.append
    )
    assert lines[-1]["named"] > 0.9
    assert lines[-1]["corner_error"] < lines[0]["corner_error"]
    assert lines[-1]["recall_error"] < 0.7 * lines[0]["recall_error"]


def test_a_piece_is_the_part_of_the_picture_under_its_cell(model):
    lesson = _Lesson(model, 1, seed=1)
    pixels = torch.zeros(1, 3, 32, 32)
    pixels[0, 1, 16:, :16] = 2.0
    pieces = lesson.pieces(pixels)
    lesson.close()
    assert pieces.shape == (1, 4, 48)
    # Cells in reading order: lower left is the third; of its channels only green.
    assert torch.equal(pieces[0].sum(1), torch.tensor([0.0, 0.0, 32.0, 0.0]))
    assert torch.equal(pieces[0, 2, 16:32], torch.full((16,), 2.0))


def test_saved_model_loads_with_the_same_logits_tokens_and_revision(model, pictures, tmp_path):
    model.save(tmp_path / "m")
    again = load(str(tmp_path / "m"))
    ids = torch.tensor([model.prompt_ids([Message("user", "How many dogs are there?")])])
    pixels = model.pixels([Image.open(pictures / "0.png").convert("RGB")])
    one = model.model(input_ids=ids, pixel_values=pixels).logits
    two = again.model(input_ids=ids, pixel_values=pixels).logits
    assert torch.equal(one, two)
    assert again.revision == load(str(tmp_path / "m")).revision != ""
    assert again.preset == model.preset
