"""Google's own Pub/Sub emulator, where it is installed: a jar of the gcloud SDK, run by Java."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

_IN_SDK = "platform/pubsub-emulator/lib"
_JAR = "cloud-pubsub-emulator-*-all.jar"
_SDK_FOLDERS = ("/usr/lib/google-cloud-sdk", "/usr/share/google-cloud-sdk", "/opt/google-cloud-sdk")


class EmulatorMissing(Exception):
    """Google's emulator can't be run here; the message says what to install."""


def command(port: int) -> list[str]:
    """The command that runs the emulator on 127.0.0.1.

    Raises:
        EmulatorMissing: no jar, or no Java.
    """
    if (java := shutil.which("java")) is None:
        raise EmulatorMissing("Google's Pub/Sub emulator needs Java; install a JRE, or use --pubsub embedded")
    return [java, "-jar", str(_jar()), "--host=127.0.0.1", f"--port={port}"]


def _jar() -> Path:
    if given := os.environ.get("MERCHDROP_PUBSUB_EMULATOR_JAR"):
        if not Path(given).is_file():
            raise EmulatorMissing(f"MERCHDROP_PUBSUB_EMULATOR_JAR names {given}, which is no file")
        return Path(given)
    gcloud = shutil.which("gcloud")
    folders = [Path(gcloud).resolve().parent.parent] if gcloud else []
    for folder in [*folders, *map(Path, _SDK_FOLDERS)]:
        if jars := list((folder / _IN_SDK).glob(_JAR)):
            return max(jars, key=_version)
    raise EmulatorMissing(
        "Google's Pub/Sub emulator was not found; install it with `gcloud components install pubsub-emulator`,"
        " name its jar in MERCHDROP_PUBSUB_EMULATOR_JAR, or use --pubsub embedded"
    )


def _version(jar: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", jar.name)]
