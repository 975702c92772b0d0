"""Weights come to this host, stay what they are, and can be looked up."""

from pathlib import Path

import pytest

from contracts.errors import (
    Busy,
    CheckpointMismatch,
    CheckpointMissing,
    InvalidInput,
    UpstreamError,
)
from gpu_service.weights.download import ATTEMPTS, CHUNK_BYTES
from gpu_service.weights.registry import Weights, weights_named
from gpu_service.weights.store import WeightsStore
from tests.fakes.file_server import serving_file

GAN, S3FD = weights_named("wav2lip_gan"), weights_named("s3fd")


def _good(weights: Weights, file: Path) -> None:
    pass


def _wrong(weights: Weights, file: Path) -> None:
    raise CheckpointMismatch(f"{file.name} is something else")


def _ignore(done: int, total: int) -> None:
    pass


@pytest.fixture
def store(tmp_path: Path) -> WeightsStore:
    return WeightsStore(tmp_path / "weights")


def _file(tmp_path: Path, content: bytes = b"weights") -> Path:
    (tmp_path / "mine.pth").write_bytes(content)
    return tmp_path / "mine.pth"


def test_what_was_added_is_found_and_recorded(store: WeightsStore, tmp_path: Path) -> None:
    record = store.add(_file(tmp_path), GAN, _good, accepted=True)
    path = store.find("wav2lip_gan")
    assert path
    assert path.read_bytes() == b"weights"
    assert store.require("wav2lip_gan") == path
    assert WeightsStore(store.folder).record("wav2lip_gan") == record
    assert (record.num_bytes, record.licence_accepted) == (7, True)
    assert record.licence == GAN.licence
    assert record.source == str(tmp_path / "mine.pth")
    assert store.verify("wav2lip_gan") == "unchanged"


def test_what_is_not_there_says_how_to_get_it(store: WeightsStore) -> None:
    assert store.find("wav2lip_gan") is None
    with pytest.raises(CheckpointMissing) as missing:
        store.require("wav2lip_gan")
    for part in ("weights fetch wav2lip_gan", GAN.size, GAN.licence, GAN.page):
        assert part in missing.value.hint
    with pytest.raises(InvalidInput, match="dream"):
        store.require("dream")


def test_a_research_licence_is_accepted_before_anything_is_written(
    store: WeightsStore, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="research") as refused:
        store.add(_file(tmp_path), GAN, _good)
    assert "--accept-licence" in refused.value.hint
    with serving_file(b"weights") as server, pytest.raises(InvalidInput, match="research"):
        store.fetch(GAN, server.url, _good, _ignore)
    assert server.ranges == []
    assert not store.folder.exists()
    store.add(_file(tmp_path), S3FD, _good)


def test_a_file_that_does_not_fit_leaves_what_is_installed(
    store: WeightsStore, tmp_path: Path
) -> None:
    before = store.add(_file(tmp_path), S3FD, _good)
    with pytest.raises(CheckpointMismatch):
        store.add(_file(tmp_path, b"other"), S3FD, _wrong)
    with serving_file(b"other") as server, pytest.raises(CheckpointMismatch):
        store.fetch(S3FD, server.url, _wrong, _ignore)
    assert store.record("s3fd") == before
    assert store.verify("s3fd") == "unchanged"
    assert sorted(path.name for path in store.folder.iterdir()) == [before.file, "s3fd.json"]


def test_a_new_file_takes_the_old_ones_place(store: WeightsStore, tmp_path: Path) -> None:
    store.add(_file(tmp_path), S3FD, _good)
    after = store.add(_file(tmp_path, b"newer"), S3FD, _good)
    assert store.require("s3fd").read_bytes() == b"newer"
    assert sorted(path.name for path in store.folder.iterdir()) == [after.file, "s3fd.json"]
    assert store.add(_file(tmp_path, b"newer"), S3FD, _good).file == after.file
    assert store.require("s3fd").read_bytes() == b"newer"


def test_a_file_that_was_changed_or_removed_is_noticed(store: WeightsStore, tmp_path: Path) -> None:
    store.add(_file(tmp_path), S3FD, _good)
    path = store.require("s3fd")
    path.write_bytes(b"Weights")
    assert store.verify("s3fd") == "changed"
    path.unlink()
    assert store.verify("s3fd") == "gone"
    assert store.find("s3fd") is None


def test_a_record_that_is_damaged_counts_as_none(store: WeightsStore, tmp_path: Path) -> None:
    store.add(_file(tmp_path), S3FD, _good)
    (store.folder / "s3fd.json").write_text("{")
    assert store.find("s3fd") is None
    store.add(_file(tmp_path), S3FD, _good)
    assert store.find("s3fd")


def test_a_fetched_file_is_installed_with_its_address(store: WeightsStore) -> None:
    content = b"weights" * CHUNK_BYTES
    with serving_file(content, breaks=[CHUNK_BYTES + 3]) as server:
        record = store.fetch(GAN, server.url, _good, _ignore, accepted=True)
    assert server.ranges == ["", f"bytes={CHUNK_BYTES}-"]
    assert record.source == server.url
    assert store.require("wav2lip_gan").read_bytes() == content
    assert len(list(store.folder.iterdir())) == 2


def test_the_published_address_must_give_the_published_file(store: WeightsStore) -> None:
    with serving_file(b"something") as server:
        published = S3FD._replace(url=server.url)
        with pytest.raises(CheckpointMismatch, match="not the published file"):
            store.fetch(published, "", _good, _ignore)
        assert store.find("s3fd") is None
        store.fetch(published._replace(sha256_start="3fc9b689459d738f"), "", _good, _ignore)
    assert store.find("s3fd")


def test_weights_without_an_address_say_where_to_look(store: WeightsStore) -> None:
    weights = weights_named("wav2lip")
    with pytest.raises(InvalidInput) as refused:
        store.fetch(weights, "", _good, _ignore, accepted=True)
    assert weights.page in refused.value.hint
    assert "weights add" in refused.value.hint


def test_a_second_installation_of_the_same_weights_is_told_of_the_first(
    store: WeightsStore, tmp_path: Path
) -> None:
    content = b"weights" * CHUNK_BYTES
    refused: list[Busy] = []

    def meanwhile(done: int, total: int) -> None:
        if not done or refused:
            return
        for again in (
            lambda: store.fetch(GAN, server.url, _good, _ignore, accepted=True),
            lambda: store.add(_file(tmp_path), GAN, _good, accepted=True),
        ):
            with pytest.raises(Busy, match="wav2lip_gan is being installed") as told:
                again()
            refused.append(told.value)
        store.add(_file(tmp_path), S3FD, _good)  # others are not in its way

    with serving_file(content) as server:
        store.fetch(GAN, server.url, _good, meanwhile, accepted=True)
    assert len(refused) == 2
    assert len(server.ranges) == 1
    assert store.require("wav2lip_gan").read_bytes() == content
    assert not list(store.folder.glob(".*"))
    store.add(_file(tmp_path), GAN, _good, accepted=True)


def test_a_download_that_broke_off_or_died_is_gone_on_with(store: WeightsStore) -> None:
    content = b"weights" * CHUNK_BYTES
    store.folder.mkdir()
    (store.folder / ".wav2lip_gan.lock").touch()  # as a process leaves it that was killed
    with serving_file(content, breaks=[CHUNK_BYTES + 3] * ATTEMPTS) as server:
        with pytest.raises(UpstreamError):
            store.fetch(GAN, server.url, _good, _ignore, accepted=True)
        store.fetch(GAN, server.url, _good, _ignore, accepted=True)
    assert server.ranges[-1] == f"bytes={ATTEMPTS * CHUNK_BYTES}-"
    assert store.require("wav2lip_gan").read_bytes() == content
