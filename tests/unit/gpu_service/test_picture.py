"""Photos in every form that people have them."""

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageCms

from contracts.errors import ImageTooLarge, UndecodableMedia
from gpu_service.media.decode import decode_face
from tests.media import picture, saved, wide_gamut_profile


def pixels_of(data: bytes, max_height: int = 1080) -> np.ndarray:
    return next(decode_face(data, max_height).frames())


def rgb(image: Pillow.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize(
    ("form", "mode"),
    [
        ("JPEG", "RGB"),
        ("JPEG", "L"),
        ("PNG", "RGB"),
        ("PNG", "L"),
        ("PNG", "P"),
        ("PNG", "I;16"),
        ("TIFF", "I;16"),
        ("TIFF", "RGB"),
        ("TIFF", "CMYK"),
        ("BMP", "RGB"),
        ("GIF", "P"),
        ("WEBP", "RGB"),
        ("AVIF", "RGB"),
    ],
)
def test_a_photo_of_any_form_shows_the_same_picture(form: str, mode: str) -> None:
    expected = rgb(picture() if mode != "L" else picture(mode="L"))
    if mode == "I;16":
        expected = rgb(picture(mode="L"))
    if mode in ("P", "CMYK"):
        expected = rgb(picture(mode=mode))
    pixels = pixels_of(saved(picture(mode=mode), form))
    assert pixels.dtype == np.uint8
    assert np.abs(pixels[..., ::-1].astype(int) - expected).mean() < 4


def test_a_cmyk_jpeg_keeps_its_colours() -> None:
    pixels = pixels_of(saved(Pillow.new("CMYK", (64, 64), (0, 255, 255, 0)), "JPEG"))
    blue, green, red = pixels.reshape(-1, 3).mean(axis=0)
    assert red > 200
    assert max(blue, green) < 60


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_a_photo_with_a_wide_gamut_shows_the_colours_that_its_profile_means(form: str) -> None:
    profile = wide_gamut_profile()
    green = Pillow.new("RGB", (64, 64), (120, 200, 120))
    plain = pixels_of(saved(green, form))[32, 32].astype(int)
    shown = pixels_of(saved(green, form, icc_profile=profile))[32, 32].astype(int)
    # By the primaries and curves of both colour spaces.
    assert np.abs(shown - (111, 204, 90)).max() <= 4
    assert np.abs(plain - (120, 200, 120)).max() <= 4


def test_a_profile_goes_with_transparency_and_with_palettes() -> None:
    profile = wide_gamut_profile()
    seen = []
    for mode in ("RGB", "RGBA", "P"):
        photo = Pillow.new("RGB", (8, 8), (120, 200, 120)).convert(
            mode, palette=Pillow.Palette.ADAPTIVE
        )
        seen.append(pixels_of(saved(photo, "PNG", icc_profile=profile))[4, 4].astype(int))
    assert np.abs(np.array(seen) - seen[0]).max() <= 1
    hole = Pillow.new("RGBA", (8, 8), (120, 200, 120, 0))
    assert set(pixels_of(saved(hole, "PNG", icc_profile=profile)).ravel()) == {224}


@pytest.mark.parametrize(
    ("mode", "profile"),
    [
        ("RGB", b"no profile at all"),
        ("RGB", wide_gamut_profile()[:200]),
        ("L", wide_gamut_profile()),
        ("CMYK", wide_gamut_profile()),
    ],
)
def test_a_profile_that_is_broken_or_fits_not_spoils_no_photo(mode: str, profile: bytes) -> None:
    photo = picture(mode=mode)
    expected = pixels_of(saved(photo, "TIFF"))
    assert np.array_equal(pixels_of(saved(photo, "TIFF", icc_profile=profile)), expected)


def test_a_photo_that_is_in_srgb_keeps_every_pixel() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = pixels_of(saved(picture(), "PNG", icc_profile=profile))
    assert np.array_equal(pixels[..., ::-1], rgb(picture()))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_stands_upright_whatever_its_exif_says(orientation: int) -> None:
    upright = Pillow.new("RGB", (64, 32), (0, 0, 0))
    upright.paste((255, 0, 0), (0, 0, 32, 16))
    # What a camera held otherwise stores: turned so that its EXIF turns it back.
    turns = {
        2: Pillow.Transpose.FLIP_LEFT_RIGHT,
        3: Pillow.Transpose.ROTATE_180,
        4: Pillow.Transpose.FLIP_TOP_BOTTOM,
        5: Pillow.Transpose.TRANSPOSE,
        6: Pillow.Transpose.ROTATE_90,
        7: Pillow.Transpose.TRANSVERSE,
        8: Pillow.Transpose.ROTATE_270,
    }
    stored = upright.transpose(turns[orientation]) if orientation > 1 else upright
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    pixels = pixels_of(saved(stored, "JPEG", exif=exif, quality=95))
    assert pixels.shape == (32, 64, 3)
    assert pixels[4, 8, 2] > 200
    assert pixels[28, 56, 2] < 50


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_becomes_light_grey(mode: str) -> None:
    pixels = pixels_of(saved(Pillow.new(mode, (8, 8)), "PNG"))
    assert set(pixels.ravel()) == {224}


def test_an_animated_picture_shows_its_first_frame() -> None:
    frames = [Pillow.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    for form in ("GIF", "WEBP", "PNG"):
        data = saved(frames[0], form, save_all=True, append_images=frames[1:])
        blue, green, red = pixels_of(data)[8, 8]
        assert red > 240
        assert max(int(blue), int(green)) < 20


def test_81_megapixels_of_10_kilobytes_are_refused_by_the_header_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = saved(Pillow.new("1", (9000, 9000)), "PNG", optimize=True)
    assert len(data) < 12_000

    def decoded(*_: object) -> None:
        raise AssertionError("the picture was decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    with pytest.raises(ImageTooLarge, match="9000 x 9000"):
        decode_face(data, 1080)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's own remark
@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF"])
def test_a_photo_cut_short_is_damaged(form: str) -> None:
    data = saved(picture(), form)
    for end in (40, len(data) // 2):
        with pytest.raises(UndecodableMedia):
            decode_face(data[:end], 1080)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's own remark
def test_a_broken_exif_block_spoils_no_photo() -> None:
    data = saved(picture(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert pixels_of(data).shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("width", "height", "max_height", "expected"),
    [
        (63, 41, 1080, (62, 40)),
        (1, 1, 1080, (2, 2)),
        (1200, 900, 300, (400, 300)),
        (3000, 1000, 1080, (1920, 640)),
        (500, 2001, 1080, (270, 1080)),
    ],
)
def test_sides_are_even_and_within_the_limits(
    width: int, height: int, max_height: int, expected: tuple[int, int]
) -> None:
    source = decode_face(saved(picture(width, height), "BMP"), max_height)
    assert (source.width, source.height) == expected
    assert next(source.frames()).shape == (expected[1], expected[0], 3)


def test_an_odd_side_loses_its_edge_and_no_other_pixel() -> None:
    image = picture(63, 41)
    pixels = pixels_of(saved(image, "PNG"))
    assert np.array_equal(pixels[..., ::-1], rgb(image)[:40, :62])


def test_fine_patterns_turn_grey_when_they_are_scaled_down() -> None:
    checks = np.indices((512, 512)).sum(axis=0) % 2 * np.uint8(255)
    pixels = pixels_of(saved(Pillow.fromarray(checks.astype(np.uint8)), "PNG"), 128)
    assert abs(float(pixels.mean()) - 127.5) < 2
    assert float(pixels.std()) < 2


def grating(period: float) -> Pillow.Image:
    """Upright waves with a swing of 80 levels either way."""
    waves = 127.5 + 80 * np.sin(2 * np.pi * np.arange(600) / period)
    return Pillow.fromarray(np.tile(np.rint(waves).astype(np.uint8), (600, 1)))


@pytest.mark.parametrize(("period", "kept"), [(5, (0.9, 1.1)), (2.2, (0.0, 0.1))])
def test_a_photo_that_is_scaled_down_keeps_its_detail_and_shows_none_that_is_not_there(
    period: float, kept: tuple[float, float]
) -> None:
    # Waves of 5 pixels become 3.5 long, which pixels can show; those of 2.2 become 1.5, which they
    # can't, so that anything seen of them would be other waves.
    inside = pixels_of(saved(grating(period), "PNG"), 420)[20:-20, 20:-20]
    assert kept[0] <= float(inside.std()) / (80 / np.sqrt(2)) <= kept[1]
