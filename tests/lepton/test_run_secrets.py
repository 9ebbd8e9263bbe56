"""The secrets that a run makes in its workspace, and which of those that bear such names it deletes: the real SDK over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from evalx import failpoints
from evalx.context import RunContext
from evalx.errors import ConfigError, EvalxError
from evalx.model import EndpointSpec, EnvValue, Secret
from evalx.testing import InMemoryExecutor, make_run
from evalx_lepton.emulator import Emulator
from evalx_lepton.emulator.settings import Fault
from evalx_lepton.sdk import Workspace
from evalx_lepton.secrets import RunSecrets, needed, readable


class Watched(Workspace):
    """The real client, which remembers what it was asked to create."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[dict[str, str]] = []

    def create_secrets(self, values: Mapping[str, str], tags: Sequence[str] = ()) -> None:
        self.sent.append(dict(values))
        super().create_secrets(values, tags)


class Bench:
    """A run in an emulated workspace. names: of the secrets that it needs; may be changed."""

    def __init__(self, path: Path, emulator: Emulator) -> None:
        self.emulator = emulator
        self.run: RunContext = make_run(path, InMemoryExecutor())
        self.names: Collection[str] | EvalxError = ["ENDPOINT_TOKEN", "A_KEY", "B_KEY"]
        self.workspace = Watched()
        self.secrets = self.again()

    def again(self) -> RunSecrets:
        """Those of the run, as another process sees them."""
        return RunSecrets(self.run, self.wanted)

    def wanted(self) -> Collection[str]:
        if isinstance(self.names, EvalxError):
            raise self.names
        return self.names

    def full(self, *names: str) -> set[str]:
        return {f"evalx-{self.run.run_id}-{name}" for name in names}

    def alive(self) -> set[str]:
        return {name.removeprefix("secret/") for name in self.emulator.alive()}


@pytest.fixture
def bench(tmp_path: Path, workspace: Callable[..., Emulator], monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("A_KEY", "value-of-a")
    monkeypatch.setenv("B_KEY", "value-of-b")
    yield Bench(tmp_path, workspace())
    failpoints.arm("")


class TestMaking:
    def test_all_are_made_at_once_and_once(self, bench: Bench) -> None:
        for _ in range(2):
            bench.secrets.ensure(bench.workspace)
        values = {"A_KEY": "value-of-a", "B_KEY": "value-of-b", "ENDPOINT_TOKEN": bench.run.token("endpoint")}
        assert bench.workspace.sent == [{f"evalx-{bench.run.run_id}-{name}": value for name, value in values.items()}]
        assert bench.emulator.calls["GET /usersecrets"] == bench.emulator.calls["POST /usersecrets"] == 1
        made = bench.workspace.secrets()
        assert set(made) == bench.full(*values)
        assert {secret.tags for secret in made.values()} == {frozenset({"evalx", f"evalx-owner-{bench.workspace.fingerprint}"})}

    def test_a_run_that_needs_none_makes_no_call(self, bench: Bench) -> None:
        bench.names = []
        bench.secrets.ensure(bench.workspace)
        assert not bench.emulator.calls

    def test_a_variable_that_is_not_set_makes_none_and_may_be_set(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("B_KEY")
        with pytest.raises(ConfigError, match="B_KEY is not set"):
            bench.secrets.ensure(bench.workspace)
        assert bench.alive() == set()
        monkeypatch.setenv("B_KEY", "later")
        bench.secrets.ensure(bench.workspace)
        assert bench.alive() == bench.full("A_KEY", "B_KEY", "ENDPOINT_TOKEN")

    def test_another_process_makes_what_is_missing(self, bench: Bench) -> None:
        bench.secrets.ensure(bench.workspace)
        bench.again().ensure(bench.workspace)
        assert len(bench.workspace.sent) == 1
        (lost,) = bench.full("A_KEY")
        bench.workspace.delete_secret(lost)
        bench.again().ensure(bench.workspace)
        assert bench.workspace.sent[1:] == [{lost: "value-of-a"}]

    @pytest.mark.parametrize("conflicts", [1, 2, 3])
    def test_what_the_list_does_not_show_yet_is_no_obstacle_to_the_others(self, bench: Bench, conflicts: int) -> None:
        """The platform refuses a call for one that is there; which it is, it does not say."""
        bench.emulator.fail(Fault(409, "POST", "/usersecrets", times=conflicts))
        bench.secrets.ensure(bench.workspace)
        a, b, token = sorted(bench.full("A_KEY", "B_KEY", "ENDPOINT_TOKEN"))
        values = {a: "value-of-a", b: "value-of-b", token: bench.run.token("endpoint")}
        assert bench.workspace.sent == [values, *({name: value} for name, value in values.items())]
        assert bench.alive() == {a, b, token} - set(sorted(values)[: conflicts - 1])
        assert all(len(secret.tags) == 2 for secret in bench.workspace.secrets().values())

    def test_a_process_that_dies_over_it_leaves_what_the_next_goes_on_with(self, bench: Bench) -> None:
        for place, there in (("before", 0), ("after", 3)):
            failpoints.arm(f"executor.secret.{place}:1:raise")
            with pytest.raises(failpoints.Failpoint):
                bench.again().ensure(bench.workspace)
            assert len(bench.alive()) == there


class TestDeleting:
    def test_they_are_gone_when_there_are_none(self, bench: Bench) -> None:
        bench.secrets.ensure(bench.workspace)
        assert not bench.secrets.delete(bench.workspace)
        assert bench.alive() == set()
        assert bench.secrets.delete(bench.workspace)
        bench.secrets.ensure(bench.workspace)
        assert len(bench.alive()) == 3, "they are made again if something needs them"

    def test_what_others_have_made_stays(self, bench: Bench) -> None:
        theirs = bench.full("X", "A_KEY-OF-MINE") | {"evalx-bbbbbbbbbbb-A_KEY", "A_KEY"}
        bench.workspace.create_secrets(dict.fromkeys(theirs, "x"), ["evalx", "evalx-owner-0123456789ab"])
        ours = f"evalx-owner-{bench.workspace.fingerprint}"
        bench.workspace.create_secrets({f"prefix-evalx-{bench.run.run_id}-A_KEY": "x"}, ["evalx", ours])
        before = bench.alive()
        bench.secrets.ensure(bench.workspace)
        assert not bench.secrets.delete(bench.workspace)
        assert bench.secrets.delete(bench.workspace)
        assert bench.alive() == before

    def test_where_no_tags_are_shown_names_of_the_plan_count(self, bench: Bench) -> None:
        """Also where only some are shown. None count where the plan cannot be followed."""
        (a,), (b,), (stranger,) = bench.full("A_KEY"), bench.full("B_KEY"), bench.full("X")
        bench.workspace.create_secrets({a: "x", stranger: "x"})
        bench.workspace.create_secrets({b: "x"}, ["evalx", f"evalx-owner-{bench.workspace.fingerprint}"])
        names, bench.names = bench.names, ConfigError("the plan leads nowhere")
        assert not bench.secrets.delete(bench.workspace)
        assert bench.alive() == {a, stranger}
        bench.names = names
        assert not bench.secrets.delete(bench.workspace)
        assert bench.secrets.delete(bench.workspace)
        assert bench.alive() == {stranger}

    @pytest.mark.parametrize("status", [404, 409])
    def test_one_that_is_gone_already_or_in_use_does_not_hold_the_others_up(self, bench: Bench, status: int) -> None:
        bench.secrets.ensure(bench.workspace)
        bench.emulator.fail(Fault(status, "DELETE", "/usersecrets/*", times=1))
        assert not bench.secrets.delete(bench.workspace)
        assert len(bench.alive()) == 1
        assert not bench.secrets.delete(bench.workspace)
        assert bench.secrets.delete(bench.workspace)

    def test_a_process_that_dies_over_it_has_deleted_one(self, bench: Bench) -> None:
        bench.secrets.ensure(bench.workspace)
        failpoints.arm("executor.secret.deleted:1:raise")
        with pytest.raises(failpoints.Failpoint):
            bench.secrets.delete(bench.workspace)
        assert len(bench.alive()) == 2


def test_what_a_run_needs() -> None:
    environments: list[dict[str, EnvValue]] = [
        {"A": Secret("host:A_KEY"), "B": "plain"},
        {"C": Secret("secret:C_KEY"), "D": Secret("host:D_KEY")},
    ]
    assert needed([], iter(environments)) == {"A_KEY", "D_KEY"}
    assert needed([EndpointSpec("e", 0, "vllm", "m")], iter([])) == {"ENDPOINT_TOKEN"}
    assert readable({"A": "host:A_KEY"}) == {"A": Secret("host:A_KEY")}
    assert readable({"A": "fine", "B": [1]}) == {}
