"""Files as users, editors and attackers leave them."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalx.config.source import MAX_BYTES, Document, dotted, read_document, to_yaml
from evalx.errors import ConfigError


def read(tmp_path: Path, content: str | bytes) -> Document:
    path = tmp_path / "c.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_document(path)


def refusal(tmp_path: Path, content: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, content)
    return str(caught.value).removeprefix(str(tmp_path)).removeprefix("/")


def test_every_value_knows_its_line(tmp_path: Path) -> None:
    document = read(tmp_path, "# comment\na:\n  b: 1\n  c:\n    - x\n    - {d: 2}\n")
    assert document.data == {"a": {"b": 1, "c": ["x", {"d": 2}]}}
    assert document.lines == {("a",): 2, ("a", "b"): 3, ("a", "c"): 4, ("a", "c", 0): 5, ("a", "c", 1): 6, ("a", "c", 1, "d"): 6}
    assert document.where(("a", "missing")).endswith("c.yaml:2")
    assert document.where().endswith("c.yaml:1")


def test_values_are_read_as_config_files_are_meant(tmp_path: Path) -> None:
    data = read(tmp_path, "\ufeffa: 1e-3\nb: 2024-01-01\nc: 1.0e-07\nd: 'yes'\ne: ~\nf: 1_000\ng: .5\n").data
    assert data == {"a": 0.001, "b": "2024-01-01", "c": 1e-7, "d": "yes", "e": None, "f": 1000, "g": 0.5}


def test_merge_keys_and_aliases_work(tmp_path: Path) -> None:
    document = read(tmp_path, "base: &base {x: 1}\nuse:\n  <<: *base\n  y: 2\n")
    assert document.data["use"] == {"x": 1, "y": 2}
    assert document.lines[("use", "y")] == 4


def test_an_empty_file_is_an_empty_config(tmp_path: Path) -> None:
    assert read(tmp_path, "# nothing\n").data == {}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", "c.yaml:3: key 'a' is given twice, first in line 1"),
        ("a:\n  b: 1\n  b: 2\n", "c.yaml:3: key 'b' is given twice, first in line 2"),
        ("a: [1\nb: 2\n", "c.yaml:2: not valid YAML"),
        ("a:\n\tb: 1\n", "c.yaml:2: not valid YAML"),
        ("- a\n", "c.yaml:1: a config is a mapping"),
        ("a: 1\n---\nb: 2\n", "c.yaml:2: not valid YAML"),
        ("on: 1\n", "c.yaml:1: a key must be text, not 'on'"),
        ("8000: 1\n", "c.yaml:1: a key must be text"),
        ("? [a]\n: 1\n", "c.yaml:1: a key must be text, not a list or mapping"),
        ("a: !!python/object/apply:os.system [id]\n", "c.yaml:1: YAML tag"),
        ("a: !!binary aGk=\n", "c.yaml:1: YAML tag"),
        ("a: .nan\n", "c.yaml:1: not a finite number"),
        ("a: -.INF\n", "c.yaml:1: not a finite number"),
        ("a: &a {b: *a}\n", "c.yaml:1: an alias that contains itself"),
        ("a: 1\nb: " + "[" * 200_000, "c.yaml:2: nested deeper than"),
        (b"a: 1\nb: \xff\n", "c.yaml:2: not UTF-8 text"),
        ("a: \x07\n", "c.yaml: not readable as YAML"),
    ],
)
def test_what_cannot_be_a_config_is_refused_with_its_line(tmp_path: Path, content: str | bytes, expected: str) -> None:
    assert refusal(tmp_path, content).startswith(expected)


def test_a_small_file_cannot_become_a_huge_config(tmp_path: Path) -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "values, aliases included" in refusal(tmp_path, "\n".join(levels))


def test_a_file_over_the_size_limit_is_not_read(tmp_path: Path) -> None:
    assert "larger than 1024 KiB" in refusal(tmp_path, "a: " + "x" * MAX_BYTES)
    assert read(tmp_path, "a: " + "x" * (MAX_BYTES - 3)).data["a"]


def test_what_is_not_a_readable_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_document(tmp_path)


def test_written_yaml_is_read_back_as_the_same_values(tmp_path: Path) -> None:
    data = {"a": "1e-3", "b": 1e-3, "c": "true", "d": ["ü", None, {"x": "${oc.env:HOME}"}], "e": "a: b\n# c"}
    assert read(tmp_path, to_yaml(data)).data == data


def test_keys_are_shown_as_users_write_them() -> None:
    assert dotted(("evaluation", "tasks", 0, "name")) == "evaluation.tasks[0].name"
