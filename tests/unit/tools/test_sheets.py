"""The sheets on which mouths are looked at."""

from pathlib import Path

import cv2
import pytest

from benchmarks.sheets import COLUMNS, SIDE, main, tiles
from tests.media import portrait


def test_a_picture_that_shows_no_face_or_is_none_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = [tmp_path / name for name in ("none.png", "nobody.png", "face.png", "b/face.png")]
    pictures[-1].parent.mkdir()
    pictures[0].write_bytes(b"no picture")
    cv2.imwrite(str(pictures[1]), portrait()[300:, :200])
    for picture in pictures[2:]:
        cv2.imwrite(str(picture), portrait()[:256, 100:356])
    output = tmp_path / "sheets"
    assert main([*map(str, pictures), "-o", str(output), "--shapes-only"]) == 0
    assert sorted(sheet.name for sheet in output.iterdir()) == [
        "face-2.png", "face.png", "mouths-0.png",
    ]  # fmt: skip
    said = capsys.readouterr().out
    assert "none: " in said
    assert "nobody: " in said
    page = cv2.imread(str(output / "mouths-0.png"))
    assert page is not None
    assert page.shape == (2 * SIDE, COLUMNS * SIDE, 3)


def test_what_lies_beyond_the_picture_is_white() -> None:
    (tile,) = tiles([portrait()], (-512, 0, 1024))
    half = SIDE // 2
    assert tile[:, : half - 2].min() == 255
    assert tile[: half - 2, half + 2 :].std() > 10
    assert tile[half + 2 :].min() == 255
