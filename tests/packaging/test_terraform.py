"""The Terraform module: its own tests, and a plan of each example with the zips that `merchdrop package` makes."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from cli.package import function_zips
from tests.packaging.terraform import EXAMPLES, Terraform, why_not
from tests.packaging.terraform_breaks import BREAKS, Break, catches
from tests.packaging.terraform_checkov import answers
from tests.packaging.terraform_readme import README, module_files, rows, with_tables
from tests.serving import ROOT

# One for each file of tests; `python -m tests.packaging.terraform_breaks` goes through all of them.
QUICK = [next(b for b in BREAKS if b.caught_by == name) for name in dict.fromkeys(b.caught_by for b in BREAKS)]


@pytest.fixture(scope="module")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    if shutil.which("terraform") is None:
        pytest.skip("there is no terraform on the PATH")
    module = Terraform(tmp_path_factory.mktemp("module"))
    if reason := why_not(module):
        pytest.skip(reason)
    return module


def test_the_module_is_formatted_and_valid(terraform: Terraform) -> None:
    terraform.succeed("fmt", "-check", "-diff", "-recursive")
    terraform.succeed("validate", "-no-color")


def test_the_modules_own_tests_pass(terraform: Terraform) -> None:
    assert "0 failed" in terraform.succeed("test", "-no-color")


@pytest.mark.parametrize("size", EXAMPLES)
def test_an_example_can_be_planned_with_the_real_zips(terraform: Terraform, size: str) -> None:
    plan = terraform.plan(size)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in function_zips(ROOT).items()}
    outputs = {name: output.get("value") for name, output in plan["planned_values"]["outputs"].items()}
    assert outputs["packages"] == {name: f"{name}-{digest}.zip" for name, digest in hashes.items()}


@pytest.mark.parametrize("broken", QUICK, ids=lambda broken: broken.name)
def test_a_break_is_caught(terraform: Terraform, broken: Break) -> None:
    assert catches(terraform, broken)


def test_every_break_changes_the_module_in_one_place() -> None:
    assert len(BREAKS) >= 20
    for broken in BREAKS:
        assert (ROOT / "terraform" / broken.file).read_text().count(broken.old) == 1, broken.name


def test_every_policy_that_is_not_followed_is_answered_with_a_reason() -> None:
    found = answers(ROOT / "terraform")
    assert found
    for answer in found:
        assert len(answer.reason.split()) >= 6, answer
    assert len({(answer.file, answer.check) for answer in found}) == len(found)


@pytest.mark.parametrize("line", ["#checkov:skip=CKV_GCP_83", "#checkov:skip=CKV_GCP_83: ", "#checkov:skip=:because"])
def test_an_answer_without_its_policy_or_a_reason_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "queue.tf").write_text(f"  {line}\n")
    with pytest.raises(ValueError, match=r"queue\.tf"):
        answers(tmp_path)


def test_the_page_about_the_module_shows_its_variables_and_outputs() -> None:
    page = README.read_text()
    assert with_tables(page, module_files()) == page, "run `make terraform-docs`"
    assert '| `database.tier` | string | `"db-custom-2-7680"` |' in page


@pytest.mark.parametrize(
    "arguments",
    [
        'type = string\n  default = ""',
        'description = "What it is."',
        'description = "A list."\n  type = list(object({\n    a = string\n  }))',
    ],
    ids=["no description", "no type", "a type that the table can't show"],
)
def test_a_variable_that_explains_nothing_is_refused(tmp_path: Path, arguments: str) -> None:
    (tmp_path / "variables.tf").write_text(f'variable "odd" {{\n  {arguments}\n}}\n')
    with pytest.raises(ValueError, match="odd"):
        rows([tmp_path / "variables.tf"])
