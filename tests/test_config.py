from pathlib import Path

import pytest

from genixer.config import (
    environment_workers,
    load_config,
    parse_config,
    runs_folder,
    shipped_configs,
)
from genixer.errors import ConfigError

TEXT = """\
name: small
seed: 3
steps:
  collect:
    stage: collect
    with: {sources: [{name: vqav2}]}
  mix:
    stage: mix
    from: [collect]
    matrix: {arm: [none, kept]}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize("shipped", sorted(shipped_configs()))
def test_every_shipped_config_is_valid(shipped: str) -> None:
    assert load_config(shipped).name == shipped


def test_a_config_survives_the_way_through_plain_values(path: Path) -> None:
    config = load_config(path)
    assert parse_config(config.raw(), config.source) == config


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("[a, b]", {"rows": ["a", "b"]}),
        ("a", {"rows": ["a"]}),
        ("{base: a, synthetic: [b, c]}", {"base": ["a"], "synthetic": ["b", "c"]}),
    ],
)
def test_from_has_three_forms(path: Path, written: str, expected: object) -> None:
    path.write_text(TEXT.replace("[collect]", written))
    assert load_config(path).steps["mix"].from_ == expected


@pytest.mark.parametrize(
    ("override", "get", "expected"),
    [
        ("seed=9", lambda c: c.seed, 9),
        ("steps.mix.with.size=50", lambda c: c.steps["mix"].with_["size"], 50),
        ("steps.mix.with.a.b=[1, x]", lambda c: c.steps["mix"].with_["a"]["b"], [1, "x"]),
        (
            "steps.collect.with.sources.0.name=pope",
            lambda c: c.steps["collect"].with_["sources"][0]["name"],
            "pope",
        ),
        ("name=a=b", None, r"name 'a=b' must be letters"),
        ("seed=x", None, r"override seed: Input should be a valid integer.*got 'x'"),
        ("steps.mxi.with.size=50", None, r"no key 'mxi'; did you mean mix\?"),
        ("steps.collect.with.sources.7.name=x", None, r"'7' is not one of 0 to 0"),
        ("seed.x=1", None, r"seed holds a plain value"),
        ("seed", None, r"not key=value"),
        ("seed=[", None, r"not a YAML value"),
        ("sed=3", None, r"override sed: unknown key; did you mean seed"),
    ],
)
def test_overrides(path: Path, override: str, get: object, expected: object) -> None:
    if callable(get):
        assert get(load_config(path, [override])) == expected
        return
    with pytest.raises(ConfigError, match=str(expected)):
        load_config(path, [override])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed: 3", "sed: 3", r"small\.yaml:2: sed: unknown key; did you mean seed"),
        ("    from:", "    form:", r"small\.yaml:9: steps\.mix\.form: .*did you mean from"),
        ("    stage: mix\n", "", r"steps\.mix\.stage: this key is missing"),
        ("seed: 3", "seed: x", r"small\.yaml:2: seed: .*valid integer.*got 'x'"),
        ("seed: 3", "workers: -1", r"small\.yaml:2: workers: .*greater than or equal to 0"),
        ("name: small", "name: ../up", r"small\.yaml:1: name: run name '\.\./up' must be"),
        ("  mix:", "  'm x':", r"small\.yaml:7: steps\.m x: step name 'm x' must be"),
        ("  mix:", "  run.json:", r"'run\.json' is a file of every run"),
        ("from: [collect]", "from: 3", r"small\.yaml:9: steps\.mix\.from: .*list of steps"),
    ],
)
def test_mistakes_are_named_by_file_line_and_key(
    path: Path, old: str, new: str, message: str
) -> None:
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load_config(path)


def test_all_mistakes_are_told_at_once(path: Path) -> None:
    path.write_text(TEXT.replace("seed: 3", "seed: x\nthreads: 0"))
    with pytest.raises(ConfigError, match=r"(?s):2: seed.*:3: threads"):
        load_config(path)


def test_an_unknown_name_lists_the_near_ones() -> None:
    with pytest.raises(ConfigError, match="no shipped config of that name; did you mean smoke"):
        load_config("smok")


def test_the_environment_says_where_and_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENIXER_WORKERS", "3")
    monkeypatch.setenv("GENIXER_RUNS", "elsewhere")
    assert environment_workers() == 3
    assert runs_folder() == Path("elsewhere")
    monkeypatch.setenv("GENIXER_WORKERS", "many")
    with pytest.raises(ConfigError, match="GENIXER_WORKERS='many'"):
        environment_workers()
    monkeypatch.delenv("GENIXER_WORKERS")
    monkeypatch.delenv("GENIXER_RUNS")
    assert environment_workers() is None
    assert runs_folder() == Path("runs")


def test_a_config_may_extend_another_with_changes(tmp_path):
    path = tmp_path / "more.yaml"
    path.write_text("extends: smoke\nname: more\nset: [seed=11]\n", encoding="utf-8")
    config = load_config(path, ["workers=0"])
    assert (config.name, config.seed, config.workers) == ("more", 11, 0)
    assert config.steps.keys() == load_config("smoke").steps.keys()


def test_a_config_that_extends_another_says_how_to_write_changes(tmp_path):
    path = tmp_path / "more.yaml"
    path.write_text("extends: smoke\nseed: 11\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"more\.yaml:2: seed.*a line of set"):
        load_config(path)


def test_a_config_that_extends_another_may_add_steps(tmp_path):
    path = tmp_path / "more.yaml"
    path.write_text(
        "extends: smoke\nname: more\nsteps:\n  again:\n    stage: mix\n    from: [collect]\n"
        "    with: {}\n",
        encoding="utf-8",
    )
    config = load_config(path)
    assert list(config.steps)[:-1] == list(load_config("smoke").steps)
    assert config.steps["again"].stage == "mix"


def test_mistakes_in_added_steps_are_found_where_they_were_written(tmp_path):
    path = tmp_path / "more.yaml"
    path.write_text("extends: smoke\nsteps:\n  again:\n    stge: mix\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"more\.yaml:4: steps\.again\.stge: unknown key"):
        load_config(path)


def test_an_added_step_takes_no_other_ones_name(tmp_path):
    path = tmp_path / "more.yaml"
    path.write_text("extends: smoke\nsteps:\n  collect: {stage: mix}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"more\.yaml:3: .* has a step 'collect' already"):
        load_config(path)


def test_a_config_may_extend_one_that_extends_another(tmp_path):
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("extends: smoke\nname: one\nset: [seed=11]\n", encoding="utf-8")
    two.write_text(f"extends: {one}\nname: two\nset: [workers=0]\n", encoding="utf-8")
    config = load_config(two)
    assert (config.name, config.seed, config.workers) == ("two", 11, 0)
