# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker train codec|listener|talker|closure|all`: the training stages of either family, or the whole recipe.

The default family learns from corpus folders (`--corpus`), the published one from VOCASET or BIWI in the published
preprocessed layout (`--dataset`, `--data`). `accelerate launch -m streamingtalker_ros train …` runs a stage on
several GPUs or machines. `all` makes every corpus that the recipe names, trains all stages and leaves a checkpoint.
"""

import argparse
import os
import shlex
from dataclasses import replace
from pathlib import Path

from streamingtalker_ros.errors import TalkerError, require

SOURCES = {
    "grid": "GRID's speaker 1: videos, word times beside them in alignments/",
    "facegood": "FACEGOOD's Audio2Face, or its code/train",
    "speechocean": "speechocean762",
    "ljspeech": "LJSpeech, or some of it",
    "voices": "many people who read a text: LibriSpeech, Common Voice, folders a speaker, or all in one folder",
    "sounds": "audio files in which nobody speaks: music, machines",
}


def add_arguments(parser) -> None:
    parser.add_argument(
        "stage",
        choices=("codec", "listener", "talker", "closure", "all"),
        help="stage 1, the motion codec; stage 2, the talker; the default family's encoder learns to "
        "listen between them, an ear for p, b and m (closure) after them; all: corpora, stages and "
        "checkpoint, what is done already is kept",
    )
    parser.add_argument(
        "--corpus",
        action="append",
        metavar="DIR",
        help="folder made by `streamingtalker corpus`; give it again for several",
    )
    parser.add_argument(
        "--out",
        default="runs/default",
        metavar="DIR",
        help="run folder; stage 2 finds stage 1's codec in it; an interrupted run goes on from there",
    )
    parser.add_argument(
        "--config", default=None, metavar="FILE", help="YAML recipe; the family's own when left out"
    )
    parser.add_argument(
        "--start", default=None, metavar="DIR", help="checkpoint whose weights it begins with"
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="auto, cpu, cuda or cuda:N; `accelerate launch` gives each process its own",
    )
    parser.add_argument("--threads", type=int, default=None, help="CPU threads; one per core when left out")
    published = parser.add_argument_group("the published family")
    published.add_argument(
        "--dataset",
        choices=("vocaset", "biwi"),
        default=None,
        help="train the published family on this data set instead",
    )
    published.add_argument(
        "--data",
        default=None,
        metavar="DIR",
        help="its folder in the published preprocessed layout: vertices_npy, wav, templates.pkl",
    )
    published.add_argument(
        "--hubert",
        default=None,
        metavar="DIR",
        help="local folder of HuBERT (config.json and weights), for its stage 2",
    )
    sources = parser.add_argument_group(
        "sources of `train all`; what is not given is left out with its share"
    )
    for name, text in SOURCES.items():
        sources.add_argument(f"--{name}", default=None, metavar="DIR", help=text)
    sources.add_argument(
        "--align", default=None, metavar="DIR", help="the videos' word times or texts, if elsewhere"
    )
    sources.add_argument(
        "--landmarks",
        default=None,
        metavar="DIR",
        help="what `corpus from-video --stage track` wrote, where mediapipe is not installed here",
    )
    sources.add_argument(
        "--jobs", type=int, default=None, help="processes that make corpora; one per core when left out"
    )
    sources.add_argument("--dry-run", action="store_true", help="only say what would be done")


def run(args):
    _check(args)
    torch = require("torch", "training")
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if args.threads or not several:  # main() asks for one, which suits a stream
        torch.set_num_threads(args.threads or os.cpu_count() or 1)
    if args.stage == "all":
        if several:
            raise TalkerError("`train all` runs in one process: launch its stages one by one, with --corpus")
        return _all(args)
    recipe, where, stages = _published(args) if args.dataset else _default(args)
    made = getattr(stages, f"train_{args.stage}")(*where, recipe, args.start, args.device)
    if os.environ.get("RANK", "0") == "0":  # one of several processes speaks for all
        figures = args.stage == "codec"
        print(
            ", ".join(f"{name} {value:.4g}" for name, value in made.items())
            if figures
            else f"checkpoint: {made}"
        )
    return 0


def _check(args) -> None:
    given = [name for name in (*SOURCES, "align", "landmarks", "jobs", "dry_run") if getattr(args, name)]
    if given and args.stage != "all":
        raise TalkerError(
            f"--{given[0].replace('_', '-')} is for `train all`: make a corpus of it and give that "
            "with --corpus"
        )
    if args.dataset and args.stage in ("listener", "closure"):
        raise TalkerError(
            "the published family listens through HuBERT, which learns in `train talker`: go on with that"
        )
    if args.dataset and args.stage == "all":
        raise TalkerError(
            "`train all` is the default family's: train the published one with `train codec` and "
            "`train talker`"
        )
    if args.dataset and (args.corpus or not args.data):
        raise TalkerError(f"{args.dataset} is trained on the folder that --data names, without --corpus")
    if not args.dataset and (args.data or args.hubert or not (args.corpus or args.stage == "all")):
        raise TalkerError(
            "nothing to train on: give --corpus a folder made by `streamingtalker corpus`, or --dataset "
            "vocaset or biwi with --data"
        )
    if min(args.threads or 1, args.jobs or 1) < 1:
        raise TalkerError("--threads and --jobs must be at least 1")


def _published(args):
    from streamingtalker_ros.resources import find
    from streamingtalker_ros.training.vertex import stages
    from streamingtalker_ros.training.vertex.recipe import read_recipe

    recipe = read_recipe(args.config or find("config", f"train_{args.dataset}.yaml"), args.dataset)
    if args.hubert:
        recipe = replace(recipe, audio=replace(recipe.audio, hubert=args.hubert))
    return recipe, (args.dataset, Path(args.data), Path(args.out)), stages


def _recipe(args):
    from streamingtalker_ros.resources import find
    from streamingtalker_ros.training import stages

    return stages.read_recipe(args.config or find("config", "train.yaml")), stages


def _default(args):
    recipe, stages = _recipe(args)
    folders = [Path(folder) for folder in args.corpus]
    if not args.config:  # its shares are for corpora of these names
        names = {folder.resolve().name for folder in folders}
        recipe["mix"] = {name: share for name, share in recipe["mix"].items() if name in names}
    return recipe, (folders, Path(args.out)), stages


def _all(args) -> int:
    from streamingtalker_ros.training import pipeline as recipes

    made = recipes.plan(
        _recipe(args)[0],
        {name: getattr(args, name) for name in SOURCES},
        args.out,
        args.corpus or (),
        args.align,
        args.landmarks,
        args.jobs,
    )
    for sentence in made.missing:
        print(sentence)
    commands = [(corpus.arguments, _corpus_parser().parse_args(corpus.arguments)) for corpus in made.corpora]
    if args.dry_run:
        for arguments, _ in commands:
            print(shlex.join(["streamingtalker", "corpus", *arguments]))
        print(
            f"then codec, listener, talker and closure on {', '.join(folder.name for folder in made.folders)}"
        )
        return 0

    def command(arguments) -> None:
        from streamingtalker_ros.cli import corpus

        print("  " + shlex.join(["streamingtalker", "corpus", *arguments]), flush=True)
        corpus.run(_corpus_parser().parse_args(arguments))

    folder = recipes.run(made, command, args.start, args.device)
    print(f"checkpoint: {folder}; measure it with\n{shlex.join(recipes.evaluation(made))}")
    return 0


def _corpus_parser():
    from streamingtalker_ros.cli import corpus

    parser = argparse.ArgumentParser(prog="streamingtalker corpus")
    corpus.add_arguments(parser)
    return parser
