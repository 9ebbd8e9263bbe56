from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from evalx.errors import ConfigError
from evalx.harnesses.api import ResultError, Target
from evalx.harnesses.command import CommandHarness, expand
from evalx.model import Metric, Secret, Site

from .conftest import Run, make_task

TARGET = Target("http://h/v1/chat/completions", "http://h/v1", "tiny")


def command(site: Site, target: Target = TARGET, **params: Any) -> Any:
    return CommandHarness().command(make_task(task="quiz", params=params), target, site)


def parse(tmp_path: Path, content: str | bytes) -> tuple[Metric, ...]:
    (tmp_path / "results.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    return CommandHarness().parse(make_task(), tmp_path)


def document(*metrics: Any) -> str:
    return json.dumps({"schema": 1, "metrics": metrics})


def test_placeholders_are_replaced(site: Site) -> None:
    made = command(attrs.evolve(site, dataset_dir="/data"), command=["eval", "{url}", "{base_url}|{model}", "{task}", "{dataset_dir}", 3])
    assert made.argv == ("eval", TARGET.url, "http://h/v1|tiny", "quiz", "/data", "3")
    assert command(site, command=["{workdir}", "{results}"]).argv == (site.workdir, f"{site.workdir}/results")


def test_what_a_placeholder_stands_for_is_not_looked_at_again() -> None:
    assert expand("{a} {{a}} {{{a}}}", {"a": "{b}", "b": "no"}) == "{b} {a} {{b}}"


@pytest.mark.parametrize("text", ["{nope}", "{", "}", "{url", "{url!r}", "{url:>9}", "{}", '{"json": 1}'])
def test_braces_that_are_no_placeholder_are_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        expand(text, {"url": "u"})
    assert caught.value.hint


def test_a_missing_data_set_is_named(site: Site) -> None:
    with pytest.raises(ConfigError, match="dataset_dir"):
        command(site, command=["eval", "{dataset_dir}"])


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"command": "eval x"},
        {"command": []},
        {"command": [["x"]]},
        {"command": [True]},
        {"comand": ["x"]},
        {"command": ["x"], "shell": True},
    ],
)
def test_wrong_settings_are_refused(site: Site, params: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        command(site, **params)


def test_the_key_is_where_the_config_says(site: Site) -> None:
    target = attrs.evolve(TARGET, api_key=Secret("host:K"))
    assert command(site, target, command=["x"]).env == {"API_KEY": Secret("host:K")}
    named = CommandHarness().command(make_task(params={"command": ["x"]}, api_key_name="MY_KEY"), target, site)
    assert named.env == {"MY_KEY": Secret("host:K")}


def test_a_program_is_run_and_its_results_are_read(run: Run, site: Site) -> None:
    text = document({"name": "accuracy", "value": 0.5, "stderr": 0.1, "n": 4}, {"name": "speed", "value": 3})
    program = "import sys, pathlib; p = pathlib.Path(sys.argv[1]); p.mkdir(); (p / 'results.json').write_text(sys.argv[2])"
    escaped = text.replace("{", "{{").replace("}", "}}")
    assert run(CommandHarness(), params={"command": [sys.executable, "-c", program, "{results}", escaped]}).returncode == 0
    assert CommandHarness().parse(make_task(), Path(site.results)) == (Metric("accuracy", 0.5, 0.1, 4), Metric("speed", 3.0))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "is empty"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "schema"),
        ('{"schema": 2, "metrics": []}', "schema"),
        ('{"schema": 1}', "must be a list"),
        (document(), "no scores"),
        (document("x"), r"metrics\[0\]"),
        (document({"value": 1}), r"metrics\[0\]"),
        (document({"name": "a"}), "not a number but NoneType"),
        (document({"name": "a", "value": "1"}), "not a number but str"),
        (document({"name": "a", "value": True}), "not a number but bool"),
        (document({"name": "a", "value": float("nan")}), "not finite"),
        (document({"name": "a", "value": float("inf")}), "not finite"),
        (document({"name": "a", "value": 10**400}), "not finite"),
        (document({"name": "a", "value": 1, "n": -1}), "natural number"),
        (document({"name": "a", "value": 1, "n": 1.5}), "natural number"),
        (document({"name": "a", "value": 1, "n": 0}), "zero samples"),
        (document({"name": "a", "value": 1, "n": 10**400}), "sample count of a is larger"),
        ('{"schema": 1, "metrics": [{"name": "a", "value": 0.1, "value": 0.9}]}', "'value' twice in one object"),
        (document({"name": "a", "value": 1}, {"name": "a", "value": 2}), "twice"),
        (document({"name": "a\x1b[2J", "value": 1}), "not printable"),
        (document({"name": "a" * 1000, "value": 1}), "not printable"),
        (document(*({"name": f"m{n}", "value": n} for n in range(10_001))), "more than 10000 metrics"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_what_is_no_result_is_refused_with_a_reason(tmp_path: Path, content: str | bytes, complaint: str) -> None:
    with pytest.raises(ResultError, match=complaint):
        parse(tmp_path, content)


@pytest.mark.parametrize("stderr", [None, "N/A", float("nan"), -1, 10**400])
def test_a_standard_error_that_is_none_is_left_out(tmp_path: Path, stderr: Any) -> None:
    assert parse(tmp_path, document({"name": "a", "value": 1, "stderr": stderr})) == (Metric("a", 1.0),)
