"""The two forms in which endpoints go over the wire: /deployments, and /endpoints with components. A workspace speaks one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from attrs import field, frozen

if TYPE_CHECKING:
    from evalx_lepton.emulator.endpoints import Endpoint

Body = dict[str, Any]

DEFAULT_PORT = 40000
"""The container port of an endpoint that names none."""

USER = "emulated@127.0.0.1"


@frozen
class EndpointSpec:
    """What the emulator reads of an endpoint, in either form. container: a mapping with `container`, `envs` and `mounts`. Two that
    are equal need the same replicas, if not as many."""

    container: Mapping[str, Any]
    shape: str
    replicas: int = field(eq=False)
    port: int
    no_traffic_timeout: float = field(eq=False)
    node_groups: tuple[str, ...]


class Family(Protocol):
    """One of the two forms."""

    route: str
    log_key: str

    def read(self, spec: Mapping[str, Any]) -> EndpointSpec:
        """What a spec means. Raises KeyError, TypeError or AttributeError if it is not of this form."""

    def name(self, body: Mapping[str, Any]) -> str:
        """The name in a create call; empty if there is none."""

    def labels(self, body: Mapping[str, Any]) -> dict[str, str]:
        """The labels in a create call."""

    def render(self, endpoint: Endpoint) -> Body:
        """The endpoint as answers show it."""


class Deployments:
    """The legacy form."""

    route = "/deployments"
    log_key = "deployment"

    def read(self, spec: Mapping[str, Any]) -> EndpointSpec:
        requirement = spec.get("resource_requirement") or {}
        container = spec["container"]
        return EndpointSpec(
            container={"container": container, "envs": spec.get("envs"), "mounts": spec.get("mounts")},
            shape=requirement.get("resource_shape") or "",
            replicas=_replicas(requirement),
            port=_port(container),
            no_traffic_timeout=_no_traffic(spec.get("auto_scaler")),
            node_groups=_node_groups(requirement),
        )

    def name(self, body: Mapping[str, Any]) -> str:
        metadata = body.get("metadata") or {}
        return str(metadata.get("id") or metadata.get("name") or "")

    def labels(self, body: Mapping[str, Any]) -> dict[str, str]:
        return dict((body.get("metadata") or {}).get("labels") or {})

    def render(self, endpoint: Endpoint) -> Body:
        phase = endpoint.phase()
        metadata = {"id": endpoint.name, "name": endpoint.name, **common_metadata(endpoint)}
        if endpoint.labels:
            metadata["labels"] = endpoint.labels
        status: Body = {
            "state": "Not Ready" if phase in ("Stopping", "Stopped") else phase,
            "phase": phase,
            "endpoint": {"internal_endpoint": endpoint.url, "external_endpoint": endpoint.url},
        }
        return {"metadata": metadata, "spec": shown_spec(endpoint), "status": status | ready_replicas(endpoint)}


class Endpoints:
    """The new form."""

    route = "/endpoints"
    log_key = "endpoint"

    def read(self, spec: Mapping[str, Any]) -> EndpointSpec:
        components = spec["components"]
        main = next((component for component in components if component.get("frontend")), components[0])
        return EndpointSpec(
            container={"container": main, "envs": main.get("envs"), "mounts": main.get("mounts")},
            shape=main.get("resource_shape") or "",
            replicas=_replicas(main),
            port=_port(main),
            no_traffic_timeout=_no_traffic(main.get("autoscaling")),
            node_groups=_node_groups(main),
        )

    def name(self, body: Mapping[str, Any]) -> str:
        return str((body.get("metadata") or {}).get("name") or "")

    def labels(self, body: Mapping[str, Any]) -> dict[str, str]:  # noqa: ARG002 -- this form has none
        return {}

    def render(self, endpoint: Endpoint) -> Body:
        common = common_metadata(endpoint)
        own = {key: common.pop(key) for key in ("created_by", "last_modified_by", "last_modified_at", "owner", "visibility")}
        metadata = {"name": endpoint.name, **common, "lepton_metadata": own}
        if endpoint.deleted_at is not None:
            metadata["deleted_at"] = int(endpoint.deleted_at * 1000)
        status = {"state": endpoint.phase().replace("Not Ready", "NotReady"), "external_url": endpoint.url}
        return {"metadata": metadata, "spec": shown_spec(endpoint), "status": status | ready_replicas(endpoint)}


def common_metadata(endpoint: Endpoint) -> Body:
    """What both forms tell. Times are milliseconds."""
    return {
        "created_at": int(endpoint.created * 1000),
        "created_by": endpoint.owner,
        "last_modified_at": int(endpoint.modified * 1000),
        "last_modified_by": endpoint.owner,
        "owner": endpoint.owner,
        "visibility": endpoint.visibility,
        "version": endpoint.version,
        "semantic_version": f"1.0.{endpoint.version}",
    }


def shown_spec(endpoint: Endpoint) -> Body:
    """The spec; a token that the platform made is shown once only, when it is created."""
    if not endpoint.token_is_generated:
        return endpoint.spec
    return {**endpoint.spec, "api_tokens": [{"value": "***"}]}


def ready_replicas(endpoint: Endpoint) -> Body:
    """Left out while it is zero, as the platform does."""
    count = sum(replica.ready for replica in endpoint.replicas)
    return {"ready_replicas": count} if count else {}


def replica_body(replica: str, ready: bool = True) -> Body:
    """A replica as answers show it."""
    status = {"node": {"name": "emulated-node-0", "id": "emulated-node-0"}, "public_ip": "127.0.0.1"} if ready else {}
    return {"id": replica, "metadata": {"id": replica, "name": replica}, "status": status}


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def _replicas(requirement: Mapping[str, Any]) -> int:
    count = requirement.get("min_replicas")
    return 1 if count is None else int(count)


def _port(container: Mapping[str, Any]) -> int:
    ports = container.get("ports") or [{"container_port": DEFAULT_PORT}]
    return int(ports[0]["container_port"])


def _no_traffic(scaler: Mapping[str, Any] | None) -> float:
    """Zero stands for never."""
    return float(((scaler or {}).get("scale_down") or {}).get("no_traffic_timeout") or 0)


def _node_groups(requirement: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple((requirement.get("affinity") or {}).get("allowed_dedicated_node_groups") or ())
