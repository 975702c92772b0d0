"""What a fault says of the job that it befell, of its GPU host, or of this machine."""

import errno
from typing import Final

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from contracts.errors import (
    EngineError,
    EngineNotFound,
    EngineUnavailable,
    GpuAnswerBroken,
    GpuRefused,
    GpuTimeout,
    GpuUnreachable,
    ImageTooLarge,
    LipSyncError,
    NoFaceFound,
    SpeechTooLong,
    TextRejected,
    UndecodableMedia,
    UnsupportedMedia,
    VersionMismatch,
)

HOST_FAULTS: Final = (
    GpuUnreachable, GpuTimeout, GpuRefused, GpuAnswerBroken, VersionMismatch,
)  # fmt: skip
"""What says nothing of the job: it moves on to another host, or waits for one."""
_NO_ROOM = (
    errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
)  # fmt: skip
_NO_DATABASE = (OperationalError, InterfaceError, PoolTimeout)
_FIELDS = (
    ((TextRejected, SpeechTooLong), "text"),
    # Speech was decoded before the job was accepted, so the GPU host means the face.
    ((NoFaceFound, UnsupportedMedia, UndecodableMedia, ImageTooLarge), "image"),
    ((EngineNotFound, EngineUnavailable), "engine"),
)


def is_trouble(error: Exception) -> bool:
    """Whether this machine can't work at the moment, whatever the job."""
    no_room = isinstance(error, OSError) and error.errno in _NO_ROOM
    return no_room or isinstance(error, _NO_DATABASE)


def counts(error: LipSyncError) -> bool:
    """Whether the attempt may have failed by chance, and is counted; else it fails the job."""
    broke = isinstance(error, EngineError) and not isinstance(error, EngineUnavailable)
    return broke or error.code == LipSyncError.code


def field_of(error: LipSyncError) -> str:
    """The field of the form that is at fault; empty where none is."""
    found = (field for kinds, field in _FIELDS if isinstance(error, kinds))
    return error.field or next(found, "")
