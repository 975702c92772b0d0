"""Makes speech with known phonemes, trains the network on it, and writes its weights.

    python -m training.mouth_net [--cache FOLDER] [--output FILE] [--minutes 110] [--steps 3600]

Needs torch and requirements/dev.txt, 0.9 GB for the cache and half an hour of one core. Speech
comes from espeak-ng, which is installed with the backend, and from the voices of flite and festival
that are found; README.md beside this file names them, and says what a second run has in common.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from gpu_service.engines.facewarp.hearing.mouth_net import WEIGHTS_PATH
from training.mouth_net.data import Plan, prepare
from training.mouth_net.train import train


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare, train, write, and say how well held-out voices are heard."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, default=Path(".cache/mouth_net"))
    parser.add_argument("--output", type=Path, default=WEIGHTS_PATH)
    parser.add_argument("--minutes", type=float, default=110.0, help="of speech by all voices")
    parser.add_argument("--examples", type=int, default=7500, help="of six seconds, made of it")
    parser.add_argument("--steps", type=int, default=3600, help="of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="stop training after so many, evenly cooled")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    data = prepare(options.cache, Plan(options.minutes, options.examples, options.seed))
    train(data, options.output, options.steps, options.seed, options.seconds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
