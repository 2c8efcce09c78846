"""Google's emulator is found where it is installed, and whoever lacks a part of it is told what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from local import google_pubsub
from local.google_pubsub import EmulatorMissing, command


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing installed; a test puts programs into its bin/."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("MERCHDROP_PUBSUB_EMULATOR_JAR", raising=False)
    monkeypatch.setattr(google_pubsub, "_SDK_FOLDERS", ())
    return tmp_path


def install(machine: Path, *programs: str) -> None:
    for program in programs:
        (machine / "bin" / program).touch(mode=0o755)


def make_jar(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    jar = folder / f"cloud-pubsub-emulator-{version}-all.jar"
    jar.touch()
    return jar


def test_without_java_it_says_so(machine: Path) -> None:
    with pytest.raises(EmulatorMissing, match="needs Java; install a JRE, or use --pubsub embedded"):
        command(1)


def test_without_the_jar_it_says_how_to_get_it(machine: Path) -> None:
    install(machine, "java", "gcloud")
    with pytest.raises(EmulatorMissing, match=r"gcloud components install pubsub-emulator.*or use --pubsub embedded"):
        command(1)


def test_a_jar_that_was_named_wrongly_is_named(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(machine, "java")
    monkeypatch.setenv("MERCHDROP_PUBSUB_EMULATOR_JAR", str(machine / "no.jar"))
    with pytest.raises(EmulatorMissing, match=r"MERCHDROP_PUBSUB_EMULATOR_JAR names .*no\.jar, which is no file"):
        command(1)


def test_the_jar_is_found_beside_gcloud_or_by_its_name(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(machine, "java", "gcloud")
    folder = machine / "platform" / "pubsub-emulator" / "lib"
    make_jar(folder, "0.8.9")
    newest = make_jar(folder, "0.8.20")
    assert command(8085) == [
        str(machine / "bin" / "java"),
        "-jar",
        str(newest),
        "--host=127.0.0.1",
        "--port=8085",
    ]
    named = make_jar(machine, "1")
    monkeypatch.setenv("MERCHDROP_PUBSUB_EMULATOR_JAR", str(named))
    assert str(named) in command(8085)
