"""Endpoints of a run: created, watched until they answer, deleted."""

from __future__ import annotations

import threading
import time
from itertools import islice
from typing import TYPE_CHECKING

from attrs import evolve

from evalx import failpoints
from evalx.errors import AuthError, EndpointFailed, EvalxError, TransientError
from evalx.model import EndpointHandle, EndpointSpec, Secret, ServerSpec
from evalx.serving import Readiness, api_key_data, asked_type, probe, shown_url, target_of
from evalx_lepton.accepted import refuse
from evalx_lepton.advice import hint_for, in_words
from evalx_lepton.backend import Backend
from evalx_lepton.bodies import Json, endpoint_body, endpoint_spec, marks_of, token_secret
from evalx_lepton.harvest import LogFile, pages
from evalx_lepton.listing import Departures
from evalx_lepton.ownership import is_ours
from evalx_lepton.problems import Conflict, NotFound, Refused
from evalx_lepton.secrets import PURPOSE
from evalx_lepton.states import CRASHING, UNHEARD_OF, Phase, endpoint_phase, is_hopeless
from evalx_lepton.views import Endpoint

if TYPE_CHECKING:
    from evalx.context import RunContext

GRACE = 30.0
"""Seconds in which an error state, or a refusal of our own token, may still pass."""

MAX_AGE, LOG_PAGES = 30 * 24 * 3600, 10
"""Seconds that an endpoint's log is asked for before it is deleted, and the most pages of it that are kept."""

LAST_LINES, MAX_LAST = 3, 400
"""How many lines of the log of a container that keeps ending are told with the reason, and how many characters of them."""

MODEL_NAME = "deployment.served_model_name, or target.api_endpoint.model_id, must be what the server calls its model"

_ENDS = {
    Phase.STOPPED: "was stopped (scaled to zero, by hand or for want of traffic) and does not start again by itself",
    Phase.GOING: "is being deleted",
}


class Endpoints:
    """The endpoints of one run. settle: seconds in which a new endpoint may be missing in what the platform tells."""

    def __init__(self, run: RunContext, backend: Backend, settle: float) -> None:
        self._run = run
        self._backend = backend
        self._settle = settle
        self._lock = threading.Lock()
        self._since: dict[tuple[str, str], float] = {}
        self._private: set[str] = set()
        self._asked: set[str] = set()
        self._departures = Departures()

    # ------------------------------------------------------------------ deploy

    def deploy(self, endpoint: EndpointSpec) -> EndpointHandle:
        server = self.server_spec(endpoint)
        name = self._run.resource_name(endpoint)
        if server is None:
            return EndpointHandle(endpoint, name, owned=False, data=api_key_data(endpoint))
        self._backend.ensure_secrets()
        if self._was_made(name):
            self._adopt(endpoint, name)
        else:
            self._create(endpoint, server, name)
        failpoints.reach("executor.endpoint.after")
        data = {**endpoint_data(self._run.run_id, server), "owner": self._backend.workspace.fingerprint}
        return EndpointHandle(endpoint, name, data=data)

    def _was_made(self, name: str) -> bool:
        """Whether it is there after a call whose answer was lost. A second call, that comes late, could make it anew once it is deleted."""
        again = name in self._asked
        self._asked.add(name)
        return again and self._backend.workspace.endpoint(name) is not None

    def _create(self, endpoint: EndpointSpec, server: ServerSpec, name: str) -> None:
        body = self.body(endpoint, server)
        try:
            refuse("endpoint", body)
            failpoints.reach("executor.endpoint.before")
            self._backend.workspace.create_endpoint(body)
        except Refused as error:
            raise EndpointFailed(str(error), error.hint) from None
        except Conflict:
            self._adopt(endpoint, name)

    def server_spec(self, endpoint: EndpointSpec) -> ServerSpec | None:
        """What the deployment variant says of the endpoint's server. Raises ConfigError."""
        try:
            server: ServerSpec | None = self._run.plugins.call("server_spec", run=self._run, endpoint=endpoint)
        except ValueError as error:  # of shlex, for an open quote
            raise EndpointFailed(f"deployment.extra_args: {error}", "each quote needs its other one") from None
        return server

    def body(self, endpoint: EndpointSpec, server: ServerSpec) -> Json:
        """What is sent to create the endpoint, its token included."""
        workspace = self._backend.workspace
        return endpoint_body(
            self._run,
            endpoint,
            self.spec(endpoint, server),
            token=self._run.token(PURPOSE),
            owner=workspace.fingerprint,
            group=self._backend.endpoint_group(),
            labels=not workspace.new_api,
        )

    def spec(self, endpoint: EndpointSpec, server: ServerSpec) -> Json:
        """The endpoint's spec as the variant, or the default, makes it."""
        made: Json | None = self._run.plugins.call("lepton_endpoint", run=self._run, endpoint=endpoint, server=server)
        return made if made is not None else endpoint_spec(self._run, endpoint, server)

    def _adopt(self, endpoint: EndpointSpec, name: str) -> None:
        """The name is taken: by us, in a call whose answer was lost, or else the endpoint cannot be had."""
        found = self._backend.workspace.endpoint(name)
        if found is None or endpoint_phase(found.state) is Phase.GOING:
            raise TransientError(f"endpoint {name} is still being deleted")
        marks = marks_of(self._run, endpoint, self._backend.workspace.fingerprint)
        if any(found.marks.get(key) != value for key, value in marks.items()):
            raise EndpointFailed(
                f"endpoint {name} exists already, and is not what this run would create", f"evalx cleanup {self._run.run_id}"
            )

    # ------------------------------------------------------------------ ready?

    def wait_ready(self, handle: EndpointHandle, tick: float) -> EndpointHandle | None:
        """tick: seconds that a listing may be old."""
        if not handle.owned:
            return self._ask(handle, target_of(handle.spec)["url"])
        found = self._find(handle, tick)
        if found is None:
            self._run.report(handle, "created", "the platform does not show it yet")
            return None
        phase = endpoint_phase(found.state)
        if phase in _ENDS:
            raise EndpointFailed(f"endpoint {found.name} {_ENDS[phase]}", _logs_hint(self._run, handle))
        if phase is Phase.UP and found.url:
            return self._ask(handle, found.url)
        self._explain(handle, found, phase)
        return None

    def _find(self, handle: EndpointHandle, tick: float) -> Endpoint | None:
        """The endpoint as the platform shows it; None: not yet. Raises EndpointFailed if it is gone."""
        name = handle.resource
        for found in self._backend.endpoints.within(tick).named(name):
            self._passed(name, "missing")
            return found
        if self._lasts(name, "missing") < self._settle:
            return None
        unlisted = self._backend.workspace.endpoint(name)
        if unlisted is None:
            raise EndpointFailed(f"endpoint {name} is gone: somebody, or something, has deleted it", f"evalx resume {self._run.run_id}")
        return unlisted

    def _explain(self, handle: EndpointHandle, found: Endpoint, phase: Phase) -> None:
        """Report why it is not ready. Raises EndpointFailed if it never will be."""
        reasons = self._backend.why("endpoint", found.name)
        hint = hint_for("endpoint", reasons, self._run.run_id, found.name)
        hopeless = [reason for reason in reasons if is_hopeless(reason.reason, reason.message)]
        if hopeless:
            last = self._last_words(found.name) if hopeless[0].reason == CRASHING else ""
            told = in_words([*hopeless, *reasons], None)
            raise EndpointFailed(f"endpoint {found.name}: {told}{last}", hint or _logs_hint(self._run, handle))
        said = in_words(reasons, hint)
        if phase is Phase.FAILED:
            if self._lasts(found.name, "error") > GRACE:
                raise EndpointFailed(
                    f"endpoint {found.name} is in state {found.state}: {said or 'no reason given'}", _logs_hint(self._run, handle)
                )
        else:
            self._passed(found.name, "error")
        if phase is Phase.UNKNOWN:
            said = f"{UNHEARD_OF}; {said}" if said else UNHEARD_OF
        self._run.report(handle, found.state.lower() if phase is not Phase.UNKNOWN else "unknown", said)

    def _last_words(self, name: str) -> str:
        """The end of its log, as part of a reason."""
        try:
            lines = self._backend.workspace.log_tail("endpoint", name, LAST_LINES)
        except EvalxError:  # the reason holds without them
            lines = []
        told = dict.fromkeys(text for text in (" ".join(line.split()) for line in lines) if text)
        return f"; its log ends with: {' | '.join(told)[-MAX_LAST:]}" if told else ""

    def _ask(self, handle: EndpointHandle, url: str) -> EndpointHandle | None:
        """Ask the server itself."""
        key = self._key(handle)
        answer = self._probe(handle, url, key)
        if not answer.ready:
            self._judge(handle, url, answer)
            return None
        self._passed(handle.resource, "unauthorised")
        if handle.owned and not self._is_private(handle, url):
            return None
        return evolve(handle, url=url)

    def _judge(self, handle: EndpointHandle, url: str, answer: Readiness) -> None:
        patient = handle.owned and answer.unauthorised and self._lasts(handle.resource, "unauthorised") < GRACE
        if answer.hopeless and not patient:
            hint = MODEL_NAME if "serves no model" in answer.reason else None
            raise (AuthError if answer.unauthorised else EndpointFailed)(answer.told(url), hint)
        self._run.report(handle, "loading" if handle.owned else "waiting", answer.reason)

    def _is_private(self, handle: EndpointHandle, url: str) -> bool:
        """Whether the endpoint refuses who has no token; found out once. Raises EndpointFailed if it does not."""
        if handle.resource in self._private:
            return True
        answer = self._ask_for_a_token(handle, url, None, health=None)
        if answer.ready:
            raise EndpointFailed(f"{shown_url(url)} answers requests without a token", "check the workspace's endpoint settings")
        if answer.unauthorised:
            self._private.add(handle.resource)
            return True
        self._run.report(handle, "checking", f"without its token: {answer.reason}")
        return False

    def _probe(self, handle: EndpointHandle, url: str, key: str | None) -> Readiness:
        endpoint = handle.spec
        server = self.server_spec(endpoint) if handle.owned else None
        answer = self._run.plugins.call("ready_probe", run=self._run, endpoint=endpoint, url=url, server=server, api_key=key)
        if isinstance(answer, Readiness):
            return answer
        return self._ask_for_a_token(handle, url, key, health=handle.data.get("health"))

    def _ask_for_a_token(self, handle: EndpointHandle, url: str, key: str | None, *, health: str | None) -> Readiness:
        return probe(
            url,
            model=handle.spec.model,
            kind=asked_type(self._run.plan, handle.spec),
            routes=handle.data.get("routes") or {},
            health_path=health,
            api_key=key,
            stopping=self._run.stopping,
        )

    def _key(self, handle: EndpointHandle) -> str | None:
        if handle.owned:
            return self._run.token(PURPOSE)
        ref = handle.data.get("api_key")
        return self._run.secret(Secret(ref)) if ref else None

    def _lasts(self, name: str, what: str) -> float:
        """Seconds since this was first seen of that endpoint, without a break."""
        with self._lock:
            return time.monotonic() - self._since.setdefault((name, what), time.monotonic())

    def _passed(self, name: str, what: str) -> None:
        with self._lock:
            self._since.pop((name, what), None)

    # ------------------------------------------------------------------ cleanup

    def cleanup(self, handle: EndpointHandle, tick: float) -> bool:
        """Delete what is ours under its name. True once the platform knows nothing of it, in two listings. tick: as in wait_ready."""
        name = handle.resource
        snapshot = self._backend.endpoints.within(tick)
        found = next(iter(snapshot.named(name)), None)
        if found is None and not self._departures.noted(name):
            found = self._backend.workspace.endpoint(name)  # a listing may lag behind
        if found is None and snapshot.lacks(name):
            return self._departures.proven(name, snapshot, self._backend.endpoints)
        self._departures.seen(name)
        if found is None:
            return False
        if not is_ours(self._run, self._backend.workspace, found, name, handle.spec, handle.data.get("owner")):
            warn_foreign("endpoint", name)
            return True
        if endpoint_phase(found.state) is not Phase.GOING and self._departures.due(name):
            self._delete(handle)
        return False

    def _delete(self, handle: EndpointHandle) -> None:
        failpoints.reach("executor.delete.before")
        try:
            self._backend.workspace.delete_endpoint(handle.resource)
        except Conflict:
            return
        except NotFound:
            self._departures.note(handle.resource)
            return
        failpoints.reach("executor.delete.after")
        self._departures.note(handle.resource)
        self._keep_log(handle)

    def _keep_log(self, handle: EndpointHandle) -> None:
        """Write the log of an endpoint that is going into the run's directory, as far as the platform still has it."""
        if not self._run.directory.is_dir():
            return
        file = LogFile(self._run.endpoint_dir(handle) / "output.log")
        try:
            workspace = self._backend.workspace
            start = int((workspace.now() - MAX_AGE) * 10**9)
            for lines in islice(pages(workspace, "endpoint", handle.resource, start), LOG_PAGES):
                file.add(lines)
        except EvalxError:
            return  # a log is nice to have; the endpoint's end is not put off for it


def warn_foreign(kind: str, name: str) -> None:
    """Say that something has one of our names, but is not ours, and was left alone."""
    import structlog

    structlog.get_logger("evalx").warning(f"{kind} {name} does not bear this run's marks: it was not created by it, and is left alone")


def endpoint_data(run_id: str, server: ServerSpec) -> Json:
    """What an endpoint's handle holds."""
    return {"routes": dict(server.routes), "health": server.health_path, "api_key": token_secret(run_id).ref, "token": PURPOSE}


def _logs_hint(run: RunContext, handle: EndpointHandle) -> str:
    return f"its log: evalx logs {run.run_id} --endpoint {handle.spec.name}"
