"""`make checkov`: hold the plans of both examples against checkov's policies.

A finding is either mended or answered beside its resource, as `#checkov:skip=ID:REASON`. Exit status 1 if one is
neither, or if an answer has nothing left to answer.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from tests.packaging.terraform import EXAMPLES, Terraform, why_not
from tests.serving import ROOT

CHECKOV = ROOT / ".checkov" / "bin" / "checkov"
CHECKOV_SECONDS = 300  # it takes ten on a quiet machine
# What the examples leave out, so that nothing goes unseen.
_REPOSITORY = "projects/p/locations/europe-west1/connections/merchdrop/repositories/merchdrop"
_EVERYTHING = [
    "-var=region=europe-west1",
    f"-var=cli_image=europe-west1-docker.pkg.dev/p/merchdrop/cli@sha256:{'0' * 64}",
    f'-var=delivery={{repository="{_REPOSITORY}",state_bucket="merchdrop-state"}}',
]
_MARK = "checkov:skip"
_ANSWER = re.compile(r"^\s*#checkov:skip=(CKV2?_[A-Z]+_[0-9]+):(\S.*)$")


class Answer(NamedTuple):
    """Why the module does not follow a policy, where it says so."""

    file: str
    check: str
    reason: str


def answers(folder: Path) -> list[Answer]:
    """Every answer in the module's files.

    Raises:
        ValueError: a line skips a policy without naming it, or without a reason.
    """
    found = []
    for path in sorted(folder.glob("*.tf")):
        for line in path.read_text().splitlines():
            if _MARK not in line:
                continue
            if (match := _ANSWER.match(line)) is None:
                raise ValueError(
                    f"{path.name}: {line.strip()!r} has to be #checkov:skip=ID:REASON, on a line of its own"
                )
            found.append(Answer(path.name, match[1], match[2]))
    return found


def findings(module: Terraform, size: str) -> dict[str, Any]:
    """What checkov says about an example's plan. Without the module's folder it would not see the answers in it.

    Raises:
        RuntimeError: checkov did not understand the plan, so that its silence would mean nothing.
    """
    plan = module.folder / f"{size}.json"
    plan.write_text(json.dumps(module.plan(size, *_EVERYTHING)))
    command = [str(CHECKOV), "-f", str(plan), "--repo-root-for-plan-enrichment", str(module.folder)]
    command += ["--framework", "terraform_plan", "--skip-download", "--compact", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CHECKOV_SECONDS, check=False)
    report: dict[str, Any] = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    summary = report.get("summary", {})
    if not summary.get("passed") or summary["parsing_errors"]:
        raise RuntimeError(f"checkov can't read the plan of {size}.tfvars: {done.stdout}{done.stderr}")
    return {**report["results"], "summary": summary}


def main() -> int:
    """Go through both examples."""
    if not CHECKOV.exists():
        print("There is no checkov: run `make checkov`, which installs it.", file=sys.stderr)
        return 2
    unanswered, used = 0, set()
    with tempfile.TemporaryDirectory() as place:
        module = Terraform(Path(place))
        if reason := why_not(module):
            print(reason, file=sys.stderr)
            return 2
        for size in EXAMPLES:
            found = findings(module, size)
            summary = found["summary"]
            used |= {(Path(check["file_path"]).name, check["check_id"]) for check in found["skipped_checks"]}
            unanswered += len(found["failed_checks"])
            print(f"{size}: {summary['passed']} passed, {summary['skipped']} answered, {summary['failed']} open")
            for check in found["failed_checks"]:
                print(f"  {check['check_id']}  {check['resource']}  {check['check_name']}")
    idle = [answer for answer in answers(ROOT / "terraform") if (answer.file, answer.check) not in used]
    for answer in idle:
        print(f"  {answer.file}: nothing is found that {answer.check} would answer; remove it")
    return 1 if unanswered or idle else 0


if __name__ == "__main__":
    sys.exit(main())
