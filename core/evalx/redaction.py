"""Taking secrets out of text that leaves evalx: what is shown, what is exported, and what others have written into a run's folder.

A secret is the value of an environment variable whose name says so, or which a config refers to by `host:NAME` or `api_key_name`; what
evalx has made or read itself (the tokens of its endpoints, a workspace's login); what a config writes out by `lit:` under such a name; a
password in a URL; and what begins as the tokens of well-known services do. It is found as it is, and as
URLs, JSON, hexadecimal and base64 write it. Who is given a secret and means to publish it can always write it in another way.
"""

from __future__ import annotations

import base64
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote

ENVIRONMENTS = frozenset({"env", "envs", "env_vars"})
"""Keys of a config whose mappings are environment variables, wherever they stand."""

_SECRET_VARIABLE = re.compile(r"TOKEN(?!IZER|S\b|S_)|SECRET|PASSWORD|PASSWD|API_?KEY|CREDENTIAL|_KEY$")
_ABOUT_SECRET = re.compile(r"_(NAME|REF|FILE|PATH|URL)S?$")
_SECRET_NAME = re.compile(r"TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
_REFERENCE = re.compile(r"host:([A-Za-z_][A-Za-z0-9._-]*)")
_NAMING_KEYS = frozenset({"api_key_name", "env_var_names"})
_URL_PASSWORD = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://[^/\s:@'\"]*:)([^/\s@'\"]+)@")
_KNOWN_SHAPE = re.compile(r"\b(?:hf_|nvapi-|sk-|gh[opsu]_|glpat-|github_pat_)[A-Za-z0-9_-]{20,}")
"""Tokens of services that a model is fetched from or asked at, which are recognised by their beginning."""

SHORTEST_SECRET = 8
"""Characters below which a value is too common to be replaced wherever it stands."""

BLOCK = 4 * 2**20
"""Bytes of a file that are looked at together."""

_referred: set[str] = set()
_held: dict[str, str] = {}
_literals: dict[str, str] = {}


def looks_secret(name: str) -> bool:
    """Whether an environment variable or key of that name usually holds a secret."""
    return bool(_SECRET_VARIABLE.search(name.upper())) and not _ABOUT_SECRET.search(name.upper())


def refer(data: Any) -> None:
    """Learn from a plan or config as plain data which variables hold secrets: those it refers to, whatever their names say. And the
    secrets that it holds itself, because somebody meant it so: variables whose names say so."""
    if isinstance(data, str):
        if found := _REFERENCE.fullmatch(data):
            _referred.add(found[1])
    elif isinstance(data, Mapping):
        for key, value in data.items():
            if key in _NAMING_KEYS:
                _referred.update(name for name in (value if isinstance(value, list | tuple) else [value]) if isinstance(name, str))
            if key in ENVIRONMENTS and isinstance(value, Mapping):
                _literals.update((text, str(name)) for name, text in map(_literal, value.items()) if looks_secret(str(name)) and text)
            refer(value)
    elif isinstance(data, list | tuple):
        for item in data:
            refer(item)


def _literal(variable: tuple[Any, Any]) -> tuple[Any, str]:
    """The variable's name, and what it holds itself: nothing if that is a reference."""
    name, value = variable
    if isinstance(value, Mapping) and set(value) == {"value"}:
        value = value["value"]
    if not isinstance(value, str) or value.startswith(("host:", "secret:")):
        return name, ""
    return name, value.removeprefix("lit:")


def hold(name: str, value: str) -> None:
    """Learn a secret that is in no variable. name: what is shown in its place."""
    _held[value] = name


def forget() -> None:
    """Know only what variables say by their names, as a new process does."""
    _referred.clear()
    _held.clear()
    _literals.clear()


def redact(text: str) -> str:
    """The text with secrets replaced by their names, and passwords in URLs by asterisks."""
    return _without(text, _secrets())


def _without(text: str, secrets: Sequence[tuple[str, str]]) -> str:
    for name, value in secrets:
        for form in _forms(value):
            if form in text:
                text = text.replace(form, f"<{name}>")
    text = _KNOWN_SHAPE.sub("<a token>", text)
    return _URL_PASSWORD.sub(r"\1***@", text) if "://" in text else text


def without_literals(text: str) -> str:
    """A plan's or config's text with the secrets replaced that it holds itself, and nothing else."""
    for value, name in sorted(_literals.items(), key=lambda pair: -len(pair[0])):
        for form in _forms(value) if len(value) >= SHORTEST_SECRET else ():
            text = text.replace(form, f"<{name}>")
    return text


def redacted(data: Any) -> Any:
    """Plain data with `redact` applied to every string in it, and bytes that are no text made printable."""
    return _all_without(data, _secrets())


def _all_without(data: Any, secrets: Sequence[tuple[str, str]]) -> Any:
    if isinstance(data, str):
        return _without(data.encode("utf-8", "backslashreplace").decode(), secrets)
    if isinstance(data, Mapping):
        return {_all_without(key, secrets): _all_without(value, secrets) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_all_without(item, secrets) for item in data]
    return data


def mask_files(folder: Path, pattern: str = "**/*") -> None:
    """Overwrite secrets with asterisks in the files of a folder, in place, so that whoever is writing to one is not disturbed.

    Links are not followed, and what has a second name elsewhere is left alone, as is what cannot be written.
    """
    forms = _forms_of(tuple(value for _, value in _secrets()))
    for path in folder.glob(pattern) if forms else ():
        with suppress(OSError):
            _mask(path, forms)


@lru_cache(maxsize=4)
def _forms_of(values: tuple[str, ...]) -> list[bytes]:
    return sorted({form.encode("utf-8", "surrogateescape") for value in values for form in _forms(value)})


def _mask(path: Path, forms: list[bytes]) -> None:
    if not stat.S_ISREG(path.lstat().st_mode):
        return
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
            return
        overlap, start = max(map(len, forms)) - 1, 0
        while len(block := os.pread(descriptor, BLOCK, start)) > 0:
            for form in forms:
                at = block.find(form)
                while at >= 0:
                    os.pwrite(file.fileno(), b"*" * len(form), start + at)
                    at = block.find(form, at + len(form))
            start += len(block) - overlap if len(block) == BLOCK else len(block)


def _secrets() -> list[tuple[str, str]]:
    """Names and values, the longest first: one may be a part of another."""
    variables = list(os.environ.items())
    found = [(name, value) for name, value in variables if name in _referred or _says_secret(name)]
    in_urls = ((name, _URL_PASSWORD.match(value)) for name, value in variables if "://" in value)
    found += [(name, unquote(url[2])) for name, url in in_urls if url]
    found += [(name, value) for value, name in (_held | _literals).items()]
    return sorted((pair for pair in found if len(pair[1]) >= SHORTEST_SECRET), key=lambda pair: -len(pair[1]))


@lru_cache(maxsize=512)
def _says_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


@lru_cache(maxsize=512)
def _forms(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_written(value)))


def _written(value: str) -> Iterator[str]:
    """The value as it is, as Python and JSON quote it, as it stands in a URL, in hexadecimal, and as part of what is base64."""
    data = value.encode("utf-8", "surrogateescape")
    yield value
    yield repr(value)[1:-1]
    for ascii_only in (True, False):
        yield json.dumps(value, ensure_ascii=ascii_only)[1:-1]
    for in_url in (quote(data, safe=""), quote(data), quote_plus(data)):
        yield in_url
        yield re.sub(r"%..", lambda code: code[0].lower(), in_url)
    yield data.hex()
    yield data.hex().upper()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + data).decode().rstrip("=")
        # Its first and last characters may also hold bits of the neighbours.
        inner = encoded[(0, 2, 3)[before] : len(encoded) - ((before + len(data)) % 3 > 0)]
        yield inner
        yield inner.translate(str.maketrans("+/", "-_"))
