"""The verbs `collect`, `instruct` and `mix`: each a run that is whole."""

import json
import logging
import shutil
import signal
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import genixer
from genixer import cli
from genixer.errors import ConfigError, StoreError
from genixer.pipeline.one_stage import run_stage
from genixer.pipeline.run import run as run_config
from genixer.pipeline.settings import read_run

FIXTURES = Path(__file__).parents[1] / "fixtures"
IMAGES = f"images={FIXTURES / 'images'}"
SOURCE = f"sources=[{{name: pope, questions: {FIXTURES / 'sources' / 'pope.jsonl'}}}]"
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """Runs the command line in this process: exit code, output, errors."""
    before, level = signal.getsignal(signal.SIGTERM), logging.getLogger("genixer").level

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["genixer", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return int(stopped.value.code or 0), *capsys.readouterr()

    yield run
    signal.signal(signal.SIGTERM, before)
    logging.getLogger("genixer").setLevel(level)


@pytest.fixture
def collected(tmp_path: Path) -> Path:
    sources = [{"name": "pope", "questions": str(FIXTURES / "sources" / "pope.jsonl")}]
    settings = {"images": str(FIXTURES / "images"), "seed": 3, "sources": sources}
    return run_stage("collect", tmp_path / "collected", settings, workers=0).folder


def test_each_verb_reads_what_the_one_before_made(call: Call, tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("collected", "told", "mixed"))
    code, out, _ = call("collect", IMAGES, "seed=3", SOURCE, "--out", first, "--workers", 0)
    assert code == 0
    assert out.splitlines()[0].startswith("step     stage    in  kept")
    words = ("--from", first / "collect", "--workers", 0)
    code, out, _ = call("instruct", "purpose=[student]", *words, "--out", second, "--json")
    assert code == 0
    told = json.loads(out)
    assert told["worked"] == ["instruct"]
    assert told["steps"]["instruct"]["in"] == told["steps"]["collect"]["kept"] > 0
    words = ("--from", f"base={second / 'collect'}", "--workers", 0)
    code, out, _ = call("mix", "arm=none", "base_fraction=0.5", *words, "--out", third)
    assert code == 0
    for run in (first, second, third):
        assert genixer.verify(run).ok
    known = read_run(third)
    assert known is not None
    assert (known.order, known.config["seed"]) == (["collect", "mix"], 3)


def test_the_same_command_again_has_nothing_to_do(collected: Path, tmp_path: Path) -> None:
    sources = {"rows": [collected / "collect"]}
    for worked in (("instruct",), ()):
        result = run_stage(
            "instruct", tmp_path / "out", {"purpose": ["student"]}, sources=sources, workers=0
        )
        assert result.worked == worked
    again = {"rows": [tmp_path / "out" / "collect"]}
    result = run_stage(
        "instruct", tmp_path / "two", {"purpose": ["judge"]}, sources=again, workers=0
    )
    assert list(result.manifests) == ["collect", "instruct"]


def test_a_name_that_is_taken_gets_a_number(
    toy_config: Callable[..., Path], tmp_path: Path
) -> None:
    run = genixer.run(toy_config(), out=tmp_path / "run").folder
    settings = {"factor": 5, "drop_below": 0}
    result = run_stage(
        "toy_scale", tmp_path / "a", settings, sources={"rows": [run / "scale-2"]}, workers=0
    )
    assert list(result.manifests) == ["numbers", "scale-2", "scale-3", "toy_scale"]
    assert result.worked == ("toy_scale",)
    sources = {"rows": [tmp_path / "a" / "toy_scale"]}
    result = run_stage("toy_scale", tmp_path / "b", settings, sources=sources, workers=0)
    assert list(result.manifests)[-1] == "toy_scale-2"


def test_a_limited_collect_has_a_folder_of_its_own(call: Call, tmp_path: Path) -> None:
    words = (IMAGES, SOURCE, "--out", tmp_path / "c", "--limit", 1, "--workers", 0)
    assert call("collect", *words)[0] == 0
    assert (tmp_path / "c-limit-1" / "collect" / "manifest.json").is_file()


def test_what_cannot_be_run_is_said(call: Call, collected: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    code, _, err = call("instruct", "purpose=[student]", *out)
    assert (code, "give its folder, --from RUN/STEP" in err) == (2, True)
    code, _, err = call("collect", "sources=[{name: pop}]", *out)
    assert code == 2
    assert "genixer collect: steps.collect.with.sources.0.name" in err
    assert "did you mean pope" in err
    code, _, err = call("mix", "arms=kept", "--from", f"base={collected / 'collect'}", *out)
    assert (code, "unknown key; did you mean arm" in err) == (2, True)
    code, _, err = call("mix", "arm=kept", "--from", f"base={collected / 'colect'}", *out)
    assert (code, "did you mean collect" in err) == (2, True)
    assert not (tmp_path / "out").exists()

    def refused(**options: object) -> str:
        with pytest.raises((ConfigError, StoreError)) as error:
            run_stage("mix", tmp_path / "out", {"arm": "none"}, **options)
        return str(error.value)

    assert "no run is here" in refused(sources={"base": [tmp_path / "x"]})
    two = [collected / "collect", tmp_path / "x" / "collect"]
    assert "steps of 2 runs" in refused(sources={"base": two})
    assert "--limit would change" in refused(sources={"base": [collected / "collect"]}, limit=1)
    with pytest.raises(ConfigError, match="seed would change the steps it reads"):
        run_stage("mix", tmp_path / "out", {"seed": 1}, sources={"base": [collected / "collect"]})


def test_a_step_that_is_not_what_its_config_makes_is_not_read(
    toy_config: Callable[..., Path], tmp_path: Path
) -> None:
    given = tmp_path / "given.txt"
    given.write_text("5")
    made = {"count": 30, "pictures": True, "files": [str(given)]}
    numbers = {"stage": "toy_numbers", "with": made}
    run = genixer.run(toy_config(numbers=numbers), out=tmp_path / "run").folder
    given.write_text("6")
    sources = {"rows": [run / "scale-3"]}
    with pytest.raises(StoreError, match="what it was made of has changed since"):
        run_stage("toy_scale", tmp_path / "out", {"factor": 1}, sources=sources)
    (run / "scale-2" / "manifest.json").unlink()
    with pytest.raises(StoreError, match="no finished step is here"):
        run_stage("toy_scale", tmp_path / "out", {"factor": 1}, sources={"rows": [run / "scale-2"]})


def test_generate_asks_about_a_folder_of_images(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "raw"
    pool = FIXTURES / "images" / "train"
    words = ("generate", f"images={pool}", "model=any", "backend=scripted", "tasks=[rec, md]")
    words = (*words, "seed=5", "quotas={md: 2}", "--out", out, "--workers", 0)
    code, text, _ = call(*words, "--json")
    assert code == 0
    assert json.loads(text)["steps"]["generate"]["in"] == 3 + 3 + 2
    assert genixer.verify(out).ok
    known = read_run(out)
    assert known is not None
    assert (known.config["images"], known.config["seed"]) == (str(pool), 5)
    code, text, _ = call(*words, "--limit", 3)
    assert code == 0
    assert genixer.verify(tmp_path / "raw-limit-3").manifests["generate"].counts.items == 3
    code, _, said = call(*words, "--limit", 4, "--max-hours", 0)
    assert code == 10
    assert "run the same command again" in said
    code, _, said = call("generate", "model=any", "--out", out)
    assert code == 2
    assert "images=FOLDER" in said


def test_images_in_lists_and_archives_know_their_root(tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    shutil.copytree(FIXTURES / "images" / "train", pool / "deep")
    names = sorted(path.relative_to(pool).as_posix() for path in pool.rglob("*.png"))
    (pool / "list.txt").write_text("\n".join(names))
    (tmp_path / "list.txt").write_text("\n".join(names))
    with tarfile.open(pool / "deep" / "0.tar", "w") as archive:
        archive.add(pool / names[0], "a.png")
    given = {"model": "any", "backend": "scripted", "tasks": ["rec"], "quotas": {"agnostic": 0}}
    for number, (images, root, count) in enumerate(
        [
            (pool / "list.txt", None, 3),
            (tmp_path / "list.txt", pool, 3),
            (pool / "*" / "0.tar", None, 1),
            (pool / "deep" / "0.tar", None, 1),
        ]
    ):
        own = {"images": str(images), **({"image_root": str(root)} if root else {})}
        done = run_stage("generate", tmp_path / str(number), {**given, **own}, workers=0)
        assert done.manifests["generate"].counts.kept == count
    with pytest.raises(ConfigError, match="no images of its own"):
        run_stage("collect", tmp_path / "x", {"image_root": str(pool)})


def test_the_generator_made_by_a_verb_is_read_by_the_next(call: Call, tmp_path: Path) -> None:
    raw, read = tmp_path / "raw", tmp_path / "read"
    pool = f"images={FIXTURES / 'images' / 'train'}"
    words = ("generate", pool, "model=any", "backend=scripted", "prompts=zero_shot")
    words = (*words, "max_new_tokens=99", "backend_settings={malformed: 0.0}")
    assert call(*words, "--out", raw, "--workers", 0)[0] == 0
    sources = {"rows": [raw / "generate"]}
    settings = {"readers": ["json", "fenced_json"]}
    done = run_stage("decode", read, settings, sources=sources, workers=0)
    assert done.manifests["decode"].counts.kept == 21


def test_the_zero_shot_config_runs_with_any_backend(tmp_path: Path) -> None:
    pool = str(FIXTURES / "images" / "train")
    at = "steps.generate.with"
    words = [f"images={pool}", f"{at}.images={pool}", f"{at}.backend=scripted", f"{at}.model=any"]
    words += [f"{at}.backend_settings={{malformed: 0.0}}"]
    done = run_config("zero_shot", words, out=tmp_path / "run", workers=0)
    counts = {name: manifest.counts for name, manifest in done.manifests.items()}
    # Three images: four kinds of common VQA, two of adversarial VQA, four more tasks.
    assert counts["generate"].kept == 3 * (4 + 2 + 4)
    assert set(counts["decode"].rejected) == {"other_kind"}
    assert counts["decode"].kept >= 3 * 4
    kept = done.rows("decode")
    assert {row["origin"]["reader"] for row in kept} == {"json"}
    kinds = {row["origin"].get("question_type") for row in kept if row["task"] == "adv_vqa"}
    assert kinds <= {"present", "absent"}
    assert genixer.verify(tmp_path / "run").ok
