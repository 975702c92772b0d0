import io

from backend.progress_bar import ProgressBar
from contracts.jobs import JobStage


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_one_line_changes():
    terminal = Terminal()
    bar = ProgressBar(terminal)
    bar.show(JobStage.WAITING, 0.0, reason="no GPU host answers")
    bar.show(JobStage.RENDERING, 0.5, 72.4)
    bar.close()
    bar.close()
    first, second = terminal.getvalue().split("\r\x1b[K")[1:]
    assert first == f"[{'.' * 24}]   0%  Waiting for its turn: no GPU host answers"
    assert second == f"[{'#' * 12}{'.' * 12}]  50%  Moving the mouth, 1 min 12 s left\n"


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
