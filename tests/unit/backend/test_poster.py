import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from backend.staging.fragments import Fragments
from backend.staging.poster import poster
from backend.staging.store import JobMedia
from contracts.records import InitRecord, MediaRecord
from tests.fakes.tiny_video import tiny_fragments
from tests.fakes.uploads import FFCONCAT, M3U8, photo, tone, video


@pytest.fixture
def media(tmp_path):
    return JobMedia(tmp_path)


def picture_of(media):
    picture = Image.open(io.BytesIO(poster(media)))
    assert picture.format == "JPEG"
    return picture


def stream(media, num_fragment_bytes=None):
    whole = tiny_fragments()
    begin = whole.index(b"moof") - 4
    with Fragments(media) as fragments:
        fragments.start_over("render", "http://127.0.0.1:9")
        fragments.append(InitRecord(), whole[:begin])
        if num_fragment_bytes != 0:
            fragments.append(
                MediaRecord(seq=1, start=0, seconds=1), whole[begin:][:num_fragment_bytes]
            )


def test_a_video_that_comes_shows_its_first_frame(media):
    stream(media)
    media.face.write_bytes(photo(size=(30, 40)))
    picture = picture_of(media)
    assert picture.size == (64, 64)
    assert np.asarray(picture).max() < 30  # the first frame is black, later ones are not


def test_the_face_is_shown_until_there_is_something_of_the_video(media):
    media.face.write_bytes(photo(size=(300, 200)))
    assert picture_of(media).size == (300, 200)
    stream(media, num_fragment_bytes=0)
    assert picture_of(media).size == (300, 200)
    stream(media)
    assert picture_of(media).size == (64, 64)


@pytest.mark.parametrize(
    ("image_format", "mode"),
    [("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "P"), ("GIF", "P"), ("WEBP", "RGB"),
     ("BMP", "L"), ("TIFF", "I;16")],
)  # fmt: skip
def test_every_kind_of_photo_becomes_a_jpeg(media, image_format, mode):
    photo_bytes = io.BytesIO()
    Image.new(mode, (1000, 400)).save(photo_bytes, image_format)
    media.face.write_bytes(photo_bytes.getvalue())
    assert picture_of(media).size == (512, 205)


def test_a_photo_is_turned_as_its_camera_says(media):
    picture = Image.new("RGB", (80, 40), "red")
    picture.paste("blue", (0, 0, 40, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the picture is at the right side
    picture.save(media.face, "JPEG", exif=exif)
    turned = picture_of(media)
    assert turned.size == (40, 80)
    assert turned.getpixel((20, 10))[2] > 200
    assert turned.getpixel((20, 70))[0] > 200


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_a_photo_of_16_bits_is_as_bright_as_it_should_be(media, image_format):
    half = np.full((40, 40), 0x8000, np.uint16)
    Image.fromarray(half).save(media.face, image_format)
    assert np.asarray(picture_of(media)).mean() == pytest.approx(128, abs=2)


def test_a_face_that_is_a_video_shows_its_first_frame(media):
    media.face.write_bytes(video(size=80))
    assert picture_of(media).size == (80, 80)


def test_an_exif_block_that_can_not_be_written_again_spoils_no_photo(media):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a title"
    Image.new("RGB", (30, 20)).save(media.face, "JPEG", exif=exif)
    damaged = media.face.read_bytes().replace(b"\x01\x0e\x00\x02", b"\x01\x00\x00\x02")
    assert damaged != media.face.read_bytes()
    media.face.write_bytes(damaged)
    assert picture_of(media).size == (30, 20)


@pytest.mark.parametrize(
    "face", [FFCONCAT, M3U8, b"", tone(0.1), photo()[:300], b"\x00" * 5000], ids=range(6)
)
def test_what_is_no_picture_gives_none_and_leaves_nothing(media, face):
    media.face.write_bytes(face)
    assert poster(media) is None
    assert [path.name for path in media.folder.iterdir()] == ["face"]


def test_a_folder_that_is_gone_gives_none(tmp_path):
    assert poster(JobMedia(tmp_path / "gone")) is None


def test_it_is_made_once_however_many_ask(media, monkeypatch):
    media.face.write_bytes(photo())
    made = []
    save = Image.Image.save
    monkeypatch.setattr(Image.Image, "save", lambda *args, **kw: made.append(save(*args, **kw)))
    with ThreadPoolExecutor(10) as pool:
        assert len(set(pool.map(poster, [media] * 10))) == 1
    assert len(made) == 1
    stream(media)
    with ThreadPoolExecutor(10) as pool:
        assert len(set(pool.map(poster, [media] * 10))) == 1
    assert len(made) == 2
