"""The network in PyTorch, and its training."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from gpu_service.audio.speech_mel import NUM_BANDS
from gpu_service.engines.facewarp.hearing.mouth_net import (
    BLOCK_STEPS,
    NUM_OUTPUTS,
    STEP_ROWS,
    MouthNet,
    load_weights,
)
from training.mouth_net.data import Data, Set

INPUTS = STEP_ROWS * NUM_BANDS


def made_up(num_examples: int) -> Data:
    """What is judged by has other closures and tucks than what is learnt from."""
    random = np.random.default_rng(0)
    features = random.standard_normal((num_examples, 20, INPUTS)).astype(np.float16)
    targets = random.random((num_examples, 1, NUM_OUTPUTS))
    targets = np.repeat(targets, 20, axis=1).astype(np.float16)
    judges = Set(features, targets.copy())
    targets[..., 3], targets[..., 4] = 1, 0
    return Data(Set(features, targets), judges, judges, ())


@pytest.fixture
def torch_threads(torch: ModuleType) -> Iterator[None]:
    """Training takes one thread; other tests get theirs back."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_the_network_in_numpy_is_the_one_that_was_trained(
    tmp_path: Path, torch: ModuleType
) -> None:
    from training.mouth_net.network import MouthNetwork
    from training.mouth_net.train import write

    torch.manual_seed(0)
    net = MouthNetwork()
    with torch.no_grad():
        for weights in net.parameters():
            weights.copy_(weights.half().float())
    write(net, tmp_path / "net.npz")
    blocks = np.random.default_rng(0).standard_normal((20, BLOCK_STEPS * STEP_ROWS, NUM_BANDS))
    numpy_net = MouthNet(load_weights(tmp_path / "net.npz"))
    said = np.concatenate([numpy_net.hear(block.astype(np.float32)) for block in blocks])
    with torch.no_grad():
        outputs = net(torch.from_numpy(blocks.reshape(1, -1, INPUTS)).float())[0]
    expected = torch.sigmoid(outputs)
    expected[:, 1] = torch.tanh(outputs[:, 1])
    np.testing.assert_allclose(said, expected.numpy(), atol=1e-5)


@pytest.mark.usefixtures("torch_threads")
def test_training_learns_and_gives_the_same_weights_again(tmp_path: Path) -> None:
    from training.mouth_net.train import train

    data = made_up(40)
    first, again = tmp_path / "first.npz", tmp_path / "again.npz"
    for path in (first, again):
        train(data, path, num_steps=60, seed=3, seconds=None)
    weights, repeated = load_weights(first), load_weights(again)
    assert all(np.array_equal(weights[name], repeated[name]) for name in weights)
    rows = data.training.features[0, :BLOCK_STEPS].astype(np.float32).reshape(-1, NUM_BANDS)
    said = MouthNet(weights).hear(rows)
    assert said[:, 3].min() > said[:, 4].max() + 0.1


@pytest.mark.usefixtures("torch_threads")
@pytest.mark.parametrize("num_examples", [2, 16])
def test_few_examples_are_enough_to_try_it(num_examples: int, tmp_path: Path) -> None:
    from training.mouth_net.train import train

    path = tmp_path / "new folder/net.npz"
    train(made_up(num_examples), path, num_steps=2, seed=0, seconds=None)
    assert load_weights(path)


@pytest.mark.usefixtures("torch_threads")
def test_training_that_is_stopped_leaves_the_weights_that_were_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.mouth_net import train

    reports = iter(["the first"])

    def stopped_at_the_second_report(*_: object) -> str:
        for report in reports:
            return report
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "_REPORT_STEPS", 1)
    monkeypatch.setattr(train, "judged", stopped_at_the_second_report)
    path = tmp_path / "net.npz"
    path.write_bytes(b"as they were")
    with pytest.raises(KeyboardInterrupt):
        train.train(made_up(20), path, num_steps=5, seed=0, seconds=None)
    assert path.read_bytes() == b"as they were"
