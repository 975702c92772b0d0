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


def test_pictures_of_one_name_keep_a_sheet_each(tmp_path: Path) -> None:
    pictures = [tmp_path / folder / "face.png" for folder in "ab"]
    for picture in pictures:
        picture.parent.mkdir()
        picture.write_bytes(picture.parent.name.encode())
    assert list(sheets.named(pictures)) == [("face", b"a"), ("face-2", b"b")]


def test_what_lies_beyond_the_picture_is_white() -> None:
    (tile,) = sheets.tiles([portrait()], (-512, 0, 1024))
    half = sheets.SIDE // 2
    assert tile[:, : half - 2].min() == 255
    assert tile[: half - 2, half + 2 :].std() > 10
    assert tile[half + 2 :].min() == 255
