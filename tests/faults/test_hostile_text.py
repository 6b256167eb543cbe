"""Whatever a model says is kept to the letter or kept aside; nothing it says stops a run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from genixer.data import Generation
from genixer.pipeline.api import export
from genixer.pipeline.run import run
from genixer.pipeline.verify import verify
from genixer.store.reader import open_step
from genixer.store.shards import raw_bytes

SAYS = [
    r"a\x00b Answer: \x00",
    r"line\u2028and\u2029paragraph\x85 Answer: next\u2028",
    r"\u202eright to left\u202c \u05d0\u05d1\u05d2 Answer: \u0627\u0644\u0639",
    "1000000*x",
    r"\n\n1\n\r\n{}",
    "Where is it? Answer: [nan,Infinity,-Infinity,NaN]",
    "Where is it? Answer: [" + ",".join(["9" * 400] * 4) + "]",
    "Where is it? Answer: [0." + "1" * 400 + ",0.1,0.2,1e999]",
    r"\"}\n{\"id\":\"forged\"}\n",
    "<image><s>[INST]</s> Answer: <box>",
    r"\U0001f980 Answer: \U0001f469\u200d\U0001f680",
    "",
]
DECODED = {"decode": {"stage": "decode", "from": ["generate"], "rows_per_shard": 8}}


def meant(text: str) -> str:
    times, _, one = text.rpartition("*")
    return one.encode().decode("unicode_escape") * int(times or 1)


@pytest.mark.parametrize("backend", ["toy_model", "toy_stream"])
def test_hostile_answers_are_kept_to_the_letter_through_every_step(
    generate: Callable[..., Path], tmp_path: Path, backend: str
) -> None:
    done = run(generate(backend, DECODED, says=SAYS), out=tmp_path / "run", workers=0)
    assert verify(done.folder).ok
    rows = list(open_step(done.folder / "generate").rows(Generation))
    assert len(rows) == 24
    for row in rows:
        number = int(row.request.image.path.partition(".")[0])
        assert row.completion.text == meant(SAYS[number])
    lines = (done.folder / "generate" / "part-00000.jsonl").read_bytes().split(b"\n")
    assert [json.loads(line)["id"] for line in lines[:-1]] == [row.id for row in rows[:16]]
    decoded = done.manifests["decode"].counts
    assert decoded.items == 24
    assert not decoded.quarantined
    if decoded.kept:
        export(done.folder, "messages", tmp_path / "out.jsonl", step="decode")
        written = (tmp_path / "out.jsonl").read_bytes().split(b"\n")[:-1]
        assert len([json.loads(line) for line in written]) == decoded.kept


@pytest.mark.parametrize("backend", ["toy_model", "toy_stream"])
def test_half_a_character_is_kept_aside_with_its_bytes(
    generate: Callable[..., Path], tmp_path: Path, backend: str
) -> None:
    says = [r"good", r"half \ud83e of it", r"\udc80"]
    done = run(generate(backend, says=says), out=tmp_path / "run", workers=0)
    assert verify(done.folder).ok
    counts = done.manifests["generate"].counts
    assert (counts.kept, counts.quarantined) == (8, {"bad_answer": 16})
    found = list(open_step(done.folder / "generate").quarantined())
    assert {raw_bytes(row.raw) for row in found} == {
        "half \ud83e of it".encode("utf-8", "surrogatepass"),
        b"\x80",
    }
    assert {row.detail for row in found} == {
        "no Unicode text: surrogates not allowed at character 5",
        "no Unicode text: surrogates not allowed at character 0",
    }


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_log_probability_that_is_no_number_is_kept_aside(
    generate: Callable[..., Path], tmp_path: Path, number: str
) -> None:
    config = generate("toy_model", says=["text"], logprob=number)
    done = run(config, out=tmp_path / "run", workers=0)
    assert done.manifests["generate"].counts.quarantined == {"bad_answer": 24}
    assert verify(done.folder).ok


def test_a_picture_under_two_names_gives_rows_for_both_and_one_listed_twice_for_one(
    generate: Callable[..., Path], pool: Path, tmp_path: Path
) -> None:
    (pool / "100.png").write_bytes((pool / "3.png").read_bytes())
    names = [f"{number}.png" for number in (3, 1, 3, 100, 2)]
    (pool / "list.txt").write_text("\n".join(names))
    for backend in ("toy_model", "toy_stream"):
        config = generate(backend, more={"images": str(pool / "list.txt")})
        done = run(config, out=tmp_path / backend, workers=0)
        rows = list(open_step(done.folder / "generate").rows(Generation))
        paths = [row.request.image.path for row in rows]
        assert paths == [name for name in dict.fromkeys(names) for _ in range(2)]
        assert len({row.id for row in rows}) == 6
        assert len({(row.id, row.completion.text) for row in rows}) == 6
        assert verify(done.folder).ok
