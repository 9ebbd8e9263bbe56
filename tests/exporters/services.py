"""The exporters to MLflow and Weights & Biases pass the suite, with the real libraries; and huggingface_hub reads what is for the Hub.

`test_services.py` runs this with pytest in an environment of its own, which has the libraries.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from evalx.exporters.account import RunAccount
from evalx.exporters.running import export
from evalx.model import Outcome
from evalx.testing import ExporterConformance
from evalx.testing.exporters import RUN_ID, Scores, example
from evalx_exporters.names import fitting

BLOCK = 32768


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries leave files in the current folder and the user's; both are the test's own."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("HOME", str(tmp_path / "cwd"))


class Fitted(ExporterConformance):
    """Names are changed where the service would not take them."""

    def expected(self, run: RunAccount) -> Scores:
        found = [((task.name, *metric.name.split("/")), metric.value) for task, metric in run.scores()]
        return {("", name): value for name, (_, value) in zip(fitting(parts for parts, _ in found), found, strict=True)}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store of MLflow: making a database takes seconds, so it is copied. A folder where there is no library for databases."""
    from mlflow import MlflowClient

    if find_spec("sqlalchemy") is None:
        return tmp_path_factory.mktemp("mlflow")
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


class TestMlflow(Fitted):
    exporter = "mlflow"

    @pytest.fixture
    def place(self, tmp_path: Path, store: Path) -> Path:
        folder = tmp_path / "outside" / "place"
        folder.mkdir(parents=True)
        if store.is_file():
            shutil.copy(store, folder / "mlflow.db")
        return folder

    def uri(self, place: Path) -> str:
        database = place / "mlflow.db"
        return f"sqlite:///{database}" if database.exists() else place.as_uri()

    def options(self, run: RunAccount, place: Path) -> Mapping[str, Any]:
        return {"tracking_uri": self.uri(place)}

    def runs(self, place: Path) -> list[Any]:
        from mlflow import MlflowClient

        client = MlflowClient(self.uri(place))
        experiment = client.get_experiment_by_name("evalx")
        return list(client.search_runs([experiment.experiment_id]))

    def scores(self, place: Path) -> Scores:
        (run,) = self.runs(place)
        return {("", name): value for name, value in run.data.metrics.items() if not name.endswith(("_stderr", "_n"))}

    def contents(self, place: Path) -> Any:
        (run,) = self.runs(place)
        return run.to_dictionary()

    @pytest.mark.parametrize(
        ("outcomes", "condition", "status"),
        [
            ((Outcome.PASSED,), "succeeded", "FINISHED"),
            ((Outcome.PASSED, Outcome.FAILED), "partial", "FAILED"),
            ((Outcome.CANCELLED,), "cancelled", "KILLED"),
            ((Outcome.PASSED, None), "running", "RUNNING"),
        ],
    )
    def test_the_run_ended_as_it_ended(self, outcomes: Any, condition: str, status: str, tmp_path: Path, place: Path) -> None:
        self.send(example(tmp_path, outcomes=outcomes, condition=condition), place)
        (run,) = self.runs(place)
        assert run.info.status == status
        assert run.data.tags["evalx.run_id"] == RUN_ID
        assert run.data.params["model"] == "org/tiny-1b"
        assert run.data.tags["evalx.outcome.task-0"].startswith(str(outcomes[0]))


class TestWandb(Fitted):
    exporter = "wandb"

    def options(self, run: RunAccount, place: Path) -> Mapping[str, Any]:
        return {"mode": "offline", "folder": str(place)}

    def records(self, place: Path) -> Iterator[Any]:
        """Everything that `wandb sync` would send, in the order of the exports."""
        from wandb.proto import wandb_internal_pb2 as protocol

        for path in sorted((place / "wandb").glob("offline-run-*/*.wandb"), key=lambda path: path.stat().st_ctime_ns):
            yield from whole(lambda path=path: [protocol.Record.FromString(data) for data in leveldb_log(path.read_bytes())])

    def summary(self, place: Path) -> dict[str, Any]:
        items = [item for record in self.records(place) for item in record.summary.update]
        return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}

    def scores(self, place: Path) -> Scores:
        told = ("condition", "outcome", "reason", "_")
        summary = self.summary(place)
        return {("", name): value for name, value in summary.items() if not name.startswith(told) and not name.endswith(("_stderr", "_n"))}

    def contents(self, place: Path) -> Any:
        """`wandb sync` makes one run of all files with one run's id."""
        return {record.run.run_id for record in self.records(place) if record.HasField("run")}, self.summary(place)

    def test_the_run_ended_as_it_ended(self, tmp_path: Path, place: Path) -> None:
        self.send(example(tmp_path, outcomes=(Outcome.PASSED, Outcome.FAILED), condition="partial"), place)
        records = list(self.records(place))
        assert {record.run.run_id for record in records if record.HasField("run")} == {RUN_ID}
        assert [record.exit.exit_code for record in records if record.HasField("exit")] == [1]
        assert self.summary(place)["outcome/task-1"] == "failed"
        assert self.summary(place)["task-0/accuracy_stderr"] == 0.079


def whole(read: Callable[[], list[Any]]) -> list[Any]:
    """The records of a file, once the last one is there: wandb's own process writes it to its end a moment after a run is finished."""
    deadline = time.monotonic() + 30
    while not (records := read()) or not any(record.HasField("exit") for record in records):
        assert time.monotonic() < deadline, "the file was never written to its end"
        time.sleep(0.02)
    return records


def leveldb_log(data: bytes) -> Iterator[bytes]:
    """The records of a file in LevelDB's log format (https://github.com/google/leveldb/blob/main/doc/log_format.md): blocks of 32 KiB with
    records of checksum (4 bytes), length (2), kind (1: whole, 2: first part, 3: middle, 4: last). wandb puts 7 bytes before the first."""
    position, parts = 7, b""
    while position + 7 <= len(data):
        room = BLOCK - position % BLOCK
        if room < 7:
            position += room
            continue
        length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""


def test_the_hubs_library_reads_what_is_for_the_hub(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    options = {"benchmarks": {"task-0": {"dataset": "a/b", "task_id": "t", "metric": "accuracy"}}, "source_url": "https://example.org"}
    export("huggingface", example(tmp_path), tmp_path / "evalx.yaml", options)
    (entry,) = hub.parse_eval_result_entries(yaml.safe_load((tmp_path / "evalx.yaml").read_text()))
    assert entry == hub.EvalResultEntry("a/b", "t", 0.45, date=entry.date, source_url="https://example.org")
