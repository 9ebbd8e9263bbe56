"""A workspace through leptonai, which is imported inside functions only: that takes a while.

`Workspace` is a thin, typed wrapper: evalx's values in and out, evalx's exceptions only (`evalx_lepton.problems`), listings that say
what the SDK could not read. It never retries; the core does.
"""

from __future__ import annotations

import email.utils
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

from attrs import field, frozen

from evalx.errors import TransientError
from evalx.redaction import hold
from evalx_lepton.happenings import Happening, container_ends, ended, happenings, warnings
from evalx_lepton.installation import check_installed, spare_client
from evalx_lepton.problems import LOGIN, NoCredentials, NotFound, of_status, translated
from evalx_lepton.reading import endpoint_view, item_id, job_view, read_all, snapshot
from evalx_lepton.views import Endpoint, Job, Reason, Snapshot, StoredSecret, View

T = TypeVar("T")

TIMEOUTS = (10.0, 60.0)
"""Seconds for connecting, and between two pieces of an answer."""

PAGE = 500
MAX_PAGES = 200

CRASHES = 3
"""So often has the container of an endpoint ended when it is no more expected to come up."""

TAIL_SPAN, CLOCKS = 24 * 3600 * 10**9, 60 * 10**9
"""Nanoseconds that the end of a log is looked for in, and by which clocks may differ."""

ALIVE, ALIVE_AND_ARCHIVED = "alive_only", "alive_and_archive"


class _Unchanged(Exception):
    """A listing's answer is, byte by byte, what it was the last time."""


@frozen
class Credentials:
    """Of a workspace that is not the one the SDK finds by itself."""

    workspace: str
    token: str = field(repr=False)
    url: str


class Workspace:
    """A Lepton workspace. Safe to use from several threads; connections are kept for `width` of them."""

    def __init__(self, credentials: Credentials | None = None, width: int = 32) -> None:
        """credentials: None for those of the environment or of `lep login`. Raises AuthError, PluginError. Makes no call."""
        check_installed()
        self._local = threading.local()
        self._ahead = 0.0
        self._listings: dict[str, tuple[bytes, Snapshot[Any]]] = {}
        self._client = self._connect(credentials, width)
        self._token = str(self._client.auth_token)
        hold("the workspace's token", self._token)

    def _connect(self, credentials: Credentials | None, width: int) -> Any:
        spare_client()
        from leptonai.api.v2.client import APIClient
        from requests.adapters import HTTPAdapter

        chosen = (credentials.workspace, credentials.token, credentials.url) if credentials else ()
        client = translated("log in", lambda: _client(APIClient, chosen), *chosen[1:2])
        if not client.auth_token:
            raise NoCredentials("there is no token for the Lepton workspace", LOGIN)
        client._timeout = TIMEOUTS
        session = client._session
        session.auth = lambda request: request  # or an entry of ~/.netrc would replace the token
        _settle_environment(session, str(client.url))
        session.hooks["response"].append(self._remember)
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=width))
        return client

    def _remember(self, response: Any, *_args: Any, **_kwargs: Any) -> None:
        self._local.response, self._local.date = response, response.headers.get("Date")
        with suppress(TypeError, ValueError):
            self._ahead = email.utils.parsedate_to_datetime(response.headers.get("Date")).timestamp() - time.time()
        if (digests := getattr(self._local, "digests", None)) is not None and response.status_code == 200:
            digests.append(hashlib.sha256(response.content).digest())
            if digests == [self._local.known]:
                raise _Unchanged  # out of the SDK's call, before it reads all items again
            with suppress(ValueError):
                content = response.json()
                response.json = lambda: content  # asked for by the SDK, and then by _raw

    def now(self) -> float:
        """Seconds since the epoch by the platform's clock, in whose time its logs are: that of this machine may be wrong, or be set."""
        return time.time() + self._ahead

    def close(self) -> None:
        """Close the connections."""
        self._client._session.close()

    # ------------------------------------------------------------------ the workspace

    @property
    def id(self) -> str:
        return str(self._client.workspace_id)

    @property
    def address(self) -> str:
        """The workspace's id, and where it is asked."""
        parts = urlsplit(str(self._client.url))
        return f"workspace {self.id} at {parts.hostname}" + (f":{parts.port}" if parts.port else "")

    @property
    def new_api(self) -> bool:
        """Whether endpoints are those of the `/endpoints` routes. Asked once per process."""
        return self._do("ask for the workspace's features", lambda: bool(self._client.new_deployment_api_enabled))

    @property
    def fingerprint(self) -> str:
        """12 hex digits that tell resources made with this token from others, and nothing about the token."""
        return hashlib.sha256(b"evalx-owner:" + self._token.encode()).hexdigest()[:12]

    def info(self) -> Mapping[str, Any]:
        """GET /workspace, as plain data."""
        found: dict[str, Any] = self._do("ask for the workspace", lambda: self._client.info().model_dump(mode="json"))
        return found

    def clock(self) -> float | None:
        """What the workspace said of the time in its last answer to this thread, in seconds since the epoch; None if it said nothing."""
        try:
            return email.utils.parsedate_to_datetime(getattr(self._local, "date", None) or "").timestamp()
        except ValueError:
            return None

    def node_groups(self) -> dict[str, str]:
        """Id → name."""
        groups = self._do("list node groups", self._client.nodegroup.list_all)
        return {str(group.metadata.id_): str(group.metadata.name or group.metadata.id_) for group in groups}

    def shapes(self, purpose: str) -> list[str]:
        """Names and ids of the shapes for `deployment` or `job`, in lower case."""
        found = self._do("list shapes", lambda: self._client.shapes.list_shapes(purpose=purpose))
        names = {str(name).lower() for shape in found for name in (shape.metadata.id_, shape.metadata.name, shape.spec.name) if name}
        return sorted(names)

    # ------------------------------------------------------------------ secrets

    def secrets(self) -> dict[str, StoredSecret]:
        """Every secret that can be seen, by name. Raises TransientError if there is one that the SDK cannot read."""

        def ask() -> dict[str, StoredSecret]:
            found = self._client.secret.list_all()
            if len(self._raw()) != len(found):
                raise TransientError("list secrets: the answer holds an item that leptonai cannot read")
            return {secret.name: StoredSecret(secret.name, secret.owner or "", frozenset(secret.tags or ())) for secret in found}

        return self._do("list secrets", ask)

    def create_secrets(self, values: Mapping[str, str], tags: Sequence[str] = ()) -> None:
        """All in one call."""
        from leptonai.api.v2.types.secret import SecretItem

        items = [SecretItem(name=name, value=value, tags=list(tags), visibility="private") for name, value in values.items()]
        self._do("create the run's secrets", lambda: self._client.secret.create(items), *values.values())

    def delete_secret(self, name: str) -> None:
        self._do(f"delete secret {name}", lambda: self._client.secret.delete(name))

    # ------------------------------------------------------------------ endpoints

    def create_endpoint(self, body: Mapping[str, Any]) -> None:
        """Raises Conflict if the name is taken."""
        from leptonai.api.v2.types.deployment import LeptonDeployment

        def create() -> None:
            self._client.deployment.create_with_response(LeptonDeployment(**body), tolerate_legacy_response=True)

        self._do(f"create endpoint {body['metadata']['id']}", create)

    def endpoint(self, name: str) -> Endpoint | None:
        """None if there is none of that name."""
        try:
            return self._do(f"ask for endpoint {name}", lambda: endpoint_view(self._client.deployment.get(name)))
        except NotFound:
            return None

    def endpoints(self) -> Snapshot[Endpoint]:
        def ask() -> Snapshot[Endpoint]:
            read = read_all(self._client.deployment.list_all(), endpoint_view)
            views = [view for item, view in read if not (item.spec and item.spec.is_pod)]
            return snapshot(views, self._raw(), [item_id(item) for item, _ in read])

        return self._listed("list endpoints", "endpoints", ask)

    def delete_endpoint(self, name: str) -> None:
        """Raises NotFound if it is gone already."""
        self._do(f"delete endpoint {name}", lambda: self._client.deployment.delete(name))

    def reasons(self, kind: str, name: str) -> list[Reason]:
        """Why a `job` or `endpoint` is not ready: of its replicas where the platform tells, and what its last events warn of."""
        return self._do(f"ask why {kind} {name} is not ready", lambda: list(self._reasons(kind, name)))

    def _reasons(self, kind: str, name: str) -> Iterator[Reason]:
        api = self._client.job if kind == "job" else self._client.deployment
        if kind == "endpoint" and not self._client.new_deployment_api_enabled:
            issues = api.get_readiness(name).root
            yield from (Reason(issue.reason.value, issue.message) for replica in issues.values() for issue in replica)
            ends = [end for replica in api.get_termination(name).root.values() for end in replica]
            if ends:
                last = max(ends, key=lambda end: end.finished_at)
                how = f"exit code {last.exit_code}" + (f", {last.reason}" if last.reason not in ("", "Error", "Completed") else "")
                yield ended(len(ends), f"last with {how}", CRASHES)
            yield from warnings(self._events(api, name))
            return
        events = self._events(api, name)
        if kind == "endpoint" and (count := container_ends(events, max(len(api.get_replicas(name)), 1))):
            yield ended(count, "as its events tell", CRASHES)
        yield from warnings(events)

    def _events(self, api: Any, name: str) -> list[Happening]:
        found = api.get_events(name)
        return happenings(found, self._raw())

    # ------------------------------------------------------------------ jobs

    def create_job(self, body: Mapping[str, Any]) -> Job:
        from leptonai.api.v2.types.job import LeptonJob

        return self._do(f"create job {body['metadata']['id']}", lambda: job_view(self._client.job.create(LeptonJob(**body))))

    def job(self, job_id: str, *, archived: bool = True) -> Job | None:
        """None if there is no such job. archived: also one that Lepton has put away."""
        mode = ALIVE_AND_ARCHIVED if archived else ALIVE
        try:
            return self._do(f"ask for job {job_id}", lambda: job_view(self._client.job.get(job_id, job_query_mode=mode)))
        except NotFound:
            return None

    def jobs(self, part_of_name: str, *, archived: bool) -> Snapshot[Job]:
        """All jobs whose name contains that, by name. archived: also those that are over for so long that Lepton has put them away."""
        mode = ALIVE_AND_ARCHIVED if archived else ALIVE
        return self._listed("list jobs", f"{mode} {part_of_name}", lambda: self._jobs(part_of_name, mode))

    def _jobs(self, part_of_name: str, mode: str) -> Snapshot[Job]:
        views: dict[str, Job] = {}
        raw: list[Any] = []
        read: list[str] = []

        def more(page: int) -> bool:
            found, known = self._client.job.list_all(job_query_mode=mode, q=part_of_name, page=page, page_size=PAGE), len(views)
            items = self._raw()
            raw.extend(items)
            for item, view in read_all(found, job_view):
                read.append(item_id(item))
                views[view.id] = view
            return len(items) >= PAGE and len(views) > known

        last = next((page for page in range(1, MAX_PAGES) if not more(page)), MAX_PAGES)
        for page in range(last - 1, 0, -1):  # where a job is by now that moved to a page read before, as another one went
            more(page)
        return snapshot([view for view in views.values() if part_of_name in view.name], raw, read)

    def delete_job(self, job_id: str) -> None:
        """Raises NotFound if it is gone already."""
        self._do(f"delete job {job_id}", lambda: self._client.job.delete(job_id))

    def stop_job(self, job_id: str) -> None:
        """Ask it to end; it stays, with its log. Raises NotFound."""
        self._do(f"stop job {job_id}", lambda: self._client.job.update(job_id, {"spec": {"stopped": True}}))

    # ------------------------------------------------------------------ logs

    def log_page(self, kind: str, name: str, start: int, end: int, limit: int) -> list[tuple[int, str]]:
        """Lines of the log history with their times, oldest first. kind: `job` or `endpoint`; times are ns since the epoch."""
        return self._history(kind, name, start, end, limit, "forward")

    def log_tail(self, kind: str, name: str, count: int) -> list[str]:
        """The last lines of the log history, oldest first."""
        now = int(self.now() * 10**9)
        return [text for _, text in self._history(kind, name, now - TAIL_SPAN, now + CLOCKS, count, "backward")[-count:]]

    def _history(self, kind: str, name: str, start: int, end: int, limit: int, direction: str) -> list[tuple[int, str]]:
        what = {"name_or_job" if kind == "job" else "name_or_deployment": name}

        def ask() -> list[tuple[int, str]]:
            answer = self._client.log.get_log(**what, start=str(start), end=str(end), limit=limit, direction=direction)
            streams = (answer.get("data") or {}).get("result") or []
            return [(int(value[0]), str(value[1])) for stream in streams for value in stream.get("values") or []]

        return sorted(self._do(f"read the log of {kind} {name}", ask), key=lambda line: line[0])

    def replicas(self, kind: str, name: str) -> list[str]:
        """Ids of the replicas of a `job` or `endpoint`, in the platform's order. Raises NotFound."""
        api = self._client.job if kind == "job" else self._client.deployment
        found = self._do(f"list the replicas of {kind} {name}", lambda: api.get_replicas(name))
        return [str(replica.metadata.id_ or replica.id_) for replica in found]

    def live_log(self, kind: str, name: str, replica: str, idle: float) -> Iterator[bytes]:
        """What a replica prints, as it comes. Ends with the replica, or raises TransientError after `idle` seconds of silence."""
        route = "jobs" if kind == "job" else "endpoints" if self.new_api else "deployments"
        path, what = f"/{route}/{name}/replicas/{replica}/log", f"read the live log of {kind} {name}"
        # Not by the SDK's own method: it decodes piece by piece and fails on characters that are cut in two.
        with self._do(what, lambda: self._client._get(path, stream=True, timeout=(TIMEOUTS[0], idle))) as answer:
            if answer.status_code >= 400:
                raise of_status(what, answer.status_code, "")
            pieces = answer.iter_content(chunk_size=None)
            while (piece := self._do(what, lambda: next(pieces, None))) is not None:
                yield piece

    # ------------------------------------------------------------------ helpers

    def _do(self, what: str, call: Callable[[], T], *secrets: str) -> T:
        try:
            return translated(what, call, self._token, *secrets)
        finally:
            self._local.response = None  # else each thread would hold on to a listing of megabytes

    def _listed(self, what: str, key: str, ask: Callable[[], Snapshot[View]]) -> Snapshot[View]:
        """What `ask` finds, or what it found the last time if the platform answers with the same bytes. key: tells listings apart; one of
        several pages is always read."""
        return self._do(what, lambda: self._unless_known(key, ask))

    def _unless_known(self, key: str, ask: Callable[[], Snapshot[View]]) -> Snapshot[View]:
        self._local.known, known = self._listings.get(key, (b"", Snapshot()))
        self._local.digests = digests = list[bytes]()
        try:
            found = ask()
        except _Unchanged:
            return known
        finally:
            self._local.digests = None
        self._listings[key] = (digests[0] if len(digests) == 1 else b"", found)
        return found

    def _raw(self) -> list[Any]:
        """The items of the listing that this thread has just read, before the SDK took out what it cannot read."""
        content = self._local.response.json()
        items = content.get("jobs", content) if isinstance(content, dict) else content
        if not isinstance(items, list):
            raise TypeError("not a list")
        return items


def _settle_environment(session: Any, url: str) -> None:
    """Take proxies and certificates from the environment once, not with every call as requests does: that is a sixth of a call's cost."""
    import requests

    session.proxies = requests.utils.get_environ_proxies(url)
    if session.verify is True:
        session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
    session.trust_env = False


def _client(make: Callable[..., Any], arguments: Sequence[str]) -> Any:
    try:
        return make(*arguments)
    except TypeError:  # what the SDK ends with if there is an id, but no token
        raise NoCredentials("there is no token for the Lepton workspace", LOGIN) from None
