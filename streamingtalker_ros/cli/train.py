# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker train STAGE`: training stages of both families, the full recipe, related tools.

The blendshape family learns from corpus folders (`--corpus`), the vertex family from VOCASET or BIWI in the
published preprocessed layout (`--dataset`, `--data`). `accelerate launch -m streamingtalker_ros train …` runs
a stage on several GPUs or machines. `train all` makes every corpus that the recipe names, trains all stages
and leaves a checkpoint.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from streamingtalker_ros.cli.argument_types import MAX_PROCESSES, integer, number
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.output_files import check_output_file, check_output_folder
from streamingtalker_ros.process import print_result

HELP = "train a talker: stage by stage, or corpora, stages and checkpoint by one command"

PICTURE_ENDINGS = (".png", ".pdf", ".svg", ".jpg", ".jpeg")

STAGES = {
    "codec": "stage 1: the motion codec",
    "encoder": "the blendshape family's audio encoder, before stage 2",
    "generator": "stage 2: condition predictor and diffusion head",
    "articulation-heads": "the blendshape family's heads for lip contact and aperture, after stage 2",
    "all": "corpora, all stages and the checkpoint; completed steps are not repeated",
}
MAX_WEIGHT = 1e9  # of a checkpoint in an average, of a term of a loss
OLD_STAGE_NAMES = {"encoder": "listener", "generator": "talker", "articulation-heads": "closure"}
SOURCES = {
    "grid": "GRID's speaker 1: videos, word times beside them in alignments/",
    "people": "videos with sound, each of another speaker",
    "facegood": "FACEGOOD's Audio2Face, or its code/train",
    "speechocean": "speechocean762",
    "ljspeech": "LJSpeech, or some of it",
    "voices": "read speech of many speakers: LibriSpeech, Common Voice, one folder for each or for all",
    "sounds": "audio files without speech: music, machines",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their options.

    Args:
        parser: Parser of the command; it is extended in place, and its default `log_level` is set to INFO.
    """
    parser.set_defaults(log_level=logging.INFO)  # `main` sets it
    stages = parser.add_subparsers(dest="stage", metavar="STAGE", required=True)
    options = _stage_options()
    for stage, text in STAGES.items():
        aliases = [OLD_STAGE_NAMES[stage]] if stage in OLD_STAGE_NAMES else []
        stages.add_parser(
            stage,
            aliases=aliases,
            parents=[options],
            help=text,
            description=text,
            formatter_class=parser.formatter_class,
        ).set_defaults(stage=stage)
    _add_tools(stages, parser.formatter_class)


def _stage_options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(
        "--corpus",
        action="append",
        metavar="DIR",
        help="folder written by `streamingtalker corpus`; repeatable",
    )
    parser.add_argument(
        "--out",
        default="runs/default",
        metavar="DIR",
        help="run folder; stage 2 finds stage 1's codec in it; an interrupted run resumes there",
    )
    parser.add_argument(
        "--config", default=None, metavar="FILE", help="YAML recipe; the family's default when left out"
    )
    parser.add_argument(
        "--start", default=None, metavar="DIR", help="checkpoint whose weights it begins with"
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="auto, cpu, cuda or cuda:N; `accelerate launch` assigns one to each process",
    )
    parser.add_argument(
        "--threads",
        type=integer(1, MAX_PROCESSES),
        default=None,
        help="CPU threads; one per core when left out",
    )
    vertex = parser.add_argument_group("the vertex family")
    vertex.add_argument(
        "--dataset",
        choices=("vocaset", "biwi"),
        default=None,
        help="train the vertex family on this data set instead",
    )
    vertex.add_argument(
        "--data",
        default=None,
        metavar="DIR",
        help="its folder in the published preprocessed layout: vertices_npy, wav, templates.pkl",
    )
    vertex.add_argument(
        "--hubert",
        default=None,
        metavar="DIR",
        help="local folder of HuBERT (config.json and weights), for its stage 2",
    )
    sources = parser.add_argument_group(
        "sources of `train all`; a source that is not set is left out with its fraction of the mixture"
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
        "--jobs",
        type=integer(1, MAX_PROCESSES),
        default=None,
        help="processes that make corpora; one per core when left out",
    )
    sources.add_argument("--dry-run", action="store_true", help="only print what would be done")
    return parser


def _add_tools(stages: Any, formatter_class: Any) -> None:
    curves = stages.add_parser(
        "curves", help="plot the training curves of stages", formatter_class=formatter_class
    )
    curves.add_argument("runs", nargs="+", metavar="NAME=DIR", help="a stage's folder, which holds log.csv")
    curves.add_argument("--picture", required=True, metavar="FILE.png", help="picture to write")
    for name, text in (
        ("coarticulation-fit", "fit the dominance model of coarticulation to tracked lips"),
        ("coarticulation-residual", "train the residual network of coarticulation on tracked lips"),
    ):
        tool = stages.add_parser(name, help=text, formatter_class=formatter_class)
        tool.add_argument("corpus", type=Path, help="written by `streamingtalker corpus from-video`")
        tool.add_argument(
            "--out", type=Path, default=None, help="file to write; the package's file when left out"
        )
        tool.add_argument("--steps", type=integer(1), default=None, help="optimizer steps")
        if name == "coarticulation-fit":
            tool.add_argument(
                "--prior-weight",
                type=number(0, MAX_WEIGHT),
                default=None,
                help="weight of the distance from the hand-written numbers",
            )


def run(args: argparse.Namespace) -> int:
    """Run the chosen stage or tool.

    Args:
        args: Parsed command line; `stage` names the stage or tool, the other attributes are its options.

    Returns:
        The exit code.

    Raises:
        TalkerError: If an option does not fit the stage, or its data or configuration is unusable.
    """
    tools = {
        "curves": _plot_curves,
        "coarticulation-fit": _fit_coarticulation,
        "coarticulation-residual": _train_residual,
    }
    return tools[args.stage](args) if args.stage in tools else _train(args)


def _train(args: argparse.Namespace) -> int:
    _check(args)
    check_output_folder(args.out)
    torch = require("torch", "training")
    is_distributed = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if args.threads or not is_distributed:  # main() sets one thread, which suits a stream
        torch.set_num_threads(args.threads or os.cpu_count() or 1)
    if args.stage == "all":
        if is_distributed:
            raise TalkerError("`train all` runs in one process: launch its stages one by one, with --corpus")
        return _train_all(args)
    result = _train_vertex_stage(args) if args.dataset else _train_blendshape_stage(args)
    if os.environ.get("RANK", "0") == "0":  # one of several processes prints
        if isinstance(result, dict):
            print_result(", ".join(f"{name} {value:.4g}" for name, value in result.items()))
        else:
            print_result(f"checkpoint: {result}")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raise TalkerError where options do not fit the stage."""
    set_options = [
        name for name in (*SOURCES, "align", "landmarks", "jobs", "dry_run") if getattr(args, name)
    ]
    if set_options and args.stage != "all":
        raise TalkerError(
            f"--{set_options[0].replace('_', '-')} is for `train all`: create a corpus of it and pass that "
            "with --corpus"
        )
    if args.dataset and args.stage in ("encoder", "articulation-heads"):
        raise TalkerError(
            "the vertex family's encoder is HuBERT, which is trained by `train generator`: continue with that"
        )
    if args.dataset and args.stage == "all":
        raise TalkerError(
            "`train all` is the blendshape family's: train the vertex family with `train codec` and "
            "`train generator`"
        )
    if args.dataset and (args.corpus or not args.data):
        raise TalkerError(f"{args.dataset} is trained on the folder that --data names, without --corpus")
    if not args.dataset and (args.data or args.hubert or not (args.corpus or args.stage == "all")):
        raise TalkerError(
            "nothing to train on: give --corpus a folder written by `streamingtalker corpus`, or --dataset "
            "vocaset or biwi with --data"
        )


def _train_vertex_stage(args: argparse.Namespace) -> Path | dict[str, Any]:
    from streamingtalker_ros.resources import find
    from streamingtalker_ros.training.vertex import stages
    from streamingtalker_ros.training.vertex.recipe import read_recipe

    recipe = read_recipe(args.config or find("config", f"train_{args.dataset}.yaml"), args.dataset)
    if args.hubert:
        recipe = replace(recipe, audio=replace(recipe.audio, hubert=args.hubert))
    train = stages.train_codec if args.stage == "codec" else stages.train_generator
    return train(args.dataset, Path(args.data), Path(args.out), recipe, args.start, args.device)


def _read_blendshape_recipe(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    from streamingtalker_ros.resources import find
    from streamingtalker_ros.training.recipe import read_recipe

    return read_recipe(args.config or find("config", "train.yaml"))


def _train_blendshape_stage(args: argparse.Namespace) -> Path | dict[str, Any]:
    from streamingtalker_ros.resources import find
    from streamingtalker_ros.training import stages
    from streamingtalker_ros.training.recipe import read_recipe

    recipe = _read_blendshape_recipe(args)
    folders = [Path(folder) for folder in args.corpus]
    # fractions of the shipped recipe's corpora are for those that are given, also in a copy of it
    others = set(read_recipe(find("config", "train.yaml"))["mixture"]) - {
        folder.absolute().name for folder in folders
    }
    recipe["mixture"] = {name: value for name, value in recipe["mixture"].items() if name not in others}
    train = {
        "codec": stages.train_codec,
        "encoder": stages.train_encoder,
        "generator": stages.train_generator,
        "articulation-heads": stages.train_articulation_heads,
    }[args.stage]
    return train(folders, Path(args.out), recipe, args.start, args.device)


def _train_all(args: argparse.Namespace) -> int:
    from streamingtalker_ros.training import pipeline

    plan = pipeline.make_plan(
        _read_blendshape_recipe(args),
        {name: getattr(args, name) for name in SOURCES},
        args.out,
        args.corpus or (),
        args.align,
        args.landmarks,
        args.jobs,
    )
    for omission in plan.omissions:
        print_result(omission)
    for corpus in plan.corpora:  # report an invalid option here, not after hours
        _parse_corpus_arguments(corpus.arguments)
    if args.dry_run:
        for corpus in plan.corpora:
            print_result(shlex.join(["streamingtalker", "corpus", *corpus.arguments]))
        names = ", ".join(folder.name for folder in plan.folders)
        print_result(f"then codec, encoder, generator and articulation heads on {names}")
        return 0

    def make_corpus(arguments: list[str]) -> None:
        from streamingtalker_ros.cli import corpus

        print_result("  " + shlex.join(["streamingtalker", "corpus", *arguments]))
        corpus.run(_parse_corpus_arguments(arguments))

    folder = pipeline.run_pipeline(plan, make_corpus, args.start, args.device)
    print_result(f"checkpoint: {folder}; measure it with\n{shlex.join(pipeline.evaluation_command(plan))}")
    return 0


def _parse_corpus_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the words after `streamingtalker corpus`."""
    from streamingtalker_ros.cli.main import create_parser

    return create_parser(["corpus"]).parse_args(["corpus", *arguments])


def _plot_curves(args: argparse.Namespace) -> int:
    from streamingtalker_ros.training.curves import plot_curves

    runs: dict[str, str] = {}
    for word in args.runs:
        name, separator, folder = word.partition("=")
        if not separator:
            raise TalkerError(f"{word!r} names no folder: give NAME=DIR")
        runs[name] = folder
    require("matplotlib", "the picture")
    folder = Path(args.picture).parent
    check_output_folder(folder, option="--picture")
    if folder.is_dir():
        inputs = [Path(run) / "log.csv" for run in runs.values()]
        check_output_file(args.picture, option="--picture", endings=PICTURE_ENDINGS, inputs=inputs)
    plot_curves(runs, args.picture)
    return 0


def _fit_coarticulation(args: argparse.Namespace) -> int:
    require("torch", "fitting the coarticulation model")
    from streamingtalker_ros.training import coarticulation_fit as fit

    path = args.out or fit.PARAMETERS_PATH
    check_output_file(path, inputs=[args.corpus / "index.json"])
    out = fit.run(
        args.corpus,
        path,
        args.steps or fit.STEPS,
        fit.PRIOR_WEIGHT if args.prior_weight is None else args.prior_weight,
    )
    print_result(str(out))
    return 0


def _train_residual(args: argparse.Namespace) -> int:
    from streamingtalker_ros.training import coarticulation_residual as residual

    path = args.out or residual.WEIGHTS_PATH
    check_output_file(path, endings=(".npz",))
    print_result(str(residual.run(args.corpus, path, args.steps or residual.STEPS)))
    return 0
