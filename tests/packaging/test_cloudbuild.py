"""cloudbuild.yaml names things that exist, and a pull request deploys nothing."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.serving import ROOT

BUILD: dict[str, Any] = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text())
STEPS: list[dict[str, Any]] = BUILD["steps"]
CHECKS = ["check", "plan", "policies"]  # of a pull request; all others deploy
GUARD = '[ "$_DEPLOY" = true ] || exit 0'
BUILT_IN = {"COMMIT_SHA", "PROJECT_ID"}
CHANGES = ("terraform apply", "docker push", "gcloud ", "terraform destroy", "terraform import", "terraform state")
TF = "\n".join(path.read_text() for path in sorted((ROOT / "terraform").glob("*.tf")))

each_step = pytest.mark.parametrize("step", STEPS, ids=[step["id"] for step in STEPS])


def commands(step: dict[str, Any]) -> list[str]:
    """What a step runs, without comments and the head of its script."""
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in step["script"].splitlines()]
    return [line for line in lines if line and not line.startswith("set -")]


def seconds(duration: str) -> int:
    return int(re.fullmatch(r"(\d+)s", duration)[1])  # type: ignore[index]


def test_steps_follow_each_other() -> None:
    """A step without `waitFor` waits for all before it; these say for whom, and nobody overtakes."""
    ids = [step["id"] for step in STEPS]
    assert ids == [*CHECKS, "image", "job", "migrate", "apply", "smoke"]
    assert [step.get("waitFor") for step in STEPS] == [None, *([before] for before in ids[:-1])]


@each_step
def test_each_step_is_pinned_bounded_and_stops_at_an_error(step: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-z0-9./-]+:\d+\.\d+\.\d+(-[a-z]+)?", step["name"]), "an image by its full version"
    assert 0 < seconds(step["timeout"]) <= seconds(BUILD["timeout"])
    assert step["script"].splitlines()[1] in ("set -eu", "set -euo pipefail")
    assert (ROOT / step.get("dir", ".")).is_dir()


@each_step
def test_a_pull_request_changes_nothing(step: dict[str, Any]) -> None:
    does = commands(step)
    if step["id"] in CHECKS:
        assert not any(change in command for command in does for change in CHANGES)
    else:
        assert does[0] == GUARD
    assert BUILD["substitutions"]["_DEPLOY"] == "false"


@each_step
def test_each_substitution_that_is_used_is_known(step: dict[str, Any]) -> None:
    used = set(re.findall(r"\$\{?([A-Z_]{2,})", step["script"]))
    assert used <= set(BUILD["substitutions"]) | BUILT_IN
    assert BUILD["options"]["automapSubstitutions"]


def test_the_trigger_sets_every_substitution() -> None:
    trigger = TF[TF.index('resource "google_cloudbuild_trigger"') :]
    block = trigger[trigger.index("substitutions = {") :]
    assert set(re.findall(r"^\s+(_[A-Z_]+)\s+=", block[: block.index("}\n")], re.MULTILINE)) == set(
        BUILD["substitutions"]
    )


def test_what_the_steps_name_exists() -> None:
    script = "\n".join(command for step in STEPS for command in commands(step))
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make ([a-z]+)", script, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    for variable in re.findall(r'-var "?([a-z_]+)=', script):
        assert f'variable "{variable}" {{' in TF
    for output in re.findall(r"output -raw ([a-z_]+)", script):
        assert f'output "{output}" {{' in TF
    for kind, name in re.findall(r"-target='([a-z_0-9]+)\.([a-z]+)", script):
        assert f'resource "{kind}" "{name}" {{' in TF
    for path in re.findall(r"python3 (\S+)", script):
        assert (ROOT / path).is_file()
    assert "jobs execute merchdrop-migrate" in script
    assert '"merchdrop-${each.key}"' in TF
    assert "docker build" in script
    assert (ROOT / "Dockerfile").is_file()


def test_there_is_time_for_everything() -> None:
    assert seconds(BUILD["timeout"]) >= max(seconds(step["timeout"]) for step in STEPS)
    assert BUILD["options"]["logging"] == "CLOUD_LOGGING_ONLY"
