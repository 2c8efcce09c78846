"""docs/api.md is what the code says."""

from __future__ import annotations

from cli.api_docs import render_api_docs
from common.openapi import CALLS
from common.problems import NAMES, status_of
from local.recipes import ROOT


def test_the_document_is_up_to_date() -> None:
    written = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert written == render_api_docs(), "run: python -m cli.api_docs > docs/api.md"


def test_every_call_and_every_problem_stands_in_it() -> None:
    headings = {line.lstrip("# ") for line in render_api_docs().splitlines() if line.startswith("#")}
    assert {f"{call['method'].upper()} {call['path']}" for call in CALLS} <= headings
    assert {f"{status_of(name)} {name}" for name in NAMES} <= headings
