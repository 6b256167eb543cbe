import json
import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import genixer
from genixer import cli
from genixer.data import Box, ImageRef, Origin, Sample, Turn
from genixer.pipeline.api import KINDS
from genixer.registry import Entry
from genixer.rows import encode_row
from genixer.stages import STAGES
from genixer.store.lock import RunLock

Write = Callable[..., Path]
FIXTURES = Path(__file__).parent / "fixtures"
VERBS = (
    "run",
    "plan",
    "collect",
    "instruct",
    "mix",
    "train",
    "verify",
    "parity",
    "export",
    "import",
    "doctor",
    "convert-weights",
    "list",
    "report",
)


@pytest.fixture
def genixer_cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Runs the command line in this process: exit code, output, errors."""
    before = signal.getsignal(signal.SIGTERM)
    level = logging.getLogger("genixer").level

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["genixer", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    yield call
    signal.signal(signal.SIGTERM, before)
    logging.getLogger("genixer").setLevel(level)


Call = Callable[..., tuple[int, str, str]]


def test_a_run_tells_its_funnel_and_a_rerun_that_nothing_is_left(
    genixer_cli: Call, toy_config: Write, tmp_path: Path
) -> None:
    code, out, _ = genixer_cli("run", toy_config(), "--out", tmp_path / "run")
    assert code == 0
    assert out.splitlines()[0].startswith("step     stage        in  kept  rejected  quarantined")
    code, out, _ = genixer_cli("run", toy_config(), "--out", tmp_path / "run")
    assert code == 0
    assert out.startswith("nothing to do: 4 steps complete\n")


def test_a_limited_run_shows_rows_of_every_step(
    genixer_cli: Call, toy_config: Write, tmp_path: Path
) -> None:
    code, out, _ = genixer_cli("run", toy_config(), "--out", tmp_path / "run", "--limit", 2)
    assert code == 0
    assert 'numbers:\n  {"id": "numbers-0", "value": 395}\n  {"id": "numbers-1"' in out
    assert (tmp_path / "run-limit-2").is_dir()


def test_a_dry_run_is_a_plan_and_writes_nothing(
    genixer_cli: Call, toy_config: Write, tmp_path: Path
) -> None:
    words = (toy_config(), "seed=9", "--out", tmp_path / "run")
    dry, planned = genixer_cli("run", *words, "--dry-run"), genixer_cli("plan", *words)
    assert dry == planned
    assert "scale-2  toy_scale    to do      30    30       0" in dry[1]
    assert not (tmp_path / "run").exists()


def test_verify_ends_with_the_damaged_files_name(
    genixer_cli: Call, toy_config: Write, tmp_path: Path
) -> None:
    folder = genixer.run(toy_config(), out=tmp_path / "run").folder
    code, out, _ = genixer_cli("verify", folder)
    assert code == 0
    assert out.endswith("4 steps verified, every byte as committed\n")
    shard = folder / "scale-3" / "part-00001.jsonl"
    shard.write_bytes(shard.read_bytes().replace(b"1", b"2", 1))
    code, _, err = genixer_cli("verify", folder)
    assert code == 4
    assert f"{shard}: its digest is" in err
    code, out, _ = genixer_cli("verify", folder, "--json")
    assert code == 4
    assert json.loads(out)["ok"] is False


def test_json_is_json(genixer_cli: Call, toy_config: Write, tmp_path: Path) -> None:
    words = (toy_config(), "--out", tmp_path / "run", "--json")
    assert json.loads(genixer_cli("plan", *words)[1])["steps"][0]["status"] == "to do"
    found = json.loads(genixer_cli("run", *words)[1])
    assert found["worked"] == ["numbers", "scale-2", "scale-3", "total"]
    assert found["steps"]["scale-2"]["rejected"] == {"too_small": 3}
    assert json.loads(genixer_cli("verify", tmp_path / "run", "--json")[1])["ok"] is True
    names = [one["name"] for one in json.loads(genixer_cli("list", "stages", "--json")[1])]
    assert "mix" in names


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("run", "smok"), 2, "did you mean smoke"),
        (("run", "{config}", "sed=8"), 2, "override sed: unknown key; did you mean seed"),
        (("run", "{config}", "seed=8", "--out", "{run}"), 5, "seed: 7 -> 8"),
        (("verify", "{empty}"), 4, "no run is here"),
        (("report", "{run}"), 2, "no step of the stage report"),
        (("list", "stage"), 2, "did you mean stages"),
        (("export", "{empty}", "--out", "x"), 4, "neither a run folder"),
        (("run", "{raises}", "--out", "{new}"), 1, "ValueError: toy trouble (traceback in"),
        (("run", "{dies}", "--out", "{new}", "--workers", "1"), 7, "worker died 2 times"),
        (("run", "{config}", "--limit", "0"), 2, "limit"),
        (("fly",), 2, "No such command 'fly'"),
    ],
)
def test_every_error_has_its_exit_code_and_no_traceback(
    genixer_cli: Call,
    toy_config: Write,
    tmp_path: Path,
    words: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    def misbehaving(mode: str) -> Path:
        bad = {"stage": "toy_scale", "from": ["numbers"], "with": {"mode": mode}}
        path = toy_config(scale=bad, total=None)
        return path.rename(tmp_path / f"{mode}.yaml")

    places = {
        "raises": misbehaving("raises"),
        "dies": misbehaving("dies"),
        "config": toy_config(),
        "run": genixer.run(toy_config(), out=tmp_path / "run").folder,
        "new": tmp_path / "new",
        "empty": tmp_path / "empty",
    }
    found, _, err = genixer_cli(*(word.format(**places) for word in words))
    assert found == code
    assert message in err
    assert "Traceback" not in err


def test_a_locked_folder_is_named_with_its_holder(
    genixer_cli: Call, toy_config: Write, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    with RunLock(tmp_path / "run"):
        code, _, err = genixer_cli("run", toy_config(), "--out", tmp_path / "run")
    assert code == 4
    assert "is running here" in err


def test_a_folder_that_cannot_be_written_is_named(
    genixer_cli: Call, toy_config: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "there")

    monkeypatch.setattr("genixer.pipeline.run.run", refuse)
    assert genixer_cli("run", toy_config())[::2] == (4, "genixer: there: Permission denied\n")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(genixer_cli: Call, verb: str) -> None:
    code, out, _ = genixer_cli(verb, "--help")
    assert code == 0
    assert f"Example: genixer {verb} " in out


def test_help_lists_verbs_and_exit_codes(genixer_cli: Call) -> None:
    code, out, _ = genixer_cli("--help")
    assert code == 0
    assert all(f"  {verb} " in out for verb in VERBS)
    assert "\n    5    the run folder belongs to other settings\n" in out


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_plugin_is_listed(genixer_cli: Call, kind: str) -> None:
    code, out, _ = genixer_cli("list", kind)
    assert code == 0
    assert len(out.splitlines()) > 1
    assert out.startswith("name ")


def test_samples_are_exported_with_the_formats_settings(
    genixer_cli: Call, toy_config: Write, tmp_path: Path
) -> None:
    image = ImageRef("1.png", 200, 100, "ab12")
    turns = (Turn("user", "Where?"), Turn("assistant", "<box>", (Box(0.0, 0.0, 1.0, 1.0),)))
    sample = encode_row(Sample.of("rec", image, turns, Origin("x"))).decode()
    copies = {"stage": "toy_samples", "with": {"sample": sample}}
    folder = genixer.run(toy_config(copies=copies), out=tmp_path / "run").folder
    out = tmp_path / "out.json"
    found = genixer_cli("export", folder, "frame=unit", "decimals=1", "--out", out)
    assert found == (0, f"{out}: 1 written\n1 boxes and points, none moved\n", "")
    assert "[0.0,0.0,1.0,1.0]" in out.read_text()
    code, text, _ = genixer_cli("export", folder, "--out", out, "--json")
    assert json.loads(text)["counts"]["written"] == 1
    assert json.loads(text)["rounding"] == {"seen": 1, "moved": 0, "largest_px": 0, "largest": 0}
    code, _, err = genixer_cli("export", folder, "fram=unit", "--out", out)
    assert code == 2
    assert "did you mean frame" in err
    code, _, err = genixer_cli(
        "export", folder, "--out", tmp_path / "sold.json", "--use", "commercial"
    )
    assert code == 3
    assert "1 rows from x are under no stated licence" in err
    assert not (tmp_path / "sold.json").exists()


def test_a_file_comes_in_as_a_run_and_goes_out_again(genixer_cli: Call, tmp_path: Path) -> None:
    source, images = FIXTURES / "formats" / "ms_swift_broken.jsonl", FIXTURES / "images"
    words = (
        "import",
        source,
        "--format",
        "ms_swift",
        "--images",
        images,
        "--out",
        tmp_path / "run",
    )
    code, out, _ = genixer_cli(*words, "--workers", 0, "licence=MIT")
    assert code == 0
    assert out.splitlines()[1].split()[:6] == ["import", "import", "14", "1", "0", "13"]
    assert "quarantined: 2 missing_object" in out
    assert genixer_cli("verify", tmp_path / "run")[0] == 0
    found = json.loads(genixer_cli(*words, "licence=MIT", "--json")[1])
    assert found["counts"]["kept"] == 1
    code, _, err = genixer_cli("export", tmp_path / "run", "--out", tmp_path / "a.json")
    assert (code, err) == (0, "")
    assert "1.png" in (tmp_path / "a.json").read_text()
    code, _, err = genixer_cli(*words, "licence=CC0")
    assert code == 5
    assert "licence: 'MIT' -> 'CC0'" in err


def test_what_would_be_lost_is_refused_until_it_may_be(genixer_cli: Call, tmp_path: Path) -> None:
    source, images = FIXTURES / "formats" / "ms_swift.jsonl", FIXTURES / "images"
    words = ("import", source, "--format", "ms_swift", "--images", images, "--workers", 0, "--out")
    assert "quarantined: 1 loose_ref" in genixer_cli(*words, tmp_path / "strict")[1]
    assert "quarantined: " not in genixer_cli(*words, tmp_path / "run", "--allow-loss")[1]
    out = tmp_path / "a.jsonl"
    words = ("export", tmp_path / "run", "--format", "paligemma", "--out", out)
    code, _, err = genixer_cli(*words)
    assert code == 3
    assert "1 of 4 rows cannot be carried by paligemma: points_not_supported 1" in err
    assert not out.exists()
    assert f"{out}: 3 written, 1 points_not_supported\n" in genixer_cli(*words, "--allow-loss")[1]
    assert len(out.read_text().splitlines()) == 3


def test_a_report_is_shown_and_made_again(
    genixer_cli: Call, toy_config: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Entry("genixer_toys:Page", "stands in for the page")
    monkeypatch.setitem(STAGES._own, "report", page)
    config = toy_config(page={"stage": "report", "from": ["total"]})
    expected = f"2 lines\nin short\n\nReport: {tmp_path}/run/page/files/index.html\n"
    assert genixer_cli("run", config, "--out", tmp_path / "run")[1].endswith(f"\n\n{expected}")
    assert genixer_cli("report", tmp_path / "run")[:2] == (0, expected)


def test_on_a_terminal_there_are_bars(
    genixer_cli: Call, toy_config: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers = list(logging.getLogger().handlers)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    try:
        code, out, err = genixer_cli("run", toy_config(), "--out", tmp_path / "run")
    finally:
        logging.getLogger().handlers[:] = handlers
    assert code == 0
    assert "numbers: 30 in = 30 kept" in err
    assert out.startswith("step ")


def test_the_version_is_the_packages(genixer_cli: Call) -> None:
    assert genixer_cli("--version")[1] == f"genixer {genixer.__version__}\n"


@pytest.mark.parametrize("words", ["--help", "plan demo", "list stages"])
def test_no_look_at_things_imports_a_model_library(words: str, tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['genixer', *sys.argv[1:]]\n"
        "from genixer import cli\n"
        "try: cli.main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'safetensors', 'ray'}\n"
        "assert not heavy & set(sys.modules)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, *words.split()], check=True, cwd=tmp_path, capture_output=True
    )


def test_parity_prints_its_figures_and_ends_with_9_below_the_bar(
    genixer_cli: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    Path("pool").mkdir()
    Image.new("RGB", (40, 30)).save("pool/0.png")
    for name, malformed in (("here", 0.0), ("there", 1.0)):
        own = {"backend": "scripted", "backend_settings": {"malformed": malformed}}
        step = {"stage": "generate", "with": {"images": "pool", "temperature": 0, **own}}
        Path("run.yaml").write_text(json.dumps({"name": name, "steps": {"generate": step}}))
        assert genixer_cli("run", "run.yaml", "--out", name)[0] == 0
    code, out, _ = genixer_cli("parity", "here", "here", "--out", "parity.json")
    assert code == 0
    assert out.startswith("same greedy text: 100.0% of 7 requests\n")
    code, out, err = genixer_cli("parity", "here", "there", "--json", "--requests", 5)
    assert code == 9
    assert json.loads(out)["requests"] == 5
    assert "genixer: the two backends do not say the same:\n  same greedy text: 0.0%" in err
