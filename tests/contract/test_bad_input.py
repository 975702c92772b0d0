"""What people send by mistake or malice: through the backend, to the real GPU host."""

import io
import os
import re

import av
import numpy as np
import pytest
import requests
from PIL import Image

from contracts.catalogue import catalogue
from contracts.problem import PROBLEM_JSON
from gpu_service.app import create_app as create_gpu_app
from gpu_service.settings import Settings as GpuSettings
from tests.fakes.gpu_host import gpu_host
from tests.fakes.running_backend import running_backend
from tests.fakes.serving import serving
from tests.fakes.uploads import FFCONCAT, M3U8, huge_png, photo, tone, video
from tests.media import SAMPLES

PORTRAIT = (SAMPLES / "portrait.jpg").read_bytes()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("backend")


@pytest.fixture(scope="module")
def url(data_dir):
    with (
        serving(create_gpu_app(GpuSettings(_env_file=None))) as gpu_url,
        running_backend(data_dir, gpu_url) as url,
    ):
        yield url


def picture(image_format="JPEG", convert=lambda image: image, **save):
    """The sample portrait, small, in another form."""
    image = convert(Image.open(io.BytesIO(PORTRAIT)).resize((400, 400)))
    file = io.BytesIO()
    image.save(file, image_format, **save)
    return file.getvalue()


def send_text(url, text="Hello.", image=PORTRAIT, name="face.jpg", **fields):
    files = {"image": (name, image)}
    return requests.post(url + "/generate-from-text", files=files, data={"text": text, **fields})


def send_audio(url, audio=None, image=PORTRAIT, name="speech.wav", **fields):
    files = {"image": ("face.jpg", image), "audio": (name, tone(0.2) if audio is None else audio)}
    return requests.post(url + "/generate-from-audio", files=files, data=fields)


def assert_refused(answer, status, code):
    body = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), body
    assert answer.headers["Content-Type"] == PROBLEM_JSON
    assert body["status"] == status == catalogue()[code].http_status
    assert body["title"] == catalogue()[code].title
    assert body["detail"]
    assert body["hint"]
    assert body["request_id"]
    assert (status in (429, 503)) == ("Retry-After" in answer.headers)


def assert_video(answer, seconds):
    assert answer.status_code == 200, answer.text
    with av.open(io.BytesIO(answer.content)) as container:
        frames = sum(1 for _ in container.decode(video=0))
    assert frames == max(1, round(seconds * 25))


def small_face():
    canvas = Image.new("RGB", (640, 640), "gray")
    canvas.paste(Image.open(io.BytesIO(PORTRAIT)).resize((210, 210)), (215, 215))
    file = io.BytesIO()
    canvas.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("image", "status", "code"),
    [
        pytest.param(photo(size=(320, 320)), 422, "NO_FACE_FOUND", id="no face"),
        pytest.param(small_face(), 422, "FACE_TOO_SMALL", id="face too small"),
        pytest.param(PORTRAIT[: len(PORTRAIT) // 2], 422, "UNDECODABLE_MEDIA", id="half a JPEG"),
        pytest.param(picture("PNG")[:5000], 422, "UNDECODABLE_MEDIA", id="half a PNG"),
        pytest.param(PORTRAIT[:200], 422, "UNDECODABLE_MEDIA", id="the head of a JPEG"),
        pytest.param(video()[:600], 422, "UNDECODABLE_MEDIA", id="half a video"),
        pytest.param(b"", 422, "UNDECODABLE_MEDIA", id="empty"),
        pytest.param(os.urandom(4000), 415, "UNSUPPORTED_MEDIA", id="random"),
        pytest.param(FFCONCAT, 415, "UNSUPPORTED_MEDIA", id="ffconcat"),
        pytest.param(M3U8, 415, "UNSUPPORTED_MEDIA", id="m3u8"),
        pytest.param(tone(0.2), 415, "UNSUPPORTED_MEDIA", id="a recording"),
        pytest.param(huge_png(), 413, "IMAGE_TOO_LARGE", id="81 megapixels"),
    ],
)
def test_a_bad_face_is_refused(url, image, status, code):
    answer = send_text(url, image=image, name="face.mp4")
    assert_refused(answer, status, code)
    assert answer.json()["field"] == "image"


@pytest.mark.parametrize(
    ("audio", "status", "code"),
    [
        pytest.param(tone(0), 422, "SPEECH_EMPTY", id="no samples"),
        pytest.param(tone(601, rate=8000), 413, "SPEECH_TOO_LONG", id="over 10 minutes"),
        pytest.param(video(), 422, "SOUND_MISSING", id="a video without sound"),
        pytest.param(video(sound=True)[:900], 422, "UNDECODABLE_MEDIA", id="half a video"),
        pytest.param(tone(0.2)[:20], 422, "UNDECODABLE_MEDIA", id="the head of a WAV"),
        pytest.param(b"", 422, "UNDECODABLE_MEDIA", id="empty"),
        pytest.param(os.urandom(4000), 415, "UNSUPPORTED_MEDIA", id="random"),
        pytest.param(FFCONCAT, 415, "UNSUPPORTED_MEDIA", id="ffconcat"),
        pytest.param(M3U8, 415, "UNSUPPORTED_MEDIA", id="m3u8"),
        pytest.param(PORTRAIT, 415, "UNSUPPORTED_MEDIA", id="a picture"),
    ],
)
def test_a_bad_recording_is_refused_and_leaves_nothing(url, data_dir, audio, status, code):
    before = sorted((data_dir / "jobs").iterdir())
    answer = send_audio(url, audio, name="speech.mp4")
    assert_refused(answer, status, code)
    assert answer.json()["field"] == "audio"
    assert sorted((data_dir / "jobs").iterdir()) == before


@pytest.mark.parametrize(
    ("fields", "status", "code", "named"),
    [
        ({"text": ""}, 422, "TEXT_REJECTED", "empty"),
        ({"text": " \n\t "}, 422, "TEXT_REJECTED", "empty"),
        ({"text": "😀 👍🏽 ❤️"}, 422, "TEXT_REJECTED", "letter"),
        ({"text": "a" * 5001}, 422, "TEXT_TOO_LONG", "5,001"),
        ({"text": "a" * 1_500_000}, 413, "MEDIA_TOO_LARGE", "1 MB"),
        ({"voice": "nobody"}, 404, "VOICE_NOT_FOUND", "nobody"),
        ({"language": "xx"}, 404, "VOICE_NOT_FOUND", "xx"),
        ({"engine": "perpetuum"}, 404, "ENGINE_NOT_FOUND", "perpetuum"),
        ({"fps": "0"}, 422, "OPTION_REJECTED", "fps"),
        ({"fps": "nan"}, 422, "OPTION_REJECTED", "fps"),
        ({"motion": "wild"}, 422, "OPTION_REJECTED", "'natural' or 'still'"),
        ({"face": "nearest"}, 422, "OPTION_REJECTED", "It should look like largest or 1 or"),
        ({"pads": "1,2,3"}, 422, "OPTION_REJECTED", "It should look like 0,10,0,0"),
        ({"colour": "red"}, 422, "OPTION_REJECTED", "colour"),
    ],
)
def test_a_bad_field_is_refused_by_its_name_and_leaves_nothing(
    url, data_dir, fields, status, code, named
):
    before = len(list((data_dir / "jobs").iterdir()))
    answer = send_text(url, **{"image": picture(), **fields})
    assert_refused(answer, status, code)
    assert named in answer.json()["detail"]
    assert answer.json()["field"] in (*fields, "")
    assert answer.json()["field"] or code == "MEDIA_TOO_LARGE"
    if "engine" not in fields:  # which engines there are, only the GPU host knows
        assert len(list((data_dir / "jobs").iterdir())) == before


def test_a_missing_file_is_refused_by_its_name(url):
    for path, missing in (("text", "image"), ("audio", "image")):
        answer = requests.post(f"{url}/generate-from-{path}", data={"text": "Hello."})
        assert_refused(answer, 422, "INVALID_INPUT")
        assert missing in answer.json()["detail"]
        assert answer.json()["field"] == missing
    answer = requests.post(url + "/generate-from-text", data={"image": "face.jpg"})
    assert "'image' must be a file" in answer.json()["detail"]
    answer = requests.post(url + "/generate-from-audio", files={"image": PORTRAIT})
    assert "audio" in answer.json()["detail"]


def deep(image):
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


def animated():
    return picture("GIF", save_all=True, append_images=[Image.new("RGB", (400, 400))])


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(picture("JPEG", lambda image: image.convert("CMYK")), id="CMYK"),
        pytest.param(picture("JPEG", lambda image: image.convert("L")), id="grey"),
        pytest.param(picture("PNG", deep), id="16 bit"),
        pytest.param(picture("PNG", lambda image: image.convert("RGBA")), id="alpha"),
        pytest.param(animated(), id="animated"),
        pytest.param(picture("WEBP"), id="WebP"),
        pytest.param(PORTRAIT, id="a JPEG named .png"),
    ],
)
def test_unusual_pictures_work(url, image):
    files = {"image": ("face.png", image), "audio": ("speech", tone(0.2))}
    assert_video(requests.post(url + "/generate-from-audio", files=files), 0.2)


def test_a_picture_that_its_exif_turns_is_turned(url):
    upright = Image.open(io.BytesIO(PORTRAIT)).resize((512, 384))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to see it upright
    file = io.BytesIO()
    upright.rotate(90, expand=True).save(file, "JPEG", exif=exif)
    answer = send_audio(url, image=file.getvalue())
    assert_video(answer, 0.2)
    with av.open(io.BytesIO(answer.content)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (512, 384)


@pytest.mark.parametrize("seconds", [0.1, 0.02])
def test_very_short_speech_works(url, seconds):
    assert_video(send_audio(url, tone(seconds), image=picture()), seconds)


def test_markup_in_the_text_is_harmless(url):
    answer = send_text(url, '<speak><break time="9s"/>Hi & <b>bye</b>.</speak> {{7*7}}')
    assert answer.status_code == 200


def over_the_limit():
    """A form of 101 MB, in pieces."""
    yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="f"\r\n\r\n'
    for _ in range(101):
        yield bytes(1_000_000)
    yield b"\r\n--x--\r\n"


@pytest.mark.parametrize("with_length", [True, False])
def test_101_megabytes_are_refused_and_leave_nothing(url, data_dir, with_length):
    before = len(list((data_dir / "jobs").iterdir()))
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    body = b"".join(over_the_limit()) if with_length else over_the_limit()
    answer = requests.post(url + "/generate-from-text", data=body, headers=headers)
    assert_refused(answer, 413, "MEDIA_TOO_LARGE")
    assert len(list((data_dir / "jobs").iterdir())) == before


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\0b", "C:\\x", "x" * 3000])
def test_file_names_are_never_used(url, data_dir, name):
    files = {"image": (name, picture()), "audio": (name, tone(0.1))}
    answer = requests.post(url + "/generate-from-audio", files=files)
    assert answer.status_code == 200
    folder = data_dir / "jobs" / answer.headers["X-Job-Id"]
    ours = r"face|speech|video\.mp4|poster\.jpg|fragments\.index|fragments-[0-9a-f]{8}\.mp4"
    assert [path.name for path in folder.iterdir() if not re.fullmatch(ours, path.name)] == []


def test_a_gpu_host_that_is_down_is_told(tmp_path):
    with running_backend(tmp_path, "http://127.0.0.1:9") as url:
        answer = send_text(url)
    assert_refused(answer, 503, "GPU_UNREACHABLE")


def test_a_gpu_host_with_another_token_is_told(tmp_path):
    app = create_gpu_app(GpuSettings(_env_file=None, token="right"))
    with serving(app) as gpu_url, running_backend(tmp_path, gpu_url, gpu_token="wrong") as url:
        answer = send_text(url)
    assert_refused(answer, 502, "GPU_REFUSED")
    assert "BACKEND_GPU_TOKEN" in answer.json()["hint"]


def test_a_connection_that_breaks_within_the_answer_is_no_concern_of_the_caller(tmp_path):
    with gpu_host(cuts=[3000, 50]) as host, running_backend(tmp_path, host.url) as url:
        assert send_text(url).status_code == 200
        assert len(host.rendered) == 1
