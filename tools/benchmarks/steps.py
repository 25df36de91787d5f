# SPDX-License-Identifier: Apache-2.0
"""Effect of the number of diffusion steps on held-out quality and cost, as a Markdown table.

python tools/benchmarks/steps.py --corpus DIR [--clips 24]
"""

import argparse

import numpy as np


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", required=True, help="folder made by `streamingtalker corpus`")
    parser.add_argument("--model", default=None)
    parser.add_argument("--clips", type=int, default=24)
    args = parser.parse_args()

    import torch

    torch.set_num_threads(1)
    from streamingtalker_ros.evaluation import bench, sampling
    from streamingtalker_ros.evaluation import inference as over
    from streamingtalker_ros.evaluation.motion_curves import of_weights
    from streamingtalker_ros.evaluation.test_set import load_section, score
    from streamingtalker_ros.face.default_head.assemble import default_rig
    from streamingtalker_ros.streaming import Talker

    talker, rig = Talker.load(args.model, "cpu"), default_rig()
    section = load_section(rig, args.corpus, "test", args.clips)
    clips = section.clips
    brows, lids = sampling.columns(("brow",)), sampling.columns(("eyeBlink",))
    hops = bench.noise(talker.hop)[:, 0]
    print(
        "| steps | ms per frame | lip-opening error, mm | LVE, mm² | closure recall | false closures | "
        "brow std | lid std |\n|---|---|---|---|---|---|---|---|"
    )
    truth = np.concatenate([clip.weights for clip in clips])
    for steps in (1, 2, 4, 8, 16, 50):
        made = [spoken[0] for spoken in over.speak_all(talker, [clip.pcm for clip in clips], steps=steps)]
        figures = score(rig, section, [of_weights(rig, weights) for weights in made])[0]
        stream = talker.open_stream(steps=steps)
        cost = np.median(bench.milliseconds(lambda n, stream=stream: stream.accept(hops[n % 64]), 300)[50:])
        joined = np.concatenate(made)
        print(
            f"| {steps} | {cost:.2f} | {figures['lip_opening_error_mm']:.2f} | {figures['lve_mm2']:.2f} | "
            f"{100 * figures['closure_recall']:.1f} % | {100 * figures['false_closures']:.1f} % | "
            f"{joined[:, brows].std(0).mean():.3f} | {joined[:, lids].std(0).mean():.3f} |",
            flush=True,
        )
    print(
        f"| reference | | 0 | 0 | | | {truth[:, brows].std(0).mean():.3f} | "
        f"{truth[:, lids].std(0).mean():.3f} |"
    )


if __name__ == "__main__":
    main()
