"""Run the operator's command in process, by its real entry, as a shell would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from cli.main import main

COLUMNS = 80  # of a narrow terminal


def run(*arguments: str | Path, url: str = "", answer: str = "") -> Result:
    """Run `merchdrop ARGUMENTS` on a database; an exception that would show a traceback is raised."""
    environment = {"MERCHDROP_DATABASE_URL": url, "COLUMNS": str(COLUMNS)}
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=answer, env=environment)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def succeed(*arguments: str | Path, url: str, answer: str = "") -> str:
    """What a command prints that must succeed."""
    result = run(*arguments, url=url, answer=answer)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


def tell(*arguments: str | Path, url: str) -> Any:
    """The document that a command prints with --json, which must succeed."""
    return json.loads(succeed(*arguments, "--json", url=url))


def fail(*arguments: str | Path, url: str = "", status: int = 1) -> str:
    """What a command says that must fail with this exit status: on standard error alone."""
    result = run(*arguments, url=url)
    assert (result.exit_code, result.stdout) == (status, ""), result.output
    assert "Error: " in result.stderr
    return result.stderr
