# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker animate IN.wav --out FILE`: face motion of an audio file.

The audio passes through the same stream, in chunks of one hop, as live speech. The ending of --out chooses
the output; which ones a checkpoint has depends on its family, see `OUTPUTS`.
"""

from __future__ import annotations

import argparse
import itertools
import math
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.audio.files import AudioSource, open_audio
from streamingtalker_ros.cli.argument_types import (
    MAX_STEPS,
    add_backend_options,
    integer,
    number,
    picture_size,
    timecode,
)
from streamingtalker_ros.conversation.emotion_table import EMOTIONS, parse_emotion
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.face.formats.gltf_animation import GlbAnimator
from streamingtalker_ros.face.formats.livelink import write_livelink_csv
from streamingtalker_ros.face.formats.motion_json import encode_json, encode_webvtt
from streamingtalker_ros.face.motion_clip import (
    BlendshapeClip,
    MotionClip,
    VertexClip,
    render_frames,
    write_npz,
)
from streamingtalker_ros.face.named_faces import FACE_HELP, find_face, open_face
from streamingtalker_ros.face.rendering.scene import TRANSPARENT, VIEWS_DEG, Color, Shot
from streamingtalker_ros.face.rendering.video import TRANSPARENT_VIDEOS, VIDEO_FORMATS, write_video
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.face.rotation import y_up_to_ros
from streamingtalker_ros.face.viseme_timing import VISEME_SETS, VisemeSpan, time_visemes
from streamingtalker_ros.model.control_ranges import (
    ASYMMETRY_RANGE,
    GAIN_RANGE,
    GUIDANCE_RANGE,
    LIVELINESS_RANGE,
    NUMBER_CONTROLS,
    SEED_RANGE,
)
from streamingtalker_ros.output_files import (
    atomic_output,
    check_output_file,
    is_standard_output,
    is_stream,
    write_bytes,
    write_text,
)
from streamingtalker_ros.outputs import MotionFrame, OutputGroup, parse_address
from streamingtalker_ros.partial_files import PARTIAL_MARK
from streamingtalker_ros.process import (
    QuietStream,
    print_line,
    print_progress,
    print_result,
    print_warning,
)

if TYPE_CHECKING:
    from PIL.Image import Image

    from streamingtalker_ros.model.protocol import AnyFrame, Family, StreamProtocol, TalkerProtocol

HELP = "turn an audio file into face motion: CSV, NPZ, MP4 or PNG, or play it to Unreal and VTuber programs"

_VIDEO_SHOT = Shot(480, 640)
_SHEET_SHOT = Shot(210, 280, zoom=1.2)  # of an image of the contact sheet
SHEET_IMAGES = 12
_STREAM_KIND = ".csv"  # of a pipe or device whose name says no kind
_FRAMES_PER_BLOCK = 250  # that are packed into arrays together
_MAX_VERTEX_BYTES = 256_000_000  # of a clip in memory
_MAX_OUTLINE_SAMPLES = 20_000_000  # of audio for a picture
_PLAYBACK_LEAD_S = 1.0  # by which frames are sent ahead of their time, so that a busy machine delays none
MAX_FPS = 240.0  # frames per second of a file
DEFAULT_CONTROLS = {
    "expression": None,
    "emotion": None,
    **{name: neutral for name, (_, neutral) in NUMBER_CONTROLS.items()},
}


class Output(NamedTuple):
    """A kind of output file.

    Attributes:
        families: Families of checkpoints that can give it.
        needs_triangles: Whether it shows the mesh of a vertex checkpoint.
        packages: Optional packages that it needs, each with what for.
        write: Writes the file: path, clip, audio, settings.
        options: Names of the options that it has, of those that not all outputs have.
    """

    families: tuple[Family, ...]
    needs_triangles: bool
    packages: dict[str, str]
    write: Callable[[Path, Any, AudioSource, OutputSettings], None]
    options: tuple[str, ...] = ()


class OutputSettings(NamedTuple):
    """Options of the outputs.

    Attributes:
        shot: Size, camera and background of pictures.
        start_timecode: Time of day of a CSV's first row, s.
        visemes: Set of visemes, a key of `VISEME_SETS`.
        animator: Face of a .glb file.
        rig: Face of pictures; None for that of the model.
    """

    shot: Shot = _VIDEO_SHOT
    start_timecode: float = 0.0
    visemes: str = "oculus"
    animator: GlbAnimator | None = None
    rig: Rig | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command.

    Args:
        parser: Parser of the command; it is extended in place.
    """
    parser.add_argument("audio", metavar="IN", help="audio file: WAV, FLAC, OGG or MP3, any rate")
    parser.add_argument(
        "--out",
        help="file to write: .csv (Live Link Face, for Unreal, Blender, Maya), .json (three.js, Ready Player "
        "Me, TalkingHead), .glb (animated face), .vtt (times of visemes), .npz (arrays), "
        ".mp4, .webm or .mov (video: H.264, VP9, ProRes 4444), .png (contact sheet); a vertex checkpoint "
        "gives .npz and videos; a pipe or device without such an ending, as /dev/stdout, receives CSV",
    )
    parser.add_argument(
        "--output",
        metavar="URL",
        action="append",
        default=[],
        help="play the motion in real time to livelink://HOST (Unreal), vmc://HOST (VTuber programs) or "
        "osc://HOST; may be repeated; the sound is not played",
    )
    parser.add_argument(
        "--seed",
        type=integer(*SEED_RANGE),
        default=0,
        help="seed of the noise: blinks and nods differ by seed",
    )
    parser.add_argument("--style", help="speaking style; the model's first if left out")
    parser.add_argument(
        "--style-example",
        metavar="MOTION",
        help="CSV or NPZ file of somebody's speech: the mouth opens, spreads and rounds as far as there",
    )
    parser.add_argument(
        "--steps",
        type=integer(1, MAX_STEPS),
        help="diffusion steps per frame; the model's default if left out",
    )
    parser.add_argument(
        "--emotion",
        metavar="NAME[:STRENGTH]",
        help=f"{', '.join(EMOTIONS)}, with a strength from 0 to 1, such as happy:0.8; "
        "lips that touch stay in touch",
    )
    parser.add_argument(
        "--expression",
        metavar="NAME:WEIGHT,…",
        help="shapes added under the speech, such as "
        "mouthSmileLeft:0.4,mouthSmileRight:0.4; lips that touch stay in touch",
    )
    parser.add_argument(
        "--mouth-expressiveness",
        type=number(*GAIN_RANGE),
        default=DEFAULT_CONTROLS["mouth_expressiveness"],
        metavar="GAIN",
        help="gain on mouth and jaw, {:g} to {:g}".format(*GAIN_RANGE),
    )
    parser.add_argument(
        "--face-expressiveness",
        type=number(*GAIN_RANGE),
        default=DEFAULT_CONTROLS["face_expressiveness"],
        metavar="GAIN",
        help="gain on brows, squint, cheeks, nose and the head's rotation, {:g} to {:g}".format(*GAIN_RANGE),
    )
    parser.add_argument(
        "--guidance",
        type=number(*GUIDANCE_RANGE),
        default=DEFAULT_CONTROLS["guidance"],
        help="classifier-free guidance on the audio, {:g} to {:g}; 1 is off".format(*GUIDANCE_RANGE),
    )
    parser.add_argument(
        "--liveliness",
        type=number(*LIVELINESS_RANGE),
        default=DEFAULT_CONTROLS["liveliness"],
        help="nods, brows and posture that go with the voice, {:g} to {:g}".format(*LIVELINESS_RANGE),
    )
    parser.add_argument(
        "--asymmetry",
        type=number(*ASYMMETRY_RANGE),
        default=DEFAULT_CONTROLS["asymmetry"],
        help="how unequally the mouth's corners move, {:g} to {:g}; 1 as people's".format(*ASYMMETRY_RANGE),
    )
    add_backend_options(parser)
    parser.add_argument("--model", help="folder of a checkpoint; the one inside the package if left out")
    parser.add_argument(
        "--fps",
        type=number(1, MAX_FPS),
        help="frames per second of .csv, .json, .glb, .npz and videos, interpolated, such as 24, 30, or the "
        "60 of Live Link Face; the model's if left out",
    )
    parser.add_argument(
        "--face",
        metavar="FACE",
        help=f"face that .glb, videos and .png show: {FACE_HELP} with ARKit shapes, with its materials and "
        "textures (.glb takes .glb only); the default head if left out",
    )
    parser.add_argument(
        "--start-timecode",
        type=timecode,
        metavar="HH:MM:SS:FF",
        help="time of day of the first row of .csv, with sixtieths of a second FF; 00:00:00:00 if left out",
    )
    parser.add_argument(
        "--visemes",
        choices=tuple(VISEME_SETS),
        help="names of the visemes in .json and .vtt: oculus (if left out), microsoft or preston-blair",
    )
    parser.add_argument(
        "--view", default="front", choices=tuple(VIEWS_DEG), help="camera of the video and the contact sheet"
    )
    parser.add_argument(
        "--size",
        type=picture_size,
        metavar="WxH",
        help="pixels of the video, 480x640 if left out, or of each picture of the contact sheet, 210x280",
    )
    parser.add_argument(
        "--background",
        metavar="COLOUR",
        help=f"colour behind the face, by name or as #RRGGBB, or {TRANSPARENT} "
        f"({', '.join(TRANSPARENT_VIDEOS)}, .png); a grey backdrop if left out",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Args:
        args: Parsed command line, with the options of `add_arguments` as attributes.

    Returns:
        The exit code.

    Raises:
        TalkerError: If the audio, the checkpoint, an option or the output is unusable.
    """
    if args.out is None and not args.output:
        raise TalkerError("nothing to write or play: give --out FILE.csv or --output livelink://HOST")
    out = None if args.out is None else Path(args.out)
    kind = None if out is None else _output_kind(out, args.audio, args.face)
    settings = _output_settings(args, kind)
    for url in args.output:
        parse_address(url)
    if args.emotion is not None:
        parse_emotion(args.emotion)
    audio = open_audio(args.audio)
    for package, purpose in OUTPUTS[kind].packages.items() if kind else ():
        require(package, purpose)  # now, rather than after the motion has been generated
    print_progress("loading the model")
    from streamingtalker_ros.streaming import load_talker
    from streamingtalker_ros.streaming.speaking_style import add_style_example

    talker = load_talker(args.model, args.device, args.backend, args.precision)
    if args.style_example:
        add_style_example(talker, args.style_example)
    if kind is not None:
        check_output(talker, kind)
        if args.fps is not None and talker.family != "blendshape":
            raise TalkerError(
                f"the vertices of a {talker.family} checkpoint keep their rate: leave out --fps"
            )
        if settings.rig is not None and talker.family != "blendshape":
            raise TalkerError(f"a {talker.family} checkpoint moves its own mesh: leave out --face")
    outputs = OutputGroup.of_talker(args.output, talker, print_warning)
    # a vertex checkpoint has no controls: those left at their default are not set
    controls = {name: getattr(args, name) for name in DEFAULT_CONTROLS}
    controls = {name: value for name, value in controls.items() if value != DEFAULT_CONTROLS[name]}
    with tempfile.TemporaryFile(prefix=f".animate{PARTIAL_MARK}", dir=_scratch_folder(out)) as scratch:
        clip = animate(talker, audio, args.seed, args.style, args.steps, scratch, **controls)
        if out is not None and kind is not None:
            written = clip.at_rate(args.fps) if args.fps and isinstance(clip, BlendshapeClip) else clip
            if settings.rig is not None and isinstance(written, BlendshapeClip):
                written = replace(written, rig=settings.rig)
            OUTPUTS[kind].write(out, written, audio, settings)
            summary = (
                f"{out}: {len(written)} frames, {len(clip) / clip.frame_rate:.2f} s at "
                f"{written.frame_rate:g} frames/s"
            )
            if is_standard_output(out):  # it holds the motion alone
                print_line(summary, error=True)
            else:
                print_result(summary)
        if outputs.outputs and isinstance(clip, BlendshapeClip):
            play(clip, outputs)
    for line in outputs.summary():
        print_line(line, error=True)
    return 0


def _output_kind(out: Path, audio: str, face: str | None) -> str:
    """Check the path of the file to write; return its kind, one of `OUTPUTS`."""
    check_output_file(str(out), endings=tuple(OUTPUTS), inputs=[audio, face], streams_any_name=True)
    kind = out.suffix.lower()
    return _STREAM_KIND if kind not in OUTPUTS and is_stream(out) else kind


def _output_settings(args: argparse.Namespace, kind: str | None) -> OutputSettings:
    """Check that the output has the options that were given."""
    for option in ("fps", "start_timecode", "visemes", "face", "size", "background"):
        if getattr(args, option) is not None and (kind is None or option not in OUTPUTS[kind].options):
            kinds = [name for name, output in OUTPUTS.items() if option in output.options]
            raise TalkerError(
                f"--{option.replace('_', '-')} has no effect here: it is for --out {', '.join(kinds)}"
            )
    default = _SHEET_SHOT if kind == ".png" else _VIDEO_SHOT
    width, height = args.size or (default.width, default.height)
    if kind in VIDEO_FORMATS and VIDEO_FORMATS[kind].even_sizes and (width % 2 or height % 2):
        raise TalkerError(f"--size {width}x{height} does not fit {kind}: make both sizes even")
    background = None if args.background is None else _parse_background(args.background, kind)
    shot = Shot(width, height, args.view, background, default.zoom)
    animator = GlbAnimator(find_face(args.face)) if kind == ".glb" else None
    rig = open_face(args.face) if args.face is not None and animator is None else None
    return OutputSettings(shot, args.start_timecode or 0.0, args.visemes or "oculus", animator, rig)


def _parse_background(text: str, kind: str | None) -> Color | str:
    """Parse --background: a colour, or `TRANSPARENT` for outputs that have alpha."""
    if text.lower() == TRANSPARENT:
        if kind in VIDEO_FORMATS and kind not in TRANSPARENT_VIDEOS:
            raise TalkerError(f"{kind} holds no transparency: choose {', '.join(TRANSPARENT_VIDEOS)} or .png")
        return TRANSPARENT
    try:
        red, green, blue = require("PIL.ImageColor", "rendering").getcolor(text, "RGB")
    except ValueError:
        raise TalkerError(
            f"--background {text[:40]!r} is no colour: give a name such as white, #RRGGBB, or {TRANSPARENT}"
        ) from None
    return red / 255, green / 255, blue / 255


def play(clip: BlendshapeClip, outputs: OutputGroup) -> None:
    """Play a clip to live outputs, in real time.

    Args:
        clip: The motion.
        outputs: The outputs, which are opened, and closed at the end.
    """
    from tqdm import tqdm

    outputs.open()
    try:
        start = time.monotonic()
        indices = tqdm(
            range(len(clip)), file=QuietStream(), unit="frame", desc="playing", leave=False, disable=None
        )
        for index in indices:
            seconds = float(clip.times[index])
            due = start + seconds - float(clip.times[0])
            time.sleep(max(0.0, due - _PLAYBACK_LEAD_S - time.monotonic()))
            outputs.send(MotionFrame(seconds, clip.weights[index], clip.head[index]))
        outputs.drain(2 * _PLAYBACK_LEAD_S)
    finally:
        outputs.close()


def check_output(talker: TalkerProtocol, kind: str) -> None:
    """Check that a talker can give an output.

    Args:
        talker: The loaded checkpoint.
        kind: The file's ending, one of `OUTPUTS`.

    Raises:
        TalkerError: If the talker's family has no such output, or the output needs triangles that it lacks.
    """
    if talker.family not in OUTPUTS[kind].families:
        possible = [name for name, output in OUTPUTS.items() if talker.family in output.families]
        raise TalkerError(
            f"a {talker.family} checkpoint cannot give {kind}, which holds ARKit weights: "
            f"choose {' or '.join(possible)}"
        )
    if OUTPUTS[kind].needs_triangles and talker.triangles is not None and not len(talker.triangles):
        raise TalkerError(
            f"the checkpoint has no triangles to draw in {kind}: convert it again with "
            "--template FILE.ply, or choose .npz"
        )


def animate(
    talker: TalkerProtocol,
    audio: AudioSource,
    seed: int = 0,
    style: str | None = None,
    steps: int | None = None,
    scratch: IO[bytes] | None = None,
    **controls: Any,
) -> MotionClip:
    """Generate the motion of a clip, with a progress bar.

    Args:
        talker: The loaded checkpoint.
        audio: The audio, read block by block.
        seed: Seed of the noise.
        style: One of the talker's styles; None for its first.
        steps: Diffusion steps per frame; None for the talker's default.
        scratch: File for the vertices of a long clip; None to hold all in memory.
        controls: Controls of the stream.

    Returns:
        The motion, from the clip's start on.

    Raises:
        TalkerError: If an option is unknown or out of range, or the audio is damaged.
    """
    from tqdm import tqdm

    stream = talker.open_stream(seed=seed, style=style, steps=steps, **controls)
    builder = _ClipBuilder(talker, scratch)
    total = None if audio.seconds is None else -(-round(audio.seconds * SAMPLE_RATE) // talker.hop)
    with tqdm(
        file=QuietStream(), total=total, unit="frame", desc="generating", leave=False, disable=None
    ) as bar:
        for frames in _accept_announced(stream, _hops(audio.blocks_16k(), talker.hop)):
            bar.update(builder.add(frames))
        bar.update(builder.add(stream.finish()))
    return builder.finish()


def _accept_announced(
    stream: StreamProtocol, hops: Iterable[npt.NDArray[np.float32]]
) -> Iterator[Sequence[AnyFrame]]:
    """Pass hops to a stream, each announced with those that follow; yields the frames that each completes."""
    from streamingtalker_ros.streaming.voice_preview import PREVIEW_HOPS

    waiting: deque[npt.NDArray[np.float32]] = deque()
    for hop in itertools.chain(hops, [None] * PREVIEW_HOPS):
        if hop is not None:
            waiting.append(hop)
        if waiting and (hop is None or len(waiting) > PREVIEW_HOPS):
            if stream.preview_samples:
                stream.announce(np.concatenate(waiting))
            yield stream.accept(waiting.popleft())


def _hops(blocks: Iterable[npt.NDArray[np.float32]], hop: int) -> Iterator[npt.NDArray[np.float32]]:
    """Cut blocks into pieces of `hop` samples; the last may be shorter."""
    rest = np.zeros(0, np.float32)
    for block in blocks:
        pcm = np.concatenate([rest, block]) if len(rest) else block
        end = len(pcm) - len(pcm) % hop
        for start in range(0, end, hop):
            yield pcm[start : start + hop]
        rest = pcm[end:]
    if len(rest):
        yield rest


class _ClipBuilder:
    """Collects frames as arrays; vertices beyond `_MAX_VERTEX_BYTES` go to a file."""

    def __init__(self, talker: TalkerProtocol, scratch: IO[bytes] | None) -> None:
        self._talker, self._scratch = talker, scratch
        self._frames: list[AnyFrame] = []
        self._columns: dict[str, list[npt.NDArray[Any]]] = {}
        self._num_frames = self._bytes_in_memory = 0

    def add(self, frames: Sequence[AnyFrame]) -> int:
        """Add frames; return their number."""
        self._frames += frames
        self._num_frames += len(frames)
        if len(self._frames) >= _FRAMES_PER_BLOCK:
            self._pack()
        return len(frames)

    def finish(self) -> MotionClip:
        """Return the clip."""
        if not self._num_frames:
            raise TalkerError("the audio is shorter than a frame: give a longer file")
        self._pack()
        talker, frame_rate = self._talker, float(self._talker.frame_rate)
        template, triangles = talker.template, talker.triangles
        if template is None or triangles is None:
            columns = {name: np.concatenate(blocks) for name, blocks in self._columns.items()}
            return BlendshapeClip(
                columns["weights"], columns["head"], columns["times"], columns["speaking"], frame_rate
            )
        rig = Rig.from_mesh(talker.name, y_up_to_ros(template), triangles)
        times = np.concatenate(self._columns["times"])
        return VertexClip(self._vertices(), times, frame_rate, rig)

    def _pack(self) -> None:
        from streamingtalker_ros.model.protocol import BlendshapeFrame, VertexFrame

        frames, self._frames = self._frames, []
        if not frames:
            return
        block: dict[str, npt.NDArray[Any]] = {"times": np.array([frame.time for frame in frames], np.float64)}
        if self._talker.template is None or self._talker.triangles is None:
            weighted = [frame for frame in frames if isinstance(frame, BlendshapeFrame)]
            block["weights"] = np.stack([frame.weights for frame in weighted]).astype(np.float32)
            block["head"] = np.stack([frame.head for frame in weighted]).astype(np.float32)
            block["speaking"] = np.array([frame.speaking for frame in weighted], bool)
        else:
            vertices = np.stack([frame.vertices for frame in frames if isinstance(frame, VertexFrame)])
            block["vertices"] = y_up_to_ros(vertices).astype(np.float32)
        for name, values in block.items():
            self._columns.setdefault(name, []).append(values)
        self._bytes_in_memory += block["vertices"].nbytes if "vertices" in block else 0
        if self._scratch is not None and self._bytes_in_memory > _MAX_VERTEX_BYTES:
            for values in self._columns.pop("vertices"):
                self._scratch.write(np.ascontiguousarray(values).data)
            self._bytes_in_memory = 0

    def _vertices(self) -> npt.NDArray[np.float32]:
        """Return the vertices of all frames, (T, V, 3)."""
        if self._scratch is None or not self._scratch.tell():
            return np.concatenate(self._columns["vertices"])
        for values in self._columns.pop("vertices", ()):
            self._scratch.write(np.ascontiguousarray(values).data)
        self._scratch.flush()
        assert self._talker.template is not None
        shape = (self._num_frames, *self._talker.template.shape)
        return np.memmap(self._scratch, np.float32, "r", shape=shape)


def _scratch_folder(out: Path | None) -> str | None:
    """Return the folder of an output for temporary files; None, the system's, for a device or no output."""
    if out is None:
        return None
    folder = str(out.resolve().parent)
    return folder if out.resolve().is_file() or not out.exists() else None


def render(
    clip: MotionClip,
    indices: Sequence[int],
    shot: Shot = _VIDEO_SHOT,
    description: str = "rendering",
) -> Iterator[npt.NDArray[np.uint8]]:
    """Draw frames of a clip one by one, with a progress bar.

    Args:
        clip: The motion.
        indices: The frames to draw.
        shot: Size, framing and background.
        description: Label of the progress bar.

    Yields:
        (height, width, 3) RGB; RGBA with a transparent background.

    Raises:
        TalkerError: If VTK is not installed.
    """
    from tqdm import tqdm

    logger = require("vtk", "rendering").vtkLogger
    logger.SetStderrVerbosity(logger.VERBOSITY_ERROR)  # VTK would warn of the display that is not needed
    images = render_frames(clip, indices, shot)
    yield from tqdm(
        images,
        file=QuietStream(),
        total=len(indices),
        unit="picture",
        desc=description,
        leave=False,
        disable=None,
    )


def draw_contact_sheet(
    clip: BlendshapeClip,
    audio: AudioSource,
    shot: Shot = _SHEET_SHOT,
    title: str = "",
    num_images: int = SHEET_IMAGES,
) -> Image:
    """Draw a contact sheet of a clip and its audio.

    Args:
        clip: The motion.
        audio: Its audio, from time 0 on.
        shot: Size, framing and background of an image.
        title: One line.
        num_images: Images of the sheet.

    Returns:
        The image.

    Raises:
        TalkerError: If Pillow or VTK is not installed.
    """
    from streamingtalker_ros.face.rendering.contact_sheet import contact_sheet, select_key_frames

    require("PIL.Image", "the contact sheet")
    opening = clip.rig.lip_gap(clip.weights)
    indices = select_key_frames(opening, num_images)
    images = list(render(clip, indices, shot, "contact sheet"))
    times = [float(clip.times[index]) for index in indices]
    pcm, rate = _outline(audio)
    return contact_sheet(images, times, pcm, rate, opening, clip.frame_rate, title)


def _outline(audio: AudioSource) -> tuple[npt.NDArray[np.float32], int]:
    """Return audio for a picture of its waveform, and its rate; of a long file only extremes."""
    factor = 1 if audio.seconds is None else math.ceil(audio.seconds * audio.rate / _MAX_OUTLINE_SAMPLES)
    if factor == 1:
        return np.concatenate(list(audio.blocks())), audio.rate
    stretch = 2 * factor  # gives two samples
    extremes = [
        np.stack([piece.min(axis=1), piece.max(axis=1)], axis=1).ravel()
        for block in audio.blocks()
        if len(piece := block[: len(block) - len(block) % stretch].reshape(-1, stretch))
    ]
    return np.concatenate(extremes), round(audio.rate / factor)


def _write_csv(out: Path, clip: BlendshapeClip, audio: AudioSource, settings: OutputSettings) -> None:
    write_livelink_csv(out, clip.weights, clip.head, clip.frame_rate, settings.start_timecode)


def _visemes(clip: BlendshapeClip, settings: OutputSettings) -> list[VisemeSpan]:
    return time_visemes(clip.weights, clip.speaking, clip.times, clip.frame_rate, settings.visemes)


def _write_json(out: Path, clip: BlendshapeClip, audio: AudioSource, settings: OutputSettings) -> None:
    visemes = _visemes(clip, settings)
    rate = clip.frame_rate
    write_text(
        out, encode_json(clip.weights, clip.head, clip.times, rate, visemes, settings.visemes, out.stem)
    )


def _write_animated_glb(
    out: Path, clip: BlendshapeClip, audio: AudioSource, settings: OutputSettings
) -> None:
    assert settings.animator is not None
    write_bytes(out, settings.animator.encode(clip.weights, clip.head, clip.times - clip.times[0]))


def _write_vtt(out: Path, clip: BlendshapeClip, audio: AudioSource, settings: OutputSettings) -> None:
    write_text(out, encode_webvtt(_visemes(clip, settings)))


def _write_npz(out: Path, clip: MotionClip, audio: AudioSource, settings: OutputSettings) -> None:
    write_npz(out, clip)


def _write_video(out: Path, clip: MotionClip, audio: AudioSource, settings: OutputSettings) -> None:
    images = render(clip, range(len(clip)), settings.shot)
    write_video(out, images, clip.frame_rate, audio.blocks(), audio.rate)


def _write_png(out: Path, clip: BlendshapeClip, audio: AudioSource, settings: OutputSettings) -> None:
    sheet = draw_contact_sheet(clip, audio, settings.shot, f"{out.stem}: {len(clip)} frames")
    with atomic_output(out) as partial:
        sheet.save(partial)


OUTPUTS = {
    ".csv": Output(("blendshape",), False, {}, _write_csv, ("fps", "start_timecode")),
    ".json": Output(("blendshape",), False, {}, _write_json, ("fps", "visemes")),
    ".glb": Output(("blendshape",), False, {}, _write_animated_glb, ("fps", "face")),
    ".vtt": Output(("blendshape",), False, {}, _write_vtt, ("visemes",)),
    ".npz": Output(("blendshape", "vertex"), False, {}, _write_npz, ("fps",)),
    **dict.fromkeys(
        VIDEO_FORMATS,
        Output(
            ("blendshape", "vertex"),
            True,
            {"av": "writing a video", "vtk": "rendering"},
            _write_video,
            ("face", "fps", "size", "background"),
        ),
    ),
    ".png": Output(
        ("blendshape",),
        False,
        {"PIL": "the contact sheet", "vtk": "rendering"},
        _write_png,
        ("face", "size", "background"),
    ),
}
