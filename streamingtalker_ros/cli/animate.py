# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker animate IN.wav --out OUT.csv|npz|mp4|png`: a whole audio file to face motion.

Takes WAV, FLAC, OGG or MP3; gives a Live Link Face CSV, an NPZ of arrays, a video with sound or a contact
sheet, by the ending of --out. The file goes through the same stream, in the same small pieces, as a live
voice.
"""

from pathlib import Path

import numpy as np

from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.errors import TalkerError, require

WIDTH, HEIGHT = 480, 640  # of a video's picture


def add_arguments(parser) -> None:
    parser.add_argument("audio", metavar="IN", help="audio file: WAV, FLAC, OGG or MP3, any rate")
    parser.add_argument(
        "--out",
        required=True,
        help="what to write, by its ending: .csv (Live Link Face, "
        "for Unreal, Blender, Maya), .npz (arrays), .mp4 (video), .png (contact sheet)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the noise: each seed blinks and nods anew")
    parser.add_argument("--style", help="speaking style; the model's first if left out")
    parser.add_argument("--steps", type=int, help="diffusion steps per frame; the model's own if left out")
    parser.add_argument(
        "--expression",
        metavar="NAME:WEIGHT,…",
        help="shapes added under the speech, such as "
        "mouthSmileLeft:0.4,mouthSmileRight:0.4; lips that touch stay in touch",
    )
    parser.add_argument(
        "--mouth-expressiveness",
        type=float,
        default=1.0,
        metavar="GAIN",
        help="gain on mouth and jaw, 0 to 2",
    )
    parser.add_argument(
        "--face-expressiveness",
        type=float,
        default=1.0,
        metavar="GAIN",
        help="gain on brows, squint, cheeks, nose and the head's rotation, 0 to 2",
    )
    parser.add_argument(
        "--guidance", type=float, default=1.0, help="classifier-free guidance on the audio, 0 to 4; 1 is off"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--model", help="folder of a checkpoint; the one inside the package if left out")
    parser.add_argument(
        "--view",
        default="front",
        choices=("front", "three_quarter", "profile"),
        help="where the video and the contact sheet look from",
    )


def run(args) -> int:
    write = {".csv": _write_csv, ".npz": _write_npz, ".mp4": _write_mp4, ".png": _write_png}
    out = Path(args.out)
    if out.suffix.lower() not in write:
        raise TalkerError(f"--out {out} ends in none of {', '.join(write)}: choose one of them")
    if not out.absolute().parent.is_dir():
        raise TalkerError(f"there is no folder {out.absolute().parent}: make it first")
    pcm, rate = read_audio(args.audio)
    motion = animate(
        to_16k(pcm, rate),
        args.seed,
        args.style,
        args.steps,
        args.device,
        args.model,
        expression=args.expression,
        guidance=args.guidance,
        mouth_expressiveness=args.mouth_expressiveness,
        face_expressiveness=args.face_expressiveness,
    )
    write[out.suffix.lower()](out, motion, pcm, rate, args.view)
    print(
        f"{out}: {len(motion['times'])} frames, {len(motion['times']) / motion['frame_rate']:.2f} s at "
        f"{motion['frame_rate']:g} frames/s"
    )
    return 0


def animate(pcm, seed=0, style=None, steps=None, device="auto", model=None, **controls):
    """pcm: (n,) float32 at 16 kHz -> dict: weights (T, 52), head (T, 4), times (T,), speaking (T,),
    frame_rate, names. The options are those of `Talker.open_stream`.

    Shows a progress bar. Raises TalkerError where torch or the checkpoint is missing.
    """
    from tqdm import tqdm

    require("torch", "the model")
    from streamingtalker_ros.face.arkit import ARKIT_NAMES
    from streamingtalker_ros.streaming import Talker

    talker = Talker.load(model, device=device)
    stream = talker.open_stream(seed=seed, style=style, steps=steps, **controls)
    frames = []
    with tqdm(
        total=-(-len(pcm) // talker.hop), unit="frame", desc="listening", leave=False, disable=None
    ) as bar:
        for start in range(0, len(pcm), talker.hop):
            new = stream.accept(pcm[start : start + talker.hop])
            frames += new
            bar.update(len(new))
        frames += stream.finish()
        bar.update(len(frames) - bar.n)
    return {
        "weights": np.stack([frame.weights for frame in frames]).astype(np.float32),
        "head": np.stack([frame.head for frame in frames]).astype(np.float32),
        "times": np.array([frame.time for frame in frames]),
        "speaking": np.array([frame.speaking for frame in frames]),
        "frame_rate": float(talker.frame_rate),
        "names": np.array(ARKIT_NAMES),
    }


def render(motion, indices, width=WIDTH, height=HEIGHT, view="front", zoom=1.0, label="rendering"):
    """Pictures (height, width, 3) uint8 of some frames of a motion on the default face, one by one, with a
    bar."""
    from tqdm import tqdm

    logger = require("vtk", "rendering").vtkLogger
    logger.SetStderrVerbosity(logger.VERBOSITY_ERROR)  # it warns of every display that it does not need
    from streamingtalker_ros.face.default_head.assemble import default_rig
    from streamingtalker_ros.face.rendering.renderer import create_renderer

    renderer = create_renderer(default_rig(), width=width, height=height, view=view, zoom=zoom)
    try:
        for index in tqdm(indices, unit="picture", desc=label, leave=False, disable=None):
            yield renderer.render(motion["weights"][index], motion["head"][index])
    finally:
        renderer.close()


def sheet(motion, pcm, rate, view="front", title="", pictures=12):
    """A contact sheet (PIL.Image) of a motion and its voice: pcm (n,) float32 at `rate` Hz from the motion's
    time 0."""
    from streamingtalker_ros.face.default_head.assemble import default_rig
    from streamingtalker_ros.face.rendering.contact_sheet import contact_sheet, select_key_frames

    require("PIL.Image", "the contact sheet")
    opening = default_rig().lip_gap(motion["weights"])
    chosen = select_key_frames(opening, pictures)
    images = list(render(motion, chosen, 210, 280, view, zoom=1.2, label="contact sheet"))
    return contact_sheet(
        images, [motion["times"][index] for index in chosen], pcm, rate, opening, motion["frame_rate"], title
    )


def _write_csv(out, motion, pcm, rate, view) -> None:
    from streamingtalker_ros.face.formats.livelink import write_livelink_csv

    write_livelink_csv(out, motion["weights"], motion["head"], motion["frame_rate"])


def _write_npz(out, motion, pcm, rate, view) -> None:
    np.savez_compressed(out, **motion)


def _write_mp4(out, motion, pcm, rate, view) -> None:
    from streamingtalker_ros.face.rendering.video import write_mp4

    images = render(motion, range(len(motion["times"])), view=view)
    write_mp4(out, images, motion["frame_rate"], pcm, rate)


def _write_png(out, motion, pcm, rate, view) -> None:
    sheet(motion, pcm, rate, view, title=f"{out.stem}: {len(motion['times'])} frames").save(out)
