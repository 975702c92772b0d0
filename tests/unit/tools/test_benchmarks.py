"""The scripts of benchmarks/ start; what they measure is theirs to say."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import report
from tools import commands
from tools.environment import ROOT


@pytest.mark.parametrize("name", commands.BENCHMARKS)
def test_every_benchmark_starts_and_says_how_it_is_called(name: str, torch: ModuleType) -> None:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--output" in done.stdout
    assert f"run.py bench {name}" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="a process can't become another one")
def test_bench_hands_its_arguments_on(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _path, command: started.append(command))
    monkeypatch.setattr(os, "chdir", lambda _path: None)
    monkeypatch.setattr(commands, "_with_dev", lambda torch: "python")
    commands.run(["bench", commands.BENCHMARKS[0], "--rounds", "3"])
    assert started == [["python", "-m", f"benchmarks.{commands.BENCHMARKS[0]}", "--rounds", "3"]]
    with pytest.raises(SystemExit):
        commands.run(["bench", "report"])


def test_a_report_names_the_commit_and_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report.write({"answer": 42}, tmp_path / "results" / "it.json")
    kept = json.loads((tmp_path / "results" / "it.json").read_text(encoding="utf-8"))
    assert kept == json.loads(capsys.readouterr().out)
    assert kept["answer"] == 42
    assert kept["about"]["commit"]
