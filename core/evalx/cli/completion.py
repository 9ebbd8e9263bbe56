"""`evalx completion`: the script with which a shell completes evalx's commands. What it then asks for is in `completing`."""

from __future__ import annotations

import click

from evalx.cli.options import common_options
from evalx.cli.output import emit

VARIABLE = "_EVALX_COMPLETE"

NO_SPACE_AFTER_KEYS = """\
%(name)s_without_space() {
    %(name)s "$@"
    [[ ${#COMPREPLY[@]} -gt 0 && "${COMPREPLY[0]}" == *= ]] && compopt -o nospace
    return 0
}
complete -o nosort -F %(name)s_without_space evalx
"""
"""For bash, after click's own script: `key=` is to be followed by its value."""


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common_options
def command(shell: str, as_json: bool) -> None:
    """Print the script that lets a shell complete commands, options, configs, tasks, runs, executors and keys.

    \b
    bash:  eval "$(evalx completion bash)"        in ~/.bashrc
    zsh:   eval "$(evalx completion zsh)"         in ~/.zshrc, after compinit
    fish:  evalx completion fish > ~/.config/fish/completions/evalx.fish
    """
    text = script(shell)
    if as_json:
        emit({"shell": shell, "script": text})
    else:
        click.echo(text)


def script(shell: str) -> str:
    """The script for `bash`, `zsh` or `fish`."""
    from click.shell_completion import get_completion_class

    from evalx.cli.app import cli

    found = get_completion_class(shell)
    assert found is not None
    complete = found(cli, {}, "evalx", VARIABLE)
    text: str = complete.source_template % complete.source_vars()
    return text + (NO_SPACE_AFTER_KEYS % {"name": complete.func_name} if shell == "bash" else "")
