"""The command `doctor` of a service: `python -m SERVICE doctor`.

Standard library only, and started past the service's command line, which imports everything: so it
also looks where packages are broken.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from contracts.doctor.findings import Finding, as_json, as_text, exit_status, fault, well
from contracts.doctor.machine import look_at_python, this_python
from contracts.doctor.packages import differences

ROOT: Final = Path(__file__).resolve().parents[2]


class Doctor(NamedTuple):
    """What looks at one service."""

    package: str
    """Its folder, and the name of its lock."""
    service: str
    """What people call it."""
    look: Callable[[bool], list[Finding]]
    """Looks at all that needs packages; is told whether to look at the machine, too. Raises
    ImportError where its modules can't be imported."""

    def run(self, arguments: Sequence[str] | None = None) -> int:
        """Run the command; gives the exit status."""
        parser = argparse.ArgumentParser(
            prog=f"python -m {self.package} doctor",
            description=f"Look for what is missing or wrong here for the {self.service}.",
        )
        self.add_arguments(parser)
        return self.examine(parser.parse_args(arguments))

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Put the command's options into a parser."""
        parser.add_argument("--json", action="store_true", help="print JSON, for programs")
        parser.add_argument(
            "--service",
            action="store_true",
            help="leave out what `run.py doctor` looks at by itself: Python, packages, memory, "
            "disk, port",
        )
        parser.set_defaults(examine=self.examine)

    def examine(self, options: argparse.Namespace) -> int:
        """Look, and print what was found.

        Returns:
            1 where there is a fault, else 0.
        """
        found = self.findings(machine=not options.service)
        tell(found, json=options.json)
        return exit_status(found)

    def findings(self, *, machine: bool = True) -> list[Finding]:
        """All that is found.

        Args:
            machine: Also at what does not depend on the service alone.
        """
        found = [look_at_python(), self._packages()] if machine else []
        try:
            return found + self.look(machine)
        except ImportError as error:
            if exit_status(found):  # which is why
                return found
            what = f"the {self.service}'s own program can't be imported: {error}"
            return [*found, fault("packages", what, "It can't start.", self._install())]

    def _packages(self) -> Finding:
        lock = ROOT / "requirements" / f"{self.package}.txt"
        if not lock.is_file():
            return well("packages", f"not compared: {lock} is not here")
        wrong = differences([lock])
        if wrong:
            why = "The service may not start, or do something else than what was tried."
            return fault("packages", "; ".join(wrong), why, self._install())
        return well("packages", f"as in requirements/{lock.name}")

    def _install(self) -> str:
        options = "--force-reinstall --no-deps --only-binary :all: --require-hashes"
        return f"{this_python()} -m pip install {options} -r requirements/{self.package}.txt"


def tell(findings: Sequence[Finding], *, json: bool) -> None:
    """Print findings, for a program or for people."""
    width = min(shutil.get_terminal_size().columns, 100)
    sys.stdout.write(f"{as_json(findings) if json else as_text(findings, width)}\n")
