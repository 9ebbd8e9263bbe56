"""The wrapper of the SDK: its listings and errors, against answers that no friendly server gives."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve

from evalx.errors import AuthError, EvalxError, PluginError, TransientError
from evalx_lepton import accepted, sdk, states
from evalx_lepton.accepted import unknown
from evalx_lepton.listing import SHARED, Departures, Listing
from evalx_lepton.problems import Conflict, NotFound, Refused, of_status, retry_after, translate
from evalx_lepton.reading import endpoint_view
from evalx_lepton.sdk import Credentials, Workspace
from evalx_lepton.views import Endpoint, Snapshot

TOKEN = "nvapi-canary-0123456789"

Answer = tuple[int, Any, dict[str, str]]

QUOTA = {"cpu": 0, "memory": 0, "accelerator_num": 0}
INFO = {
    "build_time": "",
    "git_commit": "1.0.0",
    "workspace_name": "ws",
    "workspace_tier": "",
    "workspace_state": "normal",
    "supported_shapes": {},
    "workspace_disk_usage_bytes": 0,
    "resource_quota": {"limit": QUOTA, "used": QUOTA},
    "workloads": {f"num_{what}": 0 for what in ("deployments", "jobs", "pods", "secrets", "image_pull_secrets")},
}


@pytest.fixture
def answering() -> Iterator[Callable[[Callable[[str, str], Answer]], Workspace]]:
    """Makes a workspace whose server answers as the function says: method and path to status, content and headers; None: as usual."""
    servers: list[ThreadingHTTPServer] = []
    made: list[Workspace] = []

    def make(answer: Callable[[str, str], Answer | None]) -> Workspace:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # one packet for each answer, or each would wait for the acknowledgement of its first part

            def log_message(self, *_: object) -> None:
                pass

            def reply(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                usual = (200, INFO, {}) if self.path == "/workspace" else (404, {}, {})
                status, content, headers = answer(self.command, self.path) or usual
                data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), "Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data[: int(headers.get("X-Cut", len(data)))])
                if "X-Cut" in headers:
                    self.close_connection = True

            do_GET = do_POST = do_DELETE = do_PATCH = reply

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        made.append(Workspace(Credentials("ws", TOKEN, f"http://127.0.0.1:{server.server_address[1]}")))
        return made[-1]

    yield make
    for workspace in made:
        workspace.close()
    for server in servers:
        server.shutdown()
        server.server_close()


def deployment(name: str, **changes: Any) -> dict[str, Any]:
    status = {"state": "Ready", "endpoint": {"internal_endpoint": "", "external_endpoint": "http://x"}}
    return {"metadata": {"id": name, "name": name}, "spec": {}, "status": status, **changes}


def on_deployments(items: Any) -> Callable[[str, str], Answer | None]:
    return lambda method, path: (200, items, {}) if path == "/deployments" else None


class TestListings:
    def test_states_are_the_real_ones(self, answering: Any) -> None:
        stopped = {"state": "Not Ready", "phase": "Stopped", "endpoint": {"internal_endpoint": "", "external_endpoint": ""}}
        new = {"state": "Levitating", "endpoint": {"internal_endpoint": "", "external_endpoint": ""}}
        workspace = answering(on_deployments([deployment("a"), deployment("b", status=stopped), deployment("c", status=new)]))
        found = workspace.endpoints()
        assert [found.named(name)[0].state for name in "abc"] == ["Ready", "Stopped", "UNK"]

    def test_what_the_sdk_drops_is_unknown_not_absent(self, answering: Any) -> None:
        broken = deployment("ours", status={"state": "Ready"})
        found = answering(on_deployments([deployment("a"), broken])).endpoints()
        assert found.named("ours") == ()
        assert not found.lacks("ours")
        assert found.lacks("other")

    @pytest.mark.parametrize("item", [{"metadata": {"id": 5}}, 7, {"metadata": None, "status": 3}])
    def test_a_dropped_item_without_a_name_may_be_anything(self, answering: Any, item: Any) -> None:
        found = answering(on_deployments([deployment("a"), item])).endpoints()
        assert not found.lacks("other")

    @pytest.mark.parametrize("content", [None, {"error": "x"}, "not json", ""])
    def test_a_listing_that_is_none_raises(self, answering: Any, content: Any) -> None:
        with pytest.raises(TransientError):
            answering(on_deployments(content)).endpoints()

    def test_jobs_are_read_to_the_last_page(self, answering: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sdk, "PAGE", 2)

        def answer(_method: str, path: str) -> Answer:
            page = int(path.partition("&page=")[2].partition("&")[0])
            items = [{"metadata": {"id": f"evalx-{n}", "name": f"evalx-{n}"}} for n in range(5)][2 * page - 2 : 2 * page]
            return 200, {"jobs": items}, {}

        assert len(answering(answer).jobs("evalx", archived=True).items) == 5

    def test_a_server_without_pages_does_not_loop(self, answering: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sdk, "PAGE", 2)
        items = [{"metadata": {"id": f"evalx-{n}"}} for n in range(2)]
        assert len(answering(lambda *_: (200, items, {})).jobs("evalx", archived=True).items) == 2

    def test_an_answer_that_is_the_last_one_is_not_read_again(self, answering: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        items = [deployment("a")]
        workspace = answering(lambda method, path: on_deployments(items)(method, path))
        assert not workspace.new_api  # asked with the first listing, unless it is known
        read: list[str] = []
        monkeypatch.setattr(sdk, "endpoint_view", lambda item: read.append(item.metadata.id_) or endpoint_view(item))
        assert workspace.endpoints() == workspace.endpoints()
        assert read == ["a"]
        items.append(deployment("b"))
        assert set(workspace.endpoints().items) == {"a", "b"}
        del items[0]
        assert set(workspace.endpoints().items) == set(workspace.endpoints().items) == {"b"}
        assert read == ["a", "a", "b", "b"]

    def test_an_error_between_two_equal_answers_is_an_error(self, answering: Any) -> None:
        answers = iter([(200, [deployment("a")], {}), (503, {}, {}), (200, [deployment("a")], {})])
        workspace = answering(lambda _, path: next(answers) if path == "/deployments" else None)
        first = workspace.endpoints()
        with pytest.raises(TransientError):
            workspace.endpoints()
        assert workspace.endpoints() == first

    def test_several_pages_are_read_although_the_first_is_the_last_one(self, answering: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sdk, "PAGE", 1)
        jobs = [{"metadata": {"id": f"n{i}", "name": "n"}, "spec": {}, "status": {"state": "Running"}} for i in range(2)]

        def answer(_: str, path: str) -> Answer | None:
            page = int(path.partition("&page=")[2][0]) if path.startswith("/jobs") else 0
            return (200, {"jobs": jobs[page - 1 : page]}, {}) if page else None

        workspace = answering(answer)
        assert len(workspace.jobs("n", archived=False).named("n")) == 2
        jobs.pop()
        assert len(workspace.jobs("n", archived=False).named("n")) == 1


class TestSparing:
    def test_what_leptonai_itself_imports_is_left_out_until_somebody_wants_it(self) -> None:
        code = """
import sys
from evalx_lepton.installation import spare_client
spare_client()
from leptonai.api.v2.client import APIClient
assert not {"fastapi", "leptonai.client"} & set(sys.modules), "left out"
from leptonai import Client
import leptonai
print(Client.__module__, leptonai.__version__, leptonai.api.v2.client.APIClient is APIClient)
"""
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        assert told == ["leptonai.client", metadata.version("leptonai"), "True"]

    def test_proxies_and_certificates_of_the_environment_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "inside.test")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/certificates.pem")
        sessions = [Workspace(Credentials("ws", TOKEN, f"https://{host}/api"))._client._session for host in ("outside.test", "inside.test")]
        assert [session.proxies.get("https") for session in sessions] == ["http://127.0.0.1:9", None]
        assert {session.verify for session in sessions} == {"/certificates.pem"}


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            *((400, Refused), (401, AuthError), (403, AuthError), (404, NotFound), (408, TransientError), (409, Conflict)),
            *((422, Refused), (425, TransientError), (429, TransientError), (500, TransientError), (503, TransientError)),
        ],
    )
    def test_every_status(self, answering: Any, status: int, kind: type[EvalxError]) -> None:
        text = f"no, and your token is {TOKEN}"
        workspace = answering(lambda method, path: (status, {"message": text}, {}) if method == "DELETE" else None)
        for call in (lambda: workspace.delete_job("j"), lambda: workspace.delete_endpoint("e"), lambda: workspace.delete_secret("s")):
            with pytest.raises(kind) as caught:
                call()
            assert TOKEN not in repr(caught.value) + str(caught.value.__context__) + str(caught.value.__cause__)

    @pytest.mark.parametrize("status", [401, 403, 404])
    def test_a_workspace_that_refuses_never_shows_the_token(self, answering: Any, status: int) -> None:
        with pytest.raises(AuthError) as caught:
            answering(lambda *_: (status, {}, {})).info()
        assert TOKEN[:2] + "****" not in str(caught.value)
        assert "lep login" in (caught.value.hint or "")

    @pytest.mark.parametrize("as_date", [False, True])
    def test_retry_after_in_both_forms(self, answering: Any, as_date: bool) -> None:
        value = formatdate(time.time() + 7.5, usegmt=True) if as_date else "7"
        with pytest.raises(TransientError) as caught:
            answering(lambda *_: (429, {}, {"Retry-After": value})).delete_job("j")
        assert 5 < (caught.value.retry_after or 0) <= 8

    def test_retry_after_that_is_none(self) -> None:
        assert retry_after("soon") is None
        assert retry_after(None) is None
        assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0

    def test_an_answer_that_is_cut_is_transient(self, answering: Any) -> None:
        workspace = answering(lambda *_: (200, [deployment("a")], {"X-Cut": "20"}))
        with pytest.raises(TransientError):
            workspace.endpoints()

    def test_nobody_there_is_transient(self) -> None:
        with pytest.raises(TransientError):
            Workspace(Credentials("ws", TOKEN, "http://127.0.0.1:9")).info()

    def test_a_live_logs_status_is_read_from_its_text(self) -> None:
        assert isinstance(translate("x", RuntimeError("API call failed with status code 404. Details: x")), NotFound)
        assert isinstance(of_status("x", 409, ""), Conflict)


class TestCredentials:
    @pytest.fixture(autouse=True)
    def nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("LEPTON_WORKSPACE_ID", "LEPTON_WORKSPACE_TOKEN", "LEPTON_WORKSPACE_URL"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr("leptonai.api.v2.workspace_record.WorkspaceRecord.current", lambda: None)

    def test_none(self) -> None:
        with pytest.raises(AuthError) as caught:
            Workspace()
        assert "lep login" in (caught.value.hint or "")

    def test_an_id_without_token(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LEPTON_WORKSPACE_ID", "ws-without-token")
        with pytest.raises(AuthError, match="token"):
            Workspace()

    def test_another_version(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("evalx_lepton.installation.metadata.version", lambda _: "0.27.3")
        with pytest.raises(PluginError, match=r"0\.27\.3"):
            Workspace(Credentials("ws", TOKEN, "http://127.0.0.1:9"))


class TestStates:
    """Every state that the SDK knows has a meaning."""

    def test_endpoints(self) -> None:
        from leptonai.api.v2.types.deployment import LeptonDeploymentState

        assert {state.value for state in LeptonDeploymentState} == set(states.ENDPOINT)

    def test_jobs(self) -> None:
        from leptonai.api.v2.types.job import LeptonJobState

        assert {state.value for state in LeptonJobState} == set(states.JOB)

    def test_readiness(self) -> None:
        from leptonai.api.v2.types.readiness import ReplicaReadinessReason

        assert {reason.value for reason in ReplicaReadinessReason} == set(states.READINESS)

    def test_an_unheard_of_state_is_unknown(self) -> None:
        assert states.job_phase("Levitating") is states.endpoint_phase("Levitating") is states.Phase.UNKNOWN


class TestFields:
    def test_what_the_sdk_would_drop_is_found(self) -> None:
        spec = {"resource_shape": "x", "container": {"image": "i", "entrypoint": "e"}, "active_deadline": 5, "mounts": None}
        assert accepted.problems_of("job", {"metadata": {"id": "a"}, "spec": spec}) == [
            "spec.container.entrypoint: leptonai knows no such field",
            "spec.active_deadline: leptonai knows no such field",
        ]

    def test_in_lists_too(self) -> None:
        assert list(unknown({"a": [{"b": 1}, {"c": 2}]}, {"a": [{"b": 1}, {}]})) == ["a[1].c"]

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ("job", {"metadata": {"id": "Upper"}, "spec": {}}),
            ("job", {"metadata": {"id": "a"}, "spec": {"mounts": [{"from": "node-local", "path": "/x", "mount_path": "/etc"}]}}),
            ("endpoint", {"metadata": {"id": "a"}, "spec": {"resource_requirement": {"min_replicas": 3, "max_replicas": 1}}}),
            ("endpoint", {"metadata": {"id": "a"}, "spec": {"api_tokens": [{"value": "***"}]}}),
        ],
    )
    def test_what_the_sdk_refuses(self, kind: str, body: Any) -> None:
        assert accepted.problems_of(kind, body)


class TestListing:
    def test_many_ask_one_call_goes_out(self) -> None:
        calls = []

        def fetch() -> Snapshot[Endpoint]:
            calls.append(1)
            time.sleep(0.05)
            return Snapshot()

        listing = Listing(fetch)
        threads = [threading.Thread(target=lambda: listing.within(10)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(calls) == 1

    def test_a_failure_is_shared_and_forgotten(self) -> None:
        answers: list[Any] = [TransientError("down", 3.0), Snapshot()]

        def fetch() -> Snapshot[Endpoint]:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer  # type: ignore[no-any-return]

        listing = Listing(fetch)
        for _ in range(2):
            with pytest.raises(TransientError) as caught:
                listing.within(10)
            assert caught.value.retry_after == 3.0
        assert evolve(listing.since(time.monotonic()), asked=0.0) == Snapshot(asked=0.0)

    def test_a_failure_is_not_the_answer_for_ever_to_who_asks_for_a_moment_that_has_passed(self) -> None:
        answers: list[Any] = [TransientError("down"), Snapshot()]

        def fetch() -> Snapshot[Endpoint]:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer  # type: ignore[no-any-return]

        listing, born = Listing(fetch), time.monotonic()
        with pytest.raises(TransientError):
            listing.since(born)
        time.sleep(2 * SHARED)
        assert evolve(listing.since(born), asked=0.0) == Snapshot(asked=0.0)

    def test_who_looks_while_the_next_is_on_its_way_gets_the_last_one(self) -> None:
        under_way, go_on = threading.Event(), threading.Event()
        go_on.set()

        def fetch() -> Snapshot[Endpoint]:
            under_way.set()
            go_on.wait(60)
            return Snapshot()

        listing = Listing(fetch)
        first = listing.within(10)
        go_on.clear()
        under_way.clear()
        with ThreadPoolExecutor(1) as pool:
            newer = pool.submit(listing.since, time.monotonic())
            assert under_way.wait(60)
            assert listing.within(60) is first
            go_on.set()
            assert newer.result().asked > first.asked

    def test_a_slow_one_is_not_asked_for_all_the_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        moment, asked = [1000.0], []

        def fetch() -> Snapshot[Endpoint]:
            asked.append(moment[0])
            moment[0] += 10.0
            return Snapshot()

        monkeypatch.setattr("evalx_lepton.listing.time", SimpleNamespace(monotonic=lambda: moment[0]))
        listing = Listing(fetch)
        looks = 0
        while moment[0] < 1100.0:
            listing.within(2.0)
            looks += 1
            moment[0] += 0.5
        assert len(asked) <= 6, "once in 20 seconds"
        assert looks > 80, "while one is there, nobody waits"


class TestDepartures:
    def test_two_listings_asked_for_after_it_prove_it(self) -> None:
        departures, listing = Departures(), Listing[Endpoint](Snapshot)
        assert departures.due("a")
        before = listing.since(time.monotonic())
        departures.note("a")
        assert departures.noted("a") and not departures.due("a")
        assert not departures.proven("a", before, listing), "a listing from before it was asked to go proves nothing"
        first = listing.since(time.monotonic())
        assert not departures.proven("a", first, listing)
        assert not departures.proven("a", first, listing), "one listing, looked at twice"
        assert departures.proven("a", listing.since(time.monotonic()), listing)

    def test_seen_again_it_begins_anew(self) -> None:
        departures, listing = Departures(), Listing[Endpoint](Snapshot)
        departures.note("a")
        assert not departures.proven("a", listing.since(time.monotonic()), listing)
        departures.seen("a")
        assert not departures.proven("a", listing.since(time.monotonic()), listing)

    def test_what_was_never_asked_to_go_is_looked_for_twice_at_once(self) -> None:
        answers = [Snapshot[Endpoint](), Snapshot[Endpoint](), Snapshot[Endpoint](), Snapshot[Endpoint](unread=frozenset({"b"}))]
        listing = Listing(lambda: answers.pop(0))
        assert Departures().proven("a", listing.since(time.monotonic()), listing)
        assert not Departures().proven("b", listing.since(time.monotonic()), listing)
