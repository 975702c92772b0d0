"""Fragments to one MP4."""

import io
from fractions import Fraction

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


def test_no_picture_and_no_sound_changes() -> None:
    parts = fragments()
    assert len(parts) > 5
    assert packets(join_fragments(parts)) == packets(b"".join(parts))


def test_the_index_comes_first_and_the_label_stays() -> None:
    data = join_fragments(fragments())
    assert 0 < data.find(b"moov") < data.find(b"mdat")
    assert b"moof" not in data
    with av.open(io.BytesIO(data)) as video:
        assert video.metadata["comment"] == LABEL
        assert video.duration == 2_000_000
