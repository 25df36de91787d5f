"""The talker node without ROS: the topics and services of the design on the ROS 2 wire.

Hears `audio` (either lineage of audio_common_msgs, found by the types that its publishers announce) and `audio_info`;
publishes `face_motion`, `face_model`, if asked `face_vertices`, and `/diagnostics`; serves `~/reset` and `~/interrupt`.
"""
import array
import logging

import numpy as np

from ..errors import TalkerError
from ..face.arkit import ARKIT_NAMES
from . import lineages, messages
from .core import TalkerCore, load_talker
from .diagnosis import diagnose
from .settings import NODE_NAME
from .wire import Wire

_OWN = "streamingtalker_ros/msg/"


class TalkerNode:
    """settings: Settings; namespace, domain: as `Wire` takes them; talker: a loaded Talker, default the settings' own.

    Ready when constructed: the model is warm and the topics are up. Raises TalkerError when either cannot be.
    """

    def __init__(self, settings, namespace="", domain=None, talker=None, warn=None):
        self.settings = settings
        self._warn = warn or logging.getLogger("streamingtalker_ros").warning
        talker = talker or load_talker(settings)
        self.wire = Wire(NODE_NAME, namespace, domain, self._warn)
        self.core = TalkerCore(talker, settings, self._publish, self._warn)
        self._format = None         # what audio_info told
        self._heard = {}            # audio type -> (handle, reliable)
        self._names = list(ARKIT_NAMES)
        self._motion_class = messages.message_class(_OWN + "FaceMotion")
        self._motion = self.wire.publisher("face_motion", _OWN + "FaceMotion")
        self._publish_model(talker)
        self._diagnostics = self.wire.publisher("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray")
        self.wire.serve("~/reset", self._on_reset)
        self.wire.serve("~/interrupt", self._on_interrupt)
        self.wire.subscribe(settings.audio_info_topic, lineages.INFO_TYPE, self._on_info)
        self.wire.watch_publishers(self._on_publisher)
        self.wire.every(1.0, self._diagnose)
        self.core.start()
        self.wire.start()

    def close(self):
        """Stop hearing, finish the frame at hand, leave the graph."""
        self.core.stop()
        self.wire.close()

    # -- in -------------------------------------------------------------------------------------------------------

    def _on_publisher(self, topic, type_name, reliable):
        """Subscribe to the types that publishers of the audio topic bring; best effort where one of them is."""
        if topic != "rt" + self.wire.resolve(self.settings.audio_topic):
            return
        for name, lineage in lineages.AUDIO_TYPES.items():
            if messages.dds_typename(name) != type_name:
                continue
            handle, was_reliable = self._heard.get(name, (None, None))
            if handle is not None and (was_reliable is False or reliable):
                return
            if handle is not None:
                self.wire.unsubscribe(handle)
            self._heard[name] = (self.wire.subscribe(
                self.settings.audio_topic, name, lambda message: self._on_audio(message, name),
                self.wire.qos(depth=1000, reliable=reliable), lineage), reliable)
            return
        self.core.refuse("type", f"the publisher of {topic[2:]} sends {type_name}: AudioData, AudioDataStamped "
                                 "(ros-drivers) or AudioStamped (mgonzs13) are understood")

    def _on_audio(self, message, name):
        try:
            self.core.push(lineages.packet(message, name, self._format))
        except TalkerError as error:
            self.core.refuse("message", str(error))

    def _on_info(self, message):
        try:
            self._format = lineages.info_format(message)
        except TalkerError as error:
            self.core.refuse("info", str(error))

    def _on_reset(self):
        self.core.reset()
        return "the next audio begins afresh"

    def _on_interrupt(self):
        self.core.interrupt()
        return "the queued audio is dropped, the mouth closes"

    # -- out ------------------------------------------------------------------------------------------------------

    def _publish(self, frame):
        message = self._motion_class(frame=frame.index, names=self._names, speaking=bool(frame.speaking),
                                     weights=array.array("f", np.asarray(frame.weights, np.float32).tobytes()))
        lineages.fill_stamp(message.header.stamp, frame.stamp)
        message.header.frame_id = self.settings.frame_id
        head = message.head
        head.x, head.y, head.z, head.w = (float(value) for value in frame.head)
        self._motion.write(message)
        if self.settings.publish_vertices:
            offsets = self._rig.offsets(frame.weights).astype(np.float32)
            surface = self._vertices_class(header=message.header, frame=frame.index,
                                           offsets=array.array("f", offsets.tobytes()))
            self._vertices.write(surface)

    def _publish_model(self, talker):
        from ..face.rig import default_rig

        self._rig = rig = default_rig()
        writer = self.wire.publisher("face_model", _OWN + "FaceModel", self.wire.qos(depth=1, latched=True))
        model = messages.message_class(_OWN + "FaceModel")(
            name=rig.name, frame_rate=float(talker.frame_rate), shape_names=list(rig.shape_names),
            vertices=array.array("f", rig.vertices.astype(np.float32).tobytes()),
            triangles=array.array("I", rig.triangles.astype(np.uint32).tobytes()))
        model.header.frame_id = self.settings.frame_id
        writer.write(model)
        self._model = writer        # kept: a latched message lives as long as its writer
        if self.settings.publish_vertices:
            self._vertices_class = messages.message_class(_OWN + "FaceVertices")
            self._vertices = self.wire.publisher("face_vertices", _OWN + "FaceVertices",
                                                 self.wire.qos(depth=5, reliable=False))

    def _diagnose(self):
        self._diagnostics.write(diagnose(self.core, messages.message_class))
