"""`make terraform-docs`: write the tables of variables and outputs in terraform/README.md from the module's files."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

from tests.serving import ROOT

README = ROOT / "terraform" / "README.md"
_BLOCK = re.compile(r'^(variable|output) "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)
# terraform fmt indents a block's arguments by two spaces, and whatever belongs to one of them by more.
_ARGUMENT = re.compile(r"^  (\w+) += (.*(?:\n(?:    .*|  [\]})].*))*)", re.MULTILINE)
_FIELD = re.compile(r"^    (\w+) += (?:optional\((\w+), (.*?)\)|(\w+))(?: +# (.*))?$", re.MULTILINE)


class Row(NamedTuple):
    """A line of a table: a variable, or a field of one that is an object."""

    name: str
    type: str
    default: str
    description: str


def rows(files: list[Path]) -> list[Row]:
    """The variables in these files, by name, each followed by its fields.

    Raises:
        ValueError: a variable without a type or a description, or with a type that the table can't show.
    """
    found = []
    for name, arguments in _blocks("variable", files):
        if not {"type", "description"} <= arguments.keys():
            raise ValueError(f"the variable {name} needs a type and a description")
        kind, default = arguments["type"], arguments.get("default")
        fields = _FIELD.findall(kind) if kind.startswith("object({") else []
        if "\n" in kind and len(fields) != kind.count("\n") - 1:
            raise ValueError(f"the variable {name} has a type that is not a flat object of one field a line")
        default = "required" if default is None else "its fields'" if default == "{}" else _code(default)
        found.append(Row(_code(name), "object" if fields else kind, default, _text(arguments["description"])))
        for field, optional, value, required, comment in fields:
            default = _code(value) if optional else "required"
            found.append(Row(_code(f"{name}.{field}"), optional or required, default, _text(comment)))
    return found


def outputs(files: list[Path]) -> list[tuple[str, str]]:
    """The outputs in these files with what they are, by name."""
    return [(_code(name), _text(arguments["description"])) for name, arguments in _blocks("output", files)]


def with_tables(readme: str, files: list[Path]) -> str:
    """The page with its tables made anew: what stands between `<!-- NAME -->` and `<!-- end of NAME -->`."""
    tables: dict[str, list[tuple[str, ...]]] = {
        "variables": [("Variable", "Type", "Default", "What it is"), *rows(files)],
        "outputs": [("Output", "What it is"), *outputs(files)],
    }
    for name, table in tables.items():
        head, *lines = (f"| {' | '.join(cells)} |" for cells in table)
        rule = "|" + " --- |" * len(table[0])
        text = "\n".join([f"<!-- {name} -->", "", head, rule, *lines, "", f"<!-- end of {name} -->"])
        readme, times = re.subn(
            f"<!-- {name} -->.*<!-- end of {name} -->", text.replace("\\", r"\\"), readme, flags=re.DOTALL
        )
        if times != 1:
            raise ValueError(f"the page has no place for its table of {name}")
    return readme


def module_files() -> list[Path]:
    """The module's own files."""
    return sorted((ROOT / "terraform").glob("*.tf"))


def _blocks(kind: str, files: list[Path]) -> list[tuple[str, dict[str, str]]]:
    blocks = [match for path in files for match in _BLOCK.finditer(path.read_text()) if match[1] == kind]
    return sorted((match[2], dict(_ARGUMENT.findall(match[3]))) for match in blocks)


def _code(value: str) -> str:
    return f"`{value}`"


def _text(quoted: str) -> str:
    return quoted.removeprefix('"').removesuffix('"').replace('\\"', '"').replace("|", r"\|")


def main() -> int:
    """Write them."""
    README.write_text(with_tables(README.read_text(), module_files()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
