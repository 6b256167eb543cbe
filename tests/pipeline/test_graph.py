from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genixer.config import parse_config
from genixer.errors import ConfigError
from genixer.pipeline.graph import Node, expand, in_order
from genixer.yaml_source import YamlSource


def nodes(**steps: Any) -> dict[str, Node]:
    value = {"name": "x", "steps": {name: {"stage": "toy", **one} for name, one in steps.items()}}
    return {node.name: node for node in expand(parse_config(value, YamlSource("x.yaml", {})))}


def test_a_matrix_spreads_in_the_order_written() -> None:
    found = nodes(
        mix={"matrix": {"arm": ["none", "kept"]}, "with": {"arm": "{arm}"}},
        student={
            "matrix": {"arm": ["none", "kept"], "seed": [1, 2]},
            "from": ["mix-{arm}"],
            "with": {
                "seed": "{seed}",
                "note": "{arm} of {seed}, {other}",
                "deep": [{"s": "{seed}"}],
            },
        },
        report={"from": {"students": "student-*", "none": ["student-none-*"]}},
    )
    assert list(found)[2:6] == [
        "student-none-1",
        "student-none-2",
        "student-kept-1",
        "student-kept-2",
    ]
    one = found["student-kept-2"]
    assert one.written == "student"
    assert one.sources == {"rows": ("mix-kept",)}
    assert one.settings == {"seed": 2, "note": "kept of 2, {other}", "deep": [{"s": 2}]}
    assert found["report"].sources["students"] == tuple(list(found)[2:6])
    assert found["report"].sources["none"] == ("student-none-1", "student-none-2")


def test_a_star_never_means_the_step_itself() -> None:
    assert nodes(a={}, b={"from": "*"})["b"].sources == {"rows": ("a",)}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ({"mix": {"from": ["colect"]}, "collect": {}}, r"steps\.mix\.from.*did you mean collect"),
        ({"mix": {"from": ["x-*"]}}, r"no step is called 'x-\*'"),
        ({"a": {"matrix": {"k": [1]}}, "b": {"from": "a"}}, r"it has a matrix: write a-\*"),
        ({"a": {"matrix": {"k": []}}}, r"a key has no values"),
        ({"a": {"matrix": {"k": ["x/y"]}}}, r"'a-x/y' would not do as a folder name"),
        ({"a-1": {}, "a": {"matrix": {"k": [1]}}}, r"two steps come out as 'a-1'"),
    ],
)
def test_mistakes_are_config_errors(steps: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        nodes(**steps)


def test_a_circle_is_spelled_out() -> None:
    with pytest.raises(ConfigError, match=r"in a circle: (a -> b -> c -> a|b -> c -> a -> b)"):
        in_order({"start": [], "a": ["b", "start"], "b": ["c"], "c": ["a"]})


@given(
    st.integers(1, 12).flatmap(
        lambda n: st.lists(st.sets(st.integers(0, n)), min_size=n, max_size=n)
    )
)
def test_every_step_comes_after_what_it_needs(needs: list[set[int]]) -> None:
    # Edges only to smaller numbers, so there is no circle; written largest first.
    graph = {
        str(n): [str(m) for m in sorted(needs[n]) if m < n] for n in reversed(range(len(needs)))
    }
    order = in_order(graph)
    assert sorted(order) == sorted(graph)
    assert all(order.index(m) < order.index(n) for n, many in graph.items() for m in many)
