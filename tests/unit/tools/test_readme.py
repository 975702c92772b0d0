"""What README.md and its sisters tell people to type, and where their links lead."""

import re
from pathlib import Path

import pytest

from contracts.lipsync import LipSyncOptions
from tests.pages import commands
from tools.commands import parser
from tools.environment import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_run_command_of_the_page_exists(page: Path) -> None:
    for command in commands(page, "python3"):
        assert command[:2] == ["python3", "run.py"]
        parser().parse_args(command[2:])


def test_continuous_integration_runs_the_readmes_test_command() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    assert "python3 run.py test" in script
    assert ["python3", "run.py", "test"] in commands(ROOT / "README.md", "python3")


def test_continuous_integration_installs_the_packages_that_the_readme_lists() -> None:
    listed = [command[3:] for command in commands(ROOT / "README.md", "sudo")]
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    installed = re.search(r"apt-get install (?:-\S+ )*(.+)", script)
    assert installed is not None
    assert [installed[1].split()] == listed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_local_link_of_the_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_map_of_the_code_names_files_that_exist() -> None:
    named = re.findall(r"`([\w./]+/[\w.]*)`", (ROOT / "docs/ARCHITECTURE.md").read_text())
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", [ROOT / "README.md", ROOT / "docs/API.md"], ids=lambda p: p.name)
def test_every_example_of_the_api_names_files_and_addresses_that_exist(name: Path) -> None:
    for command in commands(name, "curl"):
        for argument in command:
            if "=@" in argument:
                assert (ROOT / argument.split("@")[1]).is_file(), argument


def test_the_api_page_names_options_that_exist() -> None:
    row = re.search(r"^\| (`engine`.*?) \|", (ROOT / "docs/API.md").read_text(), re.M)
    assert row is not None
    assert set(re.findall(r"`(\w+)`", row[1])) <= set(LipSyncOptions.model_fields)
