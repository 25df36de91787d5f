"""Laws of `streamingtalker replay`, on bags that rosbags writes here: both storages, both audio lineages."""
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from node_stage import MS, S0, SMALL, Stage, floats, offline, voice

torch = pytest.importorskip("torch", reason="torch is not installed")
rosbag2 = pytest.importorskip("rosbags.rosbag2", reason="rosbags is not installed")

from streamingtalker_ros.audio.pcm import to_16k  # noqa: E402
from streamingtalker_ros.cli.main import main  # noqa: E402
from streamingtalker_ros.errors import TalkerError  # noqa: E402
from streamingtalker_ros.evaluation import bags, replay  # noqa: E402
from streamingtalker_ros.face.rig import default_rig  # noqa: E402
from streamingtalker_ros.model import checkpoint  # noqa: E402
from streamingtalker_ros.model.network import TalkerNetwork  # noqa: E402
from streamingtalker_ros.node.messages import type_hash, typestore  # noqa: E402
from streamingtalker_ros.node.settings import Settings  # noqa: E402
from streamingtalker_ros.streaming import Talker  # noqa: E402

SECOND = 1_000_000_000
STAMPED, BARE, TYPED = (f"audio_common_msgs/msg/{name}" for name in ("AudioDataStamped", "AudioData", "AudioStamped"))
KINDS = [(STAMPED, "sqlite3"), (STAMPED, "mcap"), (TYPED, "sqlite3"), (TYPED, "mcap")]
MOTION = "streamingtalker_ros/msg/FaceMotion"


def network():
    """A small network of fixed random weights that always hears a voice and moves its mouth, whatever it is told."""
    torch.manual_seed(0)
    made = TalkerNetwork(SMALL)
    with torch.no_grad():
        made.encoder.voice.bias += 20.0
        made.codec.motion_mean[:52] = 0.4
    return made


@pytest.fixture(scope="module")
def talker():
    return Talker(network(), "cpu")


# -- bags, written without the code under test ------------------------------------------------------------------------


def header(store, ns, frame_id="microphone"):
    time = store.types["builtin_interfaces/msg/Time"](ns // SECOND, ns % SECOND)
    return store.types["std_msgs/msg/Header"](time, frame_id)


def audio_message(name, samples, ns, rate):
    """A message of one of the three types from int16 samples, as (lineage, message)."""
    if name == TYPED:
        store = typestore("mgonzs13")
        make = {short: store.types[f"audio_common_msgs/msg/{short}"] for short in
                ("AudioStamped", "Audio", "AudioData", "AudioInfo")}
        data = make["AudioData"](np.zeros(0, np.float32), np.zeros(0, np.int32), samples, np.zeros(0, np.int8),
                                 np.zeros(0, np.uint8))
        audio = make["Audio"](data, make["AudioInfo"](8, 1, rate, len(samples)))
        return "mgonzs13", make["AudioStamped"](header(store, ns), audio)
    store = typestore("ros-drivers")
    data = store.types[BARE](np.frombuffer(samples.astype("<i2").tobytes(), np.uint8))
    return "ros-drivers", data if name == BARE else store.types[STAMPED](header(store, ns), data)


def cut(pcm, rate=16000, start=S0, packet=0.02):
    """[(stamp, samples), …] of an unbroken voice."""
    size = round(packet * rate)
    return [(start + round(first * SECOND / rate), pcm[first:first + size]) for first in range(0, len(pcm), size)]


def write_bag(path, packets, name=STAMPED, storage="sqlite3", rate=16000, topic="/audio", times=None, info=None,
              motion=(), compression=None):
    """packets: [(stamp, samples), …], recorded at `times` (default 5 ms after their last sample); info: the time at which
    audio_info came; motion: [(stamp, names, weights), …] for /face_motion."""
    bag = rosbag2.Writer(path, version=8, storage_plugin=rosbag2.StoragePlugin[storage.upper()])
    if compression:
        bag.set_compression(rosbag2.CompressionMode[compression], rosbag2.CompressionFormat.ZSTD)
    with bag as writer:
        def add(topic, name, lineage="ros-drivers"):
            return writer.add_connection(topic, name, typestore=typestore(lineage))

        entries = []
        for k, (stamp, samples) in enumerate(packets):
            lineage, message = audio_message(name, samples, stamp, rate)
            at = stamp + len(samples) * SECOND // rate + 5 * MS if times is None else times[k]
            entries.append((at, topic, name, lineage, message))
        store = typestore("ros-drivers")
        if info is not None:
            message = store.types["audio_common_msgs/msg/AudioInfo"](1, rate, "S16LE", 16 * rate, "wave")
            entries.append((info, f"{topic}_info", "audio_common_msgs/msg/AudioInfo", "ros-drivers", message))
        for frame, (stamp, names, weights) in enumerate(motion):
            head = store.types["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0)
            message = store.types[MOTION](header(store, stamp, "head"), frame, names, np.asarray(weights, np.float32),
                                          head, True)
            entries.append((stamp, "/face_motion", MOTION, "ros-drivers", message))
        connections = {}
        for at, on, kind, lineage, message in sorted(entries, key=lambda entry: entry[0]):
            if on not in connections:
                connections[on] = add(on, kind, lineage)
            writer.write(connections[on], at, typestore(lineage).serialize_cdr(message, kind))
    return path


def run(path, out, talker, topic=None, **settings):
    """Replay a bag: (Replayed, warnings)."""
    told = []
    with bags.BagInput(path) as bag, bags.BagOutput(out, bag.storage) as made:
        return replay.replay(bag, made, bag.audio_topic(topic), talker, Settings(**settings), default_rig(),
                             told.append), told


def read(path, topic):
    """[(time, object), …] of a topic, read by rosbags alone."""
    with rosbag2.Reader(path) as reader:
        chosen = [connection for connection in reader.connections if connection.topic == topic]
        return [(time, typestore("mgonzs13" if connection.msgtype == TYPED else "ros-drivers").deserialize_cdr(
            data, connection.msgtype)) for connection, time, data in reader.messages(chosen)]


def raw(path, topic):
    with rosbag2.Reader(path) as reader:
        return [(time, bytes(data)) for connection, time, data in reader.messages() if connection.topic == topic]


def of_audio(played):
    return played.motion.weights[~played.motion.idle], played.motion.stamps[~played.motion.idle]


def stacked(frames):
    return np.stack([frame.weights for frame in frames])


# -- the frames -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, storage", KINDS)
def test_the_bag_holds_the_frames_of_a_stream_and_every_run_gives_the_same_bytes(tmp_path, talker, name, storage):
    pcm = voice(1.01)
    source = write_bag(tmp_path / "in", cut(pcm), name, storage, info=S0 if name == STAMPED else None)
    played, told = run(source, tmp_path / "out", talker, seed=7)
    reference = offline(talker, floats(pcm), seed=7)
    weights, stamps = of_audio(played)
    assert not told and len(weights) == 26 == len(reference)
    np.testing.assert_allclose(weights, stacked(reference), atol=1e-5)
    assert stamps.tolist() == [S0 + k * 40 * MS for k in range(26)]
    messages = [message for _, message in read(tmp_path / "out", "/face_motion")]
    assert [message.frame for message in messages] == list(range(len(played.motion.stamps)))
    assert np.array_equal(np.stack([message.weights for message in messages]), played.motion.weights)
    assert messages[3].header.stamp.nanosec == (S0 + 120 * MS) % SECOND and messages[3].header.frame_id == "head"
    # the mouth is shut when the bag ends
    assert len(messages) > 26 and messages[-1].names[17] == "jawOpen"
    run(source, tmp_path / "again", talker, seed=7)
    assert raw(tmp_path / "again", "/face_motion") == raw(tmp_path / "out", "/face_motion")
    run(source, tmp_path / "other", talker, seed=8)
    assert raw(tmp_path / "other", "/face_motion") != raw(tmp_path / "out", "/face_motion")


@pytest.mark.parametrize("name, storage", KINDS)
def test_the_audio_is_copied_and_every_topic_has_its_definition(tmp_path, talker, name, storage):
    source = write_bag(tmp_path / "in", cut(voice(0.4)), name, storage, info=S0 if name == STAMPED else None)
    run(source, tmp_path / "out", talker)
    for topic in ("/audio", "/audio_info"):
        assert raw(tmp_path / "out", topic) == raw(source, topic)
    with rosbag2.Reader(tmp_path / "out") as reader:
        hashes = {connection.topic: (connection.msgtype, connection.digest) for connection in reader.connections}
        text = next(c.msgdef.data for c in reader.connections if c.topic == "/face_motion")
    assert hashes["/face_motion"] == (MOTION, type_hash(MOTION)) and hashes["/audio"][0] == name
    assert hashes["/audio"][1] == type_hash(name, "mgonzs13" if name == TYPED else "ros-drivers")
    if storage == "mcap":   # sqlite3 keeps definitions in a table that is younger than Humble
        assert "float32[] weights" in text
    assert list((tmp_path / "out").glob("*.mcap" if storage == "mcap" else "*.db3"))
    (_, model), = read(tmp_path / "out", "/face_model")
    assert model.name == default_rig().name and model.frame_rate == 25.0
    np.testing.assert_array_equal(np.reshape(model.vertices, (-1, 3)), default_rig().vertices)


@pytest.mark.parametrize("storage, compression", [("sqlite3", "MESSAGE"), ("mcap", "FILE")])
def test_compressed_bags_and_single_files_give_the_same_frames(tmp_path, talker, storage, compression):
    packets = cut(voice(0.4))
    plain = write_bag(tmp_path / "plain", packets, storage=storage)
    packed = write_bag(tmp_path / "packed", packets, storage=storage, compression=compression)
    single, = plain.glob("plain.*")
    expected = raw(run_out(plain, tmp_path / "a", talker), "/face_motion")
    assert expected and raw(run_out(packed, tmp_path / "b", talker), "/face_motion") == expected
    assert raw(run_out(single, tmp_path / "c", talker), "/face_motion") == expected
    for out in "abc":   # the storage is that of the input
        assert len(list((tmp_path / out).glob("*.mcap"))) == (storage == "mcap")


def run_out(path, out, talker):
    run(path, out, talker)
    return out


def test_a_frame_is_published_when_the_audio_it_needs_has_come(tmp_path, talker):
    source = write_bag(tmp_path / "in", cut(voice(0.6)))
    run(source, tmp_path / "out", talker)
    times = [time for time, _ in read(tmp_path / "out", "/face_motion")]
    late = [time - (S0 + (k + 3) * 40 * MS + 5 * MS) for k, time in enumerate(times[:13])]
    assert max(np.abs(late)) < MS   # frame k needs the audio of frames k, k + 1 and k + 2, which came 5 ms later


def test_audio_at_another_rate_is_resampled_as_a_whole_clip_would_be(tmp_path, talker):
    pcm = voice(1.0, rate=44100)
    source = write_bag(tmp_path / "in", cut(pcm, 44100), TYPED, "mcap", rate=44100)
    weights, _ = of_audio(run(source, tmp_path / "out", talker)[0])
    np.testing.assert_allclose(weights, stacked(offline(talker, to_16k(floats(pcm), 44100))), atol=1e-5)


def test_audio_info_holds_for_the_packets_before_it(tmp_path, talker):
    pcm = voice(1.0, rate=32000)
    source = write_bag(tmp_path / "in", cut(pcm, 32000), rate=32000, info=S0 + 700 * MS)
    played, _ = run(source, tmp_path / "out", talker)
    assert played.statistics.streams == 1 and played.statistics.format_changes == 0
    np.testing.assert_allclose(of_audio(played)[0], stacked(offline(talker, to_16k(floats(pcm), 32000))), atol=1e-5)


def test_messages_without_a_stamp_are_timed_by_the_bag(tmp_path, talker):
    pcm = voice(1.0)
    source = write_bag(tmp_path / "in", cut(pcm), BARE)
    played, _ = run(source, tmp_path / "out", talker)
    weights, stamps = of_audio(played)
    np.testing.assert_allclose(weights, stacked(offline(talker, floats(pcm))), atol=1e-5)
    assert abs(int(stamps[0]) - (S0 + 5 * MS)) < MS


# -- the node's rules -------------------------------------------------------------------------------------------------


def test_a_short_hole_is_silence_and_a_long_one_begins_a_new_stream(tmp_path, talker):
    pcm = voice(2.0)
    packets = cut(pcm)
    short = packets[:40] + packets[44:]     # 80 ms are missing
    played, _ = run(write_bag(tmp_path / "short", short), tmp_path / "short_out", talker)
    silenced = pcm.copy()
    silenced[40 * 320:44 * 320] = 0
    assert played.statistics.streams == played.statistics.gaps == 1
    np.testing.assert_allclose(of_audio(played)[0], stacked(offline(talker, floats(silenced))), atol=1e-5)
    long = packets[:40] + [(stamp + SECOND, part) for stamp, part in packets[40:]]
    played, _ = run(write_bag(tmp_path / "long", long), tmp_path / "long_out", talker)
    frames = [message.frame for _, message in read(tmp_path / "long_out", "/face_motion")]
    second = frames.index(0, 1)
    assert played.statistics.streams == 2 and played.motion.stamps[second] == S0 + 1800 * MS
    expected = stacked(offline(talker, floats(pcm[40 * 320:])))
    # five frames lead over from the old face
    np.testing.assert_allclose(played.motion.weights[second + 5:second + 30], expected[5:30], atol=1e-5)


def test_duplicates_and_stragglers_change_no_frame(tmp_path, talker):
    packets = cut(voice(1.0))
    clean, _ = run(write_bag(tmp_path / "clean", packets), tmp_path / "clean_out", talker)
    times = [stamp + 25 * MS for stamp, _ in packets]
    dirty = packets + [packets[10], packets[3]]     # again: at once, and 400 ms later
    source = write_bag(tmp_path / "dirty", dirty, times=times + [times[10] + MS, times[23] + MS])
    played, _ = run(source, tmp_path / "dirty_out", talker)
    assert played.statistics.duplicates + played.statistics.late == 2
    np.testing.assert_array_equal(of_audio(played)[0], of_audio(clean)[0])


def test_a_recorder_that_stalls_loses_no_voice(tmp_path, talker):
    packets = cut(voice(2.0))
    times = [stamp + 25 * MS for stamp, _ in packets]
    clean, _ = run(write_bag(tmp_path / "clean", packets), tmp_path / "clean_out", talker)
    stalled = [max(at, times[55]) if 35 <= k < 55 else at for k, at in enumerate(times)]    # nothing came for 0.4 s
    played, _ = run(write_bag(tmp_path / "stalled", packets, times=stalled), tmp_path / "stalled_out", talker)
    assert played.statistics.late == played.statistics.overlaps == 0
    np.testing.assert_array_equal(played.motion.weights, clean.motion.weights)


def test_a_sentence_that_was_sent_at_once_is_spoken_in_its_own_time(tmp_path, talker):
    pcm = voice(2.0)
    packets = cut(pcm)
    source = write_bag(tmp_path / "in", packets, times=[S0 + k * 1000 for k in range(len(packets))])
    played, told = run(source, tmp_path / "out", talker)
    np.testing.assert_allclose(of_audio(played)[0], stacked(offline(talker, floats(pcm))), atol=1e-5)
    times = [time for time, _ in read(tmp_path / "out", "/face_motion")]
    assert not told and np.abs(np.diff(times[:50]) - 40 * MS).max() < MS


def test_whatever_happens_to_the_audio_the_frames_are_those_of_the_live_node(tmp_path, talker):
    pcm = voice(3.0)
    packets = cut(pcm)
    packets = packets[:30] + packets[40:70] + [(stamp + 900 * MS, part) for stamp, part in packets[70:]]   # 0.2 s, 0.9 s
    packets.insert(25, packets[24])                         # twice
    ends = [stamp + 25 * MS for stamp, _ in packets]
    ends[25] += MS
    packets[50], packets[51] = packets[51], packets[50]     # swapped
    ends[50], ends[51] = ends[51], ends[51] + MS
    stage = Stage(talker)
    for (stamp, part), at in zip(packets, ends):
        stage.send(part, stamp, at=100.0 + (at - S0) / SECOND)
    stage.run(5.0)
    played, _ = run(write_bag(tmp_path / "in", packets, times=ends), tmp_path / "out", talker)
    count = len(played.motion.stamps)
    live = stage.faces[:count]      # its idle frames go on
    assert played.statistics.streams == 2 and count > 75 and played.motion.idle[:-10].any()
    assert played.motion.stamps.tolist() == [frame.stamp for frame in live]
    assert played.motion.idle.tolist() == [frame.idle for frame in live]
    np.testing.assert_allclose(played.motion.weights, stacked(live), atol=1e-5)


# -- against a reference ----------------------------------------------------------------------------------------------


def made_motion(path, talker):
    """A bag of 2 s and what the talker makes of it."""
    source = write_bag(path / "in", cut(voice(2.0)))
    return run(source, path / "plain", talker)[0].motion


def compared(path, motion, talker):
    source = write_bag(path, cut(voice(2.0)), motion=motion)
    with bags.BagInput(source) as bag:
        reference = replay.read_motion(bag, bag.motion_topic())
    return replay.compare(run(source, path.with_suffix(".out"), talker)[0].motion, reference, default_rig())


def test_a_reference_that_is_the_same_has_no_error_whatever_the_order_of_its_names(tmp_path, talker):
    from streamingtalker_ros.face.arkit import ARKIT_NAMES
    motion = made_motion(tmp_path, talker)
    order = np.random.default_rng(0).permutation(52)
    names = [ARKIT_NAMES[k] for k in order]
    same = [(int(stamp), names, weights[order]) for stamp, weights in zip(motion.stamps, motion.weights)]
    figures = compared(tmp_path / "same", same, talker)
    assert figures["frames"] == 50 and figures["lag_frames"] == 0
    assert figures["lip_opening_r"] == pytest.approx(1.0)
    for error in ("lip_opening_error_mm", "lve_mm2", "mouth_weights_error"):
        assert figures[error] == pytest.approx(0.0, abs=1e-6)
    # the reference two frames earlier: ours comes after it
    early = [(stamp - 80 * MS, names, weights) for stamp, names, weights in same]
    assert compared(tmp_path / "early", early, talker)["lag_frames"] == 2
    opened = [(stamp, names, np.minimum(weights + 0.1, 1.0)) for stamp, names, weights in same]
    figures = compared(tmp_path / "opened", opened, talker)
    assert figures["mouth_weights_error"] == pytest.approx(0.1, abs=0.01) and figures["lve_mm2"] > 0.0


def test_a_reference_of_another_frame_rate_is_read_at_the_middles_of_our_frames():
    def ramp(rate, start=0):
        stamps = start + (np.arange(round(2 * rate)) * SECOND / rate).astype(np.int64)
        weights = np.repeat(((stamps / SECOND + 0.5 / rate) / 3.0)[:, None], 52, 1).astype(np.float32)
        none = np.zeros(len(stamps), bool)
        return replay.Motion(stamps, weights, np.zeros((len(stamps), 4)), none, none, rate)

    ours, theirs = replay.aligned(ramp(25.0), ramp(30.0))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)     # what is linear in time stays so
    assert 48 <= len(ours) <= 50
    holed = ramp(30.0)
    keep = np.r_[0:20, 40:60]
    holed = replay.Motion(*(getattr(holed, name)[keep] for name in ("stamps", "weights", "head", "speaking", "idle")), 30.0)
    assert len(replay.aligned(ramp(25.0), holed)[0]) < 40   # nothing is made up inside a hole
    with pytest.raises(TalkerError, match="too few"):
        replay.compare(ramp(25.0), ramp(25.0, start=9 * SECOND), default_rig())


# -- the command ------------------------------------------------------------------------------------------------------


class Balance(HTMLParser):
    """Collects tags; fails on one that is closed in the wrong place."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text = [], [], ""

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_command_writes_a_bag_and_a_page_that_needs_nothing_else(tmp_path, talker, capsys):
    checkpoint.save(tmp_path / "model", network())
    motion = made_motion(tmp_path, talker)
    from streamingtalker_ros.face.arkit import ARKIT_NAMES
    reference = [(int(s), list(ARKIT_NAMES), w) for s, w in zip(motion.stamps, motion.weights)]
    source = write_bag(tmp_path / "<bag>", cut(voice(2.0)), motion=reference)
    page = tmp_path / "report.html"
    assert main(["replay", str(source), "--out", str(tmp_path / "out"), "--model", str(tmp_path / "model"), "--device",
                 "cpu", "--storage", "mcap", "--report", str(page)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"50 frames of audio and \d+ idle frames from 2.00 s of /audio", said)
    assert re.search(r"lip_opening_r +1\n", said) and re.search(r"lag_frames +0\n", said)
    assert [data for _, data in raw(tmp_path / "out", "/face_motion")] == [
        data for _, data in raw(tmp_path / "plain", "/face_motion")]
    text = page.read_text(encoding="utf-8")
    tags = Balance()
    tags.feed(text)
    assert not tags.open and "Replay of <bag>" in tags.text
    assert not re.search(r"(src|href)=|https?://|@import|url\(", text)
    paths = {values["class"]: values["d"] for tag, values in tags.seen if tag == "path"}
    assert set(paths) == {"voice", "made", "reference"}
    points = {kind: re.findall(r"[ML]([\d.]+) ([\d.]+)", paths[kind]) for kind in ("made", "reference")}
    assert len(points["made"]) == len(motion.stamps) and points["made"] == points["reference"]
    assert paths["voice"].count("M") == 200


def complaint(capsys, *words):
    assert main(["replay", *map(str, words)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("streamingtalker: error: ") and said.count("\n") == 1
    return said


def test_what_is_wrong_is_said_in_one_sentence(tmp_path, capsys):
    checkpoint.save(tmp_path / "model", network())
    model = ("--model", tmp_path / "model", "--device", "cpu")
    out = tmp_path / "out"
    assert "there is no bag" in complaint(capsys, tmp_path / "none", "--out", out)
    (tmp_path / "empty").mkdir()
    assert "metadata.yaml" in complaint(capsys, tmp_path / "empty", "--out", out)
    (tmp_path / "text.mcap").write_text("no bag at all")
    assert "cannot be read" in complaint(capsys, tmp_path / "text.mcap", "--out", out)
    source = write_bag(tmp_path / "in", cut(voice(0.4)), topic="/robot/mic", info=S0,
                       motion=[(S0, [], [])])
    said = complaint(capsys, source, "--out", out, "--topic", "audio")
    assert "/robot/mic (audio_common_msgs/msg/AudioDataStamped)" in said and "/face_motion" in said
    assert "is no audio" in complaint(capsys, source, "--out", out, "--topic", "face_motion")
    assert "exists already" in complaint(capsys, source, "--out", tmp_path / "model")
    assert "no folder" in complaint(capsys, source, "--out", out, "--report", tmp_path / "no" / "report.html")
    silent = write_bag(tmp_path / "silent", [(S0, np.zeros(0, np.int16))])
    assert "no face came out" in complaint(capsys, silent, "--out", out, *model)
    assert not out.exists()     # nothing half-written stays
    # the only audio of a bag is found without being named
    assert main(["replay", str(source), "--out", str(out), *map(str, model)]) == 0


def test_a_message_that_is_damaged_is_left_out_and_told(tmp_path, talker):
    packets = cut(voice(1.0))
    source = tmp_path / "in"
    store = typestore("ros-drivers")
    with rosbag2.Writer(source, version=8) as writer:
        connection = writer.add_connection("/audio", STAMPED, typestore=store)
        for k, (stamp, samples) in enumerate(packets):
            data = bytes(store.serialize_cdr(audio_message(STAMPED, samples, stamp, 16000)[1], STAMPED))
            writer.write(connection, stamp + 25 * MS, data[:30] if k == 20 else data)
    played, told = run(source, tmp_path / "out", talker)
    assert played.statistics.refused == 1 and len(told) == 1 and "/audio" in told[0]
    assert played.statistics.frames == 25 and played.statistics.gaps == 1


def test_another_definition_of_a_type_is_refused(tmp_path):
    typesys = pytest.importorskip("rosbags.typesys")
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    store.register(typesys.get_types_from_msg("std_msgs/Header header\nuint8[] data\n", STAMPED))
    with rosbag2.Writer(tmp_path / "in", version=8) as writer:
        writer.add_connection("/audio", STAMPED, typestore=store)
    with bags.BagInput(tmp_path / "in") as bag, pytest.raises(TalkerError, match="another definition"):
        bag.count(bag.audio_topic())
