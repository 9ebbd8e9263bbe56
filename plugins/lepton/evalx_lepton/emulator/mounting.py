"""Makes a folder appear at another path, for one process and its children: a mount namespace of its own. Linux only.

Used by the node between fork and exec, so it is plain system calls and needs nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_UNBINDABLE, MS_PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x20000, 0x40000
LOCKED_FLAGS = 0x2 | 0x4 | 0x8 | 0x400 | 0x800
"""nosuid, nodev, noexec, noatime, nodiratime: a remount inside a user's namespace must keep those that are set."""

_libc = ctypes.CDLL(None, use_errno=True)


class Mount(NamedTuple):
    """A folder (`source`) that shall be seen at `target`, an absolute path that need not exist."""

    source: str
    target: str
    read_only: bool = False


def obstacle(scratch: str) -> str:
    """Why folders cannot be mounted here, found by trying in a child process; empty if they can. scratch: a folder of the caller's."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, _try_it(scratch).encode()[:2000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        reason = answer.read()
    os.waitpid(pid, 0)
    return reason


def enter(mounts: Sequence[Mount], scratch: str) -> None:
    """Put the calling process into a namespace with these mounts. scratch: a folder to build on. Raises OSError."""
    here = Path.cwd()
    _unshare()
    _mount("none", "/", MS_REC | MS_PRIVATE)
    own: list[str] = []
    if any(_ancestor(mount.target) == "/" for mount in mounts):
        _change_root(scratch)
        own.append("/")
    for mount in sorted(mounts, key=lambda mount: mount.target.count("/")):
        _place(mount, own)
    os.chdir(here)


def _try_it(scratch: str) -> str:
    missing = "/evalx-emulator-trial/folder"
    try:
        with tempfile.NamedTemporaryFile(dir=scratch) as proof:
            enter([Mount(scratch, missing, True)], scratch)
            Path(missing, Path(proof.name).name).stat()
    except OSError as error:
        return str(error)
    return ""


def _unshare() -> None:
    """A namespace of mounts; where that is for root only, inside a namespace in which this user is itself but may mount."""
    if _libc.unshare(CLONE_NEWNS) == 0:
        return
    user, group = os.getuid(), os.getgid()
    _check(_libc.unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _change_root(scratch: str) -> None:
    """Move to a root folder in which new folders can appear, with everything of the old one bound into it."""
    _mount("tmpfs", scratch, 0, kind="tmpfs")
    _mount("none", scratch, MS_UNBINDABLE)
    _bind_entries("/", os.listdir("/"), scratch)  # noqa: PTH208 -- names, not paths
    os.chroot(scratch)
    os.chdir("/")


def _place(mount: Mount, own: list[str]) -> None:
    """own: folders that this namespace alone sees, or that are mounts; a new folder in them does not show on the machine."""
    target = Path(mount.target)
    if not target.is_dir():
        parent = _ancestor(mount.target)
        if not any(_inside(parent, folder) for folder in own if folder != "/") and not (parent == "/" and "/" in own):
            _shadow(parent)
            own.append(parent)
        target.mkdir(parents=True)
        own.append(str(Path(parent, target.relative_to(parent).parts[0])))
    _mount(mount.source, mount.target, MS_BIND | MS_REC)
    own.append(mount.target)
    if mount.read_only:
        _mount("none", mount.target, MS_REMOUNT | MS_BIND | MS_RDONLY | os.statvfs(target).f_flag & LOCKED_FLAGS)


def _shadow(folder: str) -> None:
    """Lay an empty file system over the folder and bind its old content into it."""
    entries = os.listdir(folder)  # noqa: PTH208 -- names, not paths
    old = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        _mount("tmpfs", folder, 0, kind="tmpfs")
        _bind_entries(f"/proc/self/fd/{old}", entries, folder)
    finally:
        os.close(old)


def _bind_entries(source: str, names: list[str], target: str) -> None:
    for name in names:
        old, new = Path(source, name), Path(target, name)
        if old.is_symlink():
            new.symlink_to(old.readlink())
            continue
        if old.is_dir():
            new.mkdir()
        else:
            new.touch()
        _mount(str(old), str(new), MS_BIND | MS_REC)


def _ancestor(path: str) -> str:
    """The deepest folder on the way to `path` that exists."""
    return next(str(folder) for folder in (Path(path), *Path(path).parents) if folder.is_dir())


def _inside(path: str, folder: str) -> bool:
    return Path(path).is_relative_to(folder)


def _mount(source: str, target: str, flags: int, kind: str = "none") -> None:
    status = _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), None)
    _check(status, f"mount {source} at {target}")


def _check(status: int, what: str) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
