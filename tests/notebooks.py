"""Notebooks, run as a person would: forms filled in, then every cell in order."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

from tools.environment import ROOT

FOLDER = ROOT / "notebooks"
LONGEST_CELL_SECONDS = 600


class _ThisPython(KernelSpecManager):
    """Knows one kernel: the Python that runs the tests, whatever is installed on the machine."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, language="python", display_name=kernel_name)


def filled_in(name: str, form: Mapping[str, object]) -> NotebookNode:
    """A notebook of the project with other values in its `@param` lines."""
    notebook = nbformat.read(FOLDER / name, as_version=4)
    for field, value in form.items():
        line = re.compile(rf"^{field} = .*?(  # @param)", re.M)
        changed = 0
        for cell in code_cells(notebook):
            cell.source, count = line.subn(lambda m: f"{field} = {value!r}{m[1]}", cell.source)  # noqa: B023
            changed += count
        assert changed == 1, f"{name} has no one field {field}"
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def run(notebook: NotebookNode, folder: Path, **environment: str) -> NotebookNode:
    """Run every cell in the folder; raises `CellExecutionError` where one fails."""
    manager = AsyncKernelManager(kernel_spec_manager=_ThisPython())
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=LONGEST_CELL_SECONDS,
        resources={"metadata": {"path": str(folder)}},
    )
    # What IPython keeps of a session goes where the test's files go.
    own = {"IPYTHONDIR": str(folder / "ipython"), "PYTHONPATH": ""}
    client.execute(env=os.environ | own | environment, cleanup_kc=True)
    return notebook


def text_of(cell: NotebookNode) -> str:
    """What a cell has printed."""
    return "".join(out.get("text", "") for out in cell.outputs)


def shown(cell: NotebookNode) -> str:
    """The HTML that a cell has shown."""
    parts: list[Any] = [out.get("data", {}).get("text/html", "") for out in cell.outputs]
    return "".join("".join(part) for part in parts)
