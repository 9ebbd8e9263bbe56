"""From a container to a process of this machine: which program an image stands for, on which port, under which paths."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise, zip_longest
from pathlib import Path

from attrs import frozen

from evalx_lepton.emulator.mounting import Mount
from evalx_lepton.emulator.settings import ImageRule

PLAIN = ("*alpine*", "*bash*", "*busybox*", "*debian*", "*python:*", "*ubuntu*")
DEFAULT_RULES = (
    ImageRule(
        "*nvcr.io/nim/*",
        ("vllm", "serve", "{model}", "--served-model-name", "{served_model_name}", "--port", "{port}", "--host", "127.0.0.1"),
        program="vllm",
    ),
    ImageRule("*nvidia/eval-factory/*", program="nemo-evaluator"),
    ImageRule("*vllm*", ("{argv}", "--port", "{port}"), program="vllm"),
    ImageRule("*sglang*", ("{argv}", "--port", "{port}"), program="sglang"),
    *(ImageRule(match) for match in PLAIN),
)
"""Servers and suites run if they are installed here; small images without programs of their own run with this machine's. A port at the
end wins over one before; a shell's `-c` line does not see it, and its port is replaced."""

MODEL_VARIABLES = ("MODEL_PATH", "NIM_MODEL_NAME", "MODEL", "SERVED_MODEL_NAME")
SERVED_VARIABLES = ("SERVED_MODEL_NAME", "NIM_SERVED_MODEL_NAME")


class ImageRefused(Exception):
    """The emulator does not know how to run the image; the message says what to put into the settings."""


@frozen
class Container:
    """What a spec says of it. env: with secrets resolved. port: on which it shall listen; None for a job."""

    image: str
    command: Sequence[str]
    env: Mapping[str, str]
    port: int | None = None


@frozen
class Command:
    """What to run."""

    argv: Sequence[str]
    env: Mapping[str, str]


def command_for(container: Container, rules: Sequence[ImageRule], port: int | None = None) -> Command:
    """The process for a container. port: where it is to listen in truth, since all containers here share one network.

    Raises ImageRefused.
    """
    rule = _rule(container, rules)
    env = {**_base_environment(rule), **rule.env, **container.env}
    argv = [part for element in rule.command for part in _fill(element, container, port)]
    if container.port is not None and port is not None:
        argv = [_with_port(text, container.port, port, before) for before, text in zip(["", *argv], argv, strict=False)]
        env |= {name: str(port) for name, value in env.items() if "PORT" in name.upper() and value == str(container.port)}
    return Command(argv, env)


def substitute(command: Command, mounts: Sequence[Mount]) -> Command:
    """The command with the folders' real paths in place of the mounted ones, where nothing can be mounted."""
    argv, env = list(command.argv), dict(command.env)
    for mount in sorted(mounts, key=lambda mount: -len(mount.target)):
        argv = [_with_path(text, mount) for text in argv]
        env = {name: _with_path(text, mount) for name, text in env.items()}
    return Command(argv, env)


def _with_path(text: str, mount: Mount) -> str:
    return re.sub(rf"(?<![\w./-]){re.escape(mount.target)}(?=$|[^\w.-])", lambda _: mount.source, text)


def _rule(container: Container, rules: Sequence[ImageRule]) -> ImageRule:
    image = container.image
    rule = next((rule for rule in rules if fnmatchcase(image, rule.match)), None)
    if rule is None:
        raise ImageRefused(_advice(image, "the emulator has no rule for image"))
    if rule.program and shutil.which(rule.program, path=_path(rule)) is None:
        raise ImageRefused(_advice(image, f"`{rule.program}` is not installed here, which stands for image"))
    if not container.command and "{argv}" in rule.command:
        raise ImageRefused(_advice(image, "the container has no command, and the emulator does not know the entrypoint of image"))
    return rule


def _advice(image: str, problem: str) -> str:
    pattern = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    rule = f'{{match: "*{pattern}*", command: ["{{argv}}"], path: [/folder/of/its/programs]}}'
    return f"{problem} {image}; say in the emulator's settings how to run it, for example: images: [{rule}]"


def _path(rule: ImageRule) -> str:
    return os.pathsep.join([*rule.path, os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])


def _base_environment(rule: ImageRule) -> dict[str, str]:
    """A container does not see the environment of whoever started the platform."""
    path = _path(rule)
    if rule.program and (found := shutil.which(rule.program, path=path)):
        path = os.pathsep.join([str(Path(found).parent), path])
    return {"PATH": path, "LANG": "C.UTF-8"}


def _fill(element: str, container: Container, port: int | None) -> list[str]:
    if element == "{argv}":
        return list(container.command)
    if "{" not in element:
        return [element]
    model = _model(container)
    facts = {
        "model": model,
        "served_model_name": _served_name(container) or model,
        "port": port or container.port,
        "image": container.image,
    }
    return [re.sub(r"\{(model|served_model_name|port|image)\}", lambda found: str(facts[found[1]]), element)]


def _words(container: Container) -> list[str]:
    """The command's words, also of one that is a line for a shell."""
    words = []
    for part in container.command:
        try:
            words += shlex.split(part)
        except ValueError:
            words.append(part)
    return words


def _model(container: Container) -> str:
    words = _words(container)
    named = _option(words, "--model", "--model-path") or next((after for word, after in pairwise(words) if word == "serve"), None)
    return named or _first(container.env, MODEL_VARIABLES)


def _served_name(container: Container) -> str:
    return _option(_words(container), "--served-model-name") or _first(container.env, SERVED_VARIABLES)


def _option(words: Sequence[str], *names: str) -> str | None:
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        option, equals, value = word.partition("=")
        if option in names:
            return value if equals else following
    return None


def _first(env: Mapping[str, str], names: Sequence[str]) -> str:
    return next((env[name] for name in names if name in env), "")


def _with_port(text: str, asked: int, given: int, before: str) -> str:
    """Where the text names the container's port as one, name the real one; and listen on loopback only. before: the argument before."""
    if before.lower().endswith("port") and text == str(asked):
        return str(given)
    as_port = re.compile(rf"((?:port[\"']?[ =:]+[\"']?)|(?<=[\w\]]):){asked}(?!\d)", re.IGNORECASE)
    return as_port.sub(lambda found: f"{found[1]}{given}", text).replace("0.0.0.0", "127.0.0.1")  # noqa: S104 -- replacing, not binding
