# SPDX-License-Identifier: Apache-2.0
"""The whole recipe as steps that are done once: make every corpus, train every stage, leave a checkpoint.

`plan(recipe, sources, out)` says which corpora can be made of the sources that are there, and as which command;
`run(plan, …)` does what is not done. `out/steps.json` tells what was made of what, and how long it took.
"""

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from streamingtalker_ros.errors import TalkerError, require

KINDS = ("from-video", "from-animation", "speech", "synthetic", "espeak", "quiet", "revoice", "resize")
DERIVED = ("revoice", "resize")  # made of another corpus of the recipe, not of a source
STEPS, CORPORA, CHECKPOINT = "steps.json", "corpora", "checkpoint"


@dataclass(frozen=True)
class Corpus:
    """A corpus to make: its name, the arguments of `streamingtalker corpus`, what it is made of, its style."""

    name: str
    arguments: list
    settings: dict
    style: str


@dataclass
class Plan:
    """recipe: as `stages.read_recipe` gives it, without the shares and styles of what is left out; more: folders of
    corpora that are made already; missing: sentences about what is left out."""

    out: Path
    recipe: dict
    more: list
    corpora: list = field(default_factory=list)
    missing: list = field(default_factory=list)

    @property
    def folders(self):
        return [self.out / CORPORA / corpus.name for corpus in self.corpora] + self.more


def plan(recipe, sources, out, more=(), align=None, landmarks=None, jobs=None):
    """What a run will do: a Plan.

    recipe: of `stages.read_recipe`; sources: {name: folder or None}, of which the recipe's corpora are made; out: run
    folder; more: folders of finished corpora to learn from as well; align, landmarks: folders that belong to the
    videos, None for what is found beside them; jobs: processes, one per CPU when None.

    A source that is not given, and what is made of it, is left out with its share of the mix; so is synthetic speech
    without its synthesiser. Raises TalkerError for a folder that is not there, for a package that a given source
    needs, and where nothing is left.
    """
    made = Plan(
        Path(out), {**recipe, "mix": dict(recipe["mix"])}, [Path(folder).resolve() for folder in more]
    )
    for name, folder in sources.items():
        if folder is not None and not Path(folder).is_dir():
            raise TalkerError(f"there is no folder {folder}: give --{name} the one of that source")
    for name, entry in recipe["corpora"].items():
        kind, of, options = _entry(name, entry)
        reason = _missing(kind, of, sources, made)
        if reason:
            share = made.recipe["mix"].pop(name, None)
            made.missing.append(
                f"{name}{f', {share:.0%} of the mix,' if share else ''} is left out: {reason}"
            )
            continue
        here = made.out / CORPORA / name
        if kind in DERIVED:
            places, basis = [made.out / CORPORA / of[0]], of
        else:
            places = basis = [str(Path(sources[source]).resolve()) for source in of if sources.get(source)]
            made.missing += [
                f"{name} is made without {source}: --{source} was not given"
                for source in of
                if not sources.get(source)
            ]
        if kind == "from-video":
            videos, beside = _videos(places[0], align, landmarks, here)
            places, options = [videos], {**options, **beside}
            if "align" not in beside:
                made.missing.append(
                    f"{name} knows no words, only where there is voice: --align was not given, and "
                    f"{videos} has no word times beside it"
                )
        elif kind == "from-animation" and (Path(places[0]) / "code" / "train" / "bs_value").is_dir():
            places = [Path(places[0]) / "code" / "train"]  # of a checkout of FACEGOOD's
        arguments = [kind, *map(str, places), "--out", str(here), *_flags(options)]
        if kind != "from-animation":
            arguments += ["--jobs", str(jobs or os.cpu_count() or 1)]
        style = options.get("speaker", name) if kind.startswith("from-") else "teacher"
        if kind in DERIVED:
            style = next(corpus.style for corpus in made.corpora if corpus.name == of[0])
        made.corpora.append(Corpus(name, arguments, {"kind": kind, "of": basis, **options}, style))
    if not made.folders:
        raise TalkerError(
            "nothing to learn from: " + ("; ".join(made.missing) or "the recipe names no corpora")
        )
    if len({folder.name for folder in made.folders}) < len(made.folders):
        raise TalkerError(
            f"two corpora have the same name: {', '.join(folder.name for folder in made.folders)}"
        )
    made.recipe["model"] = {**recipe["model"], "styles": _styles(recipe["model"], made)}
    return made


def _entry(name, entry):
    """(kind, names that it is made of, options of the command) of a corpus in the recipe."""
    options = dict(entry or {})
    kind, of = options.pop("kind", None), options.pop("of", [])
    of = [of] if isinstance(of, str) else of
    if kind not in KINDS:
        raise TalkerError(f"the recipe's corpus {name} has kind {kind!r}: it may be {', '.join(KINDS)}")
    if bool(of) == (kind in ("synthetic", "espeak")) or (len(of) > 1 and kind != "speech"):
        raise TalkerError(
            f"the recipe's corpus {name}, {kind}, is made of {of}: synthetic speech takes no source, "
            "speech takes several, all else one"
        )
    return kind, of, options


def _missing(kind, of, sources, made):
    """Why a corpus cannot be made, or None. Raises TalkerError for a package that a given source needs."""
    if kind in DERIVED:
        if of[0] not in {corpus.name for corpus in made.corpora}:
            return f"{of[0]} is"
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

        return None if espeak_tts.is_available() else "libespeak-ng is not installed: `apt install espeak-ng`"
    elif not any(sources.get(source) for source in of):
        return f"give --{' DIR or --'.join(of)} DIR"
    elif kind == "speech":
        require("pocketsphinx", "aligning speech with its text")
    return None


def _videos(folder, align, landmarks, here):
    """(folder of the videos, {option: folder} of what belongs to them). Raises TalkerError where they can be neither
    tracked nor were."""
    from streamingtalker_ros.corpus.video import tracking

    folder = Path(folder)
    if not any(file.is_file() for file in folder.iterdir()) and (folder / "s1").is_dir():
        folder = folder / "s1"  # GRID's speaker 1
    if not (tracking.is_available() or landmarks or (here / "landmarks").is_dir()):
        raise TalkerError(tracking.INSTALL_HINT)
    beside = (
        [Path(align)] if align else [folder, folder.parent / "alignments" / folder.name, folder / "align"]
    )
    told = next((place for place in beside for end in ("align", "txt") if any(place.glob(f"*.{end}"))), None)
    if align and not told:
        raise TalkerError(
            f"{align} holds no NAME.align or NAME.txt: give the folder that does, or leave it out"
        )
    named = {"align": told, "landmarks": landmarks}
    return folder, {key: str(Path(place).resolve()) for key, place in named.items() if place}


def _styles(model, made):
    """The styles of the model's configuration that a corpus has, and those that more corpora bring."""
    from streamingtalker_ros.corpus.storage import read_index

    first, *others = model.get("styles", ["neutral"])
    there = [corpus.style for corpus in made.corpora]
    brought = [clip.get("style", "teacher") for folder in made.more for clip in read_index(folder)["clips"]]
    return [first, *dict.fromkeys([style for style in others if style in there + brought] + brought)]


def _flags(entry):
    """{"hold-out": "last", "no-pictures": True} -> ["--hold-out", "last", "--no-pictures"]."""
    return [
        word
        for key, value in entry.items()
        if value is not False
        for word in ([f"--{key}"] if value is True else [f"--{key}", str(value)])
    ]


def run(made, command, start=None, device="auto", say=print):
    """Do what is not done: the corpora, codec, listener, talker, closure, checkpoint. Returns the checkpoint's folder.

    command: runs `streamingtalker corpus` with a list of arguments; start: checkpoint whose weights it begins with;
    say: called with a line per step. Raises TalkerError where the run folder was begun with another recipe.
    """
    from streamingtalker_ros.model.blendshape import checkpoint
    from streamingtalker_ros.training import distributed, stages

    out, recipe = made.out, made.recipe
    out.mkdir(parents=True, exist_ok=True)
    steps = Steps(out / STEPS, say)
    for corpus in made.corpora:
        steps.once(f"corpus {corpus.name}", corpus.settings, lambda: command(corpus.arguments))
    heard = []

    def windows():
        """Listener, talker and closure learn from the same windows, whose sounds take minutes to hear."""
        if not heard:
            heard.append(
                stages.make_windows(
                    made.folders,
                    "train",
                    recipe,
                    checkpoint.load(out / "codec"),
                    distributed.find(device).device,
                )
            )
        return heard[0]

    basis = {
        "model": recipe["model"],
        "windows": recipe["windows"],
        "mix": recipe["mix"],
        "corpora": [folder.name for folder in made.folders],
        "start": str(start) if start else None,
    }
    steps.once(
        "codec",
        {**basis, "codec": recipe["codec"]},
        lambda: stages.train_codec(made.folders, out, recipe, start, device),
    )
    steps.once(
        "listener",
        {**basis, "listener": recipe["listener"]},
        lambda: stages.train_listener(made.folders, out, recipe, None, device, windows()),
    )
    steps.once(
        "talker",
        {**basis, "talker": recipe["talker"], "history": recipe["history"]},
        lambda: stages.train_talker(made.folders, out, recipe, None, device, windows()),
    )
    steps.once(
        "closure",
        {**basis, "closure": recipe["closure"]},
        lambda: stages.train_closure(made.folders, out, recipe, None, device, windows()),
    )
    steps.once("checkpoint", {"gains": recipe["gains"]}, lambda: stages.finish(out, recipe, out / CHECKPOINT))
    return out / CHECKPOINT


class Steps:
    """What was done, of which settings, in how many seconds: a JSON file that is written after each step."""

    def __init__(self, path, say=print) -> None:
        self.path, self.say = Path(path), say
        try:
            self.rows = json.loads(self.path.read_text()) if self.path.exists() else {}
        except ValueError:
            raise TalkerError(f"{self.path} is damaged: remove it to do every step again") from None

    def once(self, name, settings, make) -> None:
        """Call `make` unless the step is done. Raises TalkerError where it was begun with other settings."""
        settings = json.loads(json.dumps(settings))  # as they are read again
        row = self.rows.setdefault(name, {"settings": settings, "seconds": 0.0, "done": False})
        if row["settings"] != settings:
            other = [
                key
                for key in {**row["settings"], **settings}
                if row["settings"].get(key) != settings.get(key)
            ]
            raise TalkerError(
                f"{name} of {self.path.parent} was begun with another {', '.join(other)}: give "
                "another --out, or what it was begun with"
            )
        if row["done"]:
            self.say(f"{name}: done, in {row['seconds']:.0f} s")
            return
        self.say(f"{name}:")
        began = time.monotonic()
        self._write()
        try:
            make()
            row["done"] = True
        finally:  # what an interrupted call took counts as well
            row["seconds"] = round(row["seconds"] + time.monotonic() - began, 1)
            self._write()

    def _write(self) -> None:
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.rows, indent=1) + "\n")
        partial.replace(self.path)


def evaluation(made):
    """The command line, as a list, that measures the run's checkpoint on what it kept for test."""
    from streamingtalker_ros.corpus.storage import read_index

    indices = {folder: read_index(folder) for folder in made.folders}
    tested = [
        folder
        for folder, index in indices.items()
        if index.get("kind") != "quiet" and any(clip["split"] == "test" for clip in index["clips"])
    ]
    return [
        "streamingtalker",
        "evaluate",
        "--model",
        str(made.out / CHECKPOINT),
        *(word for folder in tested for word in ("--corpus", str(folder))),
        "--full",
        "--report",
        str(made.out / "report.html"),
        "--json",
        str(made.out / "figures.json"),
    ]
