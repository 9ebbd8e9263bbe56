"""A thousand strings that mean something to shells, templates and formats, in every field of a config, to where programs receive them."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.enable_socket

PIECES = (
    *(
        "$(touch PWNED)",
        "`touch PWNED`",
        "; touch PWNED;",
        "| touch PWNED",
        "&& touch PWNED",
        "\ntouch PWNED\n",
        "> PWNED",
        "<(touch PWNED)",
    ),
    *(
        "'",
        '"',
        "\\",
        "'\"'\"'",
        "$'\\n'",
        "\t",
        "\r",
        "\n",
        " ",
        "  ",
        "",
        "*",
        "?",
        "[a-z]",
        "~",
        "~root",
        "#",
        "!!",
        "^",
        "%s%n%d",
        "%%",
    ),
    *("-rf", "--", "--help", "-c", "@file", "=", "PATH=", "$HOME", "$0", "$@", "$IFS", "$((1+1))", "() { :;}; touch PWNED", "<<EOF", "EOF"),
    *(
        "é",
        "日本",
        "🔥",
        "\u202e",
        "\u2028",
        "\x1b[31m",
        "\x7f",
        "\u00a0",
        "\ufeff",
        "../..",
        "/etc/passwd",
        "a" * 500,
        "0",
        "null",
        "true",
    ),
    *("{{", "}}", "{% x %}", "{a,b}", ": ", "- x", "&anchor", "*alias", "!!python/object", "|", ">", "1e5", "0x1F", "1_000", ".inf", "on"),
)
RECORD = """
import json, os, sys
with open(sys.argv[1], "w") as file:
    json.dump([sys.argv[2:], {name: value for name, value in os.environ.items() if name[:2] == "H_"}], file)
"""


def hostile(count: int, seed: int) -> list[str]:
    mix = random.Random(seed)
    return [*PIECES, *("".join(mix.choices(PIECES, k=mix.randint(2, 8))) for _ in range(count - len(PIECES)))]


def braces(text: str) -> str:
    """As the harness `command` and the deployment `command` want a literal brace."""
    return text.replace("{", "{{").replace("}", "}}")


def test_in_every_field_of_a_config_of_a_real_run(lab: Any) -> None:
    """Arguments and variables of the server and of a task, its name, the model's name, a folder with data."""
    # Without the two that YAML does not let through as they are.
    strings = [text.replace("\x7f", "").replace("\u2028", "") for text in hostile(1000, seed=17)]
    odd = "$(touch PWNED) `id` 'x\" -rf {a,b} %s *"
    (lab.folder / odd).mkdir()
    argv = [
        sys.executable,
        "-c",
        f"{RECORD}\nos.execv(sys.executable, [sys.executable, {str(lab.stub)!r}, '--port', sys.argv[2], '--model', sys.argv[3]])",
    ]
    variables = {f"H_{number}": f"lit:{text}" for number, text in enumerate(strings)}
    record = {"task": lab.folder / "task.json", "server": lab.folder / "server.json"}
    command = [sys.executable, "-c", braces(RECORD), str(record["task"]), "{model}", "{dataset_dir}", *map(braces, strings)]
    task = {"name": odd, "harness_config": {"command": command}, "dataset_dir": str(lab.folder / odd), "env_vars": variables}
    deployment = {
        "argv": [*argv, str(record["server"]), "{port}", "{model}", *strings],
        "served_model_name": odd,
        "env": variables,
    }
    done = lab.evalx("run", lab.config(task, deployment=deployment), "--display", "none")
    assert done.code == 1 and "no result" in done.err, done.err
    for name, skipped in (("task", [odd, str(lab.folder / odd)]), ("server", [odd])):
        got, env = json.loads(record[name].read_text())
        assert [(text, strings[at]) for at, text in enumerate(got[-len(strings) :]) if text != strings[at]] == []
        assert got[-len(strings) - len(skipped) : -len(strings)] == skipped
        assert env == {f"H_{number}": text for number, text in enumerate(strings)}
    assert not list(lab.folder.rglob("PWNED")) and not lab.alive()


@pytest.mark.parametrize("shell", [shell for shell in ("bash", "dash", "busybox") if shutil.which(shell)])
def test_through_the_script_of_a_job(shell: str, tmp_path: Path) -> None:
    """The script that a Lepton job runs, which a container's own shell has to understand."""
    job = pytest.importorskip("evalx_lepton.job")
    strings = hostile(1000, seed=18)
    argv = [shell, *(["sh"] if shell == "busybox" else []), "-c", job.SCRIPT, "evalx", "key", str(tmp_path / "wörk $(touch PWNED) 'x"), ""]
    told = tmp_path / "told.json"
    whole = [*argv, "", "1000000", "0", sys.executable, "-c", RECORD, str(told), *strings]
    done = subprocess.run(whole, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(told.read_text())[0] == strings
    assert not list(tmp_path.rglob("PWNED"))
