"""A plugin distribution made of real files: the executor `acme` with two deployment variants, a resolver and config groups."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from evalx.config import Config, load
from evalx.errors import ConfigError, ConfigErrors

PLUGIN = """
from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from attrs import frozen

from evalx.config.settings import ExecutionSettings, at_least, setting
from evalx.errors import ConfigError


class Shape(Enum):
    SMALL = "cpu.small"
    LARGE = "gpu.large"


@frozen(kw_only=True)
class Mount:
    source: str = setting(help="What to mount.")
    path: str = setting("/workspace", help="Where to.")


@frozen(kw_only=True)
class Settings(ExecutionSettings):
    region: str = setting(help="Region in which machines are rented.")
    shape: Shape = setting(Shape.SMALL, help="Machine.")
    mounts: tuple[Mount, ...] = setting((), help="Storage.")
    env_vars: Mapping[str, Any] = setting(factory=dict, help="Variables.")
    spot: bool = setting(False, help="Cheaper machines.")
    patience: float = setting(900.0, help="Seconds until an endpoint answers.", validator=at_least(1))

    @property
    def ready_timeout(self) -> float:
        return self.patience


class Executor:
    evalx_api = (1, 0)
    Settings = Settings
    deployments = "evalx.acme.deployments"


@frozen(kw_only=True)
class NoOptions:
    pass


class NoDeployment:
    evalx_api = (1, 0)
    Options = NoOptions


@frozen(kw_only=True)
class ServerOptions:
    served_model_name: str | None = setting(None, help="Name of the model.")
    checkpoint_path: str = setting(help="Folder of the checkpoint.")
    tensor_parallel_size: int = setting(1, help="GPUs.")
    endpoints: Mapping[str, str] = setting(factory=dict, help="Routes.")
    envs: Mapping[str, Any] = setting(factory=dict, help="Variables.")

    def __attrs_post_init__(self) -> None:
        if self.tensor_parallel_size == 3:
            raise ConfigError("three GPUs cannot share a layer", "use 2 or 4", where="tensor_parallel_size")


class ServerDeployment:
    evalx_api = (1, 0)
    Options = ServerOptions


def resolve(*arguments: str) -> str:
    if arguments[0] == "broken":
        raise ConfigError("there is nothing of that name", "acme list")
    return f"/acme/{'/'.join(arguments)}"
"""

ENTRY_POINTS = """
[evalx.executors]
acme = acme_cloud.plugin:Executor

[evalx.acme.deployments]
none = acme_cloud.plugin:NoDeployment
server = acme_cloud.plugin:ServerDeployment

[evalx.resolvers]
acme = acme_cloud.plugin:resolve
"""

GROUPS = {
    "execution/acme/default.yaml": "type: acme\nregion: north\noutput_dir: ???\n",
    "execution/acme/south.yaml": "defaults: [acme/default@_here_, _self_]\nregion: south\n",
    "deployment/server.yaml": "type: server\ncheckpoint_path: ???\nserved_model_name: tiny\n"
    "endpoints: {completions: /v1/completions, health: /health}\n",
    "acme_example.yaml": "defaults: [{execution: acme/default}, _self_]\nexecution: {output_dir: out}\n"
    "target: {api_endpoint: {url: 'http://127.0.0.1:1/v1', model_id: m}}\nevaluation: {tasks: [{name: ifeval}]}\n",
}

SIMPLE = """
execution:
  type: acme
  region: west
target:
  api_endpoint:
    url: http://127.0.0.1:8000/v1/chat/completions
    model_id: tiny
evaluation:
  tasks:
    - name: ifeval
"""

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Installs the distribution and makes an empty folder the current one. Returns the plugin's package."""
    site = tmp_path / "site"
    package = site / "acme_cloud"
    for name, text in GROUPS.items():
        _write(package / "configs" / name, text)
    _write(site / "acme_cloud-1.0.dist-info" / "METADATA", "Metadata-Version: 2.1\nName: acme-cloud\nVersion: 1.0\n")
    _write(site / "acme_cloud-1.0.dist-info" / "entry_points.txt", ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(site))
    _write(package / "__init__.py", "")
    _write(package / "plugin.py", PLUGIN)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    yield package
    for module in [module for module in sys.modules if module.partition(".")[0] == "acme_cloud"]:
        del sys.modules[module]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def write() -> Write:
    """Write a file into the current folder; returns its path."""

    def write(text: str, name: str = "my.yaml") -> Path:
        path = Path.cwd() / name
        _write(path, dedent(text))
        return path

    return write


@pytest.fixture
def loaded(write: Write) -> Callable[..., Config]:
    """Write a config as `my.yaml` and load it; keywords go to `load`."""

    def loaded(text: str, **options: object) -> Config:
        write(text)
        return load("my.yaml", **options)  # type: ignore[arg-type]

    return loaded


@pytest.fixture
def mistakes(write: Write) -> Callable[..., list[ConfigError]]:
    """Load a config that must be refused; returns every mistake."""

    def mistakes(text: str, **options: object) -> list[ConfigError]:
        write(text)
        with pytest.raises(ConfigError) as caught:
            load("my.yaml", **options)  # type: ignore[arg-type]
        return caught.value.errors if isinstance(caught.value, ConfigErrors) else [caught.value]

    return mistakes
