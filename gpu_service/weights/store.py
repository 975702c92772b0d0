"""The weights that are on this host: a file or an export each, with a record of what it is."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from contracts.errors import CheckpointMismatch, CheckpointMissing, InvalidInput
from gpu_service.weights.download import Progress, download
from gpu_service.weights.exports import DESCRIPTION, read_export, sha256_of
from gpu_service.weights.lock import alone
from gpu_service.weights.registry import Weights, weights_named

Check = Callable[[Weights, Path], None]
"""Raises CheckpointMismatch where a file or an export does not hold these weights."""
Verdict = Literal["unchanged", "changed", "gone"]
Fingerprint = frozenset[tuple[object, ...]]


class WeightsRecord(BaseModel):
    """What is known of an installed file or export."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    file: str
    """Its name in the folder."""
    sha256: str
    """Of a file; of an export that of its files' names and digests."""
    num_bytes: int
    added: datetime
    source: str
    """The file, the folder or the address that it came from."""
    licence: str
    """What it may be used for, as the person was told."""
    licence_accepted: bool
    """Whether the person accepted that."""


class WeightsStore:
    """The weights of one folder.

    Args:
        folder: Made when something is put into it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def record(self, name: str) -> WeightsRecord | None:
        """What is known of the installed file, if there is one."""
        try:
            return WeightsRecord.model_validate_json(self._record_path(name).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def find(self, name: str) -> Path | None:
        """The installed file or the folder of the installed export, if it is there."""
        record = self.record(name)
        path = self.folder / record.file if record else None
        return path if path and path.exists() else None

    def fingerprint(self) -> Fingerprint:
        """Equal as long as the same files are installed; a file that no record names is not."""
        marks: list[tuple[object, ...]] = []
        for path in self.folder.glob("[!.]*.json"):
            record = self.record(path.stem)
            file = _mark(self.folder / record.file) if record else None
            marks.append((path.name, _mark(path), file))
        return frozenset(marks)

    def require(self, name: str, field: str = "") -> Path:
        """The installed file.

        Args:
            name: Of the weights.
            field: The option that asks for them, if one does.

        Raises:
            CheckpointMissing: It is not there; the hint says how to get it.
            InvalidInput: There are no weights of this name.
        """
        weights = weights_named(name)
        path = self.find(name)
        if path is None:
            raise CheckpointMissing(
                f"the checkpoint {name} is not installed", hint=how_to_get(weights), field=field
            )
        return path

    def add(
        self,
        file: Path,
        weights: Weights,
        check: Check,
        *,
        accepted: bool = False,
    ) -> WeightsRecord:
        """Install a copy of a file or an export; what is installed stays until the copy is whole.

        Args:
            file: The file, or the export's folder.
            weights: What it is.
            check: Looks into it.
            accepted: Whether the person accepts the licence.

        Raises:
            Busy: Another process installs these weights.
            CheckpointMismatch: The file holds something else.
            InvalidInput: The licence must be accepted first.
            OSError: The file can't be read or copied.
        """
        _refuse_unaccepted(weights, accepted=accepted)
        check(weights, file)
        with self._alone(weights):
            return self._install(file, weights, str(file.absolute()), accepted=accepted)

    @contextmanager
    def _alone(self, weights: Weights) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with alone(self.folder / f".{weights.name}.lock", weights.name):
            yield

    def _install(
        self, file: Path, weights: Weights, source: str, *, accepted: bool
    ) -> WeightsRecord:
        copy = self.folder / f".{weights.name}.{os.getpid()}.copy"
        try:
            _copy(file, copy)
            sha256 = sha256_of(copy)
            suffix = file.suffix if file.is_file() else ""
            record = WeightsRecord(
                file=f"{weights.name}-{sha256[:12]}{suffix}",
                sha256=sha256,
                num_bytes=_num_bytes(copy),
                added=datetime.now(UTC),
                source=source,
                licence=weights.licence,
                licence_accepted=accepted,
            )
            if copy.is_dir():
                _remove(self.folder / record.file)  # no folder takes the place of another
            copy.replace(self.folder / record.file)
        finally:
            _remove(copy)
        self._write(weights.name, record)
        return record

    def _write(self, name: str, record: WeightsRecord) -> None:
        """Make this the installed file; the record's change is what installs it."""
        before = self.record(name)
        unfinished = self.folder / f".{name}.{os.getpid()}.json"
        unfinished.write_text(record.model_dump_json(indent=2), encoding="utf-8")
        unfinished.replace(self._record_path(name))
        if before and before.file != record.file:
            _remove(self.folder / before.file)

    def fetch(
        self,
        weights: Weights,
        link: str,
        check: Check,
        progress: Progress,
        *,
        accepted: bool = False,
    ) -> WeightsRecord:
        """Download a file and install it; an interrupted download is gone on with.

        Args:
            weights: What to get.
            link: From where; empty takes the published address.
            check: Looks into the file.
            progress: Told as bytes come.
            accepted: Whether the person accepts the licence.

        Raises:
            Busy: Another process installs these weights.
            CheckpointMismatch: What came is something else.
            InvalidInput: The licence must be accepted first, or no address is known.
            UpstreamError: The server does not give the file.
        """
        _refuse_unaccepted(weights, accepted=accepted)
        url = link or weights.url
        if not url:
            raise InvalidInput(
                f"no address is known that gives {weights.name} itself", hint=how_to_get(weights)
            )
        part = self.folder / f".{weights.name}.part{Path(weights.file_names[0]).suffix}"
        # Two downloads into one part would mix their bytes.
        with self._alone(weights):
            download(url, part, progress)
            try:
                if not link and not sha256_of(part).startswith(weights.sha256_start):
                    raise CheckpointMismatch(f"what {url} gives is not the published file")
                check(weights, part)
                return self._install(part, weights, url, accepted=accepted)
            finally:
                part.unlink(missing_ok=True)

    def verify(self, name: str) -> Verdict:
        """Whether an installed file is still what was installed."""
        record, path = self.record(name), self.find(name)
        if record is None or path is None:
            return "gone"
        return "unchanged" if sha256_of(path) == record.sha256 else "changed"

    def _record_path(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def how_to_get(weights: Weights) -> str:
    """What to do to have these weights, in words."""
    command = "python -m gpu_service weights"
    by_hand = f"{command} add FILE --name {weights.name}"
    about = f"({weights.size}; {weights.licence})"
    if weights.url:
        fetch = f"{command} fetch {weights.name}"
        return f"Run: {fetch} {about}. By hand: get it from {weights.page}, then run: {by_hand}"
    return f"Get {weights.file_names[-1]} from {weights.page} {about}, then run: {by_hand}"


def _refuse_unaccepted(weights: Weights, *, accepted: bool) -> None:
    if weights.research_only and not accepted:
        raise InvalidInput(
            f"{weights.name} is for {weights.licence}", hint="Accept that with --accept-licence."
        )


def _mark(path: Path) -> tuple[int, int, int] | None:
    """Changes when another file takes the path; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _copy(source: Path, copy: Path) -> None:
    if not source.is_dir():
        shutil.copyfile(source, copy)
        return
    copy.mkdir()
    # What else a person has put into the folder is no part of the export.
    for name in (DESCRIPTION, *read_export(source).file_names):
        shutil.copyfile(source / name, copy / name)


def _num_bytes(path: Path) -> int:
    return sum(each.stat().st_size for each in (path.iterdir() if path.is_dir() else [path]))


def _remove(path: Path) -> None:
    if path.is_dir():
        # Windows keeps files that an engine has open; they are no longer what is installed.
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
