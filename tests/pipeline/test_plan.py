from collections.abc import Callable
from pathlib import Path

import pytest

from genixer.config import load_config
from genixer.errors import ConfigError
from genixer.pipeline.plan import Plan, make_plan

Write = Callable[..., Path]


def plan(path: Path, *overrides: str, run: str = "run", limit: int | None = None) -> Plan:
    return make_plan(load_config(path, overrides), Path(run), limit)


def fingerprints(path: Path, *overrides: str, limit: int | None = None) -> dict[str, str]:
    return {step.name: step.fingerprint for step in plan(path, *overrides, limit=limit).steps}


def test_steps_are_ordered_and_know_what_they_depend_on(toy_config: Write) -> None:
    found = plan(toy_config())
    assert [step.name for step in found.steps] == ["numbers", "scale-2", "scale-3", "total"]
    assert found.by_name["numbers"].depends == ()
    assert found.by_name["scale-2"].depends == ("numbers",)
    assert found.by_name["total"].depends == ("scale-2", "scale-3", "numbers")


def test_everything_waits_for_the_image_root_but_what_it_is_made_of(toy_config: Write) -> None:
    path = toy_config(
        lonely={"stage": "toy_numbers"},
        before={"stage": "toy_numbers"},
        numbers={"stage": "toy_numbers", "from": ["before"]},
    )
    found = plan(path).by_name
    assert found["lonely"].depends == ("numbers",)
    assert found["before"].depends == ()
    assert found["numbers"].depends == ("before",)
    assert plan(path, "images=somewhere").by_name["lonely"].depends == ()


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ("seed=8", {"numbers", "scale-2", "scale-3", "total"}),
        ("threads=2", {"numbers", "scale-2", "scale-3", "total"}),
        ("steps.scale.with.drop_below=5", {"scale-2", "scale-3", "total"}),
        ("steps.scale.rows_per_shard=5", {"scale-2", "scale-3", "total"}),
        ("steps.total.with.start=''", {"total"}),
        ("workers=3", set()),
        ("name=other", set()),
        ("steps.numbers.with.sleep_ms=0", set()),
    ],
)
def test_fingerprints_move_with_what_decides_the_result(
    toy_config: Write, change: str, moved: set[str]
) -> None:
    before, after = fingerprints(toy_config()), fingerprints(toy_config(), change)
    assert {name for name in before if before[name] != after[name]} == moved


def test_a_limit_and_a_stage_version_are_part_of_fingerprints(
    toy_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprints(toy_config())
    assert not set(before.values()) & set(fingerprints(toy_config(), limit=3).values())
    import genixer_toys

    monkeypatch.setattr(genixer_toys.Sum, "version", 2)
    after = fingerprints(toy_config())
    assert {name for name in before if before[name] != after[name]} == {"total"}


def test_fingerprints_follow_the_content_of_outside_files_not_their_place(
    toy_config: Write, tmp_path: Path
) -> None:
    def with_file(folder: str, content: str) -> str:
        path = tmp_path / folder / "data.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        numbers = {"stage": "toy_numbers", "with": {"files": [str(path)]}}
        config = toy_config(numbers=numbers)
        step = plan(config).by_name["numbers"]
        return str(step.identity["external"])

    assert with_file("a", "one") == with_file("b", "one")
    assert with_file("a", "two") != with_file("b", "one")


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            {"stage": "toy_scale", "from": ["numbers"], "with": {"facter": 2}},
            r"toy\.yaml:\d+: steps\.scale\.with\.facter: unknown key; did you mean factor",
        ),
        (
            {"stage": "toy_scale", "from": ["numbers"], "with": {"factor": "two"}},
            r"steps\.scale\.with\.factor: .*valid integer.*got 'two'",
        ),
        (
            {"stage": "toy_scael"},
            r"steps\.scale\.stage: no stage is called.*did you mean toy_scale",
        ),
        (
            {"stage": "toy_sum", "with": {"start": "@nubmers/x"}},
            r"steps\.scale\.with: '@nubmers' is no step; did you mean numbers",
        ),
        (
            {"stage": "toy_numbers", "with": {"files": ["/nowhere/x.json"]}},
            r"steps\.scale\.with: /nowhere/x\.json: No such file",
        ),
        ({"stage": "toy_scale", "from": ["total"]}, r"in a circle"),
    ],
)
def test_mistakes_name_file_line_and_key(
    toy_config: Write, step: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(toy_config(scale=step, total={"stage": "toy_sum", "from": ["scale"]}))


def test_an_image_root_nobody_makes_is_a_mistake(toy_config: Write) -> None:
    with pytest.raises(ConfigError, match="override images: '@world' is no step"):
        plan(toy_config(), "images=@world")
