"""How the face and the speech of one render reach its GPU host: within the request, or before it.

What is near gets both with the request. A host beyond this machine gets large files ahead, in a way
that a broken connection can't undo, and each only once.
"""

import hashlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Protocol

from backend.gpu.uploads import OnSent, Transfers, Uploads, watched
from contracts.errors import FaceNeeded, MediaCorrupt, SpeechNeeded
from contracts.media import MIN_RESUMABLE_BYTES

MIN_HASHED_FACE_BYTES: Final = 256 * 1024
"""A smaller face is sent without asking whether the host has it."""
MAX_FAULTS: Final = 2
"""So often a host may lack, or have damaged, what it was sent ahead; then it goes with the
request."""


class Delivery(Protocol):
    """What `Rendering` asks for; kept for all tries of one render."""

    def fields(self, files: ExitStack) -> dict[str, Any]:
        """The request's fields for both files, once what goes ahead of it is there."""
        ...

    def body(self, encoded: Any) -> Any:
        """The request's body, watched if need be."""
        ...

    def needed(self, error: FaceNeeded | SpeechNeeded) -> None:
        """The host does not have what was named by its hash."""
        ...

    def broken(self) -> None:
        """The connection broke before the host answered."""
        ...

    def taken(self) -> None:
        """The host has begun the render."""
        ...


class Enclosed:
    """Both files go with the request, but for a large face that the host may still have."""

    def __init__(self, face: Path, speech: Path) -> None:
        self._face = face
        self._speech = speech
        self._face_sha256: str | None = None
        """Stands for the face where that may spare its upload; None before it was looked."""

    def fields(self, files: ExitStack) -> dict[str, Any]:
        """Name the face, or send it."""
        if self._face_sha256 is None:
            self._face_sha256 = self._worth_hashing()
        fields: dict[str, Any] = {"speech": _file("speech", self._speech, files)}
        if self._face_sha256:
            fields["face_sha256"] = self._face_sha256
        else:
            fields["face"] = _file("face", self._face, files)
        return fields

    def body(self, encoded: Any) -> Any:
        """As it is."""
        return encoded

    def needed(self, error: FaceNeeded | SpeechNeeded) -> None:
        """Send it."""
        if isinstance(error, SpeechNeeded) or not self._face_sha256:
            raise error  # it was sent
        self._face_sha256 = ""

    def broken(self) -> None:
        """It is repeated as it was."""

    def taken(self) -> None:
        """Nothing depends on it."""

    def _worth_hashing(self) -> str:
        """The face's SHA-256 where it may spare its upload, else nothing.

        An ask in vain sends the speech twice, so the face must be the larger of the two.
        """
        face_bytes, speech_bytes = self._face.stat().st_size, self._speech.stat().st_size
        if face_bytes < max(MIN_HASHED_FACE_BYTES, speech_bytes):
            return ""
        return _sha256(self._face)


class SentAhead:
    """Large files go ahead, and what the host was sent before is only named.

    Args:
        face: The file.
        speech: The file.
        uploads: How files go ahead; None for a host that can't take them so.
        transfers: What the host was sent before.
        on_sent: Is told of all bytes that leave.
    """

    def __init__(
        self,
        face: Path,
        speech: Path,
        uploads: Uploads | None,
        transfers: Transfers,
        on_sent: OnSent,
    ) -> None:
        self._paths = {"face": face, "speech": speech}
        self._uploads = uploads
        self._transfers = transfers
        self._on_sent = on_sent
        self._hashes: dict[str, str] = {}
        self._min_bytes = MIN_RESUMABLE_BYTES
        self._faults = 0
        self._given = ""
        """Hash of a face that goes with the request."""

    def fields(self, files: ExitStack) -> dict[str, Any]:
        """Send what goes ahead, and name or enclose the files.

        Raises:
            LipSyncError: As `Uploads.send`, but for damage on the way, which is mended.
        """
        self._send_ahead([role for role in self._paths if self._goes_ahead(role)])
        self._given = ""
        fields: dict[str, Any] = {}
        for role, path in self._paths.items():
            if self._named(role):
                fields[f"{role}_sha256"] = self._sha256(role)
            else:
                fields[role] = _file(role, path, files)
                if role == "face" and path.stat().st_size >= MIN_HASHED_FACE_BYTES:
                    self._given = self._sha256(role)
        return fields

    def body(self, encoded: Any) -> Any:
        """Watched, if it takes a while to leave."""
        return watched(encoded, self._on_sent)

    def needed(self, error: FaceNeeded | SpeechNeeded) -> None:
        """It is sent, for the host has forgotten it."""
        if self._faults > MAX_FAULTS:
            raise error  # it was sent
        self._transfers.forget(self._sha256("face" if isinstance(error, FaceNeeded) else "speech"))
        self._fault()

    def broken(self) -> None:
        """Send small files ahead, too: a request that is never whole would be tried for ever."""
        self._min_bytes = 1

    def taken(self) -> None:
        """The face that it came with need not be sent again."""
        if self._given:
            self._transfers.note(self._given)

    def _goes_ahead(self, role: str) -> bool:
        if self._uploads is None or self._faults > MAX_FAULTS:
            return False
        return self._paths[role].stat().st_size >= self._min_bytes and not self._known(role)

    def _named(self, role: str) -> bool:
        return self._faults <= MAX_FAULTS and self._known(role)

    def _known(self, role: str) -> bool:
        # A host that takes no files ahead keeps faces alone.
        keeps = self._uploads is not None or role == "face"
        worth = self._paths[role].stat().st_size >= min(MIN_HASHED_FACE_BYTES, self._min_bytes)
        return keeps and worth and self._transfers.knows(self._sha256(role))

    def _send_ahead(self, roles: list[str]) -> None:
        sizes = [self._paths[role].stat().st_size for role in roles]
        before = 0
        for role, size in zip(roles, sizes, strict=True):
            self._send(role, before, sum(sizes))
            before += size

    def _send(self, role: str, before: int, total: int) -> None:
        assert self._uploads  # noqa: S101 - else nothing goes ahead
        try:
            self._uploads.send(
                self._paths[role],
                self._sha256(role),
                lambda sent: self._on_sent(before + sent, total),
            )
        except MediaCorrupt:
            self._fault()
            if self._goes_ahead(role):
                self._send(role, before, total)

    def _fault(self) -> None:
        self._faults += 1

    def _sha256(self, role: str) -> str:
        if role not in self._hashes:
            self._hashes[role] = _sha256(self._paths[role])
        return self._hashes[role]


def _file(name: str, path: Path, files: ExitStack) -> tuple[str, Any, str]:
    return name, files.enter_context(path.open("rb")), "application/octet-stream"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
