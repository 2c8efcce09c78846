"""`merchdrop package`: each function as the zip that is deployed, the same bytes wherever and whenever it is made.

Terraform names the uploaded object by the zip's hash, so a function is deployed again when its zip changes, and only
then. Files are stored, not compressed: what deflate writes depends on the zlib that a machine happens to have.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import click

from cli.output import json_option, print_json

ROOT = Path(__file__).resolve().parent.parent

_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold
_UNIX = 3  # the system that the zip says it was made on; where it really was would change the bytes
_MODE = 0o100644 << 16  # a plain file, readable by all


@click.command()
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("dist"),
    show_default=True,
    help="The folder to write NAME.zip to, for each function.",
)
@json_option
def package(output: Path, as_json: bool) -> None:
    """Make the zips of the functions that Terraform deploys."""
    zips = function_zips(ROOT)
    if not zips:
        raise click.ClickException(f"{ROOT} has no functions/NAME/main.py; run this from a checkout of the repository")
    output.mkdir(parents=True, exist_ok=True)
    made = []
    for function, content in zips.items():
        path = output / f"{function}.zip"
        path.write_bytes(content)
        made.append({"function": function, "path": str(path), "sha256": hashlib.sha256(content).hexdigest()})
    if as_json:
        print_json(made)
    else:
        for entry in made:
            click.echo(f"{entry['sha256']}  {entry['path']}")


def function_zips(root: Path) -> dict[str, bytes]:
    """The zip of each function below `root`, by the function's name: its main.py, its requirements.txt, and common/."""
    common = {path.relative_to(root).as_posix(): path for path in (root / "common").rglob("*.py")}
    zips = {}
    for main in sorted(root.glob("functions/*/main.py")):
        own = {name: main.parent / name for name in ("main.py", "requirements.txt")}
        zips[main.parent.name] = _zip({**common, **own})
    return zips


def _zip(files: dict[str, Path]) -> bytes:
    buffer = io.BytesIO()
    with ZipFile(buffer, "w", ZIP_STORED) as archive:
        for name in sorted(files):
            entry = ZipInfo(name, _TIME)
            entry.create_system, entry.external_attr = _UNIX, _MODE
            archive.writestr(entry, files[name].read_bytes())
    return buffer.getvalue()
