"""What the workspace refuses with 400 when an endpoint or a job is created or changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from evalx_lepton.emulator.answers import bad
from evalx_lepton.emulator.jobs import JobSpec
from evalx_lepton.emulator.names import is_name
from evalx_lepton.emulator.wire import EndpointSpec, Family
from evalx_lepton.emulator.workspace import Workspace

ENV_NAME = re.compile(r"[A-Za-z._-][A-Za-z0-9._-]*")
RESERVED = frozenset(
    {
        "LEPTON_WORKSPACE_ID",
        "LEPTON_DEPLOYMENT_NAME",
        "LEPTON_JOB_NAME",
        "LEPTON_RESOURCE_ACCELERATOR_TYPE",
        "LEPTON_WORKSPACE_ORIGIN_URL",
    }
)
MASKED = "***"
NOT_OF_THE_FORM = (KeyError, TypeError, ValueError, AttributeError, IndexError)


def mapping(body: Any) -> Mapping[str, Any]:
    """The body of a call that must be a JSON object."""
    if not isinstance(body, dict):
        raise bad("the body must be a JSON object")
    return body


def name(text: str) -> str:
    """A name for an endpoint or a job."""
    if not is_name(text):
        raise bad(f"invalid name {text!r}: lower-case letters, digits and -, beginning with a letter, at most 36")
    return text


def endpoint_spec(workspace: Workspace, family: Family, spec: Any) -> EndpointSpec:
    """The spec of an endpoint, understood."""
    try:
        read = family.read(spec)
        container = read.container["container"]
    except NOT_OF_THE_FORM as error:
        raise bad(f"invalid spec: {type(error).__name__}: {error}") from error
    if spec.get("is_pod"):
        raise bad("dev pods are not part of the emulated workspace")
    if not container.get("image"):
        raise bad("the container needs an image")
    _check_tokens(spec)
    _check_place(workspace, read.shape, read.node_groups)
    _check_container(read.container)
    return read


def job_spec(workspace: Workspace, spec: Any) -> JobSpec:
    """The spec of a job, understood."""
    try:
        read = JobSpec.read(spec)
    except NOT_OF_THE_FORM as error:
        raise bad(f"invalid spec: {type(error).__name__}: {error}") from error
    if read.workers < 1 or min(read.worker_retries, read.job_retries, read.ttl) < 0:
        raise bad("parallelism must be above zero, retries and ttl_seconds_after_finished not below")
    _check_place(workspace, read.shape, read.node_groups)
    _check_container(spec)
    return read


def secret(entry: Any) -> Mapping[str, Any]:
    """One entry of a call that creates secrets."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not ENV_NAME.fullmatch(entry["name"]):
        raise bad(f"invalid secret name in {sorted(entry) if isinstance(entry, dict) else type(entry).__name__}")
    return entry


def _check_tokens(spec: Mapping[str, Any]) -> None:
    tokens = spec.get("api_tokens")
    if tokens is None:
        return
    if any(token.get("value") == MASKED for token in tokens):
        raise bad(f"{MASKED} is how a token is shown, not a token")
    if not tokens and spec.get("allow_unauthenticated_access") is False:
        raise bad("an endpoint without tokens must allow unauthenticated access")


def _check_place(workspace: Workspace, shape: str, node_groups: Iterable[str]) -> None:
    if workspace.settings.shape(shape) is None:
        raise bad(f'resource shape "{shape}" not found')
    known = {group.id: group for group in workspace.settings.node_groups}
    for group in node_groups:
        if group not in known:
            raise bad(f'dedicated node group "{group}" not found (an id is wanted, not a name)')
        if known[group].shapes and shape not in known[group].shapes:
            raise bad(f'resource shape "{shape}" is not offered by node group "{group}"')


def _check_container(spec: Mapping[str, Any]) -> None:
    for entry in spec.get("envs") or []:
        text = str(entry.get("name"))
        if not ENV_NAME.fullmatch(text) or text in RESERVED:
            raise bad(f"invalid name of an environment variable: {text!r}")
    for entry in spec.get("mounts") or []:
        source, target = str(entry.get("from", "")), str(entry.get("mount_path", ""))
        if not target.startswith("/") or not (source == "node-local" or ":" in source):
            raise bad("a mount needs an absolute mount_path, and a source such as node-nfs:<volume>")
