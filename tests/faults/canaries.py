"""Secrets made for tests, every form in which one may be hidden in a text, and the search for them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

TALKATIVE = """
import base64, json, os, pathlib, sys, urllib.parse
lines = b"".join(path.read_bytes() for path in pathlib.Path("/proc").glob("[0-9]*/cmdline") if path.parent.name in os.listdir("/proc"))
for name in sys.argv[1].split(","):
    value = os.environ.get(name) or "not set: " + name
    data = value.encode()
    print(name, "IN ARGV" if data in lines else "")
    print(name, value, urllib.parse.quote(value, safe=""), data.hex(), json.dumps(value), flush=True)
    print(*(base64.b64encode(b"x" * shift + data).decode() for shift in range(3)), file=sys.stderr, flush=True)
    print("Authorization: Bearer", value, "https://user:" + urllib.parse.quote(value, safe="") + "@example.test/", flush=True)
"""
"""A program that tells the variables named in its first argument, in every form, and whether the arguments of a process hold one."""


def canary(name: str) -> str:
    """A secret that no text holds by chance, with characters that URLs, JSON and base64 write differently."""
    return f'Cn4-{name}/+"&Zq7'


def forms(value: str) -> dict[str, bytes]:
    """The value as it is, in URLs, in hexadecimal, in JSON, and as base64 behind zero, one or two other bytes."""
    data = value.encode()
    found = {"plain": data, "url": quote(value, safe="").encode(), "url path": quote(value).encode(), "hex": data.hex().encode()}
    found["HEX"] = data.hex().upper().encode()
    found["json"] = json.dumps(value)[1:-1].encode()
    for shift in range(3):
        coded = base64.b64encode(b"x" * shift + data).rstrip(b"=")
        # Without what depends on the neighbours.
        found[f"base64 at {shift}"] = coded[(0, 2, 3)[shift] : len(coded) - ((shift + len(data)) % 3 > 0)]
        found[f"url base64 at {shift}"] = found[f"base64 at {shift}"].translate(bytes.maketrans(b"+/", b"-_"))
    return found


def leaks(canaries: Mapping[str, str], texts: Iterable[tuple[str, bytes]]) -> Iterator[str]:
    """`NAME (FORM) in TEXT: …what stands before it` for every canary that is found anywhere."""
    needles = [(name, form, needle) for name, value in canaries.items() for form, needle in forms(value).items()]
    for where, data in texts:
        # A dump that is broken into lines or escaped once more hides nothing.
        flat = re.sub(rb"\s+", b"", data).replace(b"\\\\", b"\\")
        for name, form, needle in needles:
            for text in (data, flat):
                at = text.find(needle)
                if at >= 0:
                    yield f"{name} ({form}) in {where}: {text[max(at - 60, 0) : at]!r}"
                    break


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, with its name."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield str(path.relative_to(folder)), str(path).encode() + b"\n" + path.read_bytes()
