"""`streamingtalker evaluate`: held-out figures of a checkpoint over a corpus made by `streamingtalker corpus`."""
import json
from pathlib import Path

from ..errors import TalkerError


def add_arguments(parser):
    parser.add_argument("--corpus", required=True, metavar="DIR", help="folder made by `streamingtalker corpus`")
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"),
                        help="test is the voice that no training ever heard")
    parser.add_argument("--model", default=None, metavar="DIR", help="checkpoint folder; the default one when left out")
    parser.add_argument("--steps", type=int, default=None, help="diffusion steps; the checkpoint's when left out")
    parser.add_argument("--clips", type=int, default=None, help="only the first N clips")
    parser.add_argument("--sampling", action="store_true",
                        help="also the spread over 32 seeds, and the errors of sample, mean and shorter histories")
    parser.add_argument("--out", default=None, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")


def run(args):
    from ..evaluation import clips as over, sampling
    from ..face.rig import default_rig
    from ..streaming import Talker
    from ..training.corpora import load_corpus
    talker, rig = Talker.load(args.model, args.device), default_rig()
    clips = load_corpus(args.corpus, args.split)[: args.clips]
    if not clips:
        raise TalkerError(f"the corpus {args.corpus} has no {args.split} clips: make it with more minutes")
    spoken = over.speak_all(talker, [clip.pcm for clip in clips], steps=args.steps, progress=True)
    made = [weights for weights, _, _ in spoken]
    report = {"model": talker.name, "split": args.split, "voices": sorted({clip.voice for clip in clips}),
              "steps": args.steps or talker.steps, "figures": over.summarise(rig, clips, made, talker.frame_rate)}
    _show(report["figures"])
    if args.sampling:
        longest = max((c for c in clips if len(c.weights) <= 10 * talker.frame_rate), key=lambda c: len(c.phones),
                      default=clips[0])
        report["seeds"] = sampling.seed_spread(talker, rig, longest)
        print("\nOver seeds, one clip:")
        _show(report["seeds"])
        report["table"] = sampling.error_table(talker, rig, clips[:24])
        for name, figures in report["table"].items():
            print(f"\n{name}:")
            _show({k: figures[k] for k in ("lip_opening_error_mm", "lve_mm2", "mouth_weights_error",
                                           "lip_opening_r_median", "closure_recall", "false_closures")})
    if args.out:
        Path(args.out).write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _show(figures):
    for name, value in figures.items():
        print(f"  {name:34} {value:.4g}")
