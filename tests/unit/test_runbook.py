"""The runbook names what the functions log at ERROR, and nothing that they don't log."""

from __future__ import annotations

import ast
import logging
import re

from local.recipes import ROOT

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
LEVELS = {"ERROR": logging.ERROR, "WARNING": logging.WARNING}
PARTS = ("PostgreSQL", "Pub/Sub")  # what the circuit breakers put into their one message


def logged() -> dict[str, int]:
    """Each message that is logged at one of the levels."""
    found: dict[str, int] = {}
    for path in [*(ROOT / "common").rglob("*.py"), *(ROOT / "functions").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "log":
                level, message = node.args[:2]
                if isinstance(level, ast.Attribute) and level.attr in LEVELS:
                    found |= dict.fromkeys(texts(message), LEVELS[level.attr])
    return found


def texts(message: ast.expr) -> list[str]:
    if isinstance(message, ast.Constant):
        return [str(message.value)]
    rest = "".join(str(part.value) for part in message.values if isinstance(part, ast.Constant))  # type: ignore[attr-defined]
    return [part + rest for part in PARTS]


def in_one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_every_error_has_its_place_in_the_runbook() -> None:
    errors = [message for message, level in logged().items() if level == logging.ERROR]
    assert len(errors) > 15
    assert [message for message in errors if f"`{message}`" not in in_one_line(RUNBOOK)] == []


def test_what_its_tables_name_is_logged() -> None:
    cells = [line.split("|")[1] for line in RUNBOOK.splitlines() if line.startswith("| `")]
    named = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell) if " " in name]
    assert len(named) > 10
    assert [name for name in named if name not in logged()] == []
