import msgspec
import pytest
from pydantic import ValidationError

from genixer.data import Box, ImageRef, Origin, Point, Sample, SftRow, Turn
from genixer.stages.instruct import InstructSettings, InstructStage
from genixer.tasks import load_task
from genixer.tasks.base import Canvas
from genixer.tasks.instructions import lines


def ask(task, question, answer, image=0, kind="", boxes=((), ()), source="test"):
    ref = ImageRef(f"{image}.png", 200, 100, f"{image:064x}")
    turns = Turn("user", question, boxes[0]), Turn("assistant", answer, boxes[1])
    return Sample.of(task, ref, turns, Origin(source, question_type=kind))


LEFT, RIGHT = Box(0.0, 0.0, 0.25, 0.5), Box(0.5, 0.5, 1.0, 1.0)
MANY = [
    ask("common_vqa", f"What is number {n}?", f"thing {n % 7}", n % 10, "what") for n in range(200)
]
ONE_OF_EACH = [
    ask("common_vqa", "How many?", "2"),
    ask("adv_vqa", "Is there a cat?", "no"),
    ask("mc_vqa", "What?\nA. cat\nB. dog", "A"),
    ask("rec", "Where is the cat?", "<box>", boxes=((), (LEFT,))),
    ask("reg", "What is at <box>?", "cat", boxes=((LEFT,), ())),
    ask("reg", "What is at <box>?", "dog", boxes=((RIGHT,), ())),
    ask("dense_caption", "List.", "cat <box>, dog <box>", boxes=((), (LEFT, RIGHT))),
]


PLACED = [
    Sample.of(task, ONE_OF_EACH[0].image, turns, Origin("test"))
    for task, turns in {
        "point_qa": (
            Turn("user", "Is it new? <point>", points=(Point(0.5, 0.25),)),
            Turn("assistant", "yes"),
        ),
        "qcboxa": (
            Turn("user", "Is it red?"),
            Turn("assistant", "The cat <box> is. The answer is yes.", (LEFT,)),
        ),
        "rd": (
            *(Turn("user", "Who? <box>", (LEFT,)), Turn("assistant", "A cat.")),
            *(Turn("user", "And the dogs?"), Turn("assistant", "<box><box>", (LEFT, RIGHT))),
        ),
    }.items()
]


def stage(*purposes, **settings):
    return InstructStage(InstructSettings(purpose=purposes, **settings))


def rows(done):
    return [msgspec.json.decode(row, type=SftRow) for row in done.kept]


def test_words_alone_are_for_a_student_and_keep_their_brackets(run_stage):
    said = Turn("user", "Sort [0.9,0.1,0.5,0.2]."), Turn("assistant", "[0.1,0.2,0.5,0.9] \\<box>")
    alone = Sample.of("common_vqa", None, said, Origin("sharegpt"))
    purposes = "generator", "student", "judge"
    done = run_stage(stage(*purposes, short_answer_line="One word."), [alone, *MANY])
    assert [(one.id, one.reason) for one in done.rejects if one.id == alone.id] == [
        (alone.id, "no_image")
    ] * 2
    [row] = [row for row in rows(done) if row.sample_id == alone.id]
    assert (row.purpose, row.image) == ("student", None)
    assert [one.text for one in row.messages] == [
        *("Sort [0.9,0.1,0.5,0.2].", "[0.1,0.2,0.5,0.9] <box>"),
    ]


def test_generator_rows_decode_to_the_turns_they_were_made_of(run_stage):
    done = run_stage(stage("generator", frame="padded_square", decimals=2), ONE_OF_EACH)
    canvas = Canvas("padded_square", 2, 200, 100)
    by_id = {sample.id: sample for sample in ONE_OF_EACH}
    assert len(rows(done)) == 6
    for row in rows(done):
        user, assistant = row.messages
        assert user.role == "user"
        assert user.text.split("\n")[0] in lines("general")
        assert load_task(row.task).decode(assistant.text, canvas) == by_id[row.sample_id].turns
        assert (row.frame, row.decimals, row.source) == ("padded_square", 2, "test")
    assert [reject.reason for reject in done.rejects] == ["helper_task"]


def test_rows_with_points_and_dialogues_with_boxes_serve_every_purpose(run_stage):
    done = run_stage(stage("generator", "student", "judge"), PLACED)
    assert not done.rejects
    found = {(row.task, row.purpose): row.messages for row in rows(done)}
    assert len(found) == 9
    for sample in PLACED:
        text = found[sample.task, "generator"][1].text
        assert load_task(sample.task).decode(text, Canvas("unit", 3, 200, 100)) == sample.turns
        asked = found[sample.task, "student"][0].text
        assert asked.startswith(sample.turns[0].text.split("<")[0])
        assert found[sample.task, "judge"][1].text in ("Yes", "No")
    assert found["point_qa", "student"][0].text == "Is it new? [0.500,0.250]"


def test_share_of_task_agnostic_rows_is_what_the_settings_say(run_stage):
    for share in (0.0, 0.3, 1.0):
        settings = {"general_only": {"common_vqa": share}}
        found = rows(run_stage(stage("generator", **settings), MANY, name=f"s{share}"))
        agnostic = [row for row in found if row.mode == "agnostic"]
        assert abs(len(agnostic) / len(MANY) - share) < 0.1
        assert all(len(row.messages[0].text.split("\n")) == 1 for row in agnostic)


def test_student_rows_ask_the_question_and_take_the_line_for_short_answers(run_stage):
    done = run_stage(stage("student", short_answer_line="Answer in one word."), ONE_OF_EACH)
    texts = {row.task: [m.text for m in row.messages] for row in rows(done)}
    assert texts["common_vqa"] == ["How many?\nAnswer in one word.", "2"]
    assert texts["mc_vqa"] == ["What?\nA. cat\nB. dog", "A"]
    assert texts["rec"] == ["Where is the cat?", "[0.000,0.000,0.250,0.500]"]
    assert texts["dense_caption"][1].startswith("cat [0.000,0.000,0.250,0.500], dog [")


def test_half_of_the_judge_rows_are_wrong_and_none_of_them_is_right(run_stage):
    right = {(s.image.path, s.turns[0].text, s.turns[1].text) for s in MANY}
    found = rows(run_stage(stage("judge"), MANY))
    said = [row.messages[1].text for row in found]
    assert len(found) == len(MANY)
    assert abs(said.count("No") / len(said) - 0.5) < 0.1
    for row in found:
        shown = row.messages[0].text.removesuffix("\nIs the answer right?")
        question, answer = shown.removeprefix("Question: ").split(" Answer: ")
        is_true = (row.image.path, question, answer) in right
        assert row.messages[1].text == ("Yes" if is_true else "No")


def test_what_cannot_be_made_wrong_is_not_taught_as_always_right(run_stage):
    lonely = [ask("common_vqa", "What is this?", "a kind of tool", n) for n in range(20)]
    done = run_stage(stage("judge"), lonely)
    assert {reject.reason for reject in done.rejects} == {"no_wrong_twin"}
    assert done.kept == []


def test_a_wrong_box_or_name_comes_from_the_same_image(run_stage):
    found = rows(run_stage(stage("judge", judge_negatives=1.0), ONE_OF_EACH))
    reg = [row.messages[0].text for row in found if row.task == "reg"]
    assert len(reg) == 2
    assert "Answer: dog" in reg[0]
    assert "Answer: cat" in reg[1]


def test_a_judge_sees_a_dialogue_up_to_the_answer_in_question(run_stage):
    dialogues = [
        Sample.of(
            "md",
            ask("md", "", "", n).image,
            tuple(
                Turn(who, text)
                for question, answer in (("Is it old?", "yes"), ("How many?", "3"), ("Red?", "no"))
                for who, text in (("user", question), ("assistant", answer))
            ),
            Origin("test"),
        )
        for n in range(60)
    ]
    right = {"Is it old?": "yes", "How many?": "3", "Red?": "no"}
    lengths = {"Yes": set(), "No": set()}
    for row in rows(run_stage(stage("judge"), dialogues)):
        *shown, asked = row.messages[0].text.split("\n")
        assert asked == f"Is the {'last ' if len(shown) > 1 else ''}answer right?"
        pairs = [line.removeprefix("Question: ").split(" Answer: ") for line in shown]
        assert all(right[question] == answer for question, answer in pairs[:-1])
        question, answer = pairs[-1]
        assert row.messages[1].text == ("Yes" if right[question] == answer else "No")
        lengths[row.messages[1].text].add(len(shown))
    assert lengths == {"Yes": {1, 2, 3}, "No": {1, 2, 3}}


def test_several_purposes_lie_side_by_side_whatever_the_shards(run_stage):
    both = ("generator", "student", "judge")
    whole = run_stage(stage(*both), ONE_OF_EACH, name="a")
    parts = run_stage(stage(*both), ONE_OF_EACH, name="b", shard=4)
    assert whole.kept == parts.kept
    assert whole.rejects == parts.rejects
    assert [row.purpose for row in rows(whole)][:3] == list(both)
    assert len(whole.kept) + len(whole.rejects) == 3 * len(ONE_OF_EACH)


def test_rows_do_not_depend_on_the_other_rows_unless_a_judge_asks(run_stage):
    alone = run_stage(stage("generator", "student"), MANY[5:6], name="a").kept
    among = run_stage(stage("generator", "student"), MANY, name="b").kept
    assert set(alone) <= set(among)


def test_the_seed_changes_the_words(run_stage):
    one = run_stage(stage("generator"), MANY, name="a", seed=1).kept
    two = run_stage(stage("generator"), MANY, name="b", seed=2).kept
    assert one != two


def test_text_that_cannot_be_carried_is_counted_with_its_reason(run_stage):
    hostile = [
        ask("common_vqa", "Question: what?", "cat"),
        ask("common_vqa", "what?", "see [0.1,0.2]"),
        ask("common_vqa", "what <image>?", "cat"),
    ]
    done = run_stage(stage("generator"), hostile)
    assert [r.reason for r in done.rejects] == ["delimiter", "box_look_alike", "image_mark"]
    assert msgspec.convert(done.rejects[0].row, Sample) == hostile[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"purpose": "teacher"}, "generator"),
        ({"purpose": []}, "at least 1"),
        ({"purpose": ["judge", "judge"]}, "twice"),
        ({"general_only": {"recs": 0.1}}, "did you mean rec"),
        ({"general_only": {"rec": 1.1}}, "less than or equal"),
        ({"frame": "padded"}, "padded_square"),
    ],
)
def test_wrong_settings_are_found_early(settings, message):
    with pytest.raises(ValidationError, match=message):
        InstructSettings.model_validate(settings)


def test_one_purpose_may_be_written_as_a_word():
    assert InstructSettings.model_validate({"purpose": "judge"}).purpose == ("judge",)


@pytest.mark.parametrize("purpose", ["generator", "student", "judge"])
def test_turns_that_are_no_pairs_are_counted_and_disturb_no_other(run_stage, purpose):
    image = MANY[0].image
    said = [Turn("user", "What?"), Turn("assistant", "no cat"), Turn("user", "Where?")]
    bad = [
        Sample.of("common_vqa", image, turns, Origin("test", question_type="what"))
        for turns in (tuple(said), tuple(said[:1]), (), (said[0], said[0]), (said[1], said[1]))
    ]
    done = run_stage(stage(purpose), [*bad, *MANY])
    assert [reject.reason for reject in done.rejects] == ["not_pairs"] * 5
    assert len(done.kept) == 200


def test_a_dialogue_called_a_single_question_is_not_judged(run_stage):
    pair = Turn("user", "Is it?"), Turn("assistant", "yes")
    bad = Sample.of("common_vqa", MANY[0].image, pair * 2, Origin("test"))
    done = run_stage(stage("judge", judge_negatives=0.0), [bad])
    assert [reject.reason for reject in done.rejects] == ["wrong_task"]
