"""docs/emulator.md shows settings that are read and code that runs."""

from __future__ import annotations

import typing

import attrs
import yaml
from tests.docs.markdown import DOCS, blocks

from evalx_lepton.emulator.settings import EmulatorSettings, EndpointFault, FaultKind, JobFault, parse

PAGE = DOCS / "emulator.md"


def text(language: str) -> str:
    (block,) = [block for block in blocks(PAGE) if block.language == language]
    return block.text


def test_the_settings_shown_are_read_and_are_all() -> None:
    shown = yaml.safe_load(text("yaml"))
    parse(shown)
    assert set(shown) | {"default_images"} == {key.name for key in attrs.fields(EmulatorSettings)}


def test_the_code_shown_runs() -> None:
    exec(compile(text("python"), str(PAGE), "exec"), {})


def test_every_fault_is_told() -> None:
    page = PAGE.read_text()
    kinds = [typing.get_args(typing.get_type_hints(fault)["kind"]) for fault in (EndpointFault, JobFault)]
    for kind in (*kinds[0], *kinds[1], *typing.get_args(FaultKind)):
        assert f"`{kind}`" in page
