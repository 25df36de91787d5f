# SPDX-License-Identifier: Apache-2.0
"""MP3 as it comes in packets: the sound of the whole file, at the time at which it was spoken."""

import io
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

av = pytest.importorskip("av", reason="av, which decodes MP3, is not installed")

from streamingtalker_ros.audio import mp3  # noqa: E402
from streamingtalker_ros.audio.pcm_decoder import PcmDecoder  # noqa: E402
from streamingtalker_ros.messaging import audio_decoder  # noqa: E402
from support.scheduler_harness import FRAME, S0, SchedulerHarness, small_talker  # noqa: E402

SECOND = 1_000_000_000
STAMPED, BARE = "audio_common_msgs/msg/AudioDataStamped", "audio_common_msgs/msg/AudioData"
LAME = 576 + 529


def sound(rate, seconds=3.0):
    """A sweep that begins after 0.3 s, (n,) float32: its place in time is unmistakable."""
    time = np.arange(round(seconds * rate)) / rate
    sweep = np.sin(2 * np.pi * (200 * time + 0.1 * rate / seconds * time**2 / 2))
    return (0.4 * sweep * (time > 0.3)).astype(np.float32)


def live_packets(rate, channels=1, bitrate=64000, abr=False, seconds=3.0):
    """[(ns after the beginning, bytes)]: one MP3 frame each, as GStreamer's lamemp3enc sends and stamps them."""
    codec = av.CodecContext.create("libmp3lame", "w")
    layout = {1: "mono", 2: "stereo"}[channels]
    codec.sample_rate, codec.format, codec.layout, codec.bit_rate = rate, "s16p", layout, bitrate
    codec.options = {"abr": "1"} if abr else {}
    codec.open()
    pcm = np.repeat((sound(rate, seconds) * 32767).astype(np.int16)[None], channels, axis=0)
    size, made = codec.frame_size, []
    for start in range(0, pcm.shape[1] - size + 1, size):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm[:, start : start + size]), "s16p", layout)
        frame.sample_rate, frame.pts = rate, start
        made += [bytes(packet) for packet in codec.encode(frame)]
    made += [bytes(packet) for packet in codec.encode(None)]
    return [(index * size * SECOND // rate, data) for index, data in enumerate(made)]


def file_of(rate, channels=1, bitrate=64000):
    """An MP3 file with its ID3 head and LAME's tag: (bytes, its whole sound as FFmpeg gives it)."""
    out, layout = io.BytesIO(), {1: "mono", 2: "stereo"}[channels]
    with av.open(out, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout=layout)
        stream.bit_rate = bitrate
        pcm = np.repeat((sound(rate) * 32767).astype(np.int16)[:, None], channels, axis=1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm.reshape(1, -1)), "s16", layout)
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    data = out.getvalue()
    with av.open(io.BytesIO(data)) as container:
        whole = np.concatenate([frame.to_ndarray().mean(axis=0) for frame in container.decode(audio=0)])
    return data, whole


class Listener:
    """An AudioMessageDecoder that was told the coding, with what it refused."""

    def __init__(self, coding="mp3") -> None:
        self.refused = []
        self.hearing = audio_decoder.AudioMessageDecoder(lambda *what: self.refused.append(what))
        if coding:
            self.hearing.on_audio_info(
                SimpleNamespace(coding_format=coding, sample_format="S16LE", sample_rate=16000, channels=1)
            )

    def hear(self, payload, stamp, received=0, arrival=0.0):
        if stamp is None:
            return self.hearing.decode(SimpleNamespace(data=payload), BARE, received, arrival)
        seconds, nanoseconds = divmod(stamp, SECOND)
        header = SimpleNamespace(stamp=SimpleNamespace(sec=seconds, nanosec=nanoseconds))
        return self.hearing.decode(
            SimpleNamespace(header=header, audio=SimpleNamespace(data=payload)), STAMPED, received, arrival
        )

    def all(self, packets):
        return [heard for heard in (self.hear(data, S0 + ns) for ns, data in packets) if heard is not None]


def pcm_of(packets):
    return np.concatenate([PcmDecoder(packet.format).decode(packet.payload) for packet in packets])


def cut(data, random, size):
    """[(first byte, bytes)] of random lengths around `size`."""
    out, at = [], 0
    while at < len(data):
        length = int(random.integers(1, 2 * size))
        out.append((at, data[at : at + length]))
        at += length
    return out


def delay_between(a, b):
    """Samples by which b is later than a, by their correlation."""
    size = len(a) + len(b)
    return int(np.fft.irfft(np.conj(np.fft.rfft(a, size)) * np.fft.rfft(b, size)).argmax())


@pytest.mark.parametrize(
    "rate, channels, bitrate, abr",
    [
        (16000, 1, 64000, False),
        (16000, 1, 128000, True),
        (44100, 2, 128000, False),
        (48000, 1, 96000, True),
        (22050, 1, 32000, False),
    ],
)
def test_live_packets_become_the_sound_at_the_time_at_which_it_was_spoken(
    rate, channels, bitrate, abr
) -> None:
    packets = live_packets(rate, channels, bitrate, abr)
    listener = Listener()
    heard = listener.all(packets)
    assert not listener.refused and heard[0].stamp == S0
    pcm, spoken = pcm_of(heard), sound(rate)
    assert delay_between(spoken, pcm) == 0 and len(spoken) - 1152 <= len(pcm) <= len(spoken) + 2 * 1152
    length = min(len(pcm), len(spoken))
    assert np.corrcoef(pcm[:length], spoken[:length])[0, 1] > 0.98
    given = 0
    for packet in heard:  # their own stamps are on the grid of samples
        assert abs(packet.stamp - S0 - given * SECOND // rate) <= 2
        given += len(packet.payload) // (4 * channels)
    assert listener.hearing.delay == LAME / rate


@pytest.mark.parametrize("size", [1, 40, 300, 4000])
def test_a_file_cut_anywhere_is_decoded_like_the_whole_file(size) -> None:
    data, whole = file_of(16000)
    listener, random = Listener(), np.random.default_rng(size)
    heard = listener.all([(at * 8 * SECOND // 64000, part) for at, part in cut(data, random, size)])
    pcm = pcm_of(heard)
    assert not listener.refused
    length = min(len(pcm), len(whole))
    assert length >= len(whole) - 1152
    np.testing.assert_allclose(pcm[:length], whole[:length], atol=1e-6)


@pytest.mark.parametrize("size", [40, 300, 1500])
def test_the_stamps_of_packets_that_are_cut_anywhere_stay_on_one_grid(size) -> None:
    """Stamped by their bytes, as a sender of a stream of constant rate does."""
    stream = b"".join(data for _, data in live_packets(16000, bitrate=64000, seconds=10.0))
    listener, random = Listener(), np.random.default_rng(size)
    heard = listener.all([(at * 8 * SECOND // 64000, part) for at, part in cut(stream, random, size)])
    at = heard[0].stamp
    for packet in heard:
        assert abs(packet.stamp - at) < 5_000_000
        at += len(packet.payload) // 4 * SECOND // 16000
    assert abs(heard[0].stamp - S0) < 40_000_000


def test_lost_packets_leave_a_hole_and_the_rest_in_its_place() -> None:
    packets = live_packets(16000)
    whole = pcm_of(Listener().all(packets))
    lost = {20, 21, 40}
    listener = Listener()
    heard = listener.all([packet for index, packet in enumerate(packets) if index not in lost])
    for packet in heard:
        first = (packet.stamp - S0) * 16000 // SECOND
        expected = whole[first : first + len(packet.payload) // 4]
        index = round((first + LAME) / 576)
        if not any(gone < index <= gone + 4 for gone in lost):  # the filters remember three frames
            np.testing.assert_allclose(np.frombuffer(packet.payload, np.float32), expected, atol=1e-6)
    assert len(heard) == len(Listener().all(packets)) - len(lost)


@pytest.mark.parametrize("coding", ["mp3", "MP3", None])
def test_packets_that_come_twice_or_too_late_do_not_disturb_the_others(coding) -> None:
    packets = live_packets(16000)
    talker = small_talker()
    clean = speak(talker, packets, coding)
    mess = []
    for index, packet in enumerate(packets):
        mess.append(packet)
        if index % 7 == 3:
            mess.append(packet)
        if index % 11 == 5:
            mess.append(packets[index - 2])
    messy = speak(talker, mess, coding)
    assert messy.statistics.duplicates + messy.statistics.late == len(mess) - len(packets)
    assert messy.statistics.gaps == messy.statistics.rejected == 0
    assert [frame.stamp for frame in messy.audio] == [frame.stamp for frame in clean.audio]
    np.testing.assert_array_equal(
        [frame.weights for frame in messy.audio], [frame.weights for frame in clean.audio]
    )


def speak(talker, packets, coding="mp3", stamped=True):
    """A voice coded as MP3 through the node's rules; each packet comes when its sound is over."""
    stage, listener = SchedulerHarness(talker), Listener(coding)
    length = packets[1][0] - packets[0][0]
    seen = {}
    for ns, data in packets:
        again = seen.get(ns, 0)
        seen[ns] = again + 1
        at = stage.now + (ns + length) / SECOND + 0.005 * again + (0.08 if again and ns else 0)

        def come(data=data, ns=ns, at=at) -> None:
            packet = listener.hear(data, S0 + ns if stamped else None, S0 + round((at - 100) * SECOND), at)
            if packet is not None:
                stage.session.push(packet)

        stage.at(at, come)
    stage.run(packets[-1][0] / SECOND + 1.0)
    return stage


@pytest.mark.parametrize("stamped", [True, False])
def test_frames_of_a_coded_voice_have_its_time(stamped) -> None:
    packets = live_packets(16000, bitrate=128000)
    stage = speak(small_talker(), packets, stamped=stamped)
    first = stage.audio[0].stamp
    assert [frame.stamp for frame in stage.audio] == [
        first + index * FRAME for index in range(len(stage.audio))
    ]
    assert len(stage.audio) >= 74 and stage.statistics.gaps == 0
    assert first == S0 if stamped else abs(first - S0) < 45_000_000


def test_a_pause_or_a_step_back_begins_anew_with_exact_time() -> None:
    packets = live_packets(16000)
    listener = Listener()
    listener.all(packets)
    for start in (60 * SECOND, 20 * SECOND, 22 * SECOND):
        heard = listener.all([(start + ns, data) for ns, data in packets[:20]])
        assert heard[0].stamp == S0 + start and len(pcm_of(heard)) == 20 * 576 - LAME


def test_a_broken_frame_is_silence_of_its_length() -> None:
    packets = live_packets(16000)
    broken = list(packets)
    ns, data = broken[30]
    broken[30] = ns, data[:4] + bytes(len(data) - 4)
    assert len(pcm_of(Listener().all(broken))) == len(pcm_of(Listener().all(packets)))
    listener = Listener()
    heard = listener.all([packets[0], (packets[1][0], b"no mp3 at all" * 40), *packets[2:]])
    assert not listener.refused and len(pcm_of(heard)) > 40_000


def test_a_change_of_rate_within_a_stream_is_told() -> None:
    packets = live_packets(16000)[:20]
    later = [(packets[-1][0] + 36_000_000 + ns, data) for ns, data in live_packets(44100)[:20]]
    heard = Listener().all(packets + later)
    rates = [packet.format.sample_rate for packet in heard]
    assert set(rates) == {16000, 44100} and rates == sorted(rates)
    assert (
        abs(next(packet for packet in heard if packet.format.sample_rate == 44100).stamp - S0 - later[0][0])
        < 3
    )


def test_mp3_is_found_out_without_being_told_and_then_kept() -> None:
    packets = live_packets(16000)
    listener = Listener(None)
    heard = listener.all(packets[:10])
    assert {packet.format.encoding for packet in heard} == {"f32"}
    rest = b"".join(data for _, data in packets[10:])
    cuts = [
        (packets[10][0] + at * 8 * SECOND // 64000, rest[at : at + 200]) for at in range(0, len(rest), 200)
    ]
    more = listener.all(cuts)
    assert {packet.format.encoding for packet in more} == {"f32"}


def test_a_guess_is_given_up_when_pcm_follows() -> None:
    packets, listener, quiet = live_packets(16000)[:10], Listener(None), bytes(640)
    listener.all(packets)
    heard = [
        listener.hear(quiet, S0 + SECOND + index * 20_000_000)
        for index in range(audio_decoder.MAX_BYTES_WITHOUT_FRAME // 640 + 5)
    ]
    assert (
        heard[0] is None and heard[-1].payload == quiet and heard[-1].format is None and not listener.refused
    )


def test_what_is_told_to_be_mp3_and_is_none_is_refused() -> None:
    listener = Listener()
    for index in range(2 * audio_decoder.MAX_BYTES_WITHOUT_FRAME // 640):
        assert listener.hear(bytes(640), S0 + index * 20_000_000) is None
    assert len(listener.refused) == 2 and "describes MP3" in listener.refused[0][1]
    assert len(listener.all([(5 * SECOND + ns, data) for ns, data in live_packets(16000)[:10]])) > 5


def test_a_stream_of_garbage_grows_nothing() -> None:
    decoder, random = mp3.Mp3Decoder(), np.random.default_rng(0)
    for index in range(3000):
        decoder.decode(random.bytes(100), index)
    assert len(decoder._payload_starts) <= 2048


def test_nothing_behind_a_payload_is_read(tmp_path) -> None:
    """In a process of its own, which would die: the payload's last byte is the last before a page that cannot be read."""
    (tmp_path / "voice.mp3").write_bytes(
        b"".join(data for _, data in live_packets(16000, bitrate=64000, seconds=2.0))
    )
    script = """
import ctypes, mmap, sys
from streamingtalker_ros.audio.mp3 import Mp3Decoder
data, page, decoder = open(sys.argv[1], "rb").read(), mmap.PAGESIZE, Mp3Decoder()
pages = mmap.mmap(-1, 2 * page)
place = ctypes.addressof(ctypes.c_char.from_buffer(pages))
assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(place + page), ctypes.c_size_t(page), 0) == 0
for at in range(0, len(data), 100):
    part = data[at: at + 100]
    pages[page - len(part): page] = part
    decoder.decode(memoryview(pages)[page - len(part): page])
assert decoder.decoded > 1.5
"""
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path / "voice.mp3")]).returncode == 0
