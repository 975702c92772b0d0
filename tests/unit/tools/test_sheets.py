"""The sheets of facewarp's mouths are drawn of what can be drawn."""

from pathlib import Path

import cv2
import pytest

from benchmarks import sheets
from tests.media import portrait, saved_frame


def test_a_file_that_is_no_picture_is_told_and_the_others_are_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter.png").write_bytes(b"Dear reader,")
    (tmp_path / "face.png").write_bytes(saved_frame(portrait()))
    pictures = [str(tmp_path / name) for name in ("letter.png", "face.png")]
    assert sheets.main([*pictures, "-o", str(tmp_path / "drawn"), "--shapes-only"]) == 0
    assert "letter: " in capsys.readouterr().out
    drawn = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert drawn == ["face.png", "mouths-0.png"]
    sheet = cv2.imread(str(tmp_path / "drawn" / "face.png"))
    assert sheet is not None
    # The source and the shapes, faces above and mouths below.
    assert sheet.shape == (2 * sheets.SIDE, (1 + len(sheets.SHAPES)) * sheets.SIDE, 3)
