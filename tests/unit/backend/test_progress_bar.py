import io

from backend.progress_bar import ProgressBar
from contracts.jobs import JobStage


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_one_line_changes(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    terminal = Terminal()
    bar = ProgressBar(terminal)
    bar.show(JobStage.WAITING, 0.0, reason="no GPU host answers")
    bar.show(JobStage.RENDERING, 0.5, 72.4)
    bar.close()
    bar.close()
    first, second = terminal.getvalue().split("\r\x1b[K")[1:]
    assert first == f"[{'.' * 24}]   0%  Waiting for its turn: no GPU host answers"
    assert second == f"[{'#' * 12}{'.' * 12}]  50%  Moving the mouth, 1 min 12 s left\n"


def test_the_line_is_never_wider_than_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    terminal = Terminal()
    ProgressBar(terminal).show(JobStage.WAITING, 0.0, reason="no GPU host answers")
    assert terminal.getvalue() == f"\r\x1b[K[{'.' * 24}]   0%  Waitin"


def test_an_end_without_a_video_is_left_to_who_knows_why():
    file = io.StringIO()
    ProgressBar(file).show(JobStage.DONE, 0.4)
    assert file.getvalue() == ""


def test_in_a_log_a_line_is_written_for_each_stage_and_each_tenth():
    file = io.StringIO()
    bar = ProgressBar(file)
    for progress in (0.0, 0.01, 0.02, 0.11, 0.12):
        bar.show(JobStage.RENDERING, progress, 9.0)
    bar.show(JobStage.DONE, 1.0)
    bar.close()
    assert file.getvalue().splitlines() == [
        "  0%  Moving the mouth, 9 s left",
        " 11%  Moving the mouth, 9 s left",
        "100%  Done",
    ]
