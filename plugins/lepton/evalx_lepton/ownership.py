"""What is ours in the workspace. Whatever evalx deletes has passed one of these questions; a name alone is never enough.

Endpoints and jobs bear marks (labels, or entries in their environment): the run, the resource's own name, a hash of its spec, and the
fingerprint of the token with which they were created. Secrets bear tags.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from evalx.errors import EvalxError
from evalx.model import Found, Spec
from evalx_lepton.bodies import OWNER_MARK
from evalx_lepton.sdk import Workspace
from evalx_lepton.views import Endpoint, Job, Snapshot, StoredSecret

if TYPE_CHECKING:
    from evalx.context import RunContext

PREFIX = "evalx-"
"""How the names of all of evalx's resources begin."""

TAG = "evalx"
"""The tag of every secret that evalx creates."""


def owner_tag(fingerprint: str) -> str:
    """The tag that tells secrets created with this token from those of others."""
    return f"evalx-owner-{fingerprint}"


def bears(view: Endpoint | Job, run_id: str, name: str) -> bool:
    """Whether its marks say that it is this resource of this run, whoever created it."""
    return view.marks.get("EVALX_RUN") == run_id and view.marks.get("EVALX_RESOURCE") == name


def is_ours(run: RunContext, workspace: Workspace, view: Endpoint | Job, name: str, spec: Spec | None, owner: str | None = None) -> bool:
    """Whether it is this resource of this run, created by us.

    spec: the run's, if it is known. owner: the fingerprint with which it was created, as far as that was written down; a token may have
    been replaced since. Raises EvalxError for what bears all our marks but that of the owner, since it cannot be told whose it is: it must
    neither be deleted nor be forgotten.
    """
    if not bears(view, run.run_id, name):
        return False
    mark = view.marks.get(OWNER_MARK)
    if mark in {workspace.fingerprint, owner or workspace.fingerprint} or is_of_account(view.owner, accounts(workspace)):
        return True
    if spec is not None and view.marks.get("EVALX_SPEC") == run.spec_hash(spec):
        raise EvalxError(
            f"{name} bears the marks of this run, but was created with another token by {view.owner or 'an unknown account'}",
            "if it is yours, log in with that token and clean up again, or delete it with lep",
        )
    return False


def accounts(workspace: Workspace) -> set[str]:
    """Accounts that have something in the workspace which was created with our token."""
    views: Iterable[Endpoint | Job] = (*workspace.endpoints().views(), *workspace.jobs("evalx-", archived=False).views())
    return accounts_of(views, workspace.fingerprint)


def accounts_of(views: Iterable[Endpoint | Job], fingerprint: str) -> set[str]:
    """The same, of these."""
    return {view.owner for view in views if view.owner and view.marks.get(OWNER_MARK) == fingerprint}


def is_of_account(owner: str, known: Collection[str]) -> bool:
    """Whether the account that has created something is one of ours."""
    return bool(owner) and owner in known


def is_our_secret(secret: StoredSecret, fingerprint: str, own_names: Collection[str] = ()) -> bool:
    """Whether a secret was created by evalx with our token. own_names: names that this run itself has made, as its plan says; they
    count where the platform shows no tags."""
    if secret.tags:
        return TAG in secret.tags and owner_tag(fingerprint) in secret.tags
    return secret.name in own_names


# ---------------------------------------------------------------------- without any state


def all_of_evalx(workspace: Workspace) -> list[Found]:
    """All that bears evalx's marks in the workspace, whoever created it.

    Raises EvalxError if a listing holds something that cannot be read and may be evalx's: nothing would then not mean none.
    """
    endpoints, jobs = workspace.endpoints(), workspace.jobs(PREFIX, archived=False)
    _check_whole("endpoints", endpoints)
    _check_whole("jobs", jobs)
    known = accounts_of((*endpoints.views(), *jobs.views()), workspace.fingerprint)
    marked = [*_marked("endpoint", endpoints, workspace, known), *_marked("task", jobs, workspace, known)]
    return marked + [_secret(secret, workspace) for name, secret in workspace.secrets().items() if run_of(name)]


def run_of(name: str) -> str:
    """The run id in a resource's name; empty if there is none."""
    found = re.match(rf"{PREFIX}([a-z][a-z2-7]{{10}})-", name)
    return found[1] if found else ""


def _check_whole(what: str, snapshot: Snapshot[Endpoint] | Snapshot[Job]) -> None:
    if snapshot.may_hide(PREFIX):
        raise EvalxError(
            f"list {what}: leptonai cannot read all of the answer, so whether evalx has left something there is unknown",
            "look there: lep endpoint list, lep job list",
        )


def _marked(kind: str, snapshot: Snapshot[Endpoint] | Snapshot[Job], workspace: Workspace, known: Collection[str]) -> Iterator[Found]:
    for view in snapshot.views():
        run_id = run_of(view.name)
        if run_id and bears(view, run_id, view.name):
            mine = view.marks.get(OWNER_MARK) == workspace.fingerprint or is_of_account(view.owner, known)
            yield Found(run_id, kind, view.name, view.state, view.owner, mine, view.created)


def _secret(secret: StoredSecret, workspace: Workspace) -> Found:
    mine = is_our_secret(secret, workspace.fingerprint)
    return Found(run_of(secret.name), "secret", secret.name, owner=secret.owner, mine=mine, marked=mine)
