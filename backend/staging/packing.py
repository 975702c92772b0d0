"""Speech in a smaller file that holds exactly the same sound, for GPU hosts that are far.

Recordings of whole numbers, 16 or 24 bits each, become FLAC. Other codecs are copied, so of a video
nothing goes but its sound. Samples in floating point, which FLAC can't hold, stay as they are.
"""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import av
import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.container import InputContainer

from backend.staging.probe import CONTAINERS

log = logging.getLogger(__name__)

_PCM: Final = {"pcm_s16le": "s16", "pcm_s16be": "s16", "pcm_s24le": "s32", "pcm_s24be": "s32"}
"""What becomes FLAC, in which form; FFmpeg keeps 24 bits in 32, of which its FLAC takes 24."""
_IN_MP4: Final = ("aac", "alac", "ac3")
"""Codecs whose first, silent samples MP4 leaves out of the sound better than Matroska does."""
_WORTH: Final = 0.9
"""A file that is hardly smaller than what it was made of is no gain."""


def pack_speech(speech: Path, packed: Path, pause: Callable[[], None]) -> Path:
    """The file to send: the packed one, where that is smaller and as good, else the speech itself.

    Args:
        speech: A recording or a video, which was probed.
        packed: Where the smaller file goes; what is there already is taken.
        pause: Called again and again; what it raises ends the work.
    """
    if packed.exists():
        return packed
    unfinished = packed.with_name(f"{packed.name}.part")
    try:
        for write in _ways(speech):
            if _try(write, speech, unfinished, pause):
                before, after = speech.stat().st_size, unfinished.stat().st_size
                unfinished.replace(packed)
                log.info("speech packed from %d to %d bytes", before, after)
                return packed
    finally:
        unfinished.unlink(missing_ok=True)
    return speech


_Write = Callable[[Path, Path, Callable[[], None]], None]


def _ways(speech: Path) -> list[_Write]:
    """How the file may become smaller, the best first."""
    try:
        with _open(speech) as source:
            codec = source.streams.audio[0].codec_context.name
            alone = len(source.streams) == 1
    except (av.error.FFmpegError, ValueError, IndexError):
        return []
    if codec in _PCM:
        return [_to_flac]
    if alone:
        return []
    return [_to_mp4, _to_matroska] if codec in _IN_MP4 else [_to_matroska]


def _try(write: _Write, speech: Path, target: Path, pause: Callable[[], None]) -> bool:
    try:
        write(speech, target, pause)
        if target.stat().st_size > _WORTH * speech.stat().st_size:
            return False
        return _sound(speech, pause) == _sound(target, pause)
    except (av.error.FFmpegError, ValueError) as error:
        # Damaged, or of a kind that the new file can't hold: the GPU host makes what it can of it.
        log.info("speech stays as it is: %s", error)
        return False


def _to_flac(speech: Path, target: Path, pause: Callable[[], None]) -> None:
    with _open(speech) as source, av.open(target, "w", format="flac") as output:
        stream = source.streams.audio[0]
        context = stream.codec_context
        track = output.add_stream("flac", rate=context.sample_rate, layout=context.layout.name)
        track.format = _PCM[context.name]
        for frame in source.decode(stream):
            pause()
            frame.pts = None
            output.mux(track.encode(frame))
        output.mux(track.encode(None))


def _to_mp4(speech: Path, target: Path, pause: Callable[[], None]) -> None:
    _copy(speech, target, "mp4", pause)


def _to_matroska(speech: Path, target: Path, pause: Callable[[], None]) -> None:
    _copy(speech, target, "matroska", pause)


def _copy(speech: Path, target: Path, container: str, pause: Callable[[], None]) -> None:
    with _open(speech) as source, av.open(target, "w", format=container) as output:
        stream = source.streams.audio[0]
        track = output.add_stream_from_template(stream)
        for packet in source.demux(stream):
            pause()
            if packet.dts is not None:
                packet.stream = track
                output.mux(packet)


def _sound(path: Path, pause: Callable[[], None]) -> tuple[str, int, set[tuple[int, str]]]:
    """What a GPU host hears: hash of the samples, how many, and of which rates and channels."""
    heard = hashlib.sha256()
    num_samples = 0
    forms = set()
    with _open(path) as source:
        for frame in source.decode(source.streams.audio[0]):
            pause()
            heard.update(_interleaved(frame))
            num_samples += frame.samples
            forms.add((frame.sample_rate, _channels(frame)))
    return heard.hexdigest(), num_samples, forms


def _channels(frame: AudioFrame) -> str:
    """Which channels there are; where one or two are not named, all take them for the usual."""
    layout = frame.layout
    return layout.name if layout.nb_channels > 2 else str(layout.nb_channels)


def _interleaved(frame: AudioFrame) -> bytes:
    samples = frame.to_ndarray()
    return np.ascontiguousarray(samples.T if frame.format.is_planar else samples).tobytes()


def _open(path: Path) -> InputContainer:
    return av.open(path, options={"format_whitelist": CONTAINERS, "protocol_whitelist": "file"})
