# SPDX-License-Identifier: Apache-2.0
"""Both stages end to end on a few seconds of made-up speech: loss falls, resume is exact, the trained pair streams."""

import contextlib
import copy
import json
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from streamingtalker_ros import Talker  # noqa: E402
from streamingtalker_ros.corpus import storage
from streamingtalker_ros.corpus.storage import save_clip  # noqa: E402
from streamingtalker_ros.errors import TalkerError  # noqa: E402
from streamingtalker_ros.face.arkit import INDEX  # noqa: E402
from streamingtalker_ros.face.default_head.assemble import default_rig  # noqa: E402
from streamingtalker_ros.face.lip_shape import LipShape  # noqa: E402
from streamingtalker_ros.model.blendshape import checkpoint  # noqa: E402
from streamingtalker_ros.model.blendshape.config import TalkerConfig  # noqa: E402
from streamingtalker_ros.model.blendshape.network import TalkerNetwork  # noqa: E402
from streamingtalker_ros.phonetics.phones import Phone  # noqa: E402
from streamingtalker_ros.training import checkpoint_averaging  # noqa: E402
from streamingtalker_ros.training.articulation_heads import ClosureStage  # noqa: E402
from streamingtalker_ros.training.batches import (  # noqa: E402  # noqa: E402
    PHONES,
    UNKNOWN,
    WindowSampler,
    mirror,
    motion_of,
    phone_labels,
    voice_labels,
)
from streamingtalker_ros.training.codec import (  # noqa: E402
    CodecStage,
    measure_latents,
    measure_motion,
    perplexity,
)
from streamingtalker_ros.training.encoder import ListenerStage  # noqa: E402
from streamingtalker_ros.training.feature_cache import hear_all  # noqa: E402
from streamingtalker_ros.training.generator import TalkerLoopConfig, TalkerStage  # noqa: E402
from streamingtalker_ros.training.mixture import gather  # noqa: E402
from streamingtalker_ros.training.stages import adopt  # noqa: E402
from streamingtalker_ros.training.trainer import Loop, LoopConfig  # noqa: E402

CONFIG = TalkerConfig(
    audio_width=32,
    audio_blocks=2,
    codec_width=32,
    width=32,
    feedforward=64,
    context_frames=12,
    head_width=32,
    head_blocks=2,
    num_codebooks=4,
    codebook_size=32,
    code_dim=8,
    bilabial_thresholds=(0.1, 0.2),
    open_vowel_thresholds=(0.5, 0.75),
    lip_aperture_weight=0.5,
    lip_width_weight=0.5,
)


@dataclass
class Clip:
    pcm: np.ndarray
    weights: np.ndarray
    head: np.ndarray
    phones: list = field(default_factory=list)


def babble(seed, frames=120):
    """Noise bursts whose loudness is the jaw's opening: the simplest speech there is."""
    rng = np.random.default_rng(seed)
    jaw = np.clip(np.sin(np.arange(frames) * 0.5 + rng.uniform(0, 6)) + rng.normal(0, 0.1, frames), 0, 1)
    weights = np.zeros((frames, 52), np.float32)
    weights[:, INDEX["jawOpen"]] = 0.6 * jaw
    weights[:, INDEX["eyeBlinkLeft"]] = weights[:, INDEX["eyeBlinkRight"]] = np.arange(frames) % 40 < 4
    pcm = rng.normal(0, 0.1, frames * 640) * np.repeat(jaw, 640)
    return Clip(
        pcm.astype(np.float32),
        weights,
        rng.normal(0, 0.02, (frames, 3)).astype(np.float32),
        [Phone("aa", 0.2, frames / 25 - 0.2)],
    )


@pytest.fixture(scope="module")
def clips():
    return [babble(seed) for seed in range(4)]


def codec_run(clips, folder, steps, network=None):
    torch.manual_seed(0)
    network = network or TalkerNetwork(CONFIG)
    measure_motion(network.codec, [motion_of(c) for c in clips])
    windows = WindowSampler(clips, frames=24, lead=8, lookahead=2)
    config = LoopConfig(steps=steps, batch=8, rate=2e-3, warmup=5, log_every=5, save_every=15)
    loop = Loop(dict(network.codec.named_parameters()), config, folder, "codec")
    return network, loop, CodecStage(network.codec, windows, LipShape(default_rig()), config.batch)


def losses(folder):
    rows = (folder / "log.csv").read_text().splitlines()[1:]
    return [float(row.split(",")[2]) for row in rows]


@pytest.fixture(scope="module")
def trained(clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    network, loop, stage = codec_run(clips, folder / "codec", 120)
    loop.run(stage)
    figures = measure_latents(network.codec, [motion_of(c) for c in clips])
    network.codec.requires_grad_(False)
    config = TalkerLoopConfig(
        steps=150, batch=8, rate=3e-3, warmup=5, log_every=5, save_every=50, average=0.98
    )
    windows = WindowSampler(clips, frames=24, lead=8, lookahead=2, log_mel=network.encoder.log_mel)
    stage = TalkerStage(network, windows, LipShape(default_rig()), config)
    loop = Loop(
        {n: p for n, p in network.named_parameters() if p.requires_grad}, config, folder / "talker", "talker"
    )
    loop.run(stage)
    loop.adopt_average()
    return network, folder, figures


def test_both_losses_fall(trained) -> None:
    _, folder, figures = trained
    for stage, drop in (("codec", 0.6), ("talker", 0.7)):
        curve = losses(folder / stage)
        assert np.mean(curve[-3:]) < drop * np.mean(curve[:2]), stage
    assert figures["codes_used"] > 16 and figures["perplexity"] > 8  # not collapsed


def test_the_trained_pair_streams_and_follows_the_sound(trained, clips) -> None:
    stream = Talker(trained[0], "cpu").open_stream()
    frames = stream.accept(clips[0].pcm) + stream.finish()
    jaw = np.array([f.weights[INDEX["jawOpen"]] for f in frames])
    truth = clips[0].weights[:, INDEX["jawOpen"]]
    assert np.corrcoef(jaw, truth)[0, 1] > 0.7


def test_resume_continues_bit_for_bit(clips, tmp_path) -> None:
    straight, loop, stage = codec_run(clips, tmp_path / "a", 40)
    loop.run(stage)
    first, loop, stage = codec_run(clips, tmp_path / "b", 40)

    def interrupted(step, rng):
        if step == 35:  # five steps after a save
            raise KeyboardInterrupt
        return stage(step, rng)

    interrupted.kept = stage.kept
    with pytest.raises(KeyboardInterrupt):
        loop.run(interrupted)
    second, loop, stage = codec_run(clips, tmp_path / "b", 40)
    assert loop.step == 30
    loop.run(stage)
    for name, tensor in straight.codec.named_parameters():
        assert torch.equal(tensor, dict(second.codec.named_parameters())[name]), name


STAGES = {
    "codec": lambda network, windows, gap: CodecStage(network.codec, windows, gap, 4),
    "listener": lambda network, windows, gap: ListenerStage(
        network.encoder, network.codec, 2, windows, gap, 4
    ),
    "steady listener": lambda network, windows, gap: ListenerStage(
        network.encoder, network.codec, 2, windows, gap, 4, steady=1.0
    ),
    "talker": lambda network, windows, gap: TalkerStage(
        network, windows, gap, TalkerLoopConfig(batch=4, steps=10)
    ),
    "closure": lambda network, windows, gap: ClosureStage(network.encoder, 2, windows, gap, 4),
}


def test_an_encoder_that_does_not_listen_stays_as_it_is(clips) -> None:
    network = TalkerNetwork(CONFIG)
    network.encoder.requires_grad_(False)
    windows = WindowSampler(clips, frames=24, lead=8, lookahead=2, log_mel=network.encoder.log_mel)
    for listens in (True, False):
        stage = TalkerStage(
            network, windows, LipShape(default_rig()), TalkerLoopConfig(batch=4, listens=listens)
        )
        stage.probe.requires_grad_(listens)
        loss, figures = stage(0, np.random.default_rng(0))
        loss.backward()
        assert all(p.grad is None for p in network.encoder.parameters())
        assert any(p.grad is not None for p in network.head.parameters()) and np.isfinite(figures["mouth"])
        assert (stage.probe.mouth.weight.grad is not None) == listens


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_leaves_nothing_on_the_cpu(name, clips, monkeypatch) -> None:
    """On PyTorch's device without memory: as on CUDA, a tensor that stayed on the CPU raises there."""
    network = TalkerNetwork(CONFIG)
    windows = WindowSampler(clips, frames=24, lead=8, lookahead=2, log_mel=network.encoder.log_mel)
    stage = STAGES[name](network.to("meta"), windows, LipShape(default_rig(), "meta"))
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(
        "streamingtalker_ros.training.codec.perplexity", lambda *_: 0.0
    )  # these two look at values
    monkeypatch.setattr(CodecStage, "_restart", lambda *_: None)
    for step in (0, 9, 10, 11):
        loss, _ = stage(step, np.random.default_rng(step))
        loss.backward()
        assert loss.device.type == "meta"


def learn(stage, parameters, rate, steps):
    """Train for some steps. -> losses, figures; of each step."""
    optimizer = torch.optim.Adam(parameters, rate)
    curve, told = [], []
    for step in range(steps):
        loss, figures = stage(step, np.random.default_rng(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(float(loss.detach()))
        told.append(figures)
    return curve, told


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here, so training on it was not run")
@pytest.mark.parametrize("name", STAGES)
def test_a_stage_learns_on_cuda(name, clips) -> None:
    torch.manual_seed(0)
    network = TalkerNetwork(CONFIG)
    measure_motion(network.codec, [motion_of(c) for c in clips])
    windows = WindowSampler(
        clips, frames=24, lead=8, lookahead=2, log_mel=network.encoder.log_mel, noisy=0.5, device="cuda"
    )
    stage = STAGES[name](network.to("cuda"), windows, LipShape(default_rig(), "cuda"))
    assert windows.draw(2, np.random.default_rng(0), with_clean=True).clean[0].is_cuda
    curve, _ = learn(stage, network.parameters(), 2e-3, 40)
    assert np.mean(curve[-5:]) < 0.9 * np.mean(curve[:5])


def test_windows_carry_real_history_and_the_sound_of_a_stream(clips) -> None:
    encoder = TalkerNetwork(CONFIG).encoder
    windows = WindowSampler(
        clips, frames=24, lead=8, lookahead=2, log_mel=encoder.log_mel, mirrored=0.0, versions=2, clean=1
    )
    batch = windows.draw(32, np.random.default_rng(0))
    assert batch.mels.shape == (32, 34, 4, 64) and batch.motion.shape == (32, 32, 55)
    assert (batch.first > 0).any() and (batch.first == 0).any()
    for b in range(32):
        first = int(batch.first[b])
        clip = next(
            c for c in clips if np.array_equal(motion_of(c)[first : first + 32], batch.motion[b].numpy())
        )
        state = encoder.log_mel.init_state(1)
        pcm = torch.from_numpy(np.pad(clip.pcm, (0, 1280)))
        heard = [encoder.log_mel(hop[None], state)[0][0, 0] for hop in pcm.view(-1, 640)]
        expected = torch.stack(heard)[first : first + 34]
        assert torch.allclose(batch.mels[b], expected, atol=2e-3)  # kept in half precision
        assert batch.learned[b, :8].sum() == (0 if first else 8)
        assert (batch.phones[b] == torch.from_numpy(phone_labels(clip.phones, 200)[first : first + 32])).all()


def test_another_version_of_the_sound_is_another_recording(clips) -> None:
    encoder = TalkerNetwork(CONFIG).encoder
    clean, dirty = hear_all(encoder.log_mel, clips[:1], [120], versions=2)[0]
    again = hear_all(encoder.log_mel, clips[:1], [120], versions=2)[0][1]
    assert (clean.mels.float() - dirty.mels.float()).abs().mean() > 0.02
    assert torch.equal(dirty.mels, again.mels)


def test_nobody_knows_where_a_squeezed_bilabial_is() -> None:
    def labels(length):
        return phone_labels(
            [
                Phone("pau", 0.0, 0.2),
                Phone("aa", 0.2, 0.4),
                Phone("m", 0.4, 0.4 + length),
                Phone("iy", 0.4 + length, 0.8),
            ],
            20,
        )

    aa, m, iy = (PHONES.index(name) for name in ("aa", "m", "iy"))
    assert list(labels(0.04)[5:]) == [aa] * 5 + [m] + [iy] * 9
    assert list(labels(0.03)[5:]) == [aa] * 3 + [UNKNOWN] * 4 + [iy] * 8


def test_phone_labels_name_the_middle_of_each_frame() -> None:
    phones = [Phone("pau", 0, 0.1), Phone("AA1", 0.1, 0.2), Phone("voice", 0.2, 0.3)]
    labels = phone_labels(phones, 10)
    assert [PHONES[k] if k >= 0 else "?" for k in labels] == ["pau"] * 2 + ["aa"] * 3 + ["?"] * 2 + [
        "pau"
    ] * 3


def test_listener_learns_what_a_larger_network_starts_from(clips) -> None:
    torch.manual_seed(0)
    small, large = (
        TalkerNetwork(CONFIG),
        TalkerNetwork(replace(CONFIG, column_blocks=1, audio_blocks=6, styles=("neutral", "other"))),
    )
    adopt(large, small)
    audio = torch.from_numpy(clips[0].pcm)[None]
    with torch.no_grad():
        assert torch.allclose(small.eval().encoder(audio), large.eval().encoder(audio), atol=1e-6)
    large.train()
    windows = WindowSampler(clips, frames=24, lead=8, lookahead=2, log_mel=large.encoder.log_mel, jobs=2)
    measure_motion(large.codec, [motion_of(c) for c in clips])
    stage = ListenerStage(large.encoder, large.codec, 2, windows, LipShape(default_rig()), 8)
    curve, told = learn(stage, [*large.encoder.parameters(), *stage.probe.parameters()], 3e-3, 60)
    assert np.mean(curve[-5:]) < 0.5 * np.mean(curve[:5]) and told[-1]["phones_right"] > 0.8


def test_a_steady_listener_hears_in_noise_what_it_heard_without(clips) -> None:
    torch.manual_seed(0)
    network = TalkerNetwork(CONFIG)
    quiet = Clip(
        np.random.default_rng(9).normal(0, 0.05, 120 * 640).astype(np.float32),
        np.zeros((120, 52), np.float32),
        np.zeros((120, 3), np.float32),
    )
    windows = WindowSampler(
        [*clips, quiet],
        frames=24,
        lead=8,
        lookahead=2,
        log_mel=network.encoder.log_mel,
        clean=1.0,
        noisy=1.0,
        mixing={"noise": 1.0, "snr": (0.0, 5.0)},
        chances=[1.0] * 4 + [0.0],
    )
    measure_motion(network.codec, [motion_of(c) for c in clips])
    batch = windows.draw(16, np.random.default_rng(0), with_clean=True)
    assert (batch.clean[0] - batch.mels).abs().mean() > 0.1 and batch.clean[1].shape == batch.loudness.shape

    def distances(steady):
        torch.manual_seed(0)
        network = TalkerNetwork(CONFIG)
        stage = ListenerStage(
            network.encoder.train(), network.codec, 2, windows, LipShape(default_rig()), 8, steady=steady
        )
        before = copy.deepcopy(network.encoder).eval()
        learn(stage, [*network.encoder.parameters(), *stage.probe.parameters()], 2e-3, 100)
        with torch.no_grad():
            clean = before.encode(*batch.clean)
            return [
                float((encoder.eval().encode(batch.mels, batch.loudness) - clean).square().mean())
                for encoder in (before, network.encoder)
            ]

    (at_first, steady), (_, free) = distances(4.0), distances(0.0)
    assert steady < 0.8 * at_first and steady < 0.5 * free


def test_the_ears_of_a_finished_encoder_learn_that_noise_alone_is_no_voice(clips) -> None:
    torch.manual_seed(0)
    network = TalkerNetwork(CONFIG)
    windows = WindowSampler(clips, frames=24, lead=8, lookahead=2, log_mel=network.encoder.log_mel, noisy=0.5)
    measure_motion(network.codec, [motion_of(c) for c in clips])
    encoder = network.encoder.eval()
    before = {name: p.detach().clone() for name, p in encoder.named_parameters()}
    stage = ClosureStage(encoder, 2, windows, LipShape(default_rig()), 12)
    heads = [
        p
        for name, p in encoder.named_parameters()
        if name.startswith(("closure", "openness", "opening", "lip_width", "voice"))
    ]
    mels, loudness = windows.alone(32, np.random.default_rng(99))
    with torch.no_grad():
        encoder.vad_head.bias.fill_(2.0)
        assert encoder.vad_head(encoder.encode(mels, loudness)).mean() > 1.0, "it takes noise for a voice"
    curve = [float(figures["ears"]) for figures in learn(stage, heads, 1e-2, 80)[1]]
    with torch.no_grad():
        voice = encoder.vad_head(encoder.encode(mels, loudness)).mean()
        window = windows.draw(32, np.random.default_rng(98))
        spoken = encoder.vad_head(encoder.encode(window.mels, window.loudness))[..., 0][window.voice > 0].mean()
    assert voice < -0.5 and spoken > voice + 1.0 and np.mean(curve[-5:]) < 0.8 * np.mean(curve[:5])
    assert all(
        torch.equal(p, before[name]) for name, p in encoder.named_parameters() if name.startswith("blocks")
    )


def test_a_soup_is_the_mean_of_encoders_that_fit(tmp_path) -> None:
    networks = []
    for seed, name in enumerate("abc"):
        torch.manual_seed(seed)
        networks.append(TalkerNetwork(CONFIG if name != "c" else replace(CONFIG, audio_blocks=3)))
        checkpoint.save(tmp_path / name, networks[-1])
    a, b, _ = networks
    assert (
        checkpoint_averaging.main(
            [
                str(tmp_path / "a"),
                str(tmp_path / "b"),
                "--shares",
                "1",
                "3",
                "--rest",
                str(tmp_path / "b"),
                "--out",
                str(tmp_path / "made"),
            ]
        )
        == 0
    )
    made = checkpoint.load(tmp_path / "made")
    for name, tensor in made.state_dict().items():
        mine, other = a.state_dict()[name], b.state_dict()[name]
        wanted = 0.25 * mine + 0.75 * other if name.startswith("encoder.") else other
        assert torch.allclose(tensor, wanted, atol=1e-6), name
    with pytest.raises(TalkerError, match="another one: it differs at"):
        checkpoint_averaging.soup([tmp_path / "a", tmp_path / "c"], rest=tmp_path / "c")
    with pytest.raises(TalkerError, match="2 checkpoints have 1 shares"):
        checkpoint_averaging.soup([tmp_path / "a", tmp_path / "b"], [1.0])


def test_gather_joins_short_clips_and_keeps_shares(tmp_path) -> None:
    def write(folder, count, voice) -> None:
        entries = []
        for k in range(count):
            clip = babble(k, 75)
            entries.append(
                save_clip(
                    folder,
                    storage.Clip(
                        clip.pcm, clip.weights, clip.head, clip.phones, voice, "train", f"{voice}_{k}"
                    ),
                )
            )
        (folder / "index.json").write_text(json.dumps({"clips": entries}))

    write(tmp_path / "a", 8, "ann")
    write(tmp_path / "b", 2, "bob")
    clips, chances = gather([tmp_path / "a", tmp_path / "b"], "train", {"b": 0.7})
    assert [len(clip.weights) for clip in clips] == [300, 300, 150] and all(
        len(clip.pcm) == 640 * len(clip.weights) for clip in clips
    )
    assert clips[0].phones[1].start == pytest.approx(3.2)
    assert np.allclose(chances, [0.15, 0.15, 0.7])
    with pytest.raises(TalkerError, match="mix names"):
        gather([tmp_path / "a"], "train", {"c": 0.5})


def test_voice_labels_bridge_short_pauses() -> None:
    phones = [
        Phone("pau", 0, 0.4),
        Phone("aa", 0.4, 0.8),
        Phone("pau", 0.8, 0.9),
        Phone("t", 0.9, 1.0),
        Phone("pau", 1.0, 2.0),
    ]
    assert voice_labels(phones, 50).tolist() == [0.0] * 10 + [1.0] * 15 + [0.0] * 25


def test_mirror_swaps_sides_and_is_its_own_inverse() -> None:
    motion = torch.randn(5, 55, generator=torch.Generator().manual_seed(0))
    swapped = mirror(motion)
    assert torch.equal(swapped[:, INDEX["mouthSmileLeft"]], motion[:, INDEX["mouthSmileRight"]])
    assert torch.equal(
        swapped[:, 52:], motion[:, 52:] * torch.tensor([-1, 1, -1])
    )  # a turn changes sign, a nod stays
    assert torch.equal(mirror(swapped), motion)


def test_perplexity_counts_codes_in_use() -> None:
    assert perplexity(torch.arange(64), 64) == pytest.approx(64)
    assert perplexity(torch.zeros(100, dtype=torch.int64), 64) == pytest.approx(1)
