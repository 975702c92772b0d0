"""Fragments to one MP4."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from gpu_service.data import Frame
from gpu_service.media.encode import Encoder
from gpu_service.media.join import join_fragments
from tests.media import picture, recorded, tone

LABEL = "AI-generated video; face animated by counting 1"


def fragments() -> list[bytes]:
    still = np.asarray(picture(64, 48))[..., ::-1]
    sound = recorded(tone(2.0), 48_000)
    encoder = Encoder(None, width=64, height=48, fps=Fraction(25), sound=sound, label=LABEL)
    parts = []
    for index in range(50):
        frame: Frame = np.ascontiguousarray(np.roll(still, 2 * index, axis=1))
        parts += encoder.write(frame)
    return [part.data for part in (*parts, *encoder.finish())]


def packets(data: bytes) -> list[tuple[int, Fraction, bytes]]:
    with av.open(io.BytesIO(data)) as video:
        return sorted(
            (packet.stream.index, packet.pts * packet.time_base, bytes(packet))
            for packet in video.demux()
            if packet.pts is not None and packet.time_base is not None
        )


def test_no_picture_and_no_sound_changes(tmp_path: Path) -> None:
    parts = fragments()
    assert len(parts) > 5
    join_fragments(parts, tmp_path / "video.mp4")
    assert packets((tmp_path / "video.mp4").read_bytes()) == packets(b"".join(parts))
    assert [file.name for file in tmp_path.iterdir()] == ["video.mp4"]


def test_the_index_comes_first_and_the_label_stays(tmp_path: Path) -> None:
    join_fragments(fragments(), tmp_path / "video.mp4")
    data = (tmp_path / "video.mp4").read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")
    assert b"moof" not in data
    with av.open(io.BytesIO(data)) as video:
        assert video.metadata["comment"] == LABEL
        assert video.duration == 2_000_000
