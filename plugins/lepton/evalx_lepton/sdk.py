"""The one module that imports leptonai, and only inside functions: importing it takes over a second.

`Workspace` is a thin, typed wrapper: evalx's values in and out, evalx's exceptions only (`evalx_lepton.problems`), listings that say
what the SDK could not read. It never retries; the core does.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

from attrs import field, frozen

from evalx.errors import AuthError, PluginError
from evalx_lepton.problems import LOGIN, NotFound, Refused, of_status, translated, validation
from evalx_lepton.views import Endpoint, Job, Reason, Snapshot, View

SUPPORTED = ((0, 47), (0, 48))
"""Versions of leptonai: from the first, up to but without the second."""

INSTALL = "pip install 'evalx[lepton]'"

TIMEOUTS = (10.0, 60.0)
"""Seconds for connecting, and between two pieces of an answer."""

PAGE = 500
MAX_PAGES = 200

MARK = "EVALX_"
"""How evalx's labels and variables begin."""

ALIVE, ALIVE_AND_ARCHIVED = "alive_only", "alive_and_archive"


@frozen
class Credentials:
    """Of a workspace that is not the one the SDK finds by itself."""

    workspace: str
    token: str = field(repr=False)
    url: str


def check_installed() -> None:
    """Raises PluginError if leptonai is missing or of a version that evalx does not know."""
    try:
        found = metadata.version("leptonai")
    except metadata.PackageNotFoundError:
        raise PluginError("the Lepton executor needs leptonai, which is not installed", INSTALL) from None
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if not SUPPORTED[0] <= numbers < SUPPORTED[1]:
        wanted = f">={'.'.join(map(str, SUPPORTED[0]))},<{'.'.join(map(str, SUPPORTED[1]))}"
        raise PluginError(f"leptonai {found} is installed, but this evalx works with {wanted}", f"pip install 'leptonai{wanted}'")


class Workspace:
    """A Lepton workspace. Safe to use from several threads; connections are kept for `width` of them."""

    def __init__(self, credentials: Credentials | None = None, width: int = 32) -> None:
        """credentials: None for those of the environment or of `lep login`. Raises AuthError, PluginError. Makes no call."""
        check_installed()
        self._local = threading.local()
        self._client = self._connect(credentials, width)
        self._token = str(self._client.auth_token)

    def _connect(self, credentials: Credentials | None, width: int) -> Any:
        from leptonai.api.v2.client import APIClient
        from requests.adapters import HTTPAdapter

        chosen = (credentials.workspace, credentials.token, credentials.url) if credentials else ()
        with translated("log in", *([credentials.token] if credentials else [])):
            try:
                client = APIClient(*chosen)
            except TypeError:  # what the SDK ends with if there is an id, but no token
                raise AuthError("there is no token for the Lepton workspace", LOGIN) from None
        if not client.auth_token:
            raise AuthError("there is no token for the Lepton workspace", LOGIN)
        client._timeout = TIMEOUTS
        session = client._session
        session.auth = lambda request: request  # or an entry of ~/.netrc would replace the token
        session.hooks["response"].append(self._remember)
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=width))
        return client

    def _remember(self, response: Any, *_args: Any, **_kwargs: Any) -> None:
        self._local.response = response

    def close(self) -> None:
        """Close the connections."""
        self._client._session.close()

    # ------------------------------------------------------------------ the workspace

    @property
    def id(self) -> str:
        return str(self._client.workspace_id)

    @property
    def new_api(self) -> bool:
        """Whether endpoints are those of the `/endpoints` routes. Asked once per process; raises AuthError, TransientError."""
        with self._doing("ask for the workspace's features"):
            return bool(self._client.new_deployment_api_enabled)

    @property
    def fingerprint(self) -> str:
        """12 hex digits that tell resources made with this token from others, and nothing about the token."""
        return hashlib.sha256(b"evalx-owner:" + self._token.encode()).hexdigest()[:12]

    def info(self) -> Mapping[str, Any]:
        """GET /workspace, as plain data."""
        with self._doing("ask for the workspace"):
            found: dict[str, Any] = self._client.info().model_dump(mode="json")
            return found

    def node_groups(self) -> dict[str, str]:
        """Id → name."""
        with self._doing("list node groups"):
            return {str(group.metadata.id_): str(group.metadata.name or group.metadata.id_) for group in self._client.nodegroup.list_all()}

    def shapes(self, purpose: str, node_group: str | None = None) -> list[str]:
        """Names and ids of the shapes for `deployment` or `job`, in lower case."""
        with self._doing("list shapes"):
            found = self._client.shapes.list_shapes(node_group=node_group, purpose=purpose)
        names = {str(name).lower() for shape in found for name in (shape.metadata.id_, shape.metadata.name, shape.spec.name) if name}
        return sorted(names)

    # ------------------------------------------------------------------ secrets

    def secrets(self) -> dict[str, str]:
        """Name → owner, of every secret that can be seen."""
        with self._doing("list secrets"):
            found = self._client.secret.list_all()
            self._check_whole("list secrets", found)
            return {secret.name: secret.owner or "" for secret in found}

    def create_secrets(self, values: Mapping[str, str]) -> None:
        """All in one call."""
        from leptonai.api.v2.types.secret import SecretItem

        items = [SecretItem(name=name, value=value, tags=["evalx"], visibility="private") for name, value in values.items()]
        with self._doing("create the run's secrets", *values.values()):
            self._client.secret.create(items)

    def delete_secret(self, name: str) -> None:
        with self._doing(f"delete secret {name}"):
            self._client.secret.delete(name)

    # ------------------------------------------------------------------ endpoints

    def create_endpoint(self, body: Mapping[str, Any]) -> None:
        """Raises Conflict if the name is taken."""
        from leptonai.api.v2.types.deployment import LeptonDeployment

        name = body["metadata"]["id"]
        with self._doing(f"create endpoint {name}"):
            self._client.deployment.create_with_response(LeptonDeployment(**body), tolerate_legacy_response=True)

    def endpoint(self, name: str) -> Endpoint | None:
        """None if there is none of that name."""
        try:
            with self._doing(f"ask for endpoint {name}"):
                return _endpoint(self._client.deployment.get(name))
        except NotFound:
            return None

    def endpoints(self) -> Snapshot[Endpoint]:
        with self._doing("list endpoints"):
            api = self._client.deployment
            found = api.list_all()
            views = [_endpoint(item) for item in found if not (item.spec and item.spec.is_pod)]
            return _snapshot(views, self._raw(), [_id(item) for item in found])

    def delete_endpoint(self, name: str) -> None:
        """Raises NotFound if it is gone already."""
        with self._doing(f"delete endpoint {name}"):
            self._client.deployment.delete(name)

    def reasons(self, kind: str, name: str) -> list[Reason]:
        """Why a `job` or `endpoint` is not ready: of its replicas where the platform tells, and what its last events warn of."""
        found: list[Reason] = []
        with self._doing(f"ask why {kind} {name} is not ready"):
            api = self._client.job if kind == "job" else self._client.deployment
            if kind == "endpoint" and not self._client.new_deployment_api_enabled:
                issues = api.get_readiness(name).root
                found += [Reason(issue.reason.value, issue.message) for replica in issues.values() for issue in replica]
            warnings = [event for event in api.get_events(name) if event.type_ == "Warning"]
            found += [Reason(event.reason) for event in sorted(warnings, key=lambda event: event.last_observed_time)[-3:]]
        return found

    # ------------------------------------------------------------------ jobs

    def create_job(self, body: Mapping[str, Any]) -> Job:
        from leptonai.api.v2.types.job import LeptonJob

        with self._doing(f"create job {body['metadata']['id']}"):
            return _job(self._client.job.create(LeptonJob(**body)))

    def job(self, job_id: str, *, archived: bool = True) -> Job | None:
        """None if there is no such job. archived: also one that Lepton has put away."""
        try:
            with self._doing(f"ask for job {job_id}"):
                return _job(self._client.job.get(job_id, job_query_mode=ALIVE_AND_ARCHIVED if archived else ALIVE))
        except NotFound:
            return None

    def jobs(self, part_of_name: str, *, archived: bool) -> Snapshot[Job]:
        """All jobs whose name contains that, by name. archived: also those that are over for so long that Lepton has put them away."""
        mode = ALIVE_AND_ARCHIVED if archived else ALIVE
        views: dict[str, Job] = {}
        raw: list[Any] = []
        read: list[str] = []
        with self._doing("list jobs"):
            for page in range(1, MAX_PAGES):
                found = self._client.job.list_all(job_query_mode=mode, q=part_of_name, page=page, page_size=PAGE)
                items = self._raw()
                raw += items
                read += [_id(item) for item in found]
                known = len(views)
                views |= {str(item.metadata.id_): _job(item) for item in found}
                if len(items) < PAGE or len(views) == known:
                    break
            wanted = [view for view in views.values() if part_of_name in view.name]
            return _snapshot(wanted, raw, read)

    def delete_job(self, job_id: str) -> None:
        """Raises NotFound if it is gone already."""
        with self._doing(f"delete job {job_id}"):
            self._client.job.delete(job_id)

    def stop_job(self, job_id: str) -> None:
        """Ask it to end; it stays, with its log. Raises NotFound."""
        with self._doing(f"stop job {job_id}"):
            self._client.job.update(job_id, {"spec": {"stopped": True}})

    # ------------------------------------------------------------------ logs

    def log_page(self, kind: str, name: str, start: int, end: int, limit: int) -> list[tuple[int, str]]:
        """Lines of the log history with their times, oldest first. kind: `job` or `endpoint`; times are ns since the epoch."""
        what = {"name_or_job" if kind == "job" else "name_or_deployment": name}
        with self._doing(f"read the log of {kind} {name}"):
            answer = self._client.log.get_log(**what, start=str(start), end=str(end), limit=limit, direction="forward")
            streams = (answer.get("data") or {}).get("result") or []
            lines = [(int(value[0]), str(value[1])) for stream in streams for value in stream.get("values") or []]
        return sorted(lines, key=lambda line: line[0])

    def replicas(self, kind: str, name: str) -> list[str]:
        """Ids of the replicas of a `job` or `endpoint`, in the platform's order. Raises NotFound."""
        with self._doing(f"list the replicas of {kind} {name}"):
            api = self._client.job if kind == "job" else self._client.deployment
            return [str(replica.metadata.id_ or replica.id_) for replica in api.get_replicas(name)]

    def live_log(self, kind: str, name: str, replica: str, idle: float) -> Iterator[bytes]:
        """What a replica prints, as it comes. Ends with the replica, or raises TransientError after `idle` seconds of silence."""
        route = "jobs" if kind == "job" else "endpoints" if self.new_api else "deployments"
        what = f"read the live log of {kind} {name}"
        with self._doing(what):
            # Not by the SDK's own method: it decodes piece by piece and fails on characters that are cut in two.
            answer = self._client._get(f"/{route}/{name}/replicas/{replica}/log", stream=True, timeout=(TIMEOUTS[0], idle))
            with answer:
                if answer.status_code >= 400:
                    raise of_status(what, answer.status_code, "")
                yield from answer.iter_content(chunk_size=None)

    # ------------------------------------------------------------------ helpers

    def _doing(self, what: str, *secrets: str) -> Any:
        return translated(what, self._token, *secrets)

    def _raw(self) -> list[Any]:
        """The items of the listing that this thread has just read, before the SDK took out what it cannot read."""
        content = self._local.response.json()
        items = content.get("jobs", content) if isinstance(content, dict) else content
        if not isinstance(items, list):
            raise TypeError("not a list")
        return items

    def _check_whole(self, what: str, found: Sequence[Any]) -> None:
        if len(self._raw()) != len(found):
            raise of_status(what, 500, "the answer holds an item that leptonai cannot read")


# ---------------------------------------------------------------------- without a workspace


def problems_of(kind: str, body: Mapping[str, Any]) -> list[str]:
    """What the SDK's own types say of an `endpoint` or `job` body: mistakes, and fields that it would drop without a word."""
    from leptonai.api.v2.deployment import normalize_endpoint_authentication_payload
    from leptonai.api.v2.job_validation import validate_job_create
    from leptonai.api.v2.types.deployment import LeptonDeployment
    from leptonai.api.v2.types.job import LeptonJob

    try:
        model: Any = LeptonDeployment(**body) if kind == "endpoint" else LeptonJob(**body)
        if kind == "endpoint":
            normalize_endpoint_authentication_payload(model.model_dump(exclude_none=True, by_alias=True))
        else:
            validate_job_create(model)
    except ValueError as error:
        return [validation(error)]
    return [f"{key}: leptonai knows no such field" for key in unknown(body, model.model_dump(by_alias=True, mode="json"))]


def problems_on_new_api(body: Mapping[str, Any]) -> list[str]:
    """What an endpoint's body holds that the `/endpoints` routes cannot express."""
    from leptonai.api.v2.translation import legacy_to_http_endpoint

    try:
        legacy_to_http_endpoint(dict(body))
    except ValueError as error:
        return [str(error)]
    return []


def unknown(given: Any, kept: Any, at: str = "") -> Iterator[str]:
    """Dotted keys of `given` that are not in `kept`; what is None counts as not given."""
    if isinstance(given, Mapping) and isinstance(kept, Mapping):
        for key, value in given.items():
            here = f"{at}.{key}" if at else str(key)
            if value is None:
                continue
            if key not in kept:
                yield here
            else:
                yield from unknown(value, kept[key], here)
    elif isinstance(given, list) and isinstance(kept, list):
        for index, (one, other) in enumerate(zip(given, kept, strict=False)):
            yield from unknown(one, other, f"{at}[{index}]")


def refuse(kind: str, body: Mapping[str, Any]) -> None:
    """Raises Refused if the SDK would change or refuse the body."""
    if problems := problems_of(kind, body):
        raise Refused("; ".join(problems))


# ---------------------------------------------------------------------- the SDK's types into evalx's


def _endpoint(item: Any) -> Endpoint:
    status = item.status
    state = status.state.value if status else "UNK"
    if status and status.phase is not None and state == "Not Ready":
        state = status.phase.value  # older clients are shown "Not Ready" for what is stopped
    return Endpoint(
        name=str(item.metadata.name or item.metadata.id_),
        state=state,
        url=(status.endpoint.external_endpoint or "") if status else "",
        marks=_marks(item),
        owner=item.metadata.created_by or item.metadata.owner or "",
        created=_seconds(item.metadata.created_at),
    )


def _job(item: Any) -> Job:
    status = item.status
    return Job(
        id=str(item.metadata.id_),
        name=str(item.metadata.name or item.metadata.id_),
        state=status.state.value if status and status.state else "UNK",
        marks=_marks(item),
        owner=item.metadata.created_by or item.metadata.owner or "",
        created=_seconds(item.metadata.created_at or (status.creation_time if status else None)),
        ended=_seconds(status.completion_time if status else None),
    )


def _marks(item: Any) -> dict[str, str]:
    """Labels where the platform keeps them, else the environment."""
    env = {variable.name: variable.value or "" for variable in (item.spec.envs if item.spec else None) or []}
    labels = item.metadata.labels or {}
    return {name: value for name, value in {**env, **labels}.items() if name.startswith(MARK)}


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _id(item: Any) -> str:
    return str(item.metadata.id_ or item.metadata.name)


def _snapshot(views: Sequence[View], raw: Sequence[Any], read: Sequence[str]) -> Snapshot[View]:
    """raw: the items as they came. read: ids of those that the SDK could read."""
    items: dict[str, tuple[View, ...]] = {}
    for view in views:
        items[view.name] = (*items.get(view.name, ()), view)
    if len(raw) == len(read):
        return Snapshot(items)
    dropped = [_raw_names(item) for item in raw]
    lost = [names for names in dropped if not set(names) & set(read)]
    return Snapshot(items, frozenset(name for names in lost for name in names), blind=not all(lost))


def _raw_names(item: Any) -> list[str]:
    """Name and id of an item as it came, as far as it has them."""
    data = item.get("metadata") if isinstance(item, dict) else None
    found = [data.get(key) for key in ("id", "name")] if isinstance(data, dict) else []
    return [name for name in found if isinstance(name, str) and name]
