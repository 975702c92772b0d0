"""What must hold of each notebook's file; ruff lints and formats the cells."""

import ast
import re
import subprocess
import sys

import nbformat
import pytest
import yaml
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

from notebooks.colab import Host
from tests.notebooks import FOLDER, code_cells
from tools.environment import ROOT

NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))
MOST_CELLS = 6


@pytest.fixture(params=NAMES)
def notebook(request: pytest.FixtureRequest) -> NotebookNode:
    return nbformat.read(FOLDER / request.param, as_version=4)


def test_both_notebooks_are_there() -> None:
    assert NAMES == ["colab_gpu_server.ipynb", "quickstart.ipynb"]


def test_the_file_is_valid_and_holds_no_outputs(notebook: NotebookNode) -> None:
    nbformat.validate(notebook)
    for cell in code_cells(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None


def test_it_has_at_most_six_cells_each_with_a_title_and_a_form(notebook: NotebookNode) -> None:
    cells = code_cells(notebook)
    assert len(cells) <= MOST_CELLS
    for number, cell in enumerate(cells, start=1):
        assert cell.source.startswith(f"# @title {number}. ")
    assert "# @param" in cells[0].source


def test_its_cells_hold_no_logic(notebook: NotebookNode) -> None:
    for cell in code_cells(notebook):
        tree = ast.parse(TransformerManager().transform_cell(cell.source))
        kinds = (ast.If, ast.While, ast.Try, ast.FunctionDef, ast.ClassDef, ast.With, ast.Lambda)
        assert not [node for node in ast.walk(tree) if isinstance(node, kinds)]


def test_colab_keeps_outputs_with_their_tokens_out_of_what_it_saves() -> None:
    notebook = nbformat.read(FOLDER / "colab_gpu_server.ipynb", as_version=4)
    assert notebook.metadata.colab.private_outputs is True


def test_the_linter_reads_notebooks() -> None:
    command = [sys.executable, "-m", "ruff", "check", "--show-files", "."]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {name for name in NAMES if f"notebooks/{name}" in listed} == set(NAMES)


def test_a_commit_strips_outputs_and_leaves_the_cells_their_names() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (strip,) = [
        hook for repo in hooks["repos"] for hook in repo["hooks"] if hook["id"] == "nbstripout"
    ]
    assert strip["args"] == ["--keep-id"], "it would number the cells, and refuse each commit"


def test_every_step_of_the_host_is_called_by_a_cell() -> None:
    notebook = nbformat.read(FOLDER / "colab_gpu_server.ipynb", as_version=4)
    called = {
        name
        for cell in code_cells(notebook)
        for name in re.findall(r"^host\.(\w+)\(", cell.source, re.M)
    }
    steps = {name for name in vars(Host) if not name.startswith("_")}
    assert called == steps - {"stop"}
