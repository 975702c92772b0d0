"""Compile the locks, and write `.env.example`."""

import subprocess
import sys

from tools.environment import OPTIONAL, ROOT, SETS, say

UV = ["-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
UV += ["--generate-hashes", "--override", "requirements/overrides.txt"]


def lock(python: str, *, upgrade: bool) -> int:
    """Compile the dev lock, then the others, at the same versions.

    Args:
        python: The interpreter that has uv.
        upgrade: Take newer versions where the `.in` files allow; else keep what is locked.

    Returns:
        The exit status.
    """
    for name in (*SETS["dev"], *SETS["default"], *OPTIONAL):
        target = f"requirements/{name}.txt"
        say(f"locking {target}")
        command = [python, *UV, f"requirements/{name}.in", "-o", target]
        command += [] if name == "dev" else ["-c", "requirements/dev.txt"]
        # The header names a command that works everywhere, whatever Python this one is.
        command += ["--custom-compile-command", "python3 run.py lock"]
        status = subprocess.call(command + (["--upgrade"] if upgrade else []), cwd=ROOT)
        if status:
            return status
    return 0


def write_example(python: str) -> int:
    """Write `.env.example`, in a Python that can import the services.

    Returns:
        The exit status.
    """
    made = subprocess.run(
        [python, "-m", "tools.env_example"], cwd=ROOT, stdout=subprocess.PIPE, check=False
    )
    if made.returncode == 0:
        (ROOT / ".env.example").write_bytes(made.stdout)
        say("wrote .env.example")
    else:
        print(".env.example is unchanged", file=sys.stderr)
    return made.returncode
