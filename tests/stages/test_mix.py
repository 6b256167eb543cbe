from collections import Counter

import msgspec
import pytest
from pydantic import ValidationError

from genixer.data import Box, ImageRef, Origin, Sample, Turn, encode_row
from genixer.errors import ConfigError
from genixer.stages.base import Estimate
from genixer.stages.mix import MixSettings, MixStage
from tests.stages.conftest import MemoryStep


def ask(at, question, answer, task="common_vqa", source="genixer", boxes=(), **origin):
    image = ImageRef(f"{at}.png", 10, 10, f"{at:064x}")
    turns = Turn("user", question), Turn("assistant", answer, boxes)
    return Sample.of(task, image, turns, Origin(source, **origin))


BASE = [ask(at, "What?", f"base {at}", source="vqav2") for at in range(40)]
SYNTHETIC = [
    *(ask(at, "What?", f"thing {at}", scores={"judge": 0.9}) for at in range(20)),
    *(ask(at, "Is there a cat?", "yes" if at % 3 else "no", "adv_vqa") for at in range(20)),
    *(ask(at, "What?\nA. a\nB. b", "AB"[at % 2], "mc_vqa") for at in range(4)),
    *(ask(at, "What?\nA. a\nB. b\nC. c", "C", "mc_vqa") for at in range(3)),
    *(ask(at, "Where?", "<box>", "rec", boxes=(Box(at / 10, 0.0, 1.0, 1.0),)) for at in range(3)),
]


@pytest.fixture
def mix(run_stage, tmp_path):
    made = []

    def run(arm, base=BASE, synthetic=SYNTHETIC, truth=None, **settings):
        roles = {"base": base, "synthetic": synthetic, "truth": truth}
        inputs = {
            role: [MemoryStep(role, "any", tmp_path, [encode_row(row) for row in rows])]
            for role, rows in roles.items()
            if rows is not None
        }
        made.append(arm)
        known = {key: settings.pop(key) for key in ("shard", "seed", "limit") if key in settings}
        stage = MixStage(MixSettings(arm=arm, **settings))
        done = run_stage(stage, inputs, name=f"mix-{len(made)}", **known)
        done.samples = [msgspec.json.decode(row, type=Sample) for row in done.kept]
        return done

    return run


def test_arm_none_is_the_base_alone(mix):
    assert mix("none").samples == BASE
    assert mix("none", synthetic=None).samples == BASE


def test_arm_kept_is_both_in_order(mix):
    assert mix("kept").samples == [*BASE, *SYNTHETIC]
    assert mix("kept", base=None).samples == SYNTHETIC


def test_arms_draw_the_same_samples_and_account_for_the_rest(mix):
    settings = {"base_fraction": 0.5, "max_synthetic": 15}
    kept, shuffled = mix("kept", **settings), mix("shuffled", **settings)
    none = mix("none", base_fraction=0.5)
    base = [sample for sample in kept.samples if sample.origin.source == "vqav2"]
    assert none.samples == base
    assert 10 < len(base) < 30
    synthetic = [sample.id for sample in kept.samples[len(base) :]]
    assert len(synthetic) == 15
    parents = [sample.origin.parents[0] for sample in shuffled.samples[len(base) :]]
    alone = [reject.id for reject in shuffled.rejects if reject.reason == "no_other_answer"]
    assert sorted(parents + alone) == sorted(synthetic)
    assert {reject.reason for reject in kept.rejects} == {"not_drawn"}
    assert len(kept.samples) + len(kept.rejects) == len(BASE) + len(SYNTHETIC)


def test_shuffled_answers_are_those_of_others_with_the_same_form(mix):
    found = mix("shuffled", base=None).samples
    for before, after in zip(SYNTHETIC, found, strict=True):
        assert after.turns[0] == before.turns[0]
        assert (after.image, after.task) == (before.image, before.task)
        assert after.origin.parents == (before.id,)
        assert after.origin.scores == {}
    for task in ("common_vqa", "adv_vqa", "mc_vqa", "rec"):
        answers = [
            Counter(encode_row(s.turns[1]) for s in rows if s.task == task)
            for rows in (SYNTHETIC, found)
        ]
        assert answers[0] == answers[1]
    # Every answer is different among the first twenty, so nobody may have kept their own.
    for before, after in zip(SYNTHETIC[:20], found[:20], strict=True):
        assert before.turns[1] != after.turns[1]
    for sample in found:
        if "\nB. b" in sample.turns[0].text and "\nC" not in sample.turns[0].text:
            assert sample.turns[1].text in "AB"


def test_answers_in_words_and_in_places_are_not_exchanged(mix):
    box, other = Box(0.1, 0.1, 0.4, 0.4), Box(0.5, 0.5, 0.9, 0.9)

    def point_qa(at, question, asked, answer, said=()):
        image = ImageRef(f"{at}.png", 10, 10, f"{at:064x}")
        turns = Turn("user", question, asked), Turn("assistant", answer, said)
        return Sample.of("point_qa", image, turns, Origin("genixer", "CC BY 4.0"))

    rows = [point_qa(at, "What is in <box>?", (box,), f"thing {at}") for at in range(8)]
    rows += [
        point_qa(at, "Which is it? <box> <box>", (box, other), "<box>", ((box, other)[at % 2],))
        for at in range(8)
    ]
    found = mix("shuffled", base=None, synthetic=rows).samples
    assert [len(one.turns[1].boxes) for one in found] == [0] * 8 + [1] * 8
    assert {one.origin.licence for one in found} == {"CC BY 4.0"}


def test_an_answer_that_nobody_else_can_take_is_counted(mix):
    done = mix("shuffled", base=None, synthetic=SYNTHETIC[:1])
    assert [reject.reason for reject in done.rejects] == ["no_other_answer"]


def test_dialogues_exchange_all_answers_at_once(mix):
    def talk(at, *texts):
        turns = tuple(Turn("assistant" if n % 2 else "user", text) for n, text in enumerate(texts))
        return Sample.of("md", ImageRef("a.png", 1, 1, f"{at:064x}"), turns, Origin("genixer"))

    rows = [talk(1, "a?", "1", "b?", "2"), talk(2, "c?", "3", "d?", "4"), talk(3, "e?", "5")]
    done = mix("shuffled", base=None, synthetic=rows)
    assert [[t.text for t in s.turns] for s in done.samples] == [
        ["a?", "3", "b?", "4"],
        ["c?", "1", "d?", "2"],
    ]
    assert [reject.reason for reject in done.rejects] == ["no_other_answer"]


def test_turns_that_are_no_pairs_exchange_nothing(mix):
    said = Turn("user", "What?"), Turn("assistant", "cat")
    image = ImageRef("a.png", 1, 1, "0" * 64)
    bad = [
        Sample.of("common_vqa", image, turns, Origin("genixer"))
        for turns in ((), said[1:], said[1:] * 2, said[:1] * 2, (*said, said[0]))
        for _ in range(2)
    ]
    done = mix("shuffled", base=None, synthetic=[*bad, *SYNTHETIC])
    assert [reject.reason for reject in done.rejects] == ["no_other_answer"] * 10
    assert len(done.samples) == len(SYNTHETIC)


def test_arm_truth_puts_the_true_version_in_place(mix):
    truth = [
        ask(at, "What?", f"true {at}", source="scenes", parents=(SYNTHETIC[at].id,))
        for at in (3, 1, 7)
    ]
    done = mix("truth", base=BASE[:2], synthetic=SYNTHETIC[:10], truth=truth)
    assert done.samples == [*BASE[:2], truth[1], truth[0], truth[2]]
    assert Counter(reject.reason for reject in done.rejects) == {"no_true_answer": 7}


@pytest.mark.parametrize("arm", ["none", "kept", "shuffled", "truth"])
def test_shards_do_not_change_the_mixture(mix, arm):
    truth = [ask(at, "What?", "true", parents=(SYNTHETIC[at].id,)) for at in range(20)]
    settings = {"truth": truth, "max_synthetic": 30, "base_fraction": 0.7}
    whole, parts = mix(arm, **settings), mix(arm, shard=7, **settings)
    assert whole.kept == parts.kept
    assert whole.rejects == parts.rejects


def test_another_seed_draws_others(mix):
    settings = {"max_synthetic": 20, "base": None}
    assert mix("kept", seed=1, **settings).kept != mix("kept", seed=2, **settings).kept


def test_a_short_run_sees_both_parts(mix):
    assert mix("kept", limit=10).samples[:10] == [*BASE[:5], *SYNTHETIC[:5]]
    assert mix("none", limit=10).samples[:10] == BASE[:10]


def test_nothing_synthetic_is_fine(mix):
    assert mix("shuffled", synthetic=[]).samples == BASE
    assert mix("kept", max_synthetic=0).samples == BASE


@pytest.mark.parametrize(
    ("arm", "roles", "missing"),
    [
        ("none", {"base": None}, "base"),
        ("kept", {"synthetic": None}, "synthetic"),
        ("truth", {"truth": None}, "truth"),
    ],
)
def test_a_missing_role_is_named(mix, arm, roles, missing):
    with pytest.raises(ConfigError, match=f"needs the role '{missing}'"):
        mix(arm, **roles)


def test_an_estimate_counts_what_is_drawn():
    inputs = {"base": [Estimate(50, 40), Estimate(10, 10)], "synthetic": [Estimate(30, 30)]}
    settings = MixSettings(arm="kept", base_fraction=0.2, max_synthetic=20)
    found = MixStage(settings).estimate(inputs)
    assert (found.items, found.kept) == (80, 30)
    assert MixStage(MixSettings(arm="none", base_fraction=0.2)).estimate(inputs).kept == 10
    assert MixStage(settings).estimate({"base": [Estimate()]}).kept is None


def test_an_unknown_arm_is_refused():
    with pytest.raises(ValidationError, match="shuffled"):
        MixSettings.model_validate({"arm": "best"})
