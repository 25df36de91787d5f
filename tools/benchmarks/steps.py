# SPDX-License-Identifier: Apache-2.0
"""Effect of the number of diffusion steps on held-out quality and cost, as a Markdown table.

python tools/benchmarks/steps.py --corpus DIR [--clips 24]
"""

import argparse
from typing import cast

import numpy as np


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", required=True, help="folder made by `streamingtalker corpus`")
    parser.add_argument("--model", default=None)
    parser.add_argument("--clips", type=int, default=24)
    args = parser.parse_args()

    import torch

    torch.set_num_threads(1)
    from streamingtalker_ros.evaluation import bench, sampling
    from streamingtalker_ros.evaluation.inference import synthesize_batch
    from streamingtalker_ros.evaluation.motion_curves import MotionCurves
    from streamingtalker_ros.evaluation.test_set import load_test_set, score
    from streamingtalker_ros.face.default_head.stored import default_rig
    from streamingtalker_ros.streaming import Talker

    talker, rig = cast(Talker, Talker.load(args.model, "cpu")), default_rig()
    test_set = load_test_set(rig, args.corpus, "test", args.clips)
    clips = test_set.clips
    brows, lids = sampling.shape_mask(("brow",)), sampling.shape_mask(("eyeBlink",))
    hops = bench.noise(talker.hop)[:, 0]
    print(
        "| steps | ms per frame | lip-opening error, mm | LVE, mm² | closure recall | false closures | "
        "brow std | lid std |\n|---|---|---|---|---|---|---|---|"
    )
    reference = np.concatenate([clip.weights for clip in clips])
    for steps in (1, 2, 4, 8, 16, 50):
        motion = synthesize_batch(talker, [clip.pcm for clip in clips], steps=steps)
        weights = [clip_weights for clip_weights, _, _ in motion]
        scores, _ = score(rig, test_set, [MotionCurves.from_weights(rig, rows) for rows in weights])
        stream = talker.open_stream(steps=steps)
        cost = np.median(bench.time_passes(lambda n, stream=stream: stream.accept(hops[n % 64]), 300)[50:])
        joined = np.concatenate(weights)
        print(
            f"| {steps} | {cost:.2f} | {scores['lip_opening_error_mm']:.2f} | {scores['lve_mm2']:.2f} | "
            f"{100 * scores['closure_recall']:.1f} % | {100 * scores['false_closures']:.1f} % | "
            f"{joined[:, brows].std(0).mean():.3f} | {joined[:, lids].std(0).mean():.3f} |",
            flush=True,
        )
    print(
        f"| reference | | 0 | 0 | | | {reference[:, brows].std(0).mean():.3f} | "
        f"{reference[:, lids].std(0).mean():.3f} |"
    )


if __name__ == "__main__":
    main()
