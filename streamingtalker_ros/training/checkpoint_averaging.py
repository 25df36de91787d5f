# SPDX-License-Identifier: Apache-2.0
"""One network of several that learned from one beginning: the mean of their weights.

Networks that were trained on from the same weights, with other data or for another time, mostly lie in one basin; their mean
errs less than each (model soups, Wortsman et al. 2022). What reads the mean, such as the ears, is best trained on it once more.

    python -m streamingtalker_ros.training.checkpoint_averaging A B C --out DIR [--shares 2 1 1] [--rest A]
"""

import argparse
import sys

import torch

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.blendshape import checkpoint


@torch.no_grad()
def soup(folders, shares=None, rest=None):
    """The TalkerNetwork whose encoder is the mean of those in the checkpoint folders, all else that of the folder `rest`, the
    first when None. shares: a positive number for each folder, all alike when None. Raises TalkerError where the networks
    differ in shape, or shares and folders in number."""
    shares = list(shares or [1.0] * len(folders))
    if len(shares) != len(folders) or min(shares) <= 0.0:
        raise TalkerError(f"{len(folders)} checkpoints have {len(shares)} shares: give each one above 0")
    networks = [checkpoint.load(folder) for folder in folders]
    mean = checkpoint.load(rest or folders[0])
    for name, mine in mean.encoder.state_dict().items():
        parts = [network.encoder.state_dict().get(name) for network in networks]
        for folder, part in zip(folders, parts):
            if part is None or part.shape != mine.shape:
                raise TalkerError(f"the encoder in {folder} is another one: it differs at {name}")
        mine.copy_(sum(share * part for share, part in zip(shares, parts)) / sum(shares))
    return mean


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m streamingtalker_ros.training.checkpoint_averaging",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folders", nargs="+", metavar="DIR", help="checkpoints that began with the same weights"
    )
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--shares", nargs="+", type=float, default=None, help="of each; alike when left out")
    parser.add_argument(
        "--rest",
        default=None,
        metavar="DIR",
        help="checkpoint that gives all but the encoder; the first when left out",
    )
    args = parser.parse_args(argv)
    try:
        checkpoint.save(args.out, soup(args.folders, args.shares, args.rest))
    except TalkerError as error:
        print(f"soup: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
