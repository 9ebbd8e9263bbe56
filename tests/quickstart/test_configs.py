"""The shipped quickstart configs, and what they refer to."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from evalx.config import load
from evalx.errors import ConfigError, ConfigErrors
from evalx_quickstart import paths


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which everything exists, as far as paths go."""
    monkeypatch.setenv("EVALX_QUICKSTART_DIR", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for file in (paths.python(), paths.venv_marker(), paths.weights()):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("config", "overrides", "model", "path"),
    [
        ("quickstart", (), "smollm2", "models/SmolLM2-135M-Instruct.Q4_1.gguf"),
        ("quickstart-tinyqa", (), "tinyqa-strong", str(paths.TOY_MODELS["tinyqa-strong"])),
        ("quickstart", ("deployment.served_model_name=tinyqa-weak",), "tinyqa-weak", str(paths.TOY_MODELS["tinyqa-weak"])),
    ],
)
def test_a_config_serves_the_model_it_names(prepared: Path, config: str, overrides: tuple[str, ...], model: str, path: str) -> None:
    loaded = load(config, overrides=overrides)
    assert loaded.deployment.served_model_name == model
    assert loaded.deployment.argv == [
        str(prepared / "venv" / "bin" / "python"),
        str(paths.SERVER),
        f"--path={prepared / path}",
        "--model={model}",
        "--port={port}",
    ]
    assert [task.name for task in loaded.evaluation.tasks] == ["arithmetic", "capitals", "everyday_facts"]
    assert loaded.execution.harness("nemo_evaluator").env == {"PYTHONPATH": str(paths.HARNESS)}


def test_what_is_not_prepared_is_told_with_the_command_that_prepares_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALX_QUICKSTART_DIR", str(tmp_path / "none"))
    with pytest.raises(ConfigErrors) as raised:
        load("quickstart")
    assert {error.hint for error in raised.value.errors} == {"run: python -m evalx_quickstart"}
    assert all(error.where for error in raised.value.errors)


@pytest.mark.parametrize("asked", [("nonsense",), ("python", "3"), ("model",), ("model", "gpt-5"), ("model", "smollm2", "x")])
def test_a_mistaken_reference_says_what_there_is(prepared: Path, asked: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as raised:
        paths.resolve(*asked)
    assert raised.value.hint


def test_the_home_is_in_the_users_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EVALX_QUICKSTART_DIR", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    expected = tmp_path / "evalx" / "quickstart"
    assert paths.home() == expected or not sys.platform.startswith("linux")
