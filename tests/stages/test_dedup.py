"""The dedup stage keeps the first of each."""

import json
import random

import pytest

from genixer.data import ImageRef, Origin, Sample, Turn
from genixer.stages.dedup import DedupSettings, DedupStage, first_positions


def sample(question: str, answer: str = "yes", source: str = "a") -> Sample:
    turns = Turn("user", question), Turn("assistant", answer)
    return Sample.of("common_vqa", ImageRef("a.png", 9, 9, "ab"), turns, Origin(source))


ROWS = [
    *(sample("New?"), sample("Old?"), sample("new", "no")),
    *(sample("Old ?"), sample("Red?"), sample("NEW?")),
]


def test_the_first_of_each_question_is_kept_in_order(run_stage) -> None:
    step = run_stage(DedupStage(DedupSettings()), ROWS)
    assert [s.turns[0].text for s in step.rows(Sample)] == ["New?", "Old?", "Red?"]
    assert [r.reason for r in step.rejects] == ["duplicate"] * 3


def test_with_content_another_answer_is_another_sample(run_stage) -> None:
    step = run_stage(DedupStage(DedupSettings(by="content")), ROWS)
    assert len(step.kept) == 4


@pytest.mark.parametrize("shard", [1, 2, 4])
def test_shards_do_not_change_the_result(run_stage, shard: int) -> None:
    step = run_stage(DedupStage(DedupSettings()), ROWS, shard=shard)
    assert [s.turns[0].text for s in step.rows(Sample)] == ["New?", "Old?", "Red?"]


def test_a_file_says_which_row_was_kept_instead(run_stage) -> None:
    step = run_stage(DedupStage(DedupSettings()), ROWS, shard=4)
    notes = [
        json.loads(line)
        for path in sorted(step.files.glob("duplicates/*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    assert notes == [
        {"id": ROWS[2].id, "duplicate_of": ROWS[0].id},
        {"id": ROWS[3].id, "duplicate_of": ROWS[1].id},
        {"id": ROWS[5].id, "duplicate_of": ROWS[0].id},
    ]


def test_no_rows_make_an_empty_index(run_stage) -> None:
    assert run_stage(DedupStage(DedupSettings()), []).kept == []


def test_first_positions_agree_with_a_dictionary() -> None:
    rng = random.Random(3)
    keys = [rng.randrange(40).to_bytes(16, "big") for _ in range(300)]
    seen: dict[bytes, int] = {}
    expected = [seen.setdefault(key, i) for i, key in enumerate(keys)]
    found = first_positions(b"".join(keys))
    assert [int.from_bytes(found[i : i + 8], "little") for i in range(0, 2400, 8)] == expected
