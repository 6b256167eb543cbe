"""Rules about the tree itself, which no other tool checks."""

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import genixer
from genixer.config import load_config, shipped_configs
from genixer.data import ImageRef, Origin, Sample, Turn
from genixer.pipeline.plan import make_plan

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PYTHON = [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))]
PROSE = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
TEXT = [
    path
    for folder in ("src", "tests", "docs", "examples", "benchmarks", ".ci")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.is_file() and path.suffix in {".py", ".md", ".yaml", ".txt", ".html", ".js", ".css", ""}
] + [
    path
    for path in sorted(ROOT.iterdir())
    # What an earlier test run measured here is not the project's text.
    if path.is_file() and path.name != "LICENSE" and not path.name.startswith(".coverage")
]
# Folders of one machine's disk, spelt in pieces so that this file passes too; `someone` is nobody.
MACHINE_PATH = re.compile(
    r"(?<![\w.~/])/" + r"(?:home|root|work|Users|tmp|farm)/" + r"(?!someone\b)\w"
)
LONGEST = 400


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", PYTHON, ids=relative)
def test_file_is_short_enough_to_have_one_job(path: Path) -> None:
    assert len(path.read_text().splitlines()) < LONGEST


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_module_says_what_it_is_for(path: Path) -> None:
    said = ast.get_docstring(ast.parse(path.read_text()))
    assert said
    assert len(said) >= 15


@pytest.mark.parametrize("path", TEXT, ids=relative)
def test_text_names_no_folder_of_somebodys_machine(path: Path) -> None:
    lines = path.read_text(errors="replace").splitlines()
    found = [
        f"{number}: {line}" for number, line in enumerate(lines, 1) if MACHINE_PATH.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("module", ["genixer", "genixer.cli", "genixer.config", "genixer.data"])
def test_import_loads_no_heavy_library(module: str) -> None:
    code = (
        f"import sys, {module};"
        "heavy = {'torch', 'transformers', 'numpy', 'PIL', 'jinja2', 'ray'};"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", sorted(shipped_configs()))
def test_shipped_config_loads_and_plans(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    assert config.name == name
    # The datasets of the recipes are not there; everything else about them must be right.
    assert len(make_plan(config, tmp_path / name, to_run=False).steps) >= len(config.steps)


@pytest.mark.parametrize("path", sorted((ROOT / "src").rglob("*.yaml")), ids=relative)
def test_shipped_yaml_is_readable_and_opens_with_a_word_about_itself(path: Path) -> None:
    text = path.read_text()
    assert isinstance(yaml.safe_load(text), dict)
    assert text.startswith("# ")


def test_every_direct_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["train"]]
    wanted += project["optional-dependencies"]["dev"]
    pins = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    names = {re.split(r"[<>=!~\[ ;]", line)[0].lower() for line in wanted}
    assert names <= pins


def test_pins_carry_no_local_version() -> None:
    assert "+" not in (ROOT / "constraints.txt").read_text()


def test_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == genixer.__version__


@pytest.mark.parametrize("path", PROSE, ids=relative)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", PROSE, ids=relative)
def test_tests_that_documents_name_are_there(path: Path) -> None:
    for file, test in re.findall(r"\b(tests/[\w/]+\.py)(?:::(\w+))?", path.read_text()):
        assert f"def {test}" in (ROOT / file).read_text(), (file, test)


def blocks(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text(), re.S)


@pytest.mark.parametrize("path", [path for path in PROSE if blocks(path)], ids=relative)
def test_python_in_documents_is_python(path: Path) -> None:
    for block in blocks(path):
        compile(block, relative(path), "exec")


def test_filter_in_the_architecture_works(tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    exec(blocks(ROOT / "docs" / "architecture.md")[0], found)
    image = ImageRef("a.png", 8, 8, "aa")
    samples = [
        Sample.of("common_vqa", image, (Turn("user", "?"), Turn("assistant", text)), Origin("x"))
        for text in ("a cup", "a " + "very " * 12 + "long answer")
    ]
    verdicts = found["ShortFilter"](found["ShortSettings"]()).judge(samples, tmp_path)
    assert [one.reason for one in verdicts] == ["", "answer_too_long"]


def test_settings_reference_says_what_the_classes_say() -> None:
    spec = importlib.util.spec_from_file_location("make_settings", ROOT / "docs/make_settings.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (ROOT / "docs" / "settings.md").read_text()
    assert text == module.reference(), "run `make docs`"
    undocumented = [line for line in text.splitlines() if line.endswith("|  |")]
    assert undocumented == []
