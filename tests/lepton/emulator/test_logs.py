"""The emulated log store and live logs, through the real SDK."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import requests
from leptonai.api.v2.client import APIClient
from leptonai.api.v2.log import LogAPIError
from tests.lepton.emulator.conftest import Emulate, job, sdk, until, until_job

from evalx_lepton.emulator.logs import LINE_LIMIT, LogFile, Query, search

END = 1 << 62


def entries(client: APIClient, name: str, **query: Any) -> list[tuple[int, str]]:
    """Time and text of the lines that a query finds, in the order of the answer."""
    span = {"start": "1", "end": str(END), "direction": "forward", **query}
    answer = client.log.get_log(name_or_job=name, **span)
    return [(int(moment), line) for stream in answer["data"]["result"] for moment, line in stream["values"]]


def paged(client: APIClient, name: str, limit: int, step: int = 1) -> list[str]:
    """All lines, by time: each page begins `step` nanoseconds after the last line of the one before."""
    found: list[tuple[int, str]] = []
    while page := entries(client, name, limit=limit, start=str(found[-1][0] + step if found else 1)):
        assert len(page) <= limit
        found += page
    return [line for _, line in found]


def test_all_lines_come_page_by_page_in_both_directions(emulate: Emulate) -> None:
    client = sdk(emulate())
    name = client.job.create(job("seq 1 300; sleep 0.5; seq 301 500")).metadata.id_
    until_job(client, name, "Completed")
    wanted = [str(number) for number in range(1, 501)]
    assert paged(client, name, 64) == wanted
    backwards: list[str] = []
    end = END
    while page := entries(client, name, limit=100, direction="backward", end=str(end)):
        backwards += [line for _, line in page]
        end = page[-1][0]
    assert backwards == wanted[::-1]


def test_times_are_those_of_writing_and_never_go_back(emulate: Emulate) -> None:
    client = sdk(emulate())
    before = time.time_ns()
    name = client.job.create(job("echo one; sleep 0.6; echo two")).metadata.id_
    until_job(client, name, "Completed")
    (first, _), (second, _) = entries(client, name)
    assert before < first < second < time.time_ns()
    assert second - first > 2e8
    assert [line for _, line in entries(client, name, start=str(first + 1))] == ["two"]
    assert [line for _, line in entries(client, name, end=str(second))] == ["one"]
    assert [line for _, line in entries(client, name, q="tw")] == ["two"]


def test_with_a_coarse_clock_a_page_may_end_between_lines_of_one_time(emulate: Emulate) -> None:
    client = sdk(emulate(log_resolution=1_000_000_000))
    name = client.job.create(job("seq 1 50")).metadata.id_
    until_job(client, name, "Completed")
    assert len({moment for moment, _ in entries(client, name)}) == 1
    assert len(paged(client, name, 20)) == 20, "who goes on after the last time misses the rest"
    assert len(entries(client, name, limit=50)) == 50


def test_lines_are_found_only_when_they_have_been_collected(emulate: Emulate) -> None:
    client = sdk(emulate(log_lag=0.7))
    name = client.job.create(job("echo late")).metadata.id_
    until_job(client, name, "Completed")
    assert entries(client, name) == []
    assert until(lambda: entries(client, name))[0][1] == "late"


def test_a_workspace_may_collect_no_logs(emulate: Emulate) -> None:
    client = sdk(emulate(log_collection=False))
    name = client.job.create(job("echo x; sleep 30")).metadata.id_
    until_job(client, name, "Running")
    (replica,) = client.job.get_replicas(name)
    assert next(client.job.get_log(name, replica, timeout=10)) == "x\n"
    assert entries(client, name) == []


def test_a_live_log_is_followed_to_the_end_of_the_process(emulate: Emulate) -> None:
    client = sdk(emulate())
    name = client.job.create(job("echo one; sleep 0.4; seq 1 100000; printf 'no newline'")).metadata.id_
    until_job(client, name, "Running", "Completed")
    (replica,) = client.job.get_replicas(name)
    numbers = "".join(f"{number}\n" for number in range(1, 100_001))
    assert "".join(client.job.get_log(name, replica, timeout=20)) == f"one\n{numbers}no newline"


def test_characters_are_not_torn_in_live_logs(emulate: Emulate) -> None:
    client = sdk(emulate())
    script = r"printf '\303'; sleep 0.4; printf '\244 end\n'"
    name = client.job.create(job(script)).metadata.id_
    until_job(client, name, "Running", "Completed")
    (replica,) = client.job.get_replicas(name)
    assert "".join(client.job.get_log(name, replica, timeout=20)) == "ä end\n"


@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": 10_001}, {"start": "abc"}, {"start": "5", "end": "4"}],
    ids=lambda query: " ".join(f"{key}={value}" for key, value in query.items()),
)
def test_wrong_queries_are_refused(emulate: Emulate, query: dict[str, Any]) -> None:
    emulator = emulate()
    headers = {"Authorization": f"Bearer {emulator.token}"}
    answer = requests.get(emulator.url + "/logs", params={"job": "x", **query}, headers=headers, timeout=10)
    assert answer.status_code == 400


def test_a_query_names_a_workload(emulate: Emulate) -> None:
    with pytest.raises(LogAPIError, match="400"):
        sdk(emulate()).log.get_log()


def test_counts_by_interval(emulate: Emulate) -> None:
    client = sdk(emulate())
    name = client.job.create(job("seq 1 10")).metadata.id_
    until_job(client, name, "Completed")
    series = client.log.get_log_time_series(name_or_job=name, interval_ms=3_600_000)
    assert sum(int(count) for _, count in series["data"]["result"][0]["values"]) == 10


def test_half_a_line_waits_for_the_rest_of_it(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", {})
    log.collect()
    for text, known in (("one\ntw", ["one"]), ("o\nthr", ["one", "two"])):
        with log.path.open("a") as file:
            file.write(text)
        log.collect()
        assert [line.text for line in log.lines(0, END)] == known
    log.close()
    assert [line.text for line in log.lines(0, END)] == ["one", "two", "thr"]


def test_parts_seen_in_quick_succession_keep_their_order(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", {})
    for number in range(50):
        with log.path.open("a") as file:
            file.write(f"{number}\n" * 100)
        log.collect()
    times = [line.time for line in log.lines(0, END)]
    assert times == sorted(set(times)) and len(times) == 5000


def test_long_lines_are_cut_and_files_are_merged_by_time(tmp_path: Path) -> None:
    one, two = (LogFile(tmp_path / name, {"replica": name}) for name in ("one", "two"))
    for log, text in ((one, "a\n"), (two, "b" * (LINE_LIMIT + 10) + "\n"), (one, "c\n")):
        with log.path.open("a") as file:
            file.write(text)
        log.collect()
    found = search([one, two], Query(0, END, 2, forward=True))
    assert [(log.labels["replica"], [line.text[:1] for line in lines], len(lines[0].text)) for log, lines in found] == [
        ("one", ["a"], 1),
        ("two", ["b"], LINE_LIMIT),
    ]
