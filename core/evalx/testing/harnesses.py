"""The suite that every harness adapter passes.

    class TestMyHarness(HarnessConformance):
        plugin = "mine"

        def sample(self, results: Path) -> None: ...
        def scores(self) -> tuple[Metric, ...]: ...

The sample is what the harness really leaves behind, copied from a run of it. The suite reads it, and then damages it in every way that a
harness that was killed, a full disk, or somebody with bad intentions would: what is not complete must never be a score.
"""

from __future__ import annotations

import copy
import json
import math
import os
import re
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from evalx import catalog
from evalx.errors import ConfigError
from evalx.harnesses import Harness, HarnessCommand, ResultError, Target
from evalx.harnesses.api import Details
from evalx.harnesses.build import task_command
from evalx.harnesses.target import make_target
from evalx.model import EndpointHandle, EndpointSpec, Metric, Secret, Site, TaskSpec
from evalx.serial import from_json, to_json
from evalx.testing import common
from evalx.testing.parts import answering

GROUP = "evalx.harnesses"
CUTS = 1000
"""At how many places the sample is cut off, at most: everywhere, if it is not longer."""

_NUMBER = re.compile(r"(?<![\w.+-])-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])")
_NONSENSE = ("NaN", "Infinity", "-1e999", ".nan", ".inf", '"high"', "null", "[]", "")


class HarnessConformance(ABC):
    """Tests of a harness adapter; subclass as the module's docstring shows.

    plugin: its name in the entry-point group `evalx.harnesses`. task: the task's name for the harness. endpoint_type: what it asks.
    takes_key: False for one that asks nobody who wants an API key. runnable: the harness is installed where the tests run, and is run
    once against a small server; patience: seconds until it is over. sdk: modules that importing the plugin must not import.
    """

    plugin: str
    task: str = "task"
    endpoint_type: str = "chat"
    takes_key: bool = True
    runnable: bool = False
    patience: float = 120.0
    sdk: tuple[str, ...] = ()

    # ------------------------------------------------------------------ what a subclass says

    @abstractmethod
    def sample(self, results: Path) -> None:
        """Put into the folder what the harness leaves behind when all went well."""

    @abstractmethod
    def scores(self) -> tuple[Metric, ...]:
        """The scores in the sample."""

    def params(self) -> dict[str, Any]:
        """Settings of a task, its `harness_config`."""
        return {}

    def log(self) -> tuple[list[str], tuple[int, int]] | None:
        """For an adapter with `progress`: lines of the harness's log, and the samples done, of how many, that they tell."""
        return None

    # ------------------------------------------------------------------ the class

    def test_the_class_states_what_the_core_asks_for(self) -> None:
        harness = catalog.load(GROUP, self.plugin)
        common.check_version(harness)
        assert all(isinstance(program, str) for program in getattr(harness, "programs", ()))
        assert not isinstance(getattr(harness, "programs", ()), str), "`programs` is a tuple of names"

    def test_loading_the_plugin_imports_no_sdk(self) -> None:
        common.check_imports(GROUP, self.plugin, self.sdk)

    # ------------------------------------------------------------------ the command

    def test_the_command_is_one_that_a_process_can_be_given(self) -> None:
        made = self._command()
        assert made.argv, "there is no command"
        common.check_argv(made.argv)
        common.check_env(made.env)
        assert {type(text) for text in made.files.values()} <= {str}, "files are texts"
        endpoint = EndpointHandle(EndpointSpec("model", 0, "none", "m"), "model", "http://127.0.0.1:1/v1")
        task_command(self._harness(), self._task(), endpoint, self._site(Path("/evalx")), trusted=False)

    def test_the_command_is_the_same_each_time(self) -> None:
        task = self._task()
        before = copy.deepcopy(to_json(task))
        harness = self._harness()
        first = self._command(task, harness)
        assert first == self._command(task, harness) == self._command(task), "asked again, it gives another command"
        assert to_json(task) == before, "`command` changed the task"

    def test_two_tasks_side_by_side_share_nothing(self) -> None:
        """An adapter that keeps the task on `self` gives one task another's command: one instance serves all tasks of a run."""
        one, other = Path("/evalx/one"), Path("/evalx/other")
        harness = self._harness()
        made = [self._command(harness=harness, site=self._site(folder, port)) for folder, port in ((one, 1111), (other, 2222))]
        for command, foreign in zip(made, (other, one), strict=True):
            assert f"{foreign}/" not in json.dumps(to_json(command)), f"a task at one place was told of {foreign}"

    def test_the_endpoint_and_the_model_reach_the_command(self) -> None:
        said = json.dumps(to_json(self._command()))
        for text in ("endpoint.invalid", "a-model-of-ours"):
            assert text in said, f"{text} is neither in argv nor in env nor in a file"

    def test_a_key_travels_as_a_reference(self, monkeypatch: pytest.MonkeyPatch) -> None:
        common.plant_canaries(monkeypatch)
        made = self._command()
        assert common.CANARY not in json.dumps(to_json(made)), "the value of a secret is in it"
        if self.takes_key:
            assert Secret(f"host:{common.KEY}") in made.env.values(), "no variable refers to the endpoint's key (`Target.api_key`)"

    def test_no_value_of_the_config_becomes_part_of_a_shell_script(self) -> None:
        target = evolve(self._target(), model=common.HOSTILE)
        hostile = {key: common.HOSTILE for key, value in self.params().items() if isinstance(value, str)}
        for task in (self._task(name=common.HOSTILE), *(self._task({**self.params(), key: value}) for key, value in hostile.items())):
            try:
                made = self._harness().command(task, target, self._site(Path("/evalx")))
            except ConfigError:
                continue
            common.check_scripts(made.argv)

    def test_a_setting_that_does_not_exist_is_refused(self) -> None:
        with pytest.raises(ConfigError):
            self._command(self._task({**self.params(), "no_such_setting": 1}))

    # ------------------------------------------------------------------ the results

    def test_the_sample_has_its_scores(self, tmp_path: Path) -> None:
        scores = self._parse(self._sample(tmp_path))
        assert scores == self.scores()
        assert scores == self._parse(tmp_path), "read again, it has other scores"
        assert isinstance(scores, tuple)
        assert len({metric.name for metric in scores}) == len(scores) > 0, "names are unique"
        assert [metric for metric in scores if metric.n == 0] == [], "a score over zero samples is none"
        assert [from_json(Metric, json.loads(json.dumps(to_json(metric)))) for metric in scores] == list(scores)

    def test_no_result_is_no_score(self, tmp_path: Path) -> None:
        for folder in (tmp_path / "not-there", tmp_path):
            with pytest.raises(ResultError) as caught:
                self._parse(folder)
            assert str(caught.value).strip(), "the message becomes the task's reason"

    def test_an_empty_result_is_no_score(self, tmp_path: Path) -> None:
        self._rewrite(self._sample(tmp_path), lambda _: b"")
        with pytest.raises(ResultError):
            self._parse(tmp_path)

    def test_a_result_that_is_cut_off_is_never_another_score(self, tmp_path: Path) -> None:
        """`"value": 0.7` without its last character is another score: a format needs an end that can be seen."""
        whole = {path: path.read_bytes() for path in _files(self._sample(tmp_path))}
        cuts = min(max(map(len, whole.values())), CUTS)
        for cut in range(1, cuts):
            for path, data in whole.items():
                path.write_bytes(data[: len(data) * cut // cuts])
            self._is_refused_or(tmp_path, self.scores(), f"cut off after {cut / cuts:.1%}")

    def test_nonsense_in_place_of_numbers_is_no_score(self, tmp_path: Path) -> None:
        """All numbers at once, so that whichever of them is the score is among them."""
        for number, nonsense in enumerate(_NONSENSE):
            folder = self._sample(tmp_path / str(number))
            self._rewrite(folder, lambda data, text=nonsense: _NUMBER.sub(text, data.decode()).encode())  # type: ignore[misc]
            self._is_refused(folder, f"numbers replaced by {nonsense!r}")

    def test_hostile_bytes_are_no_score(self, tmp_path: Path) -> None:
        for number, data in enumerate((b"\xff\xfe\x00", b"\0" * 4096, b"[" * 200_000, b"- " * 200_000, b"{}", b"[]", b"null", b"7")):
            folder = self._sample(tmp_path / str(number))
            self._rewrite(folder, lambda _, data=data: data)  # type: ignore[misc]
            self._is_refused(folder, f"files of {data[:8]!r}…")

    def test_links_pipes_and_folders_are_no_result(self, tmp_path: Path) -> None:
        elsewhere = self._sample(tmp_path / "elsewhere")
        for kind, make in {"link": _link, "pipe": _pipe, "folder": _folder}.items():
            folder = self._sample(tmp_path / kind)
            for path in _files(folder):
                path.unlink()
                make(path, elsewhere / path.relative_to(folder))
            self._is_refused(folder, f"a {kind} in place of each file")

    def test_reading_leaves_the_adapter_as_it_was(self, tmp_path: Path) -> None:
        harness = self._harness()
        before = copy.deepcopy(vars(harness)) if hasattr(harness, "__dict__") else {}
        harness.command(self._task(), self._target(), self._site(tmp_path))
        harness.parse(self._task(), self._sample(tmp_path))
        assert (vars(harness) if hasattr(harness, "__dict__") else {}) == before, "an adapter has no state: one instance serves all tasks"

    def test_details_fit_the_scores(self, tmp_path: Path) -> None:
        harness = self._harness()
        if not hasattr(harness, "details"):
            pytest.skip("the adapter has no `details`")
        found = harness.details(self._task(), self._sample(tmp_path))
        assert isinstance(found, Details), f"`details` returned a {type(found).__name__}"
        assert found == harness.details(self._task(), tmp_path), "read again, it has other details"
        json.dumps(dict(found.facts))
        values = {metric.name: metric.value for metric in self.scores()}
        assert found.lower_is_better <= values.keys(), "`lower_is_better` has names that no metric has"
        assert found.samples or found.missing, "say in `missing` why there are no samples"
        named = {name for sample in found.samples for name in sample.scores}
        assert not found.samples or named & values.keys(), f"samples have scores {sorted(named)}, metrics are called {sorted(values)}"

    def test_damaged_files_have_no_details_or_no_samples(self, tmp_path: Path) -> None:
        harness = self._harness()
        if not hasattr(harness, "details"):
            pytest.skip("the adapter has no `details`")
        for number, data in enumerate((b"", b"\xff\xfe\x00", b"[" * 200_000, b"{}", b"[]", b"[7]\n", b"null", b"7")):
            folder = self._sample(tmp_path / str(number))
            self._rewrite(folder, lambda _, data=data: data)  # type: ignore[misc]
            with suppress(ResultError):
                assert not harness.details(self._task(), folder).samples, f"files of {data[:8]!r}… were read as samples"

    # ------------------------------------------------------------------ progress, and a real run

    def test_progress_is_told_by_the_log_alone(self) -> None:
        progress, said = getattr(self._harness(), "progress", None), self.log()
        if progress is None:
            assert said is None, "`log` is for an adapter with `progress`"
            pytest.skip("the adapter has no `progress`")
        assert progress([]) is None
        assert progress(["", "\x1b[31m no progress told \udcff", "100%|█"]) is None
        assert said is not None, "say in `log` what tells progress"
        assert progress(said[0]) == said[1]

    def test_it_scores_for_real(self, tmp_path: Path) -> None:
        if not self.runnable:
            pytest.skip("not `runnable` here")
        with answering() as url:
            endpoint = EndpointHandle(EndpointSpec("model", 0, "none", "a-model-of-ours"), "model", url)
            made = self._harness().command(self._task(), make_target(self._task(), endpoint), self._site(tmp_path))
            for path, text in made.files.items():
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / path).write_text(text)
            env = {**os.environ, **{name: value for name, value in made.env.items() if isinstance(value, str)}}
            done = subprocess.run(
                made.argv, cwd=tmp_path, env=env, capture_output=True, text=True, errors="replace", timeout=self.patience, check=False
            )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        assert all(math.isfinite(metric.value) for metric in self._parse(tmp_path / "results"))

    # ------------------------------------------------------------------ helpers

    def _harness(self) -> Harness:
        """A new instance, as a new run would have."""
        harness: Harness = catalog.load(GROUP, self.plugin)()
        return harness

    def _task(self, params: dict[str, Any] | None = None, name: str | None = None) -> TaskSpec:
        options = {"task": name or self.task, "endpoint_type": self.endpoint_type, "params": self.params() if params is None else params}
        return TaskSpec(name or self.task, 0, self.plugin, "model", options)

    def _target(self) -> Target:
        url = make_target(self._task(), EndpointHandle(EndpointSpec("model", 0, "none", "m"), "model", "http://endpoint.invalid/v1"))
        return evolve(url, model="a-model-of-ours", api_key=Secret(f"host:{common.KEY}"))

    def _site(self, folder: Path, port: int = 1111) -> Site:
        return Site(str(folder), port)

    def _command(self, task: TaskSpec | None = None, harness: Harness | None = None, site: Site | None = None) -> HarnessCommand:
        made = (harness or self._harness()).command(task or self._task(), self._target(), site or self._site(Path("/evalx")))
        assert isinstance(made, HarnessCommand), f"`command` returned a {type(made).__name__}"
        return made

    def _parse(self, results: Path) -> tuple[Metric, ...]:
        return self._harness().parse(self._task(), results)

    def _sample(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        self.sample(folder)
        assert list(_files(folder)), "`sample` wrote nothing"
        return folder

    def _rewrite(self, folder: Path, change: Callable[[bytes], bytes]) -> None:
        for path in _files(folder):
            path.write_bytes(change(path.read_bytes()))

    def _is_refused(self, folder: Path, what: str) -> None:
        try:
            found = self._parse(folder)
        except ResultError:
            return
        pytest.fail(f"{what}: read as {found}, not refused with a ResultError")

    def _is_refused_or(self, folder: Path, scores: tuple[Metric, ...], what: str) -> None:
        try:
            found = self._parse(folder)
        except ResultError:
            return
        assert found == scores, f"{what}, it was read as other scores"


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _link(path: Path, other: Path) -> None:
    path.symlink_to(other)


def _pipe(path: Path, other: Path) -> None:
    """A named pipe, and somebody who writes the sample into it as soon as it is opened, so that whoever reads it does not wait for ever."""
    os.mkfifo(path)
    threading.Thread(target=_feed, args=(path, other.read_bytes()), daemon=True).start()


def _feed(path: Path, data: bytes) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and path.exists():
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.01)
            continue
        with suppress(OSError), os.fdopen(descriptor, "wb") as pipe:
            pipe.write(data)
        return


def _folder(path: Path, _other: Path) -> None:
    path.mkdir()
