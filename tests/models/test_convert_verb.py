"""`genixer convert-weights` is the function of the same name, from a shell."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import genixer
from genixer.cli import app
from genixer.models.llava import load


def call(*words: object) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["convert-weights", *map(str, words)])
    return found.exit_code, found.output


def test_a_dry_run_prints_where_each_tensor_goes(llava, tmp_path: Path) -> None:
    options = ["--preset", "tiny_llava", "--vision", llava.clip]
    code, out = call(llava.folder, tmp_path / "out", *options, "--dry-run")
    assert code == 0
    lines = out.splitlines()
    assert any(
        one.endswith(":model.mm_projector.0.bias -> multi_modal_projector.linear_1.bias")
        for one in lines
    )
    assert sum("left out, every model computes it" in one for one in lines) == 2
    assert lines[-1].endswith("MB to write")
    assert not (tmp_path / "out").exists()


def test_sizes_and_json(llava, tmp_path: Path) -> None:
    options = ["--preset", "tiny_llava", "--vision", llava.clip, "--shard-size", "150KB"]
    code, out = call(llava.folder, tmp_path / "out", *options, "--json")
    assert code == 0
    told = json.loads(out)
    assert told["layout"] == "full"
    assert [(tmp_path / "out" / name).is_file() for name in told["files"]] == [True] * 6
    assert load(str(tmp_path / "out")).preset.name == "tiny_llava"


@pytest.mark.parametrize("size", ["", "0GB", "many", "5TB"])
def test_a_size_that_is_none_is_refused(llava, tmp_path: Path, size: str) -> None:
    code, _ = call(llava.folder, tmp_path / "out", "--preset", "tiny_llava", "--shard-size", size)
    assert code == 2


def test_it_is_a_public_function() -> None:
    assert genixer.convert_weights.__module__ == "genixer.models.convert"
