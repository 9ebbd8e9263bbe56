"""What the emulated workspace is like: a YAML file, or `EmulatorSettings` in Python. Every key is told in docs/emulator.md.

All times are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from attrs import field, frozen

from evalx.config.structure import suggestion
from evalx.errors import ConfigError

KEYS = "what settings there are: docs/emulator.md"

FaultKind = Literal["reset", "cut", "slow"]
EndpointFaultKind = Literal[
    "stuck", "crash", "oom", "never_healthy", "image_pull", "no_capacity", "queueing", "config_error", "unknown", "node_lost"
]


@frozen
class ImageRule:
    """How a container image is run on this machine.

    match: a glob on the image. command: what to run, where `{argv}` stands for the container's own command and `{model}`,
    `{served_model_name}`, `{port}` and `{image}` for what their names say. program: must be found on the path, or the image is refused.
    path: folders before the path. env: set unless the container sets it.
    """

    match: str
    command: tuple[str, ...] = ("{argv}",)
    program: str | None = None
    path: tuple[str, ...] = ()
    env: Mapping[str, str] = field(factory=dict)


@frozen
class Shape:
    """A resource shape. memory: in MiB."""

    name: str
    cpu: float
    memory: int
    accelerator: str | None = None
    accelerators: int = 0


@frozen
class Volume:
    """Shared storage of a node group, which workloads mount from `node-<kind>:<name>`."""

    name: str
    kind: Literal["nfs", "local", "remote"] = "nfs"
    default_mount_path: str = "/mnt"


@frozen
class NodeGroup:
    """A dedicated node group. shapes: names of those it offers; empty for all."""

    id: str
    name: str
    shapes: tuple[str, ...] = ()
    volumes: tuple[Volume, ...] = (Volume("lepton-shared-fs"),)
    nodes: int = 1


@frozen
class Fault:
    """What goes wrong with HTTP calls.

    method, path: which calls, as globs; the path is relative to the workspace. when: before the call has an effect, or after. status:
    the answer's status, or reset (the connection), cut (the body half-way), slow (the body, over `seconds`). after: how many matching
    calls go well first. times: how many then fail, None for all. probability: of each. message: what the answer says.
    """

    status: int | FaultKind
    method: str = "*"
    path: str = "*"
    when: Literal["before", "after"] = "before"
    retry_after: float | None = None
    retry_after_date: bool = False
    after: int = 0
    times: int | None = None
    probability: float = 1.0
    seconds: float = 2.0
    message: str = "a fault of the emulated workspace's settings"


@frozen
class EndpointFault:
    """What goes wrong with endpoints whose name matches. after: seconds from Ready to a crash, or to the loss of the node. times: how many
    starts go wrong."""

    kind: EndpointFaultKind
    name: str = "*"
    after: float = 0.0
    times: int | None = None


@frozen
class JobFault:
    """What goes wrong with jobs whose name matches. after: seconds from Running. exit_code: of `fail`. times: how many starts go wrong."""

    kind: Literal["fail", "oom", "stuck", "vanish", "unknown", "preempt", "node_lost", "image_pull", "no_capacity", "quota"]
    name: str = "*"
    after: float = 0.0
    exit_code: int = 1
    times: int | None = None


GIB = 1024
SHAPES = (
    Shape("cpu.small", 1, 4 * GIB),
    Shape("cpu.medium", 2, 8 * GIB),
    Shape("cpu.large", 4, 16 * GIB),
    Shape("gpu.small", 8, 32 * GIB, "NVIDIA-A10", 1),
    Shape("gpu.a10", 8, 32 * GIB, "NVIDIA-A10", 1),
    Shape("gpu.a100-80gb", 16, 128 * GIB, "NVIDIA-A100-80GB", 1),
    *(Shape(f"gpu.{n}xh100-sxm", 20 * n, 200 * n * GIB, "NVIDIA-H100-80GB-HBM3", n) for n in (1, 2, 4, 8)),
    *(Shape(f"gpu.{n}xh200", 20 * n, 200 * n * GIB, "NVIDIA-H200", n) for n in (1, 2, 4, 8)),
)
NODE_GROUPS = (NodeGroup("emulated-ng-0001", "emulated"),)


@frozen
class EmulatorSettings:
    """The whole of it; each default is the friendliest workspace there is."""

    images: tuple[ImageRule, ...] = ()
    default_images: bool = True
    node_groups: tuple[NodeGroup, ...] = NODE_GROUPS
    shapes: tuple[Shape, ...] = SHAPES
    capacity: Mapping[str, int] = field(factory=dict)
    """How many replicas of a shape (a glob) may exist at a time; what is above that waits."""
    provisioning: float = 0.0
    """From the creation of an endpoint to the start of its container."""
    job_start: float = 0.0
    """The same for jobs."""
    deletion: float = 0.0
    """How long, at least, an endpoint is Deleting and a job Deleting or Stopping."""
    grace: float = 2.0
    """From SIGTERM to SIGKILL."""
    restart_backoff: float = 1.0
    """Before a crashed container starts again; doubles with every crash, up to 30."""
    latency: float = 0.0
    """Added to each HTTP call."""
    list_lag: float = 0.0
    """How long a new resource is missing in lists, and a deleted one still in them."""
    new_endpoints: bool = False
    """The workspace's endpoints are under /endpoints instead of /deployments."""
    secure_defaults: bool = False
    """An endpoint created without saying how it authenticates gets a token, shown once."""
    keep_labels: bool = True
    """Whether labels are stored and returned."""
    archive_state: Literal["Archived", "final"] = "Archived"
    """What an archived job's state reads: that, or how it ended."""
    log_collection: bool = True
    log_lag: float = 0.0
    """From the writing of a line to its being found by /logs."""
    log_resolution: int = 1
    """Nanoseconds to which log times are cut; with a coarse one, many lines have the same time."""
    mounts: Literal["auto", "substitute"] = "auto"
    """substitute: put the real folder's path into commands and variables, as where no namespace is to be had."""
    users: Mapping[str, str] = field(factory=dict)
    """Further accounts and their tokens; what they create is theirs."""
    seed: int = 0
    faults: tuple[Fault, ...] = ()
    endpoint_faults: tuple[EndpointFault, ...] = ()
    job_faults: tuple[JobFault, ...] = ()

    def shape(self, name: str) -> Shape | None:
        """The shape of that name, if there is one."""
        return next((shape for shape in self.shapes if shape.name == name), None)


def parse(content: Mapping[str, Any], where: str = "settings") -> EmulatorSettings:
    """Settings from a mapping. Raises ConfigError, which names every mistake."""
    import cattrs
    from cattrs.gen import make_dict_structure_fn

    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook_func(lambda kind: kind == int | FaultKind, lambda value, _: _status(value))
    for kind in (float, int, str, bool):
        converter.register_structure_hook(kind, _strictly)
    converter.register_structure_hook(EmulatorSettings, make_dict_structure_fn(EmulatorSettings, converter, _cattrs_forbid_extra_keys=True))
    try:
        return converter.structure(content, EmulatorSettings)
    except (cattrs.BaseValidationError, TypeError, ValueError) as error:
        mistakes = "; ".join(cattrs.transform_error(error, path=where, format_exception=_in_words))
        raise ConfigError(f"the emulator's settings are wrong: {mistakes}", KEYS) from error


def load(path: Path) -> EmulatorSettings:
    """Settings from a YAML file. Raises ConfigError."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read {path}: {error}", KEYS) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is not a mapping of settings", KEYS)
    return parse(content, str(path))


def _in_words(error: BaseException, kind: type | None) -> str:
    import attrs
    import cattrs
    from cattrs.v import format_exception

    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        known = [field.name for field in attrs.fields(error.cl)]
        return "; ".join(
            f"unknown key '{key}'{f', {guess}' if (guess := suggestion(key, known)) else ''}" for key in sorted(error.extra_fields)
        )
    own = type(error) in (TypeError, ValueError)
    return str(error) if own else format_exception(error, kind)


def _strictly(value: Any, kind: type) -> Any:
    wanted = (int, float) if kind is float else kind
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{value!r} is not of type {kind.__name__}")
    return value


def _status(value: int | str) -> int | str:
    if value in ("reset", "cut", "slow") or (isinstance(value, int) and 400 <= value <= 599):
        return value
    raise ValueError(f"{value!r} is neither a status from 400 to 599 nor reset, cut or slow")
