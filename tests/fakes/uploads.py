"""Files that people upload, good and bad, made by code."""

import io
import struct
import wave
import zlib

import av
import numpy as np
from PIL import Image


def photo(
    image_format: str = "JPEG", mode: str = "RGB", size: tuple[int, int] = (96, 128)
) -> bytes:
    """A picture of nobody."""
    file = io.BytesIO()
    Image.effect_noise(size, 40).convert(mode).save(file, image_format)
    return file.getvalue()


def mp3() -> bytes:
    """A second of a tone, as the online voice sends its speech."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=24_000, layout="mono")
        samples = 0.4 * np.sin(np.arange(24_000) / 10)
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], "fltp", "mono")
        frame.sample_rate = 24_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def tone(seconds: float, rate: int = 16_000) -> bytes:
    """A WAV with a tone."""
    samples = 0.3 * np.sin(2 * np.pi * 200 * np.arange(round(seconds * rate)) / rate)
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(rate)
        wav.writeframes((samples * 32767).astype("<i2").tobytes())
    return file.getvalue()


def huge_png(side: int = 9000) -> bytes:
    """An empty PNG of 81 megapixels in some 10 kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def video(seconds: float = 0.4, *, sound: bool = False, size: int = 64) -> bytes:
    """An MP4 of nothing in particular."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        pictures = container.add_stream("libx264", rate=25)
        pictures.width = pictures.height = size
        pictures.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=48_000, layout="mono") if sound else None
        for i in range(round(seconds * 25)):
            picture = np.full((size, size, 3), 20 + i % 200, np.uint8)
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(pictures.encode(None))
        if audio is not None:
            samples = np.zeros((1, round(seconds * 48_000)), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
            frame.sample_rate = 48_000
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return file.getvalue()


FFCONCAT = b"ffconcat version 1.0\nfile /etc/hostname\nfile other.mp4\n"
M3U8 = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile:///tmp/other.ts\n#EXT-X-ENDLIST\n"
