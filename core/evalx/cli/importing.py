"""`evalx config import`: configs and past jobs of nemo-evaluator-launcher."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evalx.cli.options import common_options
from evalx.cli.output import create_file, emit, tell, width, write
from evalx.cli.wording import paragraph
from evalx.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from evalx.config.execdb import PastJob
    from evalx.config.importing import Imported


@click.command("import", short_help="Turn a config of nemo-evaluator-launcher into one of evalx.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Where to write it; by default NAME-evalx.yaml.")
@click.option("--executor", metavar="NAME", help="Import it for this executor, whatever it says.")
@click.option("--exec-db", is_flag=True, help="List the launcher's past jobs and what they may have left; FILE: its exec.v1.jsonl.")
@click.option("--job", metavar="ID", help="With --exec-db: import the config of this job.")
@common_options
def command(file: Path | None, output: Path | None, executor: str | None, exec_db: bool, job: str | None, as_json: bool) -> int:
    """Turn a config of nemo-evaluator-launcher into one of evalx, and say key by key what has become of it.

    \b
    Examples:
      evalx config import lepton_vllm.yaml
      evalx config import --exec-db
      evalx config import --exec-db --job 3f2a91c0d4e5b687.0 -o again.yaml

    Secrets that stand in the file as plain text are not copied, nor are comments, which may speak of keys that are called otherwise here.
    The exit code is 2 if something is left to do by hand.
    """
    from evalx.config.importing import import_file, import_tree

    if job is not None and not exec_db:
        raise click.UsageError("--job goes with --exec-db.")
    if exec_db and job is None:
        return _show_jobs(file, as_json)
    if exec_db:
        found = _job(file, str(job))
        return _write(import_tree(found.config or {}, executor), output or Path(f"{found.job_id}-evalx.yaml"), found.job_id, as_json)
    if file is None:
        raise click.UsageError("Which file? Name a config of nemo-evaluator-launcher, or list its past jobs with --exec-db.")
    return _write(import_file(file, executor), output or Path(f"{file.stem}-evalx.yaml"), str(file), as_json)


def _write(imported: Imported, path: Path, source: str, as_json: bool) -> int:
    from evalx.config.source import to_yaml

    head = f"# Made from {Path(source).name} of nemo-evaluator-launcher by `evalx config import`.\n"
    create_file(path, head + to_yaml(imported.tree), "-o FILE writes another")
    code = int(ExitCode.OK if imported.complete else ExitCode.USAGE)
    if as_json:
        notes = [{"kind": note.kind.name.lower(), "key": note.key, "text": note.text} for note in imported.notes]
        emit({"path": str(path.absolute()), "complete": imported.complete, "notes": notes, "comments_left_out": list(imported.comments)})
        return code
    write(_report(imported))
    if imported.comments:
        from evalx.config.importing.comments import ranges

        said = f"comments are not carried over; {Path(source).name} has them in lines {ranges(imported.comments)}"
        tell("\n" + "\n".join(paragraph(said, indent="")))
    tell(f"\nwritten: {path}" if imported.complete else f"\nwritten: {path}, with something left to do by hand")
    tell(f"  see what would be created:   evalx plan {path}")
    return code


def _report(imported: Imported) -> list[str]:
    """The notes, by kind, the most urgent first."""
    from textwrap import wrap

    from evalx.config.importing import Kind

    lines: list[str] = []
    for kind in Kind:
        notes = [note for note in imported.notes if note.kind is kind]
        if notes:
            lines += [*([""] if lines else []), f"{kind.value}:"]
        if kind is Kind.KEPT:
            lines += [
                f"  {line}" for line in wrap(", ".join(note.key for note in notes), 76, break_long_words=False, break_on_hyphens=False)
            ]
            continue
        for note in notes:
            lines.append(f"  {note.key}")
            lines += [f"      {line}" for line in wrap(note.text, 72, break_long_words=False, break_on_hyphens=False)]
    return lines


# ---------------------------------------------------------------------- past jobs


def _job(file: Path | None, wanted: str) -> PastJob:
    from evalx.config.execdb import default_path, past_jobs

    found = [job for job in past_jobs(file or default_path()) if job.job_id.startswith(wanted)]
    if not found:
        raise ConfigError(f"the launcher knows no job '{wanted}'", "evalx config import --exec-db lists them")
    if found[0].config is None:
        raise ConfigError(f"the launcher has not kept the config of job '{found[0].job_id}'", "import the file that it was made from")
    return found[0]


def _show_jobs(file: Path | None, as_json: bool) -> int:
    from attrs import asdict, fields

    from evalx.config.execdb import PastJob, default_path, past_jobs
    from evalx.display.text import clean, table

    jobs = past_jobs(file or default_path())
    left = sorted({job.endpoint for job in jobs if job.may_be_alive and job.endpoint})
    if as_json:
        emit({"jobs": [asdict(job, filter=lambda key, _: key != fields(PastJob).config) for job in jobs], "may_be_alive": left})
        return 0
    head = ("job", "started", "executor", "status", "task", "endpoint")
    write(table(head, [_row(job) for job in jobs], width=width(), flexible="task"))
    if left:
        tell("\nThese endpoints were deployed on Lepton, and nothing says that they were deleted: the launcher leaves them alive.")
        tell("See which are still there:  lep endpoint list")
        for name in left:
            tell(f"  lep endpoint remove -n {clean(name)}")
        tell("Endpoints of runs that failed before their jobs were submitted are in no file. Their names are TYPE-TASK-NUMBER-INVOCATION.")
    return 0


def _row(job: PastJob) -> tuple[str, ...]:
    started = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.created)) if job.created else "-"
    return (job.job_id, started, job.executor, job.status, job.task or "-", job.endpoint or "-")
