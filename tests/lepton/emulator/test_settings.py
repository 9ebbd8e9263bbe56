"""The settings file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evalx.errors import ConfigError
from evalx_lepton.emulator.settings import EmulatorSettings, Fault, ImageRule, NodeGroup, load, parse

FILE = """
images:
  - {match: "*server*", command: [python3, server.py, "{port}"], env: {A: b}}
provisioning: 5
node_groups: [{id: ng-1, name: big, shapes: [cpu.small]}]
shapes: [{name: cpu.small, cpu: 1, memory: 4096}]
capacity: {"gpu.*": 2}
new_endpoints: true
faults:
  - {status: 429, method: POST, path: /jobs, retry_after: 2, times: 3}
  - {status: reset, when: after}
endpoint_faults: [{kind: stuck}]
job_faults: [{kind: fail, name: "x*", exit_code: 3}]
"""


def test_a_file_says_what_the_workspace_is_like(tmp_path: Path) -> None:
    path = tmp_path / "workspace.yaml"
    path.write_text(FILE)
    settings = load(path)
    assert settings.images == (ImageRule("*server*", ("python3", "server.py", "{port}"), env={"A": "b"}),)
    assert settings.node_groups == (NodeGroup("ng-1", "big", ("cpu.small",)),)
    assert settings.faults == (Fault(429, "POST", "/jobs", retry_after=2.0, times=3), Fault("reset", when="after"))
    assert (settings.provisioning, settings.new_endpoints, settings.capacity, len(settings.shapes)) == (5.0, True, {"gpu.*": 2}, 1)
    assert settings.endpoint_faults[0].kind == "stuck" and settings.job_faults[0].exit_code == 3


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("")
    assert load(tmp_path / "empty.yaml") == EmulatorSettings()


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ({"provisionning": 1}, "provisionning"),
        ({"latency": "soon"}, "latency"),
        ({"new_endpoints": 1}, "new_endpoints"),
        ({"faults": [{"status": 200}]}, "faults"),
        ({"faults": [{"status": "explode"}]}, "explode"),
        ({"faults": [{"status": 500, "when": "never"}]}, "when"),
        ({"faults": [{}]}, "status"),
        ({"endpoint_faults": [{"kind": "melt"}]}, "kind"),
        ({"images": [{"command": ["x"]}]}, "match"),
    ],
)
def test_mistakes_are_named(content: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError, match=where):
        parse(content)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        parse({"latency": "soon", "grace": "later"})
    assert "latency" in str(raised.value) and "grace" in str(raised.value)


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "just text"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        load(tmp_path / "bad.yaml")
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load(tmp_path / "none.yaml")
