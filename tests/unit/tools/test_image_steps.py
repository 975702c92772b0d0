import sys
import textwrap
from pathlib import Path

import pytest

from tools.image_steps import Stage, StepsFailed, instructions, perform, stages

TEXT = textwrap.dedent("""\
    # A comment
    ARG KIND=plain

    FROM python:3.12-slim AS base
    ENV ONE=1 TWO="two words"
    RUN useradd someone \\
        && install -d /data

    FROM base AS parts-plain
    COPY parts parts

    FROM base AS parts-rich
    COPY more.txt deep/

    # About the last
    FROM parts-${KIND} AS whole
    ENV ONE=changed
    HEALTHCHECK --interval=10s CMD ["python", "-c", "pass"]
    CMD ["python", "-m", "parts.app"]
    """)


def test_a_stage_has_the_instructions_of_those_beneath_it_first() -> None:
    whole = stages(TEXT)["whole"]
    assert whole.texts("COPY") == ["parts parts"]
    assert whole.texts("RUN") == ["useradd someone && install -d /data"]
    assert whole.environment() == {"ONE": "changed", "TWO": "two words"}
    assert whole.health_check() == ["python", "-c", "pass"]
    assert whole.command() == ["python", "-m", "parts.app"]


def test_an_argument_chooses_what_a_stage_is_built_on() -> None:
    assert stages(TEXT, {"KIND": "rich"})["whole"].texts("COPY") == ["more.txt deep/"]


def test_lines_that_go_on_are_one_instruction_and_comments_are_none() -> None:
    assert [each.name for each in instructions(TEXT)][:4] == ["ARG", "FROM", "ENV", "RUN"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "parts" / "__pycache__").mkdir(parents=True)
    (root / "parts" / "app.py").write_text("NUMBER = 1\n")
    (root / "more.txt").touch()
    return root


def stage(*lines: str, module: str = "parts.app") -> Stage:
    text = "\n".join(["FROM scratch AS one", *lines, f'CMD ["python", "-m", "{module}"]'])
    return stages(text)["one"]


@pytest.mark.slow
def test_files_are_copied_and_what_is_started_is_imported(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = stage("COPY parts parts", "COPY more.txt deep/", "ENV ONE=1", "RUN useradd someone")
    environment = perform(image, tmp_path / "image", project)
    copied = {path.relative_to(tmp_path / "image" / "app") for path in copies(tmp_path)}
    assert copied == {Path("parts/app.py"), Path("deep/more.txt")}
    assert environment["ONE"] == "1"
    assert "left out: useradd someone" in capsys.readouterr().out


def copies(tmp_path: Path) -> list[Path]:
    app = tmp_path / "image" / "app"
    return [path for path in app.rglob("*") if path.is_file() and path.suffix != ".pyc"]


@pytest.mark.slow
def test_a_step_that_fails_says_which_and_why(project: Path, tmp_path: Path) -> None:
    image = stage("COPY parts parts", "RUN pip install --no-index no-such-package")
    with pytest.raises(StepsFailed, match=r"(?s)pip install .*no-such-package"):
        perform(image, tmp_path / "image", project)
    with pytest.raises(StepsFailed, match="No module named 'gone'"):
        perform(stage("COPY parts parts", module="gone.app"), tmp_path / "image", project)


@pytest.mark.slow
def test_the_environment_is_clean(project: Path, tmp_path: Path) -> None:
    (project / "parts" / "app.py").write_text("import sys; raise SystemExit(sys.prefix)\n")
    with pytest.raises(StepsFailed) as raised:
        perform(stage("COPY parts parts"), tmp_path / "image", project)
    assert str(tmp_path) in str(raised.value)
    assert sys.prefix not in str(raised.value).splitlines()[1:]
