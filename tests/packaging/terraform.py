"""Run the real terraform over a copy of the module, where tests may leave files and break things."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from cli.package import function_zips
from tests.serving import ROOT

COMMAND_SECONDS = 300  # a whole `terraform test` takes half a minute on a machine of its own
EXAMPLES = ("small", "large")  # terraform/examples/NAME.tfvars
_BACKEND = 'terraform {\n  backend "local" {}\n}\n'


class Terraform:
    """A copy of the module below `place`, initialised, with the functions' zips beside it."""

    def __init__(self, place: Path) -> None:
        # terraform.tfvars is a deployment's, and would be taken for the tests' values as well.
        ignored = shutil.ignore_patterns(".terraform", ".terraform.lock.hcl", "*.tfstate*", "terraform.tfvars")
        self.folder = shutil.copytree(ROOT / "terraform", place / "terraform", ignore=ignored)
        (place / "common").mkdir()
        shutil.copy(ROOT / "common" / "settings.py", place / "common")
        (place / "dist").mkdir()
        for function, content in function_zips(ROOT).items():
            (place / "dist" / f"{function}.zip").write_bytes(content)
        (self.folder / "backend_override.tf").write_text(_BACKEND)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`terraform ARGUMENTS`, with what it printed, errors included."""
        return subprocess.run(
            ["terraform", *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def succeed(self, *arguments: str) -> str:
        """What a command prints that must succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def plan(self, example: str, *options: str) -> dict[str, Any]:
        """The plan of one of EXAMPLES, as `terraform show -json` has it."""
        command = ["plan", "-input=false", "-no-color", f"-var-file=examples/{example}.tfvars", f"-out={example}.plan"]
        self.succeed(*command, *options)
        plan: dict[str, Any] = json.loads(self.succeed("show", "-json", f"{example}.plan"))
        return plan


def why_not(terraform: Terraform) -> str | None:
    """Initialise the module; why that can't be done on this machine, or None."""
    if shutil.which("terraform") is None:
        return "there is no terraform on the PATH"
    done = terraform.run("init", "-input=false", "-no-color")
    return None if done.returncode == 0 else f"terraform can't be initialised: {done.stdout.strip()[-300:]}"
