"""The routes of the workspace itself: what it is, what it offers, its secrets."""

from __future__ import annotations

import time
from typing import Any

from evalx import __version__
from evalx_lepton.emulator import validation
from evalx_lepton.emulator.answers import bad, missing
from evalx_lepton.emulator.containers import WORKSPACE
from evalx_lepton.emulator.guard import Call, Handler
from evalx_lepton.emulator.settings import NodeGroup, Shape
from evalx_lepton.emulator.workspace import Workspace

YEAR = 365 * 24 * 3600
BANNER = "evalx emulated workspace: not DGX Cloud Lepton"
PURPOSES = ["deployment", "pod", "job"]
LIMIT = {"cpu": 1024.0, "memory": 4 << 20, "accelerator_num": 64.0}


async def workspace(call: Call) -> Any:
    """What `lep login` and the SDK ask first."""
    space = call.workspace
    return {
        "build_time": "2025-01-01T00:00:00Z",
        "git_commit": __version__,
        "workspace_name": WORKSPACE,
        "workspace_display_name": BANNER,
        "workspace_tier": "Emulated",
        "workspace_state": "normal",
        "supported_shapes": {shape.name: _legacy_shape(shape) for shape in space.settings.shapes},
        "workspace_disk_usage_bytes": 0,
        "workloads": {
            "num_deployments": len(space.endpoints),
            "num_jobs": len(space.jobs),
            "num_pods": 0,
            "num_photons": 0,
            "num_secrets": len(space.secrets),
            "num_image_pull_secrets": 0,
        },
        "resource_quota": {"limit": LIMIT, "used": _used(space)},
        "dedicated_node_group_only": False,
        "features": {
            "enable_new_deployment_api": space.settings.new_endpoints,
            "enable_secure_endpoint_defaults": space.settings.secure_defaults,
        },
    }


async def base(call: Call) -> Any:
    """What `lep login` asks of the workspace's own address."""
    return {"id": WORKSPACE, "name": WORKSPACE, "display_name": BANNER, "created_at": int(call.workspace.started * 1000)}


async def tokens(call: Call) -> Any:
    """The workspace's token, masked."""
    token = call.workspace.token
    return [{"masked_value": f"{token[:4]}...{token[-4:]}", "expires_at": int((time.time() + YEAR) * 1000)}]


async def shapes(call: Call) -> Any:
    """Shapes, of some node groups or of all."""
    groups = call.request.query_params.getlist("node_groups")
    asked = [group for group in call.workspace.settings.node_groups if not groups or {group.id, group.name} & set(groups)]
    return [_shape(shape, group) for group in asked for shape in call.workspace.settings.shapes if _offers(group, shape)]


async def node_groups(call: Call) -> Any:
    """All node groups."""
    return [_node_group(group) for group in call.workspace.settings.node_groups]


async def node_group(call: Call) -> Any:
    """One node group."""
    return _node_group(_find(call))


async def nodes(call: Call) -> Any:
    """The nodes of a group; what runs is on the first."""
    group, space = _find(call), call.workspace
    found = [_node(group, number, _workloads(space) if number == 0 else []) for number in range(group.nodes)]
    return [node for node in found if not (call.query("idle") == "true" and node["status"]["workloads"])]


async def nothing(call: Call) -> Any:
    """A node group has none of these here."""
    _find(call)
    return []


async def data_sources(call: Call) -> Any:
    """A node group has no object stores here."""
    _find(call)
    return {"items": []}


async def secret_list(call: Call) -> Any:
    """Names, never values."""
    space = call.workspace
    known = [facts for facts in space.secret_facts.values() if space.ghosts.visible(facts["created"])] + space.ghosts.show("secret")
    return [{key: value for key, value in facts.items() if key != "created"} for facts in known]


async def secret_create(call: Call) -> Any:
    """Some secrets at once; one that exists gets the new value."""
    if not isinstance(call.body, list):
        raise bad("the body must be an array of secrets")
    for entry in [validation.secret(entry) for entry in call.body]:
        call.workspace.note(call.user, "create", f"secret/{entry['name']}")
        call.workspace.add_secret(entry, call.user)
    return {}


async def secret_delete(call: Call) -> Any:
    """Delete one."""
    try:
        call.workspace.remove_secret(call.path("name"))
        call.workspace.note(call.user, "delete", f"secret/{call.path('name')}")
    except KeyError as error:
        raise missing("secret", call.path("name")) from error
    return {}


ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "", base),
    ("GET", "/workspace", workspace),
    ("GET", "/tokens", tokens),
    ("GET", "/shapes", shapes),
    ("GET", "/dedicated-node-groups", node_groups),
    ("GET", "/dedicated-node-groups/{name}", node_group),
    ("GET", "/dedicated-node-groups/{name}/nodes", nodes),
    ("GET", "/dedicated-node-groups/{name}/machines", nothing),
    ("GET", "/dedicated-node-groups/{name}/reservations", nothing),
    ("GET", "/dedicated-node-groups/{name}/datasources", data_sources),
    ("GET", "/usersecrets", secret_list),
    ("POST", "/usersecrets", secret_create),
    ("DELETE", "/usersecrets/{name}", secret_delete),
)


def _find(call: Call) -> NodeGroup:
    name = call.path("name")
    group = next((group for group in call.workspace.settings.node_groups if group.id == name), None)
    if group is None:
        raise missing("dedicated node group", name)
    return group


def _offers(group: NodeGroup, shape: Shape) -> bool:
    return not group.shapes or shape.name in group.shapes


def _legacy_shape(shape: Shape) -> dict[str, Any]:
    own = {"cpu": float(shape.cpu), "memory": shape.memory, "accelerator_type": shape.accelerator or ""}
    return own | {"accelerator_num": float(shape.accelerators)}


def _shape(shape: Shape, group: NodeGroup) -> dict[str, Any]:
    spec: dict[str, Any] = {"name": shape.name, "cpu": shape.cpu, "memory_in_mb": shape.memory, "listable_in": PURPOSES}
    if shape.accelerators:
        spec |= {"accelerator_type": shape.accelerator, "accelerator_num": shape.accelerators}
    return {"metadata": {"id": shape.name, "name": shape.name}, "spec": spec | {"node_group_id": group.id}}


def _node_group(group: NodeGroup) -> dict[str, Any]:
    volumes = [
        {"from": volume.kind, "name": volume.name, "size_in_gb": 100, "from_path": "/", "default_mount_path": volume.default_mount_path}
        | {"creation_mode": "mkdir", "managed_by_lepton": False}
        for volume in group.volumes
    ]
    spec = {"workspaces": [WORKSPACE], "volumes": volumes, "node_mode": "customer-node", "desired_nodes": group.nodes, "owner": "customer"}
    return {"metadata": {"id": group.id, "name": group.name}, "spec": spec, "status": {"ready_nodes": group.nodes, "quota_enabled": False}}


def _node(group: NodeGroup, number: int, workloads: list[dict[str, Any]]) -> dict[str, Any]:
    name = f"emulated-node-{number}"
    spec = {"dedicated_node_group": group.id, "machine_id": name, "hostname": name, "local_ip": "127.0.0.1", "unschedulable": False}
    resource = {"cpu": {"type": "emulated", "allocated": 0, "total": 128}, "memory": {"allocated": 0, "total": 1 << 20}}
    return {"metadata": {"id": name, "name": name}, "spec": spec | {"resource": resource}, "status": _node_status(workloads)}


def _node_status(workloads: list[dict[str, Any]]) -> dict[str, Any]:
    return {"status": ["Ready", "Healthy"] if not workloads else ["Ready", "Healthy", "Used"], "workloads": workloads}


def _workloads(space: Workspace) -> list[dict[str, Any]]:
    endpoints = [("deployment", name, replica.id) for name, found in space.endpoints.items() for replica in found.replicas]
    jobs = [("job", job.id, worker.id) for job in space.jobs.values() for worker in job.workers if worker.running]
    return [
        {"type": kind, "name": name, "id": name, "replica_id": replica, "workspace": WORKSPACE} for kind, name, replica in endpoints + jobs
    ]


def _used(space: Workspace) -> dict[str, Any]:
    names = [found.read.shape for found in space.endpoints.values() for _ in found.replicas]
    names += [job.read.shape for job in space.jobs.values() for worker in job.workers if worker.running]
    held = [shape for shape in map(space.settings.shape, names) if shape is not None]
    numbers = {"cpu": float(sum(shape.cpu for shape in held)), "memory": sum(shape.memory for shape in held)}
    return numbers | {"accelerator_num": float(sum(shape.accelerators for shape in held))}
