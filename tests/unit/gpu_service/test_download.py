"""Downloads that break off."""

from pathlib import Path

import pytest

from contracts.errors import InvalidInput, UpstreamError
from gpu_service.weights.download import ATTEMPTS, CHUNK_BYTES, direct_link, download
from tests.fakes.file_server import serving_file

CONTENT = bytes(range(256)) * 4000
SHORT = CHUNK_BYTES + 1000
"""After so many bytes, one chunk is here."""


def _ignore(done: int, total: int) -> None:
    pass


@pytest.mark.parametrize("etag", ['"first"', ""])
def test_a_download_that_breaks_off_is_gone_on_with(etag: str, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with serving_file(CONTENT, etag=etag, breaks=[SHORT, SHORT + CHUNK_BYTES]) as server:
        download(server.url, tmp_path / "part", lambda done, total: told.append((done, total)))
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert server.ranges == ["", f"bytes={CHUNK_BYTES}-", f"bytes={3 * CHUNK_BYTES}-"]
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert {total for _, total in told} == {len(CONTENT)}
    assert [path.name for path in tmp_path.iterdir()] == ["part"]


def test_the_next_call_goes_on_where_the_last_one_gave_up(tmp_path: Path) -> None:
    with serving_file(CONTENT, breaks=[SHORT] * ATTEMPTS) as server:
        with pytest.raises(UpstreamError) as failed:
            download(server.url, tmp_path / "part", _ignore)
        assert "goes on where it stopped" in failed.value.hint
        download(server.url, tmp_path / "part", _ignore)
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={CHUNK_BYTES * ATTEMPTS}-"


@pytest.mark.parametrize("etags", [('"first"', '"second"'), ("", "")])
def test_a_file_that_has_changed_meanwhile_is_begun_again(
    etags: tuple[str, str], tmp_path: Path
) -> None:
    with serving_file(CONTENT, etag=etags[0], breaks=[SHORT] * ATTEMPTS) as server:
        with pytest.raises(UpstreamError):
            download(server.url, tmp_path / "part", _ignore)
        server.content, server.etag = CONTENT[::-1] + b"more", etags[1]
        download(server.url, tmp_path / "part", _ignore)
    assert (tmp_path / "part").read_bytes() == CONTENT[::-1] + b"more"


def test_a_file_that_has_become_shorter_is_begun_again(tmp_path: Path) -> None:
    with serving_file(CONTENT, breaks=[SHORT] * ATTEMPTS) as server:
        with pytest.raises(UpstreamError):
            download(server.url, tmp_path / "part", _ignore)
        server.content = CONTENT[:50]
        download(server.url, tmp_path / "part", _ignore)
    assert (tmp_path / "part").read_bytes() == CONTENT[:50]


def test_a_part_that_does_not_say_where_it_belongs_is_not_taken_for_the_file(
    tmp_path: Path,
) -> None:
    with serving_file(CONTENT, breaks=[SHORT] * ATTEMPTS) as server:
        with pytest.raises(UpstreamError):
            download(server.url, tmp_path / "part", _ignore)
        server.says_where = False
        download(server.url, tmp_path / "part", _ignore)
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_another_address_does_not_go_on_with_this_ones_file(tmp_path: Path) -> None:
    with serving_file(CONTENT, breaks=[SHORT] * ATTEMPTS) as one, pytest.raises(UpstreamError):
        download(one.url, tmp_path / "part", _ignore)
    with serving_file(CONTENT[::-1]) as other:
        download(other.url, tmp_path / "part", _ignore)
    assert other.ranges == [""]
    assert (tmp_path / "part").read_bytes() == CONTENT[::-1]


def test_a_web_page_is_not_taken_for_the_file(tmp_path: Path) -> None:
    with (
        serving_file(b"<html>", content_type="text/html; charset=utf-8") as server,
        pytest.raises(UpstreamError, match="web page"),
    ):
        download(server.url, tmp_path / "part", _ignore)
    assert not list(tmp_path.iterdir())


def test_a_refusal_is_said_and_not_repeated(tmp_path: Path) -> None:
    with serving_file(b"gone", status=404) as server, pytest.raises(UpstreamError, match="404"):
        download(server.url, tmp_path / "part", _ignore)
    assert len(server.ranges) == 1


def test_a_server_that_is_not_there_is_said(tmp_path: Path) -> None:
    with serving_file(CONTENT) as server:
        pass
    with pytest.raises(UpstreamError, match="broke off"):
        download(server.url, tmp_path / "part", _ignore)


@pytest.mark.parametrize(
    "link",
    [
        "drive:1aB-c_d",
        "https://drive.google.com/file/d/1aB-c_d/view?usp=share_link",
        "https://drive.google.com/uc?id=1aB-c_d",
        "https://drive.google.com/open?id=1aB-c_d",
    ],
)
def test_every_link_to_a_drive_file_gives_the_file(link: str) -> None:
    assert "?id=1aB-c_d&" in direct_link(link)


@pytest.mark.parametrize(
    "link", ["", "file:///etc/passwd", "wav2lip.pth", "https://drive.google.com/drive/folders/1aB"]
)
def test_what_is_no_address_of_a_file_is_refused(link: str) -> None:
    with pytest.raises(InvalidInput):
        direct_link(link)
