from pathlib import Path

import pytest

from genixer.errors import ConfigError
from genixer.yaml_source import read_yaml


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


def test_every_key_and_item_has_its_line(tmp_path: Path) -> None:
    value, source = read_yaml(write(tmp_path, "a: 1\nb:\n  c:\n    - x\n    - d: 2\n"))
    assert value == {"a": 1, "b": {"c": ["x", {"d": 2}]}}
    assert source.where(("b", "c", 1, "d")) == f"{tmp_path / 'c.yaml'}:5: b.c.1.d"
    assert source.where(("b", "missing")) == f"{tmp_path / 'c.yaml'}:2: b.missing"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", r":3: key 'a' stands twice, first in line 1"),
        ("a:\n  b: 1\n  b: 2\n", r":3: key 'b' stands twice"),
        ("1: x\n", r":1: key '1' is not text; put it in quotes"),
        ("a: [1\n", r":2: not YAML"),
        ("- a\n", r"expected keys such as name and steps, got list"),
        ("", r"got NoneType"),
        ("a: !!python/object/apply:os.getcwd []\n", r":1: not YAML"),
        ("a: &x [*x]\n", r"an alias refers to itself"),
    ],
)
def test_bad_yaml_is_named_by_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_yaml(write(tmp_path, text))


def test_aliases_that_double_do_not_explode(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    value, _ = read_yaml(write(tmp_path, "\n".join(lines)))
    assert len(value) == 12


def test_merge_keys_may_be_overridden(tmp_path: Path) -> None:
    text = "base: &base {x: 1, y: 2}\nmore:\n  <<: *base\n  x: 3\n"
    assert read_yaml(write(tmp_path, text))[0]["more"] == {"x": 3, "y": 2}


@pytest.mark.parametrize("data", [b"a: \xff\n", None])
def test_unreadable_files_are_config_errors(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "c.yaml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"c\.yaml: cannot be read"):
        read_yaml(path)
