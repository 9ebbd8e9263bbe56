"""The command of a task's job: a constant script, and everything else as its arguments.

    sh -c SCRIPT evalx KEY FOLDER HOME PORTS LIMIT N PAYLOAD(1) … PAYLOAD(N) <the task's command>

The payload is a gzipped tar with the files that the harness and the task want, as base64. The script unpacks it in FOLDER, runs the
command there, and prints what is then in FOLDER/results into the job's log, as the frames that `evalx_lepton.frames` reads. FOLDER is a
link to HOME, on a mount, if there is one: so no file of the task depends on where that is. It needs what every image has: a POSIX
shell, coreutils (or busybox), tar, gzip, grep and sed.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from evalx.errors import ConfigError
from evalx.harnesses.build import MAX_ARGUMENT
from evalx.model import EndpointHandle, EnvValue, Site, TaskSpec
from evalx_lepton.bodies import own_mounts, storage_path
from evalx_lepton.frames import MAX_ARCHIVE

if TYPE_CHECKING:
    from evalx.context import RunContext

ANY_PORT = 65536
"""Stands for the port that the script picks when the job starts; no port has this number."""

CHUNK = 96 * 1024

MAX_COMMAND = 2**20
"""Bytes of a job's whole command: platforms keep it in one object of a database that takes not much more."""

CONTAINER_FOLDER = "/tmp"  # noqa: S108 - the folder in it is named by the run's random id

SCRIPT = r"""
set -u
evalx_child= evalx_stop=
trap 'evalx_stop=1; [ -z "$evalx_child" ] || kill -TERM "$evalx_child" 2>/dev/null' TERM INT HUP
evalx_key=$1 evalx_folder=$2 evalx_home=$3 evalx_ports=$4 evalx_limit=$5 evalx_chunks=$6
shift 6
evalx_fail() {
  echo "evalx: $1" >&2
  exit 96
}
evalx_tmp=$evalx_folder.$$
if [ -n "$evalx_home" ]; then
  mkdir -p "$evalx_home" && ln -sfn "$evalx_home" "$evalx_folder" || evalx_fail "cannot work in $evalx_home"
fi
for evalx_old in "$evalx_folder/results" "$evalx_tmp"; do
  { [ ! -e "$evalx_old" ] && [ ! -L "$evalx_old" ]; } || rm -rf "$evalx_old"
done
mkdir -p "$evalx_folder/results" "$evalx_tmp" && cd "$evalx_folder" || evalx_fail "cannot work in $evalx_folder"
: > "$evalx_tmp/began"
while [ "$evalx_chunks" -gt 0 ]; do
  printf %s "$1" >> "$evalx_tmp/payload"
  shift
  evalx_chunks=$((evalx_chunks - 1))
done
if [ -s "$evalx_tmp/payload" ]; then
  base64 -d < "$evalx_tmp/payload" | gzip -dc | tar -xf - || evalx_fail "cannot unpack the task's files"
fi
evalx_used=
[ -z "$evalx_ports" ] || evalx_used=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null)
for evalx_name in $evalx_ports; do
  evalx_port=
  for evalx_try in 1 2 3 4 5 6 7 8 9; do
    evalx_port=$((20000 + $(od -An -N2 -tu2 < /dev/urandom) % 12768))
    case $evalx_used in
      *":$(printf %04X "$evalx_port") "*) ;;
      *) break ;;
    esac
  done
  export "$evalx_name=$evalx_port"
done
evalx_code=143
if [ -z "$evalx_stop" ]; then
  "$@" &
  evalx_child=$!
  [ -z "$evalx_stop" ] || kill -TERM "$evalx_child" 2>/dev/null
  wait "$evalx_child"
  evalx_code=$?
  while kill -0 "$evalx_child" 2>/dev/null; do
    wait "$evalx_child"
    evalx_code=$?
  done
fi
trap '' TERM INT HUP
true > "$evalx_tmp/ended"
cd "$evalx_folder" 2>/dev/null || cd "$evalx_tmp"
find "$evalx_tmp/began" "$evalx_tmp/ended" results -type f ! -name '*
*' -exec stat -c '%s %Y %n' {} + > "$evalx_tmp/all" 2>/dev/null
evalx_start=0 evalx_end=0
{ read -r evalx_size evalx_start evalx_file && read -r evalx_size evalx_end evalx_file; } < "$evalx_tmp/all"
evalx_choose() {
  evalx_sum=0 evalx_number=0 evalx_names=0 evalx_files= evalx_as_is=
  true > "$evalx_tmp/left"
  while IFS=' ' read -r evalx_size evalx_time evalx_file; do
    case $evalx_file in
      results/*\\*) evalx_as_is=--no-unquote ;;
      results/*) ;;
      *) continue ;;
    esac
    evalx_sum=$((evalx_sum + evalx_size)) evalx_number=$((evalx_number + 1)) evalx_names=$((evalx_names + ${#evalx_file} + 9))
    if [ "$evalx_sum" -le "$1" ] && [ "$evalx_number" -le 4000 ] && [ "$evalx_names" -le 500000 ]; then
      eval "evalx_f$evalx_number=\$evalx_file"
      evalx_files="$evalx_files \"\$evalx_f$evalx_number\""
    else
      printf '%s %s\n' "$evalx_size" "$evalx_file" >> "$evalx_tmp/left"
    fi
  done < "$evalx_tmp/all"
}
evalx_sort() {
  sort -n "$evalx_tmp/all" > "$evalx_tmp/sorted" && mv "$evalx_tmp/sorted" "$evalx_tmp/all"
}
evalx_pack() {
  [ -z "$evalx_as_is" ] || tar --no-unquote -cf /dev/null .evalx-left 2>/dev/null || evalx_as_is=
  eval "exec tar $evalx_as_is -cf - .evalx-left $evalx_files" | gzip -c > "$evalx_tmp/archive"
  evalx_size=$(wc -c < "$evalx_tmp/archive")
}
evalx_name_left() {
  while IFS=' ' read -r evalx_size evalx_file; do
    evalx_hash=$(sha256sum < "$evalx_file")
    printf '%s %s %s\n' "${evalx_hash%% *}" "$evalx_size" "$evalx_file"
  done < "$evalx_tmp/left" | head -n 1000
}
true > .evalx-left
evalx_choose 67108864
if [ -s "$evalx_tmp/left" ]; then
  evalx_sort
  evalx_choose 67108864
fi
evalx_pack
if [ "$evalx_size" -gt "$evalx_limit" ]; then
  evalx_sort
  for evalx_cap in "$evalx_limit" 1048576 65536; do
    evalx_choose "$evalx_cap"
    evalx_pack
    [ "$evalx_size" -gt "$evalx_limit" ] || break
  done
fi
if [ -s "$evalx_tmp/left" ]; then
  evalx_name_left > .evalx-left
  evalx_pack
fi
base64 -w 9000 < "$evalx_tmp/archive" > "$evalx_tmp/lines" 2>/dev/null || {
  base64 < "$evalx_tmp/archive" | tr -d '\n' | fold -w 9000
  echo
} > "$evalx_tmp/lines"
evalx_id="$evalx_key.$$.$evalx_start"
evalx_hash=$(sha256sum < "$evalx_tmp/archive")
evalx_count=$((((evalx_size + 2) / 3 * 4 + 8999) / 9000))
printf '\nEVALX-FRAME %s begin %d %d %s\n' "$evalx_id" "$evalx_count" "$evalx_size" "${evalx_hash%% *}"
if [ "$evalx_count" -eq 1 ]; then
  read -r evalx_line < "$evalx_tmp/lines"
  printf 'EVALX-FRAME %s 1:%s\n' "$evalx_id" "$evalx_line"
else
  grep -n '' < "$evalx_tmp/lines" | sed "s/^/EVALX-FRAME $evalx_id /"
fi
printf 'EVALX-FRAME %s end %d %d %d\n' "$evalx_id" "$evalx_code" "$evalx_start" "$evalx_end"
cd /
rm -rf "$evalx_tmp" "$evalx_folder/.evalx-left" "$evalx_folder"
exit "$evalx_code"
"""
"""Lines of 9,000 characters, since container runtimes cut those over 16 KiB. What is too much goes smallest first, so what matters comes
home. When the command began and ended, two files tell that `stat` looks at anyway: each program fewer is a millisecond of each job. GNU's
tar, and no other, takes a backslash in a name for the beginning of an escape unless it is told not to."""


@frozen
class JobCommand:
    """What a task's job runs. folder: where, as the job sees it. image: in which container. env: with references, without the port."""

    argv: tuple[str, ...]
    folder: str
    image: str
    env: Mapping[str, EnvValue]


def work_folder(run: RunContext, task: TaskSpec) -> str:
    """Where the job of a task works, as it sees it."""
    return f"{CONTAINER_FOLDER}/{run.resource_name(task)}"


def home_folder(run: RunContext, task: TaskSpec) -> str:
    """The folder behind it, on the first writable mount; empty: it is in the container."""
    mounts = own_mounts(run)
    return f"{mounts[0]['mount_path'].rstrip('/')}/{run.resource_name(task)}" if mounts else ""


def location(run: RunContext, task: TaskSpec) -> str | None:
    """Where the files of a task's job are for people: volume and path. None if they are gone with the job."""
    mounts = own_mounts(run)
    return f"{mounts[0]['from']}:{storage_path(mounts[0], run.run_id)}/{run.resource_name(task)}" if mounts else None


def frame_key(run: RunContext, task: TaskSpec) -> str:
    """What the frames of this task's job begin with; nobody else can know it, so nobody's text can pass for frames."""
    # From one token for all tasks: each token is a secret, which every text that evalx shows is searched for.
    return hashlib.sha256(f"{run.token('frames')}:{run.resource_name(task)}".encode()).hexdigest()[:20]


def job_command(run: RunContext, task: TaskSpec, endpoint: EndpointHandle) -> JobCommand:
    """The command of a task's job. Raises ConfigError for what cannot be run as a job, and what the harness raises."""
    folder = work_folder(run, task)
    given = task.options.get("dataset_dir")
    site = Site(folder, ANY_PORT, dataset_dir=f"{folder}/dataset" if given else None, containerised=True)
    command = run.command(task, endpoint, site)
    image = command.image or run.settings.lepton_platform.tasks.image
    if image is None:
        raise ConfigError(f"task {task.name} has no container", "give the task a `container`, or set execution.lepton_platform.tasks.image")
    _check_port_free(task, (*command.argv, *command.files.values()))
    ports = [name for name, value in command.env.items() if value == str(ANY_PORT)]
    env = {name: value for name, value in command.env.items() if name not in ports}
    chunks = _chunks(payload(command.files, given))
    argv = (
        *("sh", "-c", SCRIPT, "evalx", frame_key(run, task), folder, home_folder(run, task)),
        *(" ".join(ports), str(MAX_ARCHIVE), str(len(chunks)), *chunks, *command.argv),
    )
    _check_size(task, argv)
    return JobCommand(argv, folder, image, env)


def payload(files: Mapping[str, str], dataset: str | None) -> bytes:
    """The gzipped tar of a job's files: texts by relative path, and a folder of this machine as `dataset`; nothing if there are none."""
    if not files and dataset is None:
        return b""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in sorted(files.items()):
            _add(archive, name, text.encode("utf-8", "surrogateescape"))
        if dataset is not None:
            for path in sorted(Path(dataset).expanduser().rglob("*")):
                if path.is_file() and not path.is_symlink():
                    _add(archive, f"dataset/{path.relative_to(Path(dataset).expanduser())}", _read(path))
    return buffer.getvalue()


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(64 * MAX_COMMAND + 1)
    if len(data) > 64 * MAX_COMMAND:
        raise ConfigError(
            f"dataset_dir is too large to be sent with a job: {path.name}", "put it on a mount of lepton_platform.tasks.mounts"
        )
    return data


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o644
    archive.addfile(entry, io.BytesIO(data))


def _chunks(data: bytes) -> list[str]:
    text = base64.b64encode(data).decode()
    return [text[start : start + CHUNK] for start in range(0, len(text), CHUNK)]


def _check_port_free(task: TaskSpec, texts: Sequence[str]) -> None:
    if any(str(ANY_PORT) in text for text in texts):
        hint = "the port of a job is known only when it starts: take it from an environment variable"
        raise ConfigError(f"task {task.name}: its harness wants its port in an argument or file", hint)


def _check_size(task: TaskSpec, argv: Sequence[str]) -> None:
    sizes = [len(argument.encode("utf-8", "surrogateescape")) for argument in argv]
    if max(sizes) > MAX_ARGUMENT or sum(sizes) > MAX_COMMAND:
        message = f"task {task.name}: its command and files have {sum(sizes):,} bytes; a job can be given {MAX_COMMAND:,}"
        raise ConfigError(message, "put data on a mount of lepton_platform.tasks.mounts")
