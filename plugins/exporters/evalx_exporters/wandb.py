"""`--to wandb`: a run of Weights & Biases for each run of evalx."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from attrs import frozen

from evalx.config import setting
from evalx.exporters import Destination, RunAccount
from evalx.exporters.facts import outcome
from evalx_exporters.names import fitting, numbers

QUIET = {"WANDB_ERROR_REPORTING": "false"}
"""What evalx sets where the user's environment does not: the library would report its errors to its makers."""


@frozen(kw_only=True)
class WandbOptions:
    """Where the run goes, and what it is called there."""

    project: str = setting("evalx", help="Name of the project.")
    entity: str | None = setting(None, help="User or team; without it, the one that the library is logged in as.")
    run_name: str | None = setting(None, help="Name of the run; without it, `evalx` and the run's id.")
    group: str | None = setting(None, help="Group of runs that it belongs to.")
    mode: Literal["online", "offline"] = setting("online", help="`offline` writes files that `wandb sync` sends later.")
    folder: str = setting("", help="Folder in which the library keeps its folder `wandb`; without it the current one.")
    patience: float = setting(60.0, help="Seconds that the service has to answer.")


class WandbExporter:
    """A run in a Weights & Biases project: scores as summary values `task/metric`, with `_stderr` and `_n` beside them."""

    evalx_api = (1, 0)
    Options = WandbOptions
    file_name = None
    requires = {"wandb": "evalx[wandb]"}  # noqa: RUF012 -- a constant, and of the form that the contract names

    def export(self, run: RunAccount, destination: Destination, options: WandbOptions) -> str:  # noqa: ARG002
        """Make the run, or bring up to date the one that an earlier export made: both have the run's id. Returns where it is."""
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        import wandb

        folder = Path(options.folder).expanduser().absolute()
        folder.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(
            silent=True,
            console="off",
            init_timeout=options.patience,
            save_code=False,
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
        )
        made = wandb.init(
            project=options.project,
            entity=options.entity,
            id=run.run_id,
            name=options.run_name or f"evalx {run.run_id}",
            group=options.group,
            mode=options.mode,
            dir=str(folder),
            resume="allow" if options.mode == "online" else None,
            reinit="create_new",
            config=_config(run),
            settings=settings,
        )
        made.summary.update(_summary(run))
        made.finish(exit_code=0 if run.complete else 1)
        return f"{Path(made.dir).parent} (offline: wandb sync sends it)" if options.mode == "offline" else str(made.url)


def _config(run: RunAccount) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "executor": run.plan.executor,
        "model": ", ".join(dict.fromkeys(endpoint.model for endpoint in run.plan.endpoints)),
        "deployment": ", ".join(dict.fromkeys(endpoint.variant for endpoint in run.plan.endpoints)),
        "harness": ", ".join(dict.fromkeys(task.harness for task in run.plan.tasks)),
        "evalx": run.manifest.get("evalx"),
    }


def _summary(run: RunAccount) -> dict[str, Any]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for spec, metric in run.scores():
        found += numbers(spec.name, metric)
    for spec, result in run.tasks():
        found.append((("outcome", spec.name), outcome(result)))
        if result and result.reason:
            found.append((("reason", spec.name), result.reason))
    found.append((("condition",), run.condition))
    names = fitting(parts for parts, _ in found)
    return {name: value for name, (_, value) in zip(names, found, strict=True)}
