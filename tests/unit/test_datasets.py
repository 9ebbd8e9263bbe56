"""Fingerprints of the data that tasks are given."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from evalx import datasets as module
from evalx.datasets import datasets
from evalx.model import TaskSpec


def fingerprint(folder: Path) -> dict[str, Any]:
    return datasets([TaskSpec("t", 0, "command", "m", {"dataset_dir": str(folder)})])["t"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.jsonl").write_text("a")
    (folder / "sub" / "b.jsonl").write_text("bb")
    return folder


def test_a_copy_is_the_same_data(data: Path, tmp_path: Path) -> None:
    found = fingerprint(data)
    assert (found["files"], found["bytes"], found["whole"]) == (2, 3, True)
    data.rename(tmp_path / "elsewhere")
    assert fingerprint(tmp_path / "elsewhere")["sha256"] == found["sha256"]


@pytest.mark.parametrize("change", ["content", "name", "more"])
def test_other_data_is_other(data: Path, change: str) -> None:
    before = fingerprint(data)["sha256"]
    if change == "content":
        (data / "a.jsonl").write_text("b")
    elif change == "name":
        (data / "a.jsonl").rename(data / "c.jsonl")
    else:
        (data / "c.jsonl").write_text("")
    assert fingerprint(data)["sha256"] != before


def test_what_is_too_large_counts_by_its_size(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_READ", 1)
    before = fingerprint(data)
    assert not before["whole"]
    (data / "sub" / "b.jsonl").write_text("cc")
    assert fingerprint(data)["sha256"] == before["sha256"]
    (data / "sub" / "b.jsonl").write_text("c")
    assert fingerprint(data)["sha256"] != before["sha256"]


def test_a_folder_with_too_many_files_has_none(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 1)
    assert datasets([TaskSpec("t", 0, "command", "m", {"dataset_dir": str(data)})]) == {}


def test_links_and_devices_are_not_read(data: Path) -> None:
    before = fingerprint(data)["sha256"]
    os.symlink("/dev/zero", data / "endless")
    os.mkfifo(data / "pipe")
    assert fingerprint(data)["sha256"] == before


def test_a_folder_that_is_not_here_has_none() -> None:
    assert datasets([TaskSpec("t", 0, "command", "m", {"dataset_dir": "/no/such/folder"}), TaskSpec("u", 1, "command", "m")]) == {}
