"""The exporter of the plugin author's guide, installed beside evalx, passes the suite."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.docs.markdown import DOCS, blocks


def test_the_guides_exporter_passes(tmp_path: Path) -> None:
    guide = blocks(DOCS / "plugins/guide.md")
    for block in guide:
        if block.title in ("evalx_lines.py", "test_lines.py"):
            (tmp_path / block.title).write_text(block.text)
    (declared,) = [block.text for block in guide if block.language == "toml" and "evalx.exporters" in block.text]
    entries = tomllib.loads(declared)["project"]["entry-points"]["evalx.exporters"]
    info = tmp_path / "evalx_lines-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evalx-lines\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(["[evalx.exporters]", *(f"{name} = {value}" for name, value in entries.items())]))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        "--rootdir",
        str(tmp_path),
        "test_lines.py",
    ]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
