"""Do on this machine what a stage of the Dockerfile does, where no container engine is at hand.

`python -m tools.image_steps backend --folder /tmp/backend` copies what the stage copies, runs its
`pip` lines in a clean environment, and imports what it starts. It changes no system: what a stage
does beyond that, such as adding a user, is left out and said.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tools.environment import ROOT, say

DOCKERFILE = ROOT / "Dockerfile"


class Instruction(NamedTuple):
    """One instruction of a Dockerfile, its lines joined."""

    name: str
    text: str


class Stage(NamedTuple):
    """One stage, with those that it is built on."""

    name: str
    instructions: tuple[Instruction, ...]
    """Those of the stages beneath first."""

    def texts(self, name: str) -> list[str]:
        """What stands behind each instruction of a name."""
        return [each.text for each in self.instructions if each.name == name]

    def command(self) -> list[str]:
        """What a container runs."""
        return list(json.loads(self.texts("CMD")[-1]))

    def health_check(self) -> list[str]:
        """What says whether a container is well."""
        return list(json.loads(self.texts("HEALTHCHECK")[-1].partition(" CMD ")[2]))

    def environment(self) -> dict[str, str]:
        """What the image sets."""
        pairs = (pair for text in self.texts("ENV") for pair in shlex.split(text))
        return dict(pair.split("=", 1) for pair in pairs)


class StepsFailed(Exception):
    """A step did not work; the message has its output."""


def stages(text: str, arguments: Mapping[str, str] | None = None) -> dict[str, Stage]:
    """The stages of a Dockerfile by name, in order.

    Args:
        text: The file.
        arguments: Values of `ARG`s in place of their defaults.
    """
    found: dict[str, Stage] = {}
    values: dict[str, str] = {}
    name = ""
    for each in instructions(text):
        if each.name == "ARG" and not found:
            argument, _, default = each.text.partition("=")
            values[argument] = (arguments or {}).get(argument, default)
        elif each.name == "FROM":
            filled = re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], each.text)
            beneath, _, name = filled.partition(" AS ")
            found[name] = Stage(name, found[beneath].instructions if beneath in found else ())
        else:
            found[name] = Stage(name, (*found[name].instructions, each))
    return found


def instructions(text: str) -> Iterator[Instruction]:
    """The instructions of a Dockerfile."""
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, rest = line.partition(" ")
        yield Instruction(name.upper(), " ".join(rest.split()))


def perform(stage: Stage, folder: Path, root: Path = ROOT) -> dict[str, str]:
    """Copy and install what a stage does, and import what it starts.

    Args:
        stage: The stage.
        folder: Gets `app/`, as in the image, and the environment `venv/`.
        root: Where files are copied from.

    Returns:
        The environment in which `stage.command()` runs in `folder / "app"`.

    Raises:
        StepsFailed: A step did not work.
    """
    app, scripts = folder / "app", folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    app.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= stage.environment() | {"VIRTUAL_ENV": str(folder / "venv")}
    environment["PATH"] = os.pathsep.join([str(scripts), environment["PATH"]])
    if not scripts.exists():
        _run([sys.executable, "-m", "venv", str(folder / "venv")], folder, environment)
    for each in stage.instructions:
        if each.name == "COPY":
            _copy(each.text, app, root)
        elif each.name == "RUN":
            for command in each.text.split(" && "):
                if command.startswith("pip "):
                    say(command)
                    # Its downloads may be kept here, where they make no image larger.
                    words = [word for word in shlex.split(command) if word != "--no-cache-dir"]
                    _run(words, app, environment)
                else:
                    say(f"left out: {command}")
    module = stage.command()[2]
    say(f"import {module}")
    _run(["python", "-W", "ignore", "-c", f"import {_imported(module)}"], app, environment)
    return environment


def _imported(module: str) -> str:
    """What holds all that a service's `python -m` uses."""
    return module if "." in module else f"{module}.app"


def _copy(text: str, app: Path, root: Path) -> None:
    """`COPY source… target`; a folder's content goes into the target."""
    *sources, target = text.split()
    for source in sources:
        say(f"copy {source}")
        if (root / source).is_dir():
            unwanted = shutil.ignore_patterns("__pycache__")
            shutil.copytree(root / source, app / target, ignore=unwanted, dirs_exist_ok=True)
        else:
            (app / target).mkdir(parents=True, exist_ok=True)
            shutil.copy(root / source, app / target)


def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
    # Looked for here: where it is started, the PATH of this process would count.
    program = shutil.which(command[0], path=environment["PATH"]) or command[0]
    done = subprocess.run(
        [program, *command[1:]],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode != 0:
        raise StepsFailed(f"{shlex.join(command)}\n{done.stdout}")


def main() -> int:
    """Do one stage; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.image_steps", description=__doc__)
    parser.add_argument("stage", choices=list(stages(DOCKERFILE.read_text(encoding="utf-8"))))
    parser.add_argument("--folder", type=Path, required=True, help="gets app/ and venv/")
    parser.add_argument("--accelerator", default="cpu", choices=("none", "cpu", "cuda"))
    options = parser.parse_args()
    arguments = {"ACCELERATOR": options.accelerator}
    found = stages(DOCKERFILE.read_text(encoding="utf-8"), arguments)
    try:
        perform(found[options.stage], options.folder.resolve())
    except StepsFailed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
