"""The same work by a bare script on the SDK, for scale: `bare_sdk.py TASKS ENDPOINTS`, with LEPTON_WORKSPACE_* set.

Eight threads create the endpoints; one listing a second says which are Ready; then a job goes out for each task, and one listing a second
says which are over. Nothing is probed, stored, brought home or proven gone. Prints the seconds until all jobs are over, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from leptonai.api.v2.client import APIClient
from leptonai.api.v2.types.deployment import LeptonDeployment
from leptonai.api.v2.types.job import LeptonJob

ENDPOINT = {
    "container": {"image": "server:1", "command": ["serve"], "ports": [{"container_port": 8000}]},
    "resource_requirement": {"resource_shape": "cpu.small"},
    "envs": [{"name": "SERVED_MODEL_NAME", "value": "m"}],
}
JOB = {"resource_shape": "cpu.small", "container": {"image": "job:1", "command": ["sleep", "2"]}}


def main() -> None:
    tasks, endpoints = int(sys.argv[1]), int(sys.argv[2])
    client = APIClient()
    started = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        names = [f"bare-{index}" for index in range(endpoints)]
        list(pool.map(lambda name: deploy(client, name), names))
        until(lambda: [endpoint for endpoint in client.deployment.list_all() if endpoint.status.state.value == "Ready"], endpoints)
        jobs = list(pool.map(lambda index: client.job.create(LeptonJob(metadata={"name": f"bare-{index}"}, spec=JOB)), range(tasks)))
        until(lambda: [job for job in client.job.list_all() if job.status.state.value == "Completed"], tasks)
        over = time.perf_counter()
        list(pool.map(lambda job: client.job.delete(job.metadata.id_), jobs))
        list(pool.map(client.deployment.delete, names))
    print(json.dumps({"seconds": over - started}))


def deploy(client: APIClient, name: str) -> None:
    client.deployment.create_with_response(LeptonDeployment(metadata={"id": name}, spec=ENDPOINT), tolerate_legacy_response=True)


def until(listed: Callable[[], list[Any]], count: int) -> None:
    while len(listed()) < count:
        time.sleep(1)


main()
