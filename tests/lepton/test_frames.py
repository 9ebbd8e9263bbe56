"""Results in a log: the script that prints them, in real shells, and the reader that trusts nothing of what it gets."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from evalx.harnesses.api import ResultError
from evalx.model import Artifact
from evalx_lepton import frames
from evalx_lepton.frames import FrameReader, unpack
from evalx_lepton.job import SCRIPT, payload

KEY = "0123456789abcdef0123"

SHELLS = [shell for shell in (["bash"], ["dash"], ["busybox", "sh"]) if shutil.which(shell[0])]


def command(
    folder: Path, *argv: str, home: str = "", ports: str = "", files: dict[str, str] | None = None, limit: int = 8 * 2**20
) -> list[str]:
    """What follows the shell's name in a job's command."""
    text = base64.b64encode(payload(files or {}, None)).decode()
    chunks = [text[start : start + 100] for start in range(0, len(text), 100)]
    return ["-c", SCRIPT, "evalx", KEY, str(folder), home, ports, str(limit), str(len(chunks)), *chunks, *argv]


def read(log: str, key: str = KEY) -> FrameReader:
    reader = FrameReader(key)
    for line in log.splitlines():
        reader.feed(line)
    return reader


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
class TestScript:
    def run(self, shell: list[str], *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*shell, *arguments], capture_output=True, text=True, timeout=60, env={**os.environ, **env})

    def test_files_argv_and_results_arrive_as_they_are(self, shell: list[str], tmp_path: Path) -> None:
        hostile = ["$(touch evil)", "`id`", "a b", "'", '"', "\\", "*", "", "\n", "; exit 1", "ü", "--"]
        code = "import sys, json; print('hello'); json.dump([open('sub/input.txt').read(), sys.argv[1:]], open('results/out.json', 'w'))"
        argv = command(tmp_path / "work", sys.executable, "-c", code, *hostile, files={"sub/input.txt": "täxt $HOME\n"})
        done = self.run(shell, *argv)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("hello\n")
        got = read(done.stdout)
        assert got.complete
        assert unpack(got.frames().archive, tmp_path) == ()
        assert json.loads((tmp_path / "results" / "out.json").read_text()) == ["täxt $HOME\n", hostile]
        assert not (tmp_path / "work").exists()

    def test_the_exit_code_is_the_commands(self, shell: list[str], tmp_path: Path) -> None:
        done = self.run(shell, *command(tmp_path / "work", "sh", "-c", "printf 'no newline'; exit 7"))
        assert done.returncode == 7
        found = read(done.stdout).frames()
        assert found.exit_code == 7
        assert found.started <= found.ended

    def test_a_home_on_a_mount_is_behind_the_folder_and_stays(self, shell: list[str], tmp_path: Path) -> None:
        home, work = tmp_path / "mount" / "task", tmp_path / "work"
        for text in ("first", "second"):  # a job that is started again begins anew
            code = f"import os; assert os.listdir('results') == []; open('results/a.txt', 'w').write('{text}')"
            done = self.run(shell, *command(work, sys.executable, "-c", code, home=str(home)))
            assert done.returncode == 0, done.stderr
            assert (home / "results" / "a.txt").read_text() == text
            assert not work.exists()

    def test_what_is_too_large_stays_and_is_named(self, shell: list[str], tmp_path: Path) -> None:
        code = "import os; [open(f'results/{n}.bin', 'wb').write(os.urandom(n)) for n in (100, 200_000, 300_000)]"
        home = tmp_path / "home"
        done = self.run(shell, *command(tmp_path / "work", sys.executable, "-c", code, home=str(home), limit=100_000))
        left = unpack(read(done.stdout).frames().archive, tmp_path)
        assert {(file.path, file.size) for file in left} == {("results/200000.bin", 200_000), ("results/300000.bin", 300_000)}
        assert left[0].sha256 == hashlib.sha256((home / left[0].path).read_bytes()).hexdigest()
        assert [path.name for path in (tmp_path / "results").iterdir()] == ["100.bin"]

    def test_lines_are_short(self, shell: list[str], tmp_path: Path) -> None:
        code = "import os; open('results/a', 'wb').write(os.urandom(100_000))"
        done = self.run(shell, *command(tmp_path / "work", sys.executable, "-c", code))
        assert max(map(len, done.stdout.splitlines())) < 16 * 1024
        assert (read(done.stdout).frames().archive) is not None

    def test_a_port_is_picked_for_the_variables_that_want_one(self, shell: list[str], tmp_path: Path) -> None:
        code = "import os; print('ports', os.environ['ADAPTER_PORT'], os.environ['OTHER'])"
        done = self.run(shell, *command(tmp_path / "work", sys.executable, "-c", code, ports="ADAPTER_PORT OTHER"))
        _, one, other = done.stdout.splitlines()[0].split()
        assert 20000 <= int(one) < 32768
        assert 20000 <= int(other) < 32768

    def test_a_terminated_job_tells_what_it_has(self, shell: list[str], tmp_path: Path) -> None:
        code = "import time; open('results/part.txt', 'w').write('half'); print('begun', flush=True); time.sleep(60)"
        argv = command(tmp_path / "work", "timeout", "-k", "5", "60", sys.executable, "-c", code)
        job = subprocess.Popen([*shell, *argv], stdout=subprocess.PIPE, text=True)
        assert job.stdout is not None
        head = job.stdout.readline()
        job.send_signal(signal.SIGTERM)
        log = head + job.stdout.read()
        job.stdout.close()
        assert job.wait(30) != 0
        found = read(log).frames()
        assert found.exit_code != 0
        unpack(found.archive, tmp_path)
        assert (tmp_path / "results" / "part.txt").read_text() == "half"

    def test_one_that_is_terminated_as_it_begins_tells_too(self, shell: list[str], tmp_path: Path) -> None:
        script = SCRIPT.replace("evalx_key=$1", "kill -TERM $$\nevalx_key=$1", 1)
        argv = command(tmp_path / "work", sys.executable, "-c", "print('ran')")
        done = self.run(shell, *[script if part == SCRIPT else part for part in argv])
        assert done.returncode == 143
        assert "ran" not in done.stdout
        assert read(done.stdout).frames().exit_code == 143

    def test_links_are_not_sent_and_odd_names_do_not_confuse(self, shell: list[str], tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("secret")
        code = (
            f"import os; os.symlink({str(tmp_path / 'secret')!r}, 'results/link'); open('results/a\\nb', 'w'); open('results/a\\\\nb', 'w')"
        )
        done = self.run(shell, *command(tmp_path / "work", sys.executable, "-c", code))
        assert unpack(read(done.stdout).frames().archive, tmp_path) == ()
        assert [path.name for path in (tmp_path / "results").iterdir()] == ["a\\nb"]


# ---------------------------------------------------------------------- reading


def archive(*members: tuple[str, bytes]) -> bytes:
    return packed(lambda tar: [add(tar, tarfile.TarInfo(name), data) for name, data in members])


def add(tar: tarfile.TarFile, member: tarfile.TarInfo, data: bytes = b"") -> None:
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def named(name: str) -> tarfile.TarInfo:
    return tarfile.TarInfo(name)


def directory(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = tarfile.DIRTYPE
    return member


def packed(fill: Callable[[tarfile.TarFile], object]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        fill(tar)
    return buffer.getvalue()


def framed(data: bytes, attempt: str = "1", key: str = KEY, **wrong: object) -> list[str]:
    text = base64.b64encode(data).decode()
    lines = [text[start : start + 40] for start in range(0, len(text), 40)]
    count, size = wrong.get("count", len(lines)), wrong.get("size", len(data))
    digest = wrong.get("digest", hashlib.sha256(data).hexdigest())
    return [
        f"EVALX-FRAME {key}.{attempt} begin {count} {size} {digest}",
        *(f"EVALX-FRAME {key}.{attempt} {number}:{line}" for number, line in enumerate(lines, 1)),
        f"EVALX-FRAME {key}.{attempt} end 0 100 200",
    ]


GOOD = archive(("results/a.json", b"{}"), ("results/deep/b", b"x"))


class TestReading:
    def test_any_order_and_twice(self) -> None:
        lines = framed(GOOD) * 2
        random.Random(1).shuffle(lines)
        found = read("\n".join(lines)).frames()
        assert (found.archive, found.exit_code, found.started, found.ended) == (GOOD, 0, 100.0, 200.0)

    def test_a_missing_line_is_incomplete(self) -> None:
        reader = read("\n".join(line for number, line in enumerate(framed(GOOD)) if number != 2))
        assert not reader.complete
        with pytest.raises(ResultError, match="incomplete"):
            reader.frames()

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"digest": "0" * 64}, "^the results in the job's log were damaged on their way: their SHA-256 is not what"),
            ({"size": 1}, "were damaged"),
            ({"count": 1}, "^the results in the job's log are not 1 lines, as their header says$"),
        ],
    )
    def test_what_is_not_as_its_header_says(self, wrong: dict[str, object], said: str) -> None:
        with pytest.raises(ResultError, match=said):
            read("\n".join(framed(GOOD, **wrong))).frames()

    def test_what_is_no_base64_is_said_to_be(self) -> None:
        first, *rest = framed(GOOD)
        with pytest.raises(ResultError, match=r"^the results in the job's log are no base64$"):
            read("\n".join([first, rest[0] + "!", *rest[1:]])).frames()

    def test_a_foreign_key_is_text(self) -> None:
        reader = FrameReader(KEY)
        assert not any(reader.feed(line) for line in framed(GOOD, key="f" * 20))
        with pytest.raises(ResultError, match=r"^the job's log holds no results$"):
            reader.frames()

    def test_frames_are_not_for_people_to_read(self) -> None:
        reader = FrameReader(KEY)
        assert all(reader.feed(line) for line in framed(GOOD))
        assert not reader.feed("EVALX-FRAME and other text")

    def test_lines_are_counted_beyond_nine(self) -> None:
        data = random.Random(2).randbytes(4_000)
        assert len(framed(data)) > 100
        assert read("\n".join(framed(data))).frames().archive == data

    def test_how_much_is_missing_is_told(self) -> None:
        lines = framed(GOOD)
        with pytest.raises(ResultError, match=f"incomplete: 2 of {len(lines) - 2} lines$"):
            read("\n".join(lines[:3])).frames()
        with pytest.raises(ResultError, match=r"incomplete: 1 of an unknown number of lines$"):
            read(lines[1]).frames()

    def test_an_empty_line_counts_as_one(self) -> None:
        first, *rest = framed(b"", count=1)
        assert read("\n".join([first, f"EVALX-FRAME {KEY}.1 1:", *rest])).frames().archive == b""

    def test_more_than_a_hundred_attempts_are_not_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(frames, "MAX_SETS", 2)
        reader = FrameReader(KEY)
        for attempt, data in (("1", b"one"), ("2", b"two"), ("3", b"three")):
            assert all(reader.feed(line) for line in framed(data, attempt))
        assert reader.frames().archive == b"two"

    def test_more_lines_than_an_archive_can_have_are_not_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lines = framed(GOOD)
        monkeypatch.setattr(frames, "MAX_LINES", len(lines) - 2)
        assert read("\n".join(lines)).frames().archive == GOOD
        monkeypatch.setattr(frames, "MAX_LINES", len(lines) - 3)
        assert not read("\n".join(lines)).complete

    def test_the_last_complete_attempt_counts(self) -> None:
        newer = archive(("results/a.json", b"new"))
        log = [*framed(GOOD, "1"), *framed(newer, "2"), *framed(GOOD, "3")[:-2]]
        reader = read("\n".join(log))
        assert not reader.complete
        assert reader.frames().archive == newer

    @pytest.mark.parametrize("end", ["0 nan nan", "0 1 inf", "0 -1 1", "0 1 1e300", "-1 1 2", f"{10**30} 1 2"])
    def test_an_end_that_nobody_can_have_measured_is_none(self, end: str) -> None:
        """A task knows its key, and may print frames of its own."""
        reader = FrameReader(KEY)
        digest = hashlib.sha256(GOOD).hexdigest()
        for line in (f"begin 1 {len(GOOD)} {digest}", f"1:{base64.b64encode(GOOD).decode()}", f"end {end}"):
            assert reader.feed(f"{frames.MARKER} {KEY}.1 {line}")
        assert not reader.complete
        assert reader.feed(f"{frames.MARKER} {KEY}.1 end 0 1 2") and reader.complete

    def test_cut_lines_are_harmless(self) -> None:
        for line in framed(GOOD):
            for end in range(0, len(line), 7):
                FrameReader(KEY).feed(line[:end])


def special(kind: bytes, name: str = "results/x", link: str = "/etc/passwd") -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return packed(lambda tar: add(tar, member))


HOSTILE = {
    "symlink": special(tarfile.SYMTYPE),
    "hard link": special(tarfile.LNKTYPE),
    "device": special(tarfile.CHRTYPE),
    "pipe": special(tarfile.FIFOTYPE),
    "a file in place of the folder": archive(("results", b"x")),
    "parent": archive(("results/../../evil", b"x")),
    "absolute": archive(("/tmp/evil", b"x")),
    "elsewhere": archive(("other/evil", b"x")),
    "twice": archive(("results/a", b"x"), ("results/a", b"y")),
    "file as folder": archive(("results/a", b"x"), ("results/a/b", b"y")),
    "no archive": b"hello",
    "empty": b"",
    "cut": GOOD[:-20],
    "no tar": gzip.compress(b"x" * 2000),
}


class TestUnpacking:
    def test_good(self, tmp_path: Path) -> None:
        (tmp_path / "results").mkdir()
        (tmp_path / "results" / "old").write_text("old")
        assert unpack(GOOD, tmp_path) == ()
        assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == [
            "results/a.json",
            "results/deep/b",
        ]

    def test_a_new_folder_and_what_an_earlier_attempt_left(self, tmp_path: Path) -> None:
        folder = tmp_path / "new" / "task"
        (folder / "results.part" / "half").mkdir(parents=True)
        data = packed(
            lambda tar: [add(tar, directory("results")), add(tar, directory("results/a/b")), add(tar, named("results/c/d/e"), b"x")]
        )
        assert unpack(data, folder) == ()
        assert unpack(data, folder / "deeper" / "still") == ()
        assert sorted(path.relative_to(folder).as_posix() for path in folder.iterdir()) == ["deeper", "results"]
        assert (folder / "results" / "a" / "b").is_dir()
        assert stat.S_IMODE((folder / "results" / "c" / "d" / "e").stat().st_mode) == 0o600

    def test_an_archive_of_nothing_is_no_results_and_no_error(self, tmp_path: Path) -> None:
        assert unpack(archive(), tmp_path) == ()
        assert list((tmp_path / "results").iterdir()) == []

    def test_what_was_left_is_named_and_what_is_not_well_formed_is_not(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        digest = "0123456789abcdef" * 4
        lines = [f"{digest} 12 results/a b", f"{digest} 0 \udcff".encode("utf-8", "surrogateescape")]
        wrong = [f"{digest}0 1 x", f"{digest[1:]} 1 x", f"{digest} -1 x", f"{digest} 1", f"{digest} 1 ", f"{digest.upper()} 1 x", "", "x"]
        data = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in [*wrong, *lines])
        members = ((frames.LEFT, data), ("results/c", b"1"))
        left = (Artifact("results/a b", 12, digest), Artifact("\\xff", 0, digest))
        assert unpack(archive(*members), tmp_path) == left
        assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["c"]
        monkeypatch.setattr(frames, "MAX_ARCHIVE", len(data) - len(lines[1]))
        assert unpack(archive(*members), tmp_path) == left[:1]

    def test_a_list_of_what_was_left_that_is_no_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ResultError, match=r"'\.evalx-left' among the results is outside"):
            unpack(special(tarfile.SYMTYPE, frames.LEFT), tmp_path)

    def test_a_sparse_file_is_refused(self, tmp_path: Path) -> None:
        member = named("results/a")
        member.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "1000", "GNU.sparse.numblocks": "1"}
        with pytest.raises(ResultError, match=r"^'results/a' among the results is no plain file$"):
            unpack(packed(lambda tar: add(tar, member, b"x")), tmp_path)

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("parent", "^'results/../../evil' among the results is outside their folder$"),
            ("symlink", "^'results/x' among the results is no plain file$"),
            ("no archive", "^the results in the job's log cannot be unpacked: .*gzip"),
        ],
    )
    def test_why_one_is_refused(self, name: str, said: str, tmp_path: Path) -> None:
        with pytest.raises(ResultError, match=said):
            unpack(HOSTILE[name], tmp_path)

    def test_no_more_is_read_than_is_allowed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A bomb must not be in memory before it is refused: what counts is what is asked of the decompressor."""
        monkeypatch.setattr(frames, "MAX_UNPACKED", 3 * 2**20)
        with gzip.open(io.BytesIO(gzip.compress(b"x" * 5 * 2**20))) as unzipped:
            bounded = frames._Bounded(unzipped)
            assert [len(bounded.read(size)) for size in (0, 1, 2**20)] == [0, 1, 2**20]
            assert len(bounded.read(2 * 2**20 - 1)) == 2 * 2**20 - 1  # as much as is allowed, and no byte more
            for size in (10**9, -1, None):
                with pytest.raises(ResultError, match=r"^the results are larger than 3 MiB$"):
                    bounded.read(size)
            assert unzipped.tell() <= 3 * 2**20 + 1

    @pytest.mark.parametrize("size", [-1, None, 10**9])
    def test_a_read_without_a_size_is_bounded_too(self, size: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(frames, "MAX_UNPACKED", 2**20)
        with gzip.open(io.BytesIO(gzip.compress(b"x" * 5 * 2**20))) as unzipped:
            with pytest.raises(ResultError):
                frames._Bounded(unzipped).read(size)
            assert unzipped.tell() == 2**20 + 1
        with gzip.open(io.BytesIO(gzip.compress(b"x" * 2**20))) as unzipped:
            assert len(frames._Bounded(unzipped).read(size)) == 2**20

    @pytest.mark.parametrize("name", HOSTILE)
    def test_hostile_archives_are_refused_and_change_nothing(self, name: str, tmp_path: Path) -> None:
        folder = tmp_path / "in" / "task"
        folder.mkdir(parents=True)
        (folder / "results").mkdir()
        (folder / "results" / "old").write_text("old")
        with pytest.raises(ResultError):
            unpack(HOSTILE[name], folder)
        assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()] == ["in/task/results/old"]

    def test_bombs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(frames, "MAX_UNPACKED", 100_000)
        with pytest.raises(ResultError, match="larger than"):
            unpack(archive(("results/zeros", b"\0" * 1_000_000)), tmp_path)
        monkeypatch.setattr(frames, "MAX_MEMBERS", 10)
        with pytest.raises(ResultError, match="more than 10 files"):
            unpack(archive(*((f"results/{number}", b"") for number in range(11))), tmp_path)
        assert not (tmp_path / "results").exists()

    def test_a_huge_header_is_a_bomb_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(frames, "MAX_UNPACKED", 100_000)
        member = tarfile.TarInfo("results/a")
        member.pax_headers = {"comment": "x" * 10_000_000}
        with pytest.raises(ResultError):
            unpack(packed(lambda tar: add(tar, member)), tmp_path)
