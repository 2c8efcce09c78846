"""Whatever stands in a command's way is told in a sentence on standard error, without a traceback or a password."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli.main import main
from local.machine import free_port
from local.postgres import Postgres
from tests.command import COLUMNS, fail, run, succeed

# Every command that works on the database, with arguments that it would take.
ON_THE_DATABASE = [
    ("migrate",),
    ("drop", "create", "tee", "--item", "M=5@0"),
    ("drop", "list"),
    ("drop", "show", "tee"),
    ("drop", "restock", "tee", "M", "5"),
    ("drop", "open", "tee"),
    ("drop", "pause", "tee"),
    ("drop", "resume", "tee"),
    ("drop", "close", "tee"),
    ("order", "show", "0b9a5b0e-0000-8000-8000-000000000000"),
    ("order", "cancel", "0b9a5b0e-0000-8000-8000-000000000000"),
    ("order", "refund", "0b9a5b0e-0000-8000-8000-000000000000"),
    ("payments", "check", "tee"),
    ("audit",),
    ("drop", "report", "tee"),
    ("customer", "erase", "c-1", "--yes"),
    ("messages", "list"),
    ("messages", "retry", "1"),
    ("messages", "drop", "1", "--yes"),
]


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands, by what one types."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


ALL = list(commands(main))
LEAVES = [path for path, command in ALL if not isinstance(command, click.Group)]


def test_every_command_on_the_database_is_looked_at_here() -> None:
    elsewhere = {("up",), ("local", "stop"), ("local", "start"), ("sale",), ("package",)}
    assert set(LEAVES) - elsewhere == {path for path in LEAVES if any(a[: len(path)] == path for a in ON_THE_DATABASE)}


@pytest.mark.parametrize("path", [(), *(path for path, _ in ALL)], ids=" ".join)
def test_help_reads_well_on_a_narrow_terminal(path: tuple[str, ...]) -> None:
    text = succeed(*path, "-h", url="")
    assert text == succeed(*path, "--help", url="")
    assert max(map(len, text.splitlines())) <= COLUMNS
    assert "..." not in text.replace("[ARGS]...", "")  # a description that is cut off
    if path in LEAVES:
        assert "--json" in text


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_option_is_explained(path: tuple[str, ...]) -> None:
    options = [option for option in dict(ALL)[path].params if isinstance(option, click.Option)]
    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize("arguments", ON_THE_DATABASE, ids=lambda arguments: " ".join(arguments[:2]))
def test_a_database_that_is_not_there_is_told_to_be(arguments: tuple[str, ...]) -> None:
    nobody = f"postgresql://owner:secret@127.0.0.1:{free_port()}/merchdrop"
    for json_too in ((), ("--json",)):
        told = fail(*arguments, *json_too, url=nobody)
        assert "the database does not answer" in told
        assert "secret" not in told


@pytest.mark.parametrize("command", [("migrate",), ("drop", "list")], ids=" ".join)
@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("hello", "postgresql://USER:PASSWORD@HOST:PORT/DATABASE is expected"),
        ("mysql://owner:secret@127.0.0.1/x", "postgresql://USER:PASSWORD@HOST:PORT/DATABASE is expected"),
        ("postgresql://owner:secret/word@127.0.0.1/x", "percent-encoded"),
        ("postgresql://owner:secret@127.0.0.1:port/x", "percent-encoded"),
        ("postgresql://owner:secret@127.0.0.1/x?sslmode=maybe", "is expected"),
        ("postgresql://owner:secret@nowhere.invalid/x", "the database does not answer"),
    ],
)
def test_a_bad_url_is_told_without_its_password(command: tuple[str, ...], url: str, told: str) -> None:
    error = fail(*command, url=url)
    assert told in error
    assert "secret" not in error


@pytest.mark.parametrize("command", [("migrate",), ("drop", "list")], ids=" ".join)
def test_a_wrong_password_and_a_missing_database_are_told(postgres: Postgres, command: tuple[str, ...]) -> None:
    wrong = fail(*command, url=postgres.url("postgres").replace(postgres.password, "guess"))
    assert "password authentication failed" in wrong
    assert "correct user and password in MERCHDROP_DATABASE_URL" in wrong
    missing = fail(*command, url=postgres.url("nowhere"))
    assert 'database "nowhere" does not exist; create it' in missing


def test_both_names_of_the_scheme_and_parameters_will_do(database_url: str) -> None:
    for url in (database_url.replace("postgresql://", "postgres://"), f"{database_url}?sslmode=prefer"):
        assert "already" in succeed("migrate", url=url)
        assert "no drops yet" in succeed("drop", "list", url=url)


def test_without_any_database_both_ways_to_one_are_named(tmp_path: Path) -> None:
    told = fail("drop", "list", "--data-dir", tmp_path)
    assert "merchdrop up" in told
    assert "neither MERCHDROP_DATABASE_URL nor MERCHDROP_CLOUD_SQL_INSTANCE is set" in told


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b""])
def test_a_damaged_stack_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "stack.json").write_bytes(content)
    assert f"{tmp_path / 'stack.json'} is damaged" in fail("drop", "list", "--data-dir", tmp_path)


def test_the_database_of_a_local_engine_is_found_and_may_be_gone(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text(json.dumps({"database_url": database_url}))
    assert "no drops yet" in run("drop", "list", "--data-dir", str(tmp_path)).stdout
    (tmp_path / "stack.json").write_text(json.dumps({"database_url": f"postgresql://127.0.0.1:{free_port()}/x"}))
    assert "the database does not answer" in fail("drop", "list", "--data-dir", tmp_path)


@pytest.mark.parametrize("arguments", [("local", "stop", "checkout"), ("local", "start", "checkout")])
def test_a_part_needs_an_engine(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert "no engine runs on" in fail(*arguments, "--json", "--data-dir", tmp_path)


@pytest.mark.parametrize("command", [("up",), ("local", "stop", "checkout"), ("drop", "list"), ("sale",)], ids=" ".join)
def test_a_file_is_no_data_directory(tmp_path: Path, command: tuple[str, ...]) -> None:
    file = tmp_path / "file"
    file.touch()
    assert "is a file" in fail(*command, "--data-dir", file, status=2)


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("--url", "127.0.0.1:8080"), 2, "is not an address like http://127.0.0.1:8080"),
        (("--url", "http://127.0.0.1:8080/v1/checkout"), 2, "is not an address"),
        (("--url", f"http://127.0.0.1:{free_port()}"), 1, "nobody answers at http://127.0.0.1:"),
        (("--buyers", "0"), 2, "0 is not in the range"),
        (("--duplicates", "2"), 2, "2.0 is not in the range"),
        (("--stripe-faults", "timeout_after=2"), 2, "timeout_after must be a share, from 0 to 1"),
        (("--price", "-1"), 2, "-1 is not in the range"),
    ],
)
def test_a_sale_that_can_not_be_held_is_refused_at_once(arguments: tuple[str, ...], status: int, told: str) -> None:
    assert told in fail("sale", *arguments, "--json", status=status)


@pytest.mark.parametrize("option", [("--challenged", "0.1"), ("--stripe-faults", "timeout_after=0.1")])
def test_a_sale_elsewhere_knows_no_stand_in(option: tuple[str, str]) -> None:
    told = fail("sale", "--url", "http://127.0.0.1:1", *option, url="postgresql://127.0.0.1:1/x", status=2)
    assert "need the stand-in for Stripe" in told


def test_the_installed_command_is_this_one() -> None:
    command = Path(sys.executable).parent / "merchdrop"
    done = subprocess.run([command, "drop", "lost"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such command 'lost'" in done.stderr
