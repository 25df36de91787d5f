"""`streamingtalker train codec|talker`: the two training stages over corpus folders."""
from pathlib import Path

from ..errors import TalkerError, require

def add_arguments(parser):
    parser.add_argument("stage", choices=("codec", "talker"), help="stage 1, the motion codec; stage 2, the talker")
    parser.add_argument("--corpus", action="append", metavar="DIR",
                        help="folder made by `streamingtalker corpus`; give it again for several")
    parser.add_argument("--out", default="runs/default", metavar="DIR",
                        help="run folder; stage 2 finds stage 1's codec in it; an interrupted run goes on from there")
    parser.add_argument("--config", default=None, metavar="FILE", help="YAML recipe; the default one when left out")
    parser.add_argument("--start", default=None, metavar="DIR", help="checkpoint whose weights it begins with")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads; PyTorch's choice when left out")


def run(args):
    if not args.corpus:
        raise TalkerError("nothing to train on: give --corpus a folder made by `streamingtalker corpus`")
    torch = require("torch", "training")
    from ..node.resources import find
    from ..training import stages
    if args.threads:
        torch.set_num_threads(args.threads)
    recipe = stages.read_recipe(args.config or find("config", "train.yaml"))
    corpora = [Path(folder) for folder in args.corpus]
    corpora = corpora if len(corpora) > 1 else corpora[0]
    out, corpora = Path(args.out), [Path(folder) for folder in args.corpus]
    made = getattr(stages, f"train_{args.stage}")(corpora, out, recipe, args.start)
    if args.stage == "codec":
        print(", ".join(f"{name} {value:.4g}" for name, value in made.items()))
    else:
        print(f"checkpoint: {made}")
    return 0
