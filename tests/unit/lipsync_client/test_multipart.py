from collections.abc import Iterator

from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from lipsync_client.multipart import MultipartStream, Part


def parsed(body: MultipartStream) -> Request:
    builder = EnvironBuilder(method="POST", data=b"".join(body), content_type=body.content_type)
    return builder.get_request()


def test_names_and_contents_survive_the_wire() -> None:
    def chunks() -> Iterator[bytes]:
        yield from (b"one\r\n", b"", b"--two")

    with parsed(
        MultipartStream(
            [
                Part.field("text", "zwei\nZeilen"),
                Part("image", chunks(), "a\r\nb.png", "image/png\r\nX-Evil: 1"),
            ]
        )
    ) as request:
        assert request.form["text"] == "zwei\nZeilen"
        file = request.files["image"]
        assert file.read() == b"one\r\n--two"
        assert "X-Evil" not in file.headers


def test_a_part_is_not_read_before_its_turn() -> None:
    read: list[str] = []

    def content(name: str) -> Iterator[bytes]:
        read.append(name)
        yield b"x"

    stream = iter(MultipartStream([Part("a", content("a")), Part("b", content("b"))]))
    next(stream)
    assert read == []
