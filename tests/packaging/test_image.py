"""The Dockerfile, done here by its effect: what it copies and installs is all that the operator's jobs need."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase
from importlib.metadata import distribution
from pathlib import Path, PurePosixPath

import pytest

from cli.secrets import crc32c
from migrations.run import revisions
from tests.cloud_sql import INSTANCE
from tests.instance import MIGRATE, OPERATOR, ask, in_cloud, new_instance
from tests.secret_manager import SecretManagerStandIn
from tests.serving import ROOT

PREFIX = "/opt/merchdrop"
COMMAND_SECONDS = 120
KEY = "projects/demo/secrets/merchdrop-stripe-api-key/versions/1"
STEPS = [line.split(maxsplit=1) for line in (ROOT / "Dockerfile").read_text().splitlines() if line and line[0] != "#"]
COPIES = [rest.split() for step, rest in STEPS if step == "COPY" and not rest.startswith("--from=build ")]
IGNORE = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]


class Image:
    """What the build stage leaves below PREFIX, in a folder of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The entry point with these arguments, in an environment that holds nothing of this one's."""
        variables = dict(
            part.split("=", 1) for step, rest in STEPS if step == "ENV" for part in self.here(rest).split()
        )
        variables["PATH"] = variables["PATH"].replace("$PATH", "/usr/bin:/bin")
        (entry,) = json.loads(next(rest for step, rest in STEPS if step == "ENTRYPOINT"))
        command = shutil.which(entry, path=variables["PATH"])
        assert command is not None
        return subprocess.run(
            [command, *arguments],
            env={**variables, **environment},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def here(self, text: str) -> str:
        """A text of the Dockerfile's, with this folder in place of PREFIX."""
        return text.replace(PREFIX, str(self.folder))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    image = Image(tmp_path_factory.mktemp("image"))
    python = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for step, rest in STEPS[1 : [step for step, _ in STEPS].index("FROM", 1)]:
        if step == "COPY":
            *sources, target = rest.split()
            _copy(sources, Path(image.here(target)), is_folder=target.endswith("/"))
        elif rest.startswith("pip "):
            assert "--require-hashes -r /requirements.txt" in rest
            _install(ROOT / "requirements" / "cli.txt", next(image.folder.glob("venv/lib/python*/site-packages")))
        else:
            subprocess.run(image.here(rest), shell=True, check=True, env={"PATH": python})
    return image


def _copy(sources: list[str], target: Path, *, is_folder: bool) -> None:
    """As COPY does, with what .dockerignore lets in."""
    if target == Path("/requirements.txt"):  # its place is outside of the folder; what is in it gets installed
        return
    for source in sources:
        place = target / Path(source).name if is_folder else target
        for file in _let_in(source):
            to = place / file.relative_to(ROOT / source)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, to)


def _let_in(source: str) -> list[Path]:
    files = (
        [ROOT / source] if (ROOT / source).is_file() else sorted(f for f in (ROOT / source).rglob("*") if f.is_file())
    )
    return [file for file in files if _is_let_in(PurePosixPath(file.relative_to(ROOT).as_posix()))]


def _is_let_in(path: PurePosixPath) -> bool:
    """The last rule of .dockerignore that is about a path, or about a folder that it is in, decides."""
    let_in = True
    for rule in IGNORE:
        pattern = PurePosixPath(rule.removeprefix("!"))
        for part in (path, *path.parents[:-1]):
            if pattern.parts[0] == "**":
                is_meant = fnmatchcase(part.name, pattern.name)
            else:
                is_meant = len(part.parts) == len(pattern.parts) and all(map(fnmatchcase, part.parts, pattern.parts))
            if is_meant:
                let_in = rule.startswith("!")
    return let_in


def _install(requirements: Path, site: Path) -> None:
    """Link the files of exactly these distributions: the tests' own environment has them in the same versions."""
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", requirements.read_text(), re.MULTILINE):
        found = distribution(name)
        assert (name, found.version) == (name, version)
        for file in found.files or ():
            if file.parts[0] != "..":
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                (site / file).symlink_to(str(file.locate()))


def test_what_is_copied_is_there_and_nothing_else_is_let_in() -> None:
    copied = {file for *sources, _ in COPIES for source in sources for file in _let_in(source)}
    assert [source for *sources, _ in COPIES for source in sources if not _let_in(source)] == []
    tops = {rule.removeprefix("!").split("/")[0] for rule in IGNORE if rule.startswith("!")}
    assert {file for top in tops for file in _let_in(top)} == copied
    assert not any(
        _is_let_in(PurePosixPath(path)) for path in (".git/config", ".env", "local/up.py", "tests/conftest.py")
    )


def test_it_runs_as_somebody_and_stays_small() -> None:
    last = [step for step, _ in STEPS][::-1].index("FROM")
    final = STEPS[-last:]
    (user,) = (rest for step, rest in final if step == "USER")
    assert any(rest.startswith("useradd ") and rest.endswith(f" {user}") for _, rest in final)
    assert any(rest.startswith("pip uninstall ") for _, rest in final)
    bases = {rest.split()[0] for step, rest in STEPS if step == "FROM"}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", bases.pop())


def test_every_command_explains_itself(image: Image) -> None:
    done = image.run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Run limited drops" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("up",), "it runs from a checkout"),
        (("drop", "list"), "neither MERCHDROP_DATABASE_URL nor MERCHDROP_CLOUD_SQL_INSTANCE is set"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_it_can_not_do_is_told_in_a_sentence(image: Image, arguments: tuple[str, ...], words: str) -> None:
    done = image.run(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_the_jobs_do_their_work_with_the_settings_that_terraform_gives_them(image: Image, tmp_path: Path) -> None:
    """With every name in jobs.tf, and without any other but the addresses of what stands in for Google and Stripe."""
    given = set(re.findall(r"\bMERCHDROP_[A-Z_]+(?= += )", (ROOT / "terraform" / "jobs.tf").read_text()))
    with (
        new_instance() as instance,
        in_cloud(instance, tmp_path) as cloud,
        SecretManagerStandIn().running() as manager,
    ):
        manager.keep(KEY, b"sk_test_1", crc32c(b"sk_test_1"))
        values = {
            "MERCHDROP_CLOUD_SQL_INSTANCE": INSTANCE,
            "MERCHDROP_DATABASE_USER": OPERATOR,
            "MERCHDROP_STRIPE_API_KEY": f"sm://{KEY}",
        }
        assert given == set(values)
        elsewhere = {
            "GOOGLE_APPLICATION_CREDENTIALS": str(cloud.credentials),
            "MERCHDROP_CLOUD_SQL_API_BASE": cloud.login.api_base,
            "MERCHDROP_SECRET_MANAGER_API_BASE": manager.api_base,
            "MERCHDROP_STRIPE_API_BASE": manager.api_base,  # which takes Stripe's key for a bad token
        }
        job = {**elsewhere, **values}
        migrated = image.run("migrate", "--json", **{**job, "MERCHDROP_DATABASE_USER": MIGRATE})
        assert migrated.returncode == 0, migrated.stderr
        assert json.loads(migrated.stdout)["revision"] == revisions()[-1]
        ask(instance.url("postgres"), f'GRANT merchdrop_operator TO "{OPERATOR}"')
        created = image.run("drop", "create", "tee", "--item", "M=5@3500", **job)
        assert created.returncode == 0, created.stderr
        compared = image.run("payments", "check", "tee", **job)
        assert "the provider does not tell its payments" in compared.stderr
        assert manager.calls[0] == KEY  # and then Stripe's own
        assert manager.calls[1].startswith("payment_intents")
