"""Every runtime draws what PyTorch draws, from checkpoints and from exports."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.errors import CheckpointMismatch, EngineUnavailable
from gpu_service.engines.wav2lip.generator import SIGNATURES, Generator, load_generator
from gpu_service.engines.wav2lip.preprocess import HIDDEN_ROW, network_faces
from gpu_service.settings import Compute
from tests.exports import Exports, require_libraries
from tests.parity_weights import PARITY

TOLERANCE = 1e-4
Floats = NDArray[np.float32]
WAYS: dict[str, Callable[[Exports], Generator]] = {
    "torch": lambda exports: _of_checkpoint(exports, "torch"),
    "openvino": lambda exports: _of_checkpoint(exports, "openvino"),
    "openvino, exported": lambda exports: _of_export(exports, "openvino", "openvino"),
    "onnx, exported": lambda exports: _of_export(exports, "onnx", "onnx"),
    "openvino, exported to onnx": lambda exports: _of_export(exports, "onnx", "openvino"),
}


def _of_checkpoint(exports: Exports, runtime: Any) -> Generator:
    require_libraries(runtime)
    return load_generator(exports.checkpoint, Compute("cpu", runtime, "fp32"))


def _of_export(exports: Exports, to: Any, runtime: Any) -> Generator:
    folder, _ = exports.made(to)
    return load_generator(folder, Compute("cpu", runtime))


@pytest.fixture(scope="module", params=WAYS)
def generator(request: pytest.FixtureRequest, exports: Exports) -> Generator:
    return WAYS[request.param](exports)


@pytest.fixture(scope="module")
def given() -> dict[str, NDArray[Any]]:
    with np.load(PARITY / "generator.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def mel(given: dict[str, NDArray[Any]]) -> Floats:
    """Seven windows of speech: no batch of 2 to 6 divides them."""
    windows = given["mels"][:, np.newaxis]
    return np.concatenate((windows, windows[:3, :, ::-1])).astype(np.float32)


@pytest.fixture(scope="module")
def faces(given: dict[str, NDArray[Any]]) -> Floats:
    crops = given["faces_bgr_u8"]
    return network_faces(np.concatenate((crops, crops[:3, :, ::-1])))


@pytest.fixture(scope="module")
def mouths(torch: ModuleType, exports: Exports, mel: Floats, faces: Floats) -> dict[str, Floats]:
    """What the plain published network draws: of a photo, and of a video."""
    from gpu_service.engines.wav2lip.network import Wav2LipGenerator
    from gpu_service.runtimes.torch_runtime import load_checkpoint

    network = Wav2LipGenerator().eval()
    load_checkpoint(network, exports.checkpoint)
    with torch.inference_mode():
        shown = {"photo": np.repeat(faces[:1], len(mel), axis=0), "video": faces}
        return {
            kind: network(torch.tensor(mel), torch.tensor(each)).numpy()[:, :, HIDDEN_ROW:]
            for kind, each in shown.items()
        }


def test_the_whole_network_draws_what_the_published_one_does(
    generator: Generator, given: dict[str, NDArray[Any]]
) -> None:
    drawn = generator.draw_faces(given["mels"][:, np.newaxis], network_faces(given["faces_bgr_u8"]))
    np.testing.assert_allclose(drawn, given["out"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_mouths_of_a_photo_are_those_of_the_published_network(
    batch: int, generator: Generator, mel: Floats, faces: Floats, mouths: dict[str, Floats]
) -> None:
    seen = generator.see(faces[:1])
    drawn = [
        generator.draw_mouths(mel[first : first + batch], seen)
        for first in range(0, len(mel), batch)
    ]
    assert drawn[0].dtype == np.float32
    np.testing.assert_allclose(np.concatenate(drawn), mouths["photo"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_mouths_of_a_video_are_those_of_the_published_network(
    batch: int, generator: Generator, mel: Floats, faces: Floats, mouths: dict[str, Floats]
) -> None:
    drawn = [
        generator.draw_mouths(
            mel[first : first + batch], generator.see(faces[first : first + batch])
        )
        for first in range(0, len(mel), batch)
    ]
    np.testing.assert_allclose(np.concatenate(drawn), mouths["video"], rtol=0, atol=TOLERANCE)


def test_threads_that_draw_at_the_same_time_do_not_mix(
    generator: Generator, mel: Floats, faces: Floats, mouths: dict[str, Floats]
) -> None:
    drawn: dict[int, list[Floats]] = {index: [] for index in range(4)}
    together = threading.Barrier(len(drawn))

    def draw(index: int) -> None:
        one = slice(index, index + 1)
        together.wait(timeout=60)
        for _ in range(5):
            drawn[index].append(generator.draw_mouths(mel[one], generator.see(faces[one])))

    threads = [threading.Thread(target=draw, args=(index,)) for index in drawn]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    for index, results in drawn.items():
        assert len(results) == 5
        for result in results:
            np.testing.assert_allclose(result[0], mouths["video"][index], rtol=0, atol=TOLERANCE)


def test_what_was_drawn_stays_when_more_is_drawn(
    generator: Generator, mel: Floats, faces: Floats
) -> None:
    seen = generator.see(faces[:1])
    first = generator.draw_mouths(mel[:2], seen)
    kept = first.copy()
    generator.draw_mouths(mel[2:4], generator.see(faces[1:2]))
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(generator.draw_mouths(mel[:2], seen), kept)


@pytest.mark.parametrize(("to", "read"), [("openvino", "face.xml"), ("onnx", "face.onnx")])
def test_a_file_with_another_network_is_refused(to: Any, read: str, exports: Exports) -> None:
    folder, _ = exports.made(to)
    with pytest.raises(
        CheckpointMismatch, match=rf"{read} takes 6x96x96 instead of 1x80x16, 512"
    ) as refused:
        _runtime(to).read(folder / read, SIGNATURES["mouth"])
    assert "export" in refused.value.hint, "it may be an export of an older version"


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("file", ["face.xml", "face.bin", "face.onnx"])
def test_a_damaged_file_is_refused(
    file: str, share: float, exports: Exports, tmp_path: Path
) -> None:
    to: Any = "onnx" if file.endswith("onnx") else "openvino"
    folder, _ = exports.made(to)
    for path in folder.glob("face.*"):
        content = path.read_bytes()
        kept = int(len(content) * share) if path.name == file else len(content)
        (tmp_path / path.name).write_bytes(content[:kept])
    opened = "face.onnx" if to == "onnx" else "face.xml"
    with pytest.raises(CheckpointMismatch, match=rf"{opened} is damaged"):
        _runtime(to).read(tmp_path / opened, SIGNATURES["face"])


@pytest.mark.parametrize(
    ("file", "part", "damage"),
    [
        ("face.xml", b'96,96" element_type', b'96,96" xlement_type'),  # only compiling it fails
        ("face.onnx", b"faces", b"\xffaces"),  # a name that is no text
    ],
)
def test_damage_that_the_reader_does_not_notice_is_found(
    file: str, part: bytes, damage: bytes, exports: Exports, tmp_path: Path
) -> None:
    to: Any = "onnx" if file.endswith("onnx") else "openvino"
    folder, _ = exports.made(to)
    for path in folder.glob("face.*"):
        content = path.read_bytes()
        assert path.name != file or part in content
        (tmp_path / path.name).write_bytes(content.replace(part, damage))
    with pytest.raises(CheckpointMismatch, match=rf"{file} is damaged"):
        _runtime(to).read(tmp_path / file, SIGNATURES["face"])


def _runtime(to: str) -> Any:
    if to == "onnx":
        from gpu_service.runtimes.onnx_runtime import OnnxRuntime

        return OnnxRuntime("cpu")
    from gpu_service.runtimes.openvino_runtime import OpenVinoRuntime

    return OpenVinoRuntime()


def test_bf16_draws_about_the_same(
    exports: Exports,
    mel: Floats,
    faces: Floats,
    mouths: dict[str, Floats],
    record_property: Callable[[str, object], None],
) -> None:
    folder, _ = exports.made("openvino")
    try:
        generator = load_generator(folder, Compute("cpu", "openvino", "bf16"))
    except EngineUnavailable as error:
        pytest.skip(error.detail)
    drawn = generator.draw_mouths(mel, generator.see(faces[:1]))
    _report(drawn, mouths["photo"], record_property)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["openvino", "onnx"])
def test_int8_draws_about_the_same(
    to: Any,
    exports: Exports,
    mel: Floats,
    faces: Floats,
    mouths: dict[str, Floats],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    from gpu_service.engines.wav2lip.export import calibration
    from gpu_service.engines.wav2lip.samples import NetworkInputs
    from gpu_service.engines.wav2lip.split_network import load_parts

    folder, _ = exports.made(to)
    reference = load_generator(exports.checkpoint, Compute("cpu", "torch", "fp32"))
    samples = calibration(NetworkInputs(mel, faces), reference)["mouth"]
    writer = pytest.importorskip(f"gpu_service.runtimes.{to}_export")
    mouth = load_parts(exports.checkpoint)["mouth"].module
    writer.write(mouth, SIGNATURES["mouth"], tmp_path / "mouth", samples)
    runtime = _runtime(to)
    suffix = "onnx" if to == "onnx" else "xml"
    face = runtime.read(folder / f"face.{suffix}", SIGNATURES["face"])
    quantised = runtime.read(tmp_path / f"mouth.{suffix}", SIGNATURES["mouth"])
    for kind, seen in {"photo": face(faces[:1]), "video": face(faces)}.items():
        drawn = quantised(mel, *seen)[0]
        _report(drawn, mouths[kind], record_property)
        # One face for all windows, or the same one for each: rounding must not depend on it.
        alone = [
            quantised(mel[one], *(each[one] if len(each) > 1 else each for each in seen))[0]
            for one in (slice(index, index + 1) for index in range(len(mel)))
        ]
        assert np.abs(np.concatenate(alone) - drawn).mean() < 1e-3
    assert (tmp_path / f"mouth.{'bin' if suffix == 'xml' else suffix}").stat().st_size < 30e6


def _report(
    drawn: Floats, expected: Floats, record_property: Callable[[str, object], None]
) -> None:
    """Say how far it is off; with seeded weights that tells nothing of the pictures' quality."""
    gaps = np.abs(drawn - expected)
    record_property("max", float(gaps.max()))
    record_property("mean", float(gaps.mean()))
    assert drawn.shape == expected.shape
    assert gaps.mean() < 0.1, "it draws something else"
