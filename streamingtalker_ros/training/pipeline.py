# SPDX-License-Identifier: Apache-2.0
"""The whole recipe as steps that each run once: make every corpus, train every stage, export a checkpoint.

`make_plan(recipe, sources, out)` decides which corpora can be built from the available sources;
`run_pipeline` runs the steps that are not done yet. `out/steps.json` records the settings and the duration of
each step.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamingtalker_ros.config_files import read_json
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.output_files import write_text
from streamingtalker_ros.training.recipe import Recipe, model_values
from streamingtalker_ros.training.recipe_keys import OLD_CORPUS_KEYS, OLD_STAGES, modernize_sections

KINDS = ("from-video", "from-animation", "speech", "synthetic", "espeak", "quiet", "revoice")
DERIVED_KINDS = ("revoice",)  # built from another corpus of the recipe, not from a source
SYNTHESIZED_KINDS = ("synthetic", "espeak")
STEPS_FILE, CORPORA_FOLDER, CHECKPOINT_FOLDER = "steps.json", "corpora", "checkpoint"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CorpusStep:
    """A corpus to build.

    Attributes:
        name: its name in the recipe and folder's name.
        arguments: of `streamingtalker corpus`.
        settings: what it is built from, to compare with an earlier call.
        style: the speaking style of its clips.
    """

    name: str
    arguments: list[str]
    settings: dict[str, Any]
    style: str


@dataclass
class PipelinePlan:
    """The steps of a run.

    Attributes:
        out: run folder.
        recipe: without the fractions and styles of what is left out.
        extra_corpora: folders of corpora that exist already.
        corpora: corpora to build.
        omissions: messages about corpora that are left out.
    """

    out: Path
    recipe: Recipe
    extra_corpora: list[Path]
    corpora: list[CorpusStep] = field(default_factory=list)
    omissions: list[str] = field(default_factory=list)

    @property
    def folders(self) -> list[Path]:
        """Folders of all training corpora."""
        return [self.out / CORPORA_FOLDER / corpus.name for corpus in self.corpora] + self.extra_corpora


def make_plan(
    recipe: Recipe,
    sources: Mapping[str, str | Path | None],
    out: str | Path,
    extra_corpora: Iterable[str | Path] = (),
    align: str | Path | None = None,
    landmarks: str | Path | None = None,
    jobs: int | None = None,
) -> PipelinePlan:
    """Decide what a run will do.

    A missing source, and every corpus built from it, is left out with its fraction of the mixture; so
    is synthetic speech without its synthesiser.

    Args:
        recipe: of `recipe.read_recipe`.
        sources: name -> folder from which the recipe's corpora are built, or None.
        out: run folder.
        extra_corpora: folders of finished corpora to train on as well.
        align: folder of the videos' word times; None for what lies beside them.
        landmarks: folder of the videos' landmarks; None for what lies beside them.
        jobs: processes per corpus; one per CPU when None.

    Raises:
        TalkerError: if a folder does not exist, a given source needs a package that is missing, or nothing is
            left.
    """
    plan = PipelinePlan(
        Path(out),
        {**recipe, **{section: dict(recipe[section]) for section in ("mixture", "head_mixture")}},
        [Path(folder).resolve() for folder in extra_corpora],
    )
    for name, folder in sources.items():
        if folder is not None and not Path(folder).is_dir():
            raise TalkerError(f"there is no folder {folder}: give --{name} the folder of that source")
    for name, entry in recipe["corpora"].items():
        kind, source_names, options = _parse_entry(name, entry)
        reason = _missing_requirement(kind, source_names, sources, plan)
        if reason:
            of_heads = plan.recipe["head_mixture"].pop(name, None)
            fraction = plan.recipe["mixture"].pop(name, None)
            of_mixture = f", {fraction:.0%} of the mixture," if fraction else ""
            if of_heads and not fraction:
                of_mixture = f", {of_heads:.0%} of the heads' mixture,"
            plan.omissions.append(f"{name}{of_mixture} is left out: {reason}")
        else:
            corpus = _plan_corpus(plan, name, kind, source_names, options, sources, align, landmarks, jobs)
            plan.corpora.append(corpus)
    if not plan.folders:
        raise TalkerError(
            "nothing to learn from: " + ("; ".join(plan.omissions) or "the recipe names no corpora")
        )
    if len({folder.name for folder in plan.folders}) < len(plan.folders):
        raise TalkerError(
            f"two corpora have the same name: {', '.join(folder.name for folder in plan.folders)}"
        )
    plan.recipe["model"] = {**recipe["model"], "styles": _styles(recipe["model"], plan)}
    return plan


def _plan_corpus(
    plan: PipelinePlan,
    name: str,
    kind: str,
    source_names: list[str],
    options: dict[str, Any],
    sources: Mapping[str, str | Path | None],
    align: str | Path | None,
    landmarks: str | Path | None,
    jobs: int | None,
) -> CorpusStep:
    out = plan.out / CORPORA_FOLDER / name
    inputs: list[str | Path]
    settings_sources: list[str]
    if kind in DERIVED_KINDS:
        inputs, settings_sources = [plan.out / CORPORA_FOLDER / source_names[0]], source_names
    else:
        settings_sources = [
            str(Path(folder).resolve()) for source in source_names if (folder := sources.get(source))
        ]
        inputs = list(settings_sources)
        plan.omissions += [
            f"{name} is made without {source}: --{source} was not given"
            for source in source_names
            if not sources.get(source)
        ]
    if kind == "from-video":
        own_align = None if options.get("people") else align  # `align` has the words of one speaker's clips
        videos, video_options = _locate_videos(Path(inputs[0]), own_align, landmarks, out)
        inputs, options = [videos], {**options, **video_options}
        if "align" not in video_options and not options.get("people"):
            plan.omissions.append(
                f"{name} has voice activity but no words: --align was not given, and {videos} has no word "
                "times beside it"
            )
    elif kind == "from-animation" and (Path(inputs[0]) / "code" / "train" / "bs_value").is_dir():
        inputs = [Path(inputs[0]) / "code" / "train"]  # of a checkout of FACEGOOD's repository
    arguments = [kind, *map(str, inputs), "--out", str(out), *_to_flags(options)]
    if kind != "from-animation":
        arguments += ["--jobs", str(jobs or os.cpu_count() or 1)]
    style = options.get("speaker", name) if kind.startswith("from-") else "teacher"
    if kind in DERIVED_KINDS:
        style = next(corpus.style for corpus in plan.corpora if corpus.name == source_names[0])
    return CorpusStep(name, arguments, {"kind": kind, "sources": settings_sources, **options}, style)


def _parse_entry(name: str, entry: Mapping[str, Any] | None) -> tuple[str, list[str], dict[str, Any]]:
    """Kind, names of the sources and options of the command of a corpus in the recipe."""
    options = dict(entry or {})
    kind, source_names = options.pop("kind", None), options.pop("sources", [])
    source_names = [source_names] if isinstance(source_names, str) else source_names
    if kind not in KINDS:
        raise TalkerError(f"the recipe's corpus {name} has kind {kind!r}: it may be {', '.join(KINDS)}")
    if bool(source_names) == (kind in SYNTHESIZED_KINDS) or (len(source_names) > 1 and kind != "speech"):
        raise TalkerError(
            f"the recipe's corpus {name}, {kind}, has the sources {source_names}: synthetic speech "
            "takes none, speech takes several, all else one"
        )
    return kind, source_names, options


def _missing_requirement(
    kind: str,
    source_names: Sequence[str],
    sources: Mapping[str, str | Path | None],
    plan: PipelinePlan,
) -> str | None:
    """Reason why a corpus cannot be built, or None.

    Raises:
        TalkerError: if a given source needs a package that is missing.
    """
    if kind in DERIVED_KINDS:
        if source_names[0] not in {corpus.name for corpus in plan.corpora}:
            return f"{source_names[0]} is"
        if kind == "revoice":
            from streamingtalker_ros.corpus.voice_conversion import import_vocoder

            import_vocoder()
    elif kind == "synthetic":
        from streamingtalker_ros.corpus.synthetic import check_voices

        try:
            check_voices()
        except TalkerError as error:
            return str(error)
    elif kind == "espeak":
        from streamingtalker_ros.phonetics import espeak_tts

        if not espeak_tts.is_available():
            return "libespeak-ng is not installed: `apt install espeak-ng`"
    elif not any(sources.get(source) for source in source_names):
        return f"give --{' DIR or --'.join(source_names)} DIR"
    elif kind == "speech":
        require("pocketsphinx", "aligning speech with its text")
    return None


def _locate_videos(
    folder: Path, align: str | Path | None, landmarks: str | Path | None, out: Path
) -> tuple[Path, dict[str, str]]:
    """Folder of the videos, and the options `align` and `landmarks` of the command where they are known.

    Raises:
        TalkerError: if the videos can neither be tracked nor have been, or `align` holds no word times.
    """
    from streamingtalker_ros.corpus.video import tracking

    if not any(file.is_file() for file in folder.iterdir()) and (folder / "s1").is_dir():
        folder = folder / "s1"  # GRID's speaker 1
    if not (tracking.is_available() or landmarks or (out / "landmarks").is_dir()):
        raise TalkerError(tracking.INSTALL_HINT)
    candidates = (
        [Path(align)] if align else [folder, folder.parent / "alignments" / folder.name, folder / "align"]
    )
    align_folder = next(
        (place for place in candidates for end in ("align", "txt") if any(place.glob(f"*.{end}"))), None
    )
    if align and not align_folder:
        raise TalkerError(
            f"{align} holds no NAME.align or NAME.txt: give the folder that does, or leave it out"
        )
    options = {"align": align_folder, "landmarks": landmarks}
    return folder, {key: str(Path(place).resolve()) for key, place in options.items() if place}


def _styles(model: Mapping[str, Any], plan: PipelinePlan) -> list[str]:
    """The model's styles that occur in a corpus, and those that the extra corpora add."""
    from streamingtalker_ros.corpus.storage import read_index

    first, *others = model.get("styles", ["neutral"])
    corpus_styles = [corpus.style for corpus in plan.corpora]
    extra = [
        clip.get("style", "teacher") for folder in plan.extra_corpora for clip in read_index(folder)["clips"]
    ]
    return [first, *dict.fromkeys([style for style in others if style in corpus_styles + extra] + extra)]


def _to_flags(options: Mapping[str, Any]) -> list[str]:
    """{"hold-out": "last", "no-pictures": True} -> ["--hold-out", "last", "--no-pictures"]."""
    return [
        word
        for key, value in options.items()
        if value is not False
        for word in ([f"--{key}"] if value is True else [f"--{key}", str(value)])
    ]


def run_pipeline(
    plan: PipelinePlan,
    make_corpus: Callable[[list[str]], None],
    start: str | Path | None = None,
    device: str = "auto",
) -> Path:
    """Run the steps that are not done: corpora, codec, encoder, generator, articulation heads, checkpoint.

    Args:
        plan: of `make_plan`.
        make_corpus: runs `streamingtalker corpus` with a list of arguments.
        start: checkpoint folder whose weights the run begins with.
        device: see `distributed.get_process`.

    Returns:
        The checkpoint's folder.

    Raises:
        TalkerError: if the run folder was begun with other settings.
    """
    from streamingtalker_ros.model.blendshape import checkpoint
    from streamingtalker_ros.training import distributed, stages
    from streamingtalker_ros.training.batches import WindowSampler

    out, recipe = plan.out, plan.recipe
    out.mkdir(parents=True, exist_ok=True)
    log = StepLog(out / STEPS_FILE)
    for corpus in plan.corpora:
        log.run_once(
            f"corpus {corpus.name}", corpus.settings, lambda corpus=corpus: make_corpus(corpus.arguments)
        )
    samplers: list[WindowSampler] = []

    def sampler() -> WindowSampler:
        """One sampler for all stages that read audio: its features take minutes to extract."""
        if not samplers:
            network = checkpoint.load(out / "codec")
            device_ = distributed.get_process(device).device
            samplers.append(stages.make_sampler(plan.folders, "train", recipe, network, device_))
        return samplers[0]

    shared = {
        "model": recipe["model"],
        "windows": recipe["windows"],
        "mixture": recipe["mixture"],
        "corpora": [folder.name for folder in plan.folders],
        "start": str(start) if start else None,
    }
    log.run_once(
        "codec",
        {**shared, "codec": recipe["codec"]},
        lambda: stages.train_codec(plan.folders, out, recipe, start, device),
    )
    log.run_once(
        "encoder",
        {**shared, "encoder": recipe["encoder"]},
        lambda: stages.train_encoder(plan.folders, out, recipe, None, device, sampler()),
    )
    log.run_once(
        "generator",
        {**shared, "generator": recipe["generator"], "history": recipe["history"]},
        lambda: stages.train_generator(plan.folders, out, recipe, None, device, sampler()),
    )
    log.run_once(
        "articulation_heads",
        {
            **shared,
            "articulation_heads": recipe["articulation_heads"],
            "head_mixture": recipe["head_mixture"],
        },
        lambda: stages.train_articulation_heads(plan.folders, out, recipe, None, device),
    )
    log.run_once("checkpoint", {}, lambda: stages.export_checkpoint(out, out / CHECKPOINT_FOLDER))
    return out / CHECKPOINT_FOLDER


class StepLog:
    """A JSON file of the steps that were done, their settings and their duration, written after each step.

    Raises:
        TalkerError: if the file is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        rows: dict[str, Any] = {}
        if self.path.exists():
            try:
                rows = read_json(self.path)
            except TalkerError:
                raise TalkerError(f"{self.path} is damaged: remove it to do every step again") from None
        self.rows = {
            OLD_STAGES.get(name, name): {**row, "settings": _modernize_settings(row["settings"])}
            for name, row in rows.items()
        }

    def run_once(self, name: str, settings: Mapping[str, Any], action: Callable[[], object]) -> None:
        """Call `action` unless the step is done.

        Args:
            name: of the step.
            settings: what its result depends on.
            action: does the step.

        Raises:
            TalkerError: if the step was begun with other settings.
        """
        settings = json.loads(json.dumps(settings))  # as they are read again
        row = self.rows.setdefault(name, {"settings": settings, "seconds": 0.0, "done": False})
        if row["settings"] != settings:
            keys = {**row["settings"], **settings}
            changed = [key for key in keys if row["settings"].get(key) != settings.get(key)]
            raise TalkerError(
                f"{name} of {self.path.parent} was begun with another {', '.join(changed)}: give "
                "another --out, or what it was begun with"
            )
        if row["done"]:
            _log.info("%s: done, in %.0f s", name, row["seconds"])
            return
        _log.info("%s:", name)
        began = time.monotonic()
        self._write()
        try:
            action()
            row["done"] = True
        finally:  # the time of an interrupted call counts as well
            row["seconds"] = round(row["seconds"] + time.monotonic() - began, 1)
            self._write()

    def _write(self) -> None:
        write_text(self.path, json.dumps(self.rows, indent=1) + "\n")


def _modernize_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a step under the present names."""
    settings = modernize_sections(settings)
    if "model" in settings:
        model = model_values(settings["model"], "the settings' section model")
        settings["model"] = json.loads(json.dumps(model))
    return {OLD_CORPUS_KEYS.get(key, key): value for key, value in settings.items()}


def evaluation_command(plan: PipelinePlan) -> list[str]:
    """The command line that measures the run's checkpoint on its test clips.

    Args:
        plan: The run; its corpora must exist. Corpora without test clips or of kind "quiet" are left out.

    Returns:
        The words of the command, which writes report.html and figures.json into the run folder.
    """
    from streamingtalker_ros.corpus.storage import read_index

    indices = {folder: read_index(folder) for folder in plan.folders}
    tested = [
        folder
        for folder, index in indices.items()
        if index.get("kind") != "quiet" and any(clip["split"] == "test" for clip in index["clips"])
    ]
    return [
        "streamingtalker",
        "evaluate",
        "--model",
        str(plan.out / CHECKPOINT_FOLDER),
        *(word for folder in tested for word in ("--corpus", str(folder))),
        "--full",
        "--report",
        str(plan.out / "report.html"),
        "--json",
        str(plan.out / "figures.json"),
    ]
