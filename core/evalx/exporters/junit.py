"""`--to junit`: tasks as test cases, for the test pages of CI services.

The elements are those that all readers share (Jenkins, GitLab, GitHub actions, Azure): `testsuites`, `testsuite` with `properties`,
`testcase` with `failure`, `error`, `skipped` and `system-out`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from evalx.exporters.account import RunAccount
from evalx.exporters.api import NoOptions
from evalx.exporters.destination import Destination
from evalx.exporters.facts import counted, iso, outcome, seconds
from evalx.model import Metric, TaskResult, TaskSpec

ELEMENTS = {
    "failed": "failure",
    "no_result": "error",
    "timed_out": "error",
    "lost": "error",
    "skipped": "skipped",
    "cancelled": "skipped",
    "not_run": "skipped",
}
"""What becomes of a task without a score."""

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class JunitExporter:
    """JUnit XML: a test case per task. A file in which a task has no score is never green."""

    evalx_api = (1, 0)
    Options = NoOptions
    file_name = "results.xml"

    def export(self, run: RunAccount, destination: Destination, options: NoOptions) -> None:  # noqa: ARG002
        """Write the file."""
        cases = [_case(run, spec, result) for spec, result in run.tasks()]
        if not run.complete and not any(case.find("failure") is not None or case.find("error") is not None for case in cases):
            cases.append(_verdict(run))
        root = ET.Element("testsuites")
        root.append(_suite(run, cases))
        ET.indent(root)
        destination.write('<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n")


def _suite(run: RunAccount, cases: Sequence[ET.Element]) -> ET.Element:
    created = iso(run.plan.created) or ""
    suite = ET.Element("testsuite", name=f"evalx {run.run_id}", tests=str(len(cases)), timestamp=created.partition(".")[0])
    for element, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(case.find(element) is not None for case in cases)))
    suite.set("time", f"{sum(float(case.get('time', 0)) for case in cases):.3f}")
    properties = ET.SubElement(suite, "properties")
    facts = [("executor", run.plan.executor), ("condition", run.condition)]
    for name, value in [*facts, *((f"{spec.name}: {metric.name}", repr(metric.value)) for spec, metric in run.scores())]:
        ET.SubElement(properties, "property", name=_text(name), value=_text(value))
    suite.extend(cases)
    return suite


def _case(run: RunAccount, spec: TaskSpec, result: TaskResult | None) -> ET.Element:
    case = ET.Element("testcase", name=_text(spec.name), classname=_text(f"evalx.{spec.harness}"), time=f"{seconds(result) or 0:.3f}")
    ended = outcome(result)
    if ended != "passed":
        reason = (result.reason if result else None) or f"the run is {run.condition}"
        problem = ET.SubElement(case, ELEMENTS[ended], message=_text(reason.partition("\n")[0]), type=ended)
        problem.text = _text(reason)
    scores = [_told(metric) for one, metric in run.scores() if one is spec]
    if scores:
        ET.SubElement(case, "system-out").text = _text("\n".join(scores))
    return case


def _verdict(run: RunAccount) -> ET.Element:
    """Readers take a suite whose tests were only skipped for a good one; a run with tasks that have no score is not."""
    passed, planned = counted(run)
    case = ET.Element("testcase", name="all tasks have a score", classname="evalx", time="0.000")
    message = f"the run is {run.condition}: {passed} of {planned} tasks have a score"
    ET.SubElement(case, "error", message=message, type="incomplete").text = message
    return case


def _told(metric: Metric) -> str:
    spread = "" if metric.stderr is None else f" ± {metric.stderr!r}"
    count = "" if metric.n is None else f" (n={metric.n})"
    return f"{metric.name} = {metric.value!r}{spread}{count}"


def _text(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold, not even escaped."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
