"""What the project's pages tell people to type."""

import re
import shlex
from pathlib import Path


def commands(page: Path, first: str) -> list[list[str]]:
    """The lines of a page's console blocks that begin with a word, as arguments."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.M | re.S)
    lines = (line.strip() for block in blocks for line in block.splitlines())
    return [shlex.split(line, comments=True) for line in lines if line.startswith(f"{first} ")]
