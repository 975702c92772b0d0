"""Media on disk: one folder a job, in it names that the server chose."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO


class JobMedia:
    """The files of one job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.face = folder / "face"
        """The photo or video, as uploaded."""
        self.speech = folder / "speech"
        """The recording as uploaded, or what a voice spoke."""
        self.speech_packed = folder / "speech.packed"
        """The same sound in a smaller file, once a GPU host that is far needed it."""
        self.fragments_index = folder / "fragments.index"
        """What the GPU host has sent so far, and in which file it is; see `Fragments`."""
        self.spoken = folder / "speech.json"
        """Voice and marks of what was spoken, so that it is spoken only once."""
        self.video = folder / "video.mp4"
        """The finished video; there only when it is whole."""
        self.poster = folder / "poster.jpg"
        """A picture of it, for lists."""
        self.face_poster = folder / "poster-face.jpg"
        """What lists show before there is anything of the video."""


class MediaStore:
    """Keeps media under a directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def create(self) -> tuple[str, JobMedia]:
        """A new job id, and its empty folder."""
        job_id = uuid.uuid4().hex
        media = self.of(job_id)
        media.folder.mkdir(parents=True)
        return job_id, media

    def of(self, job_id: str) -> JobMedia:
        """The files of a job that the JobStore knows."""
        return JobMedia(self._root / job_id)

    def remove(self, job_id: str) -> None:
        """Delete whatever a job has on disk; a worker that still writes there finds no folder."""
        folder = self.of(job_id).folder
        gone = self._root / f".gone-{uuid.uuid4().hex}"
        # Windows renames no folder in which a file is open; what is left there is swept later.
        with suppress(OSError):
            folder = folder.rename(gone)
        shutil.rmtree(folder, ignore_errors=True)

    def num_bytes(self, job_id: str) -> int:
        """How much room a job's files take."""
        num_bytes = 0
        with suppress(OSError):
            for path in self.of(job_id).folder.iterdir():
                num_bytes += path.stat().st_size
        return num_bytes

    def untouched_since(self, moment: float) -> Iterator[str]:
        """Names of the folders in which nothing has come or gone since then, in Unix seconds."""
        if not self._root.is_dir():
            return
        for folder in self._root.iterdir():
            with suppress(FileNotFoundError):
                if folder.stat().st_mtime < moment:
                    yield folder.name


def write(upload: IO[bytes], path: Path) -> None:
    """Copy an upload to its place, piece by piece."""
    upload.seek(0)
    with path.open("wb") as file:
        shutil.copyfileobj(upload, file, 1 << 20)
