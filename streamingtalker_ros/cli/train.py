"""`streamingtalker train codec|listener|talker`: the training stages, of either family.

The default family learns from corpus folders (`--corpus`), the published one from VOCASET or BIWI in the published
preprocessed layout (`--dataset`, `--data`). `accelerate launch -m streamingtalker_ros train …` runs it on several
GPUs or machines.
"""
import os
from dataclasses import replace
from pathlib import Path

from ..errors import TalkerError, require


def add_arguments(parser):
    parser.add_argument("stage", choices=("codec", "listener", "talker"),
                        help="stage 1, the motion codec; stage 2, the talker; the default family's encoder learns to "
                        "listen between them")
    parser.add_argument("--corpus", action="append", metavar="DIR",
                        help="folder made by `streamingtalker corpus`; give it again for several")
    parser.add_argument("--dataset", choices=("vocaset", "biwi"), default=None,
                        help="train the published family on this data set instead")
    parser.add_argument("--data", default=None, metavar="DIR",
                        help="its folder in the published preprocessed layout: vertices_npy, wav, templates.pkl")
    parser.add_argument("--hubert", default=None, metavar="DIR",
                        help="local folder of HuBERT (config.json and weights), for its stage 2")
    parser.add_argument("--out", default="runs/default", metavar="DIR",
                        help="run folder; stage 2 finds stage 1's codec in it; an interrupted run goes on from there")
    parser.add_argument("--config", default=None, metavar="FILE", help="YAML recipe; the family's own when left out")
    parser.add_argument("--start", default=None, metavar="DIR", help="checkpoint whose weights it begins with")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads; PyTorch's choice when left out")


def run(args):
    if args.dataset and args.stage == "listener":
        raise TalkerError("the published family listens through HuBERT, which learns in `train talker`: go on with that")
    if args.dataset and (args.corpus or not args.data):
        raise TalkerError(f"{args.dataset} is trained on the folder that --data names, without --corpus")
    if not args.dataset and (args.data or args.hubert or not args.corpus):
        raise TalkerError("nothing to train on: give --corpus a folder made by `streamingtalker corpus`, or --dataset "
                          "vocaset or biwi with --data")
    torch = require("torch", "training")
    from ..node.resources import find
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.dataset:
        from ..training.published import stages
        from ..training.published.recipe import read_recipe
        recipe = read_recipe(args.config or find("config", f"train_{args.dataset}.yaml"), args.dataset)
        if args.hubert:
            recipe = replace(recipe, audio=replace(recipe.audio, hubert=args.hubert))
        where = (args.dataset, Path(args.data), Path(args.out))
    else:
        from ..training import stages
        recipe = stages.read_recipe(args.config or find("config", "train.yaml"))
        where = ([Path(folder) for folder in args.corpus], Path(args.out))
    made = getattr(stages, f"train_{args.stage}")(*where, recipe, args.start)
    if os.environ.get("RANK", "0") == "0":  # one of several processes speaks for all
        figures = args.stage == "codec"
        print(", ".join(f"{name} {value:.4g}" for name, value in made.items()) if figures else f"checkpoint: {made}")
    return 0
