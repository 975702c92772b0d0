"""The network in PyTorch, and its training."""

from pathlib import Path
from types import ModuleType

import numpy as np

from gpu_service.audio.speech_mel import NUM_BANDS
from gpu_service.engines.facewarp.mouth_net import (
    BLOCK_STEPS,
    NUM_OUTPUTS,
    STEP_ROWS,
    MouthNet,
    load_weights,
)
from training.mouth_net.data import Data, Set

INPUTS = STEP_ROWS * NUM_BANDS


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


def test_training_learns_and_gives_the_same_weights_again(
    tmp_path: Path, torch: ModuleType
) -> None:
    from training.mouth_net.train import train

    random = np.random.default_rng(0)
    features = random.standard_normal((40, 20, INPUTS)).astype(np.float16)
    targets = np.repeat(random.random((40, 1, NUM_OUTPUTS)), 20, axis=1).astype(np.float16)
    judges = Set(features, targets.copy())
    targets[..., 3], targets[..., 4] = 1, 0
    data = Data(Set(features, targets), judges, judges, ())
    first, again = tmp_path / "first.npz", tmp_path / "again.npz"
    threads = torch.get_num_threads()
    try:
        for path in (first, again):
            train(data, path, num_steps=60, seed=3, seconds=None)
    finally:
        torch.set_num_threads(threads)
    weights, repeated = load_weights(first), load_weights(again)
    assert all(np.array_equal(weights[name], repeated[name]) for name in weights)
    rows = features[0, :BLOCK_STEPS].astype(np.float32).reshape(-1, NUM_BANDS)
    said = MouthNet(weights).hear(rows)
    assert said[:, 3].min() > said[:, 4].max() + 0.1
