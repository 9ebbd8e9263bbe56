"""Commands that other distributions add through the entry-point group `evalx.commands`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MODULE = """
import click

@click.command("greet")
def command():
    click.echo("hello from a plugin")
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A folder with an installed distribution that adds `evalx greet`, and `evalx broken`, whose module cannot be imported."""
    (tmp_path / "greeting.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("raise RuntimeError('broken on purpose')")
    info = tmp_path / "greeting-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greeting\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[evalx.commands]\ngreet = greeting:command\nbroken = broken:command\nrun = greeting:command\n")
    return tmp_path


def evalx(plugin: Path, *args: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(plugin)!r}); from evalx.cli import main; main({list(args)!r})"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_plugins_command_is_listed_without_being_imported(plugin: Path) -> None:
    done = evalx(plugin, "--help")
    assert done.returncode == 0
    assert "  greet" in done.stdout and "Of the plugin greeting." in done.stdout
    assert "  broken" in done.stdout and not done.stderr


def test_a_plugins_command_runs(plugin: Path) -> None:
    done = evalx(plugin, "greet")
    assert (done.returncode, done.stdout) == (0, "hello from a plugin\n")


def test_a_command_that_cannot_be_imported_names_its_distribution(plugin: Path) -> None:
    done = evalx(plugin, "broken")
    assert done.returncode == 2
    assert "greeting 1.2" in done.stderr and "broken on purpose" in done.stderr


def test_no_plugin_takes_the_place_of_a_built_in_command(plugin: Path) -> None:
    assert "Deploy" in evalx(plugin, "run", "--help").stdout


def test_a_plugins_command_is_guessed_too(plugin: Path) -> None:
    assert "Did you mean 'greet'?" in evalx(plugin, "greeet").stderr
