"""What `genixer plan` says of the shipped recipes, whose data nobody has to have."""

from pathlib import Path

import pytest

from genixer.config import load_config
from genixer.errors import ConfigError
from genixer.pipeline.api import plan
from genixer.pipeline.plan import make_plan

RECIPES = ("genixer_l", "genixer_s_stage1", "genixer_s_stage2")


def expected(name: str, tmp_path: Path, *overrides: str) -> dict[str, int | None]:
    collect, instruct = plan(name, overrides, out=tmp_path / "run").steps
    assert instruct.items == collect.items
    found: dict[str, int | None] = {}
    for one in collect.expected:
        found[one.task] = (found.get(one.task) or 0) + (one.rows or 0)
    assert collect.items == sum(rows or 0 for rows in found.values())
    return found


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("genixer_l", {"common_vqa": 583_000, "adv_vqa": 20_000, "mc_vqa": 17_056, "md": 108_000}),
        ("genixer_s_stage1", {"rec": 287_000 + 270_434, "reg": 287_000 + 270_434}),
        (
            "genixer_s_stage2",
            {
                "rec": 71_750 + 135_217,
                "reg": 71_750 + 135_217,
                "point_qa": 218_000,
                "qcboxa": 20_000,
                "rd": 9_000,
            },
        ),
    ],
)
def test_a_recipe_expects_the_published_rows_of_each_task(
    name: str, rows: dict[str, int], tmp_path: Path
) -> None:
    assert expected(name, tmp_path) == rows


def test_a_limit_is_the_most_that_is_expected(tmp_path: Path) -> None:
    few = expected("genixer_l", tmp_path, "steps.collect.with.limit_per_source=100")
    assert few == {"common_vqa": 300, "adv_vqa": 100, "mc_vqa": 100, "md": 200}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_planned_without_its_data_but_not_run(name: str, tmp_path: Path) -> None:
    report = plan(name, out=tmp_path / "run")
    assert report.missing
    assert len(set(report.missing)) == len(report.missing)
    assert set(report.as_mapping()["missing"]) == set(map(str, report.missing))
    with pytest.raises(ConfigError, match="No such file"):
        make_plan(load_config(name), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_rows_are_told_by_task_and_source_with_the_sum_last(tmp_path: Path) -> None:
    lines = plan("genixer_l", out=tmp_path / "run").datasets.splitlines()
    assert [line.split() for line in lines[:5]] == [
        ["step", "task", "source", "rows"],
        ["collect", "common_vqa", "vqav2", "236500"],
        ["collect", "common_vqa", "gqa", "236500"],
        ["collect", "common_vqa", "tallyqa", "110000"],
        ["collect", "common_vqa", "all", "583000"],
    ]


def test_a_source_of_unknown_size_makes_its_step_unknown(tmp_path: Path) -> None:
    report = plan("genixer_l", ["steps.collect.with.sources.4.expected_rows="], out=tmp_path / "r")
    assert report.steps[0].items is None
    assert ["collect", "mc_vqa", "all", "?"] in [x.split() for x in report.datasets.splitlines()]


def test_a_config_that_expects_nothing_shows_no_table(tmp_path: Path) -> None:
    assert plan("smoke", out=tmp_path / "run").datasets == ""


def test_what_is_expected_does_not_change_what_is_drawn() -> None:
    from genixer.stages.collect import SourceConfig

    pope = {"name": "pope", "questions": "q.jsonl", "fraction": 0.5}
    plain, told = (
        SourceConfig.model_validate({**pope, **more}) for more in ({}, {"expected_rows": 9})
    )
    assert plain.lot == told.lot
