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
    '''Say hello to
    somebody. In any language.

    NAME is a name.
    '''
    click.echo("hello from a plugin")
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A folder with an installed distribution that adds `evalx greet`, and `evalx broken`, whose module cannot be imported."""
    (tmp_path / "greeting.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("raise RuntimeError('broken on purpose')")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "deep" / "er" / "wave.py").write_text("def wave():\n    'Wave to everybody'\n")
    (tmp_path / "torn.py").write_text("def command(:")
    info = tmp_path / "greeting-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greeting\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[evalx.commands]\ngreet = greeting:command\nbroken = broken:command\nrun = greeting:command\n"
        "wave = deep.er.wave:wave\ntorn = torn:command\nabsent = nowhere.to.be.found:command\n"
    )
    return tmp_path


def evalx(plugin: Path, *args: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(plugin)!r}); from evalx.cli import main; main({list(args)!r})"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_plugins_command_is_listed_without_being_imported(plugin: Path) -> None:
    done = evalx(plugin, "--help")
    assert done.returncode == 0
    assert "  greet" in done.stdout and "Say hello to somebody." in done.stdout
    assert "  wave        Wave to everybody.\n" in done.stdout
    for name in ("broken", "torn", "absent"):
        assert f"  {name:<10}  A command of greeting.\n" in done.stdout
    assert not done.stderr


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
