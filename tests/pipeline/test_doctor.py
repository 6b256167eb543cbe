"""The verb `doctor`, and its page in the documentation."""

import json
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import genixer
from genixer import cli
from genixer.data import ImageRef, Origin, Sample, Turn, encode_row
from genixer.doctor.findings import FINDINGS
from genixer.errors import ConfigError
from genixer.pipeline import doctor
from genixer.store.images import ImageCatalog

PAGE = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()
IMAGES = Path(__file__).parents[1] / "fixtures" / "images"
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """Runs the command line in this process: exit code, output, errors."""
    before = signal.getsignal(signal.SIGTERM)

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["genixer", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return int(stopped.value.code or 0), *capsys.readouterr()

    yield run
    signal.signal(signal.SIGTERM, before)


def row(id: object, image: str = "1.png", **fields: object) -> dict[str, object]:
    said = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "cat"}]
    return {"id": id, "image": image, "conversations": said, **fields}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A file with two faults, images in a folder of their own."""
    shutil.copytree(IMAGES, tmp_path / "photos", ignore=shutil.ignore_patterns("train", "val"))
    rows = [row("a"), row("a", "2.png"), row("c", "none.png")]
    alone = [{"from": "human", "value": "Two and two?"}, {"from": "gpt", "value": "Four."}]
    rows.append({"id": "d", "conversations": alone})
    (tmp_path / "demo.json").write_text(json.dumps(rows))
    return tmp_path


def test_a_report_is_a_table_and_an_exit_code(call: Call, data: Path) -> None:
    code, out, err = call("doctor", data / "demo.json", "--images", data / "photos")
    assert (code, err) == (3, f"genixer: {data}/demo.json: 2 errors\n")
    assert out == (
        f"{data}/demo.json: 4 rows (1 text only), 3 images, 2 errors, 0 warnings\n"
        "\n"
        "       finding        count  meaning\n"
        "error  duplicate_id       1  an earlier entry has the same id\n"
        "error  missing_image      1  no such file\n"
        "\n"
        "duplicate_id:\n"
        "  demo.json[1]: the same as demo.json[0]\n"
        "\n"
        "missing_image:\n"
        "  none.png: No such file or directory; row demo.json[2]\n"
    )


def test_json_has_every_finding(call: Call, data: Path) -> None:
    words = ("doctor", data / "demo.json", "--images", data / "photos", "--json")
    code, out, _ = call(*words, "--fix", data / "fixed")
    assert code == 3
    found = json.loads(out)
    findings = found.pop("findings")
    assert found == {
        "path": f"{data}/demo.json",
        "format": "llava",
        "rows": 4,
        "text_only": 1,
        "images": 3,
        "errors": 2,
        "counts": {"duplicate_id": 1, "missing_image": 1},
        "fixed": {"renumbered": 1, "set_aside": 1},
    }
    assert [one["name"] for one in findings] == ["duplicate_id", "missing_image"]


def test_a_clean_dataset_ends_with_zero_and_a_copy_of_it_is_clean(call: Call, data: Path) -> None:
    fixed = call("doctor", data / "demo.json", "--images", data / "photos", "--fix", data / "fixed")
    assert fixed[0] == 3
    assert fixed[1].endswith(f"\n{data}/fixed: 1 renumbered, 1 set_aside\n")
    words = ("doctor", data / "fixed" / "demo.json", "--images", data / "fixed" / "images")
    assert call(*words) == (
        0,
        f"{data}/fixed/demo.json: 3 rows (1 text only), 2 images, 0 errors, 0 warnings\n",
        "",
    )
    assert call(*words, "--fix", data / "again")[1].endswith("a copy, with nothing to repair\n")


def test_warnings_alone_do_not_stop_anyone(call: Call, data: Path) -> None:
    (data / "demo.json").write_text(json.dumps([{**row("a"), "id": None}]))
    code, out, _ = call("doctor", data / "demo.json", "--images", data / "photos")
    assert code == 0
    assert "1 images, 0 errors, 1 warnings" in out


def test_a_wrong_image_root_is_guessed_at(call: Call, data: Path) -> None:
    rows = [row(at, f"{at}.png") for at in range(1, 8)]
    (data / "photos" / "demo.json").write_text(json.dumps(rows))
    code, out, _ = call("doctor", data / "photos" / "demo.json", "--images", data)
    assert code == 3
    assert f"none of the images is below {data}: is --images right?" in out
    assert "  ... and 2 more (--json has all)\n" in out
    assert "1.png: No such file or directory; row demo.json[0]; photos/1.png has the same" in out


def test_a_wrong_name_ends_with_two(call: Call, data: Path) -> None:
    code, _, err = call("doctor", data / "demo.json", "--frame", "units")
    assert (code, "known: unit, pixel" in err) == (2, True)
    code, _, err = call("doctor", data / "none.json")
    assert (code, err) == (2, f"genixer: {data}/none.json: nothing is there\n")


def test_a_step_knows_its_images_and_a_run_asks_for_a_step(
    toy_config: Callable[..., Path], tmp_path: Path
) -> None:
    turns = Turn("user", "Where?"), Turn("assistant", "There.")
    sample = Sample.of("rec", ImageRef("cat.png", 64, 64, "ab"), turns, Origin("x"))
    copies = {"stage": "toy_samples", "with": {"sample": encode_row(sample).decode()}}
    run = genixer.run(toy_config(copies=copies), out=tmp_path / "run").folder
    report = genixer.audit(run / "copies")
    assert report.image_root == run / "numbers" / "files" / "images"
    with pytest.raises(ConfigError, match=r"a run; name one of its steps: .*copies"):
        genixer.audit(run)
    with pytest.raises(ConfigError, match="what a run made, a run makes again"):
        genixer.repair(report, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_page_explains_every_finding_as_severe_as_it_is() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| (error|warning) \| .+ \| .+ \|$", PAGE, re.M))
    assert told == {name: kind.severity for name, kind in FINDINGS.items()}


def test_commands_of_the_page_do_what_it_says(
    call: Call, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    commands = re.search(r"```sh\n(.*?)```", PAGE, re.S)
    assert commands
    lines = [shlex.split(line, comments=True) for line in commands[1].splitlines()]
    assert len(lines) == 5
    step = data / "runs" / "demo" / "mix"
    shutil.copytree(IMAGES, step)
    image = ImageCatalog(IMAGES).ref("1.png")
    sample = Sample.of("rec", image, (Turn("user", "A?"), Turn("assistant", "B.")), Origin("x"))
    (step / "part-00000.jsonl").write_bytes(encode_row(sample) + b"\n")
    # Images 3 and 4 of the fixtures are broken; no row of the step names them.
    assert [call(*words[1:])[0] for words in lines] == [3, 3, 3, 3, 0]
    files = {path.name for path in (data / "repaired").iterdir()}
    shown = re.search(r"```\nrepaired/\n(.*?)```", PAGE, re.S)
    assert shown
    named = {line.split()[0].rstrip("/") for line in shown[1].splitlines()}
    assert files == named - {"demo.json.provenance.jsonl"}
    again = re.search(r"`(genixer doctor repaired/.*?)`", PAGE)
    assert again
    assert call(*again[1].split()[1:])[0] == 0


def test_the_table_shows_a_few_of_each(data: Path) -> None:
    text = doctor.table(genixer.audit(data / "photos"))
    assert text.startswith(f"{data}/photos: 4 images, 2 errors, 0 warnings\n\n")
