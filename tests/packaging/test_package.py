"""The zips that are deployed: the same bytes from the same sources, and nothing in them that does not run."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from pathlib import Path
from zipfile import ZipFile

import pytest

from cli import package
from cli.package import function_zips
from tests.command import fail, run
from tests.serving import ROOT

FUNCTIONS = ["charge_order", "checkout", "process_order", "reconcile"]


@pytest.fixture
def checkout_of(tmp_path: Path) -> Path:
    """A checkout of its own, to be changed."""
    return _copy(tmp_path / "checkout")


def _copy(to: Path) -> Path:
    for folder in ("common", "functions"):
        shutil.copytree(ROOT / folder, to / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return to


def test_two_checkouts_give_the_same_bytes(checkout_of: Path, tmp_path: Path) -> None:
    other = tmp_path / "another" / "place"
    for path in sorted((p for p in checkout_of.rglob("*") if p.is_file()), reverse=True):  # the other order on the disk
        target = other / path.relative_to(checkout_of)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        target.chmod(0o600)
        os.utime(target, (1_000_000_000, 1_000_000_000))
    (other / "common" / "__pycache__").mkdir()
    (other / "common" / "__pycache__" / "api.cpython-313.pyc").write_bytes(b"compiled here")
    assert list(function_zips(checkout_of)) == FUNCTIONS
    assert function_zips(other) == function_zips(checkout_of)


def test_a_zip_holds_the_function_and_common(checkout_of: Path) -> None:
    common = {path.relative_to(checkout_of).as_posix() for path in (checkout_of / "common").rglob("*.py")}
    assert {"common/api.py", "common/reconcile/steps.py"} <= common
    for function, content in function_zips(checkout_of).items():
        with ZipFile(io.BytesIO(content)) as archive:
            assert archive.namelist() == sorted({"main.py", "requirements.txt", *common})
            for name in archive.namelist():
                source = checkout_of / name if name in common else checkout_of / "functions" / function / name
                assert archive.read(name) == source.read_bytes()


@pytest.mark.parametrize("name", ["main.py", "requirements.txt"])
def test_a_change_in_a_functions_folder_changes_its_zip_alone(checkout_of: Path, name: str) -> None:
    before = function_zips(checkout_of)
    with (checkout_of / "functions" / "reconcile" / name).open("a") as file:
        file.write("# changed\n")
    assert _changed(before, function_zips(checkout_of)) == ["reconcile"]


def test_a_change_in_common_changes_every_zip(checkout_of: Path) -> None:
    before = function_zips(checkout_of)
    (checkout_of / "common" / "reconcile" / "step.py").write_text("# changed\n")
    assert _changed(before, function_zips(checkout_of)) == FUNCTIONS


def _changed(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    return [function for function in after if after[function] != before[function]]


def test_the_command_writes_the_zips_and_tells_their_hashes(tmp_path: Path) -> None:
    output = tmp_path / "made" / "here"
    made = json.loads(run("package", "--output", output, "--json").stdout)
    assert [entry["function"] for entry in made] == FUNCTIONS
    for entry in made:
        path = Path(entry["path"])
        assert path == output / f"{entry['function']}.zip"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
    lines = run("package", "--output", output).stdout.splitlines()
    assert lines == [f"{entry['sha256']}  {entry['path']}" for entry in made]


def test_without_a_checkout_the_command_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "ROOT", tmp_path)
    assert "run this from a checkout" in fail("package", "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()
