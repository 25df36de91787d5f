# SPDX-License-Identifier: Apache-2.0
"""The talker as an rclpy lifecycle node: audio in, the motion of a face and diagnostics out.

`configure` loads and warms up the model, `activate` opens publishers and subscriptions, `deactivate` closes
the mouth and then both, `cleanup` frees the model. With the parameter `autostart` (default) the node
configures and activates itself. `runtime.worker` decides what is published when; this module holds
transitions, parameters, services and diagnostics.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from std_srvs.srv import Trigger

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging import diagnostics
from streamingtalker_ros.ros import audio_input, message_types, parameters
from streamingtalker_ros.ros.clock import SimClock, create_clock
from streamingtalker_ros.ros.spin import spin_node
from streamingtalker_ros.runtime.parameters import NODE_NAME

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecycleState

    from streamingtalker_ros.conversation.turn_taking import DialogueState
    from streamingtalker_ros.ros.expression_topics import ExpressionTopics
    from streamingtalker_ros.ros.face_output import FaceOutput
    from streamingtalker_ros.ros.gaze_topic import GazeTopic
    from streamingtalker_ros.ros.speech import SayAction, SpeechTopics
    from streamingtalker_ros.runtime.frames import PublishedFrame
    from streamingtalker_ros.runtime.speech import NodeSpeech
    from streamingtalker_ros.runtime.worker import TalkerWorker

MAX_DRAIN_S: Final = 3.0  # queued audio that is processed after a simulation has ended
_DRAIN_MARGIN_S: Final = 1.0
_DIAGNOSTICS_PERIOD_S: Final = 1.0


class TalkerNode(LifecycleNode):
    """Talker on an audio topic.

    Args:
        kwargs: Of `rclpy.lifecycle.LifecycleNode`.

    Raises:
        TalkerError: If the value of a parameter is invalid.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(NODE_NAME, **kwargs)
        self._reject_invalid_transition()
        self._talker_parameters = parameters.declare(self)
        parameters.on_change(self, self._apply_parameters)
        parameters.warn_of_unknown(self)
        self._worker: TalkerWorker | None = None
        self._output: FaceOutput | None = None
        self._audio: audio_input.AudioInput | None = None
        self._partner_audio: audio_input.AudioInput | None = None
        self._gaze: GazeTopic | None = None
        self._speech: SpeechTopics | None = None
        self._expression: ExpressionTopics | None = None
        self._diagnostics_reporter: diagnostics.DiagnosticsReporter | None = None
        self._trigger_services: list[Any] = []
        # the namespace distinguishes the talkers of one robot
        self._diagnostics_name = self.get_fully_qualified_name().lstrip("/")
        self._is_active = False
        self._configure_error = ""
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._say_actions: list[SayAction] = []
        if self._talker_parameters.tts_command:
            from streamingtalker_ros.ros import speech  # here, since it imports the worker

            self._say_actions = speech.create_say_actions(self, self._talker_parameters, self._active_speech)
        steady_clock = Clock(clock_type=ClockType.STEADY_TIME)  # runs while the simulation is paused
        self.create_timer(_DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=steady_clock)
        if self._talker_parameters.autostart:
            self._autostart_timer = self.create_timer(0.0, self._autostart, clock=steady_clock)

    # -------------------------------------------------------------------------------------------- transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load and warm up the model.

        SUCCESS leads to inactive. FAILURE returns to unconfigured, with one logged error, if the model, the
        device or the audio types are not available.

        Args:
            state: State before the transition.
        """
        try:
            self._configure()
        except TalkerError as error:
            self._configure_error = str(error)
        except Exception as error:  # rclpy would not report it
            self._configure_error = f"configuring failed ({type(error).__name__}: {error}): please report it"
        else:
            self._configure_error = ""
            return super().on_configure(state)
        self.get_logger().error(self._configure_error)
        self._cleanup()
        return TransitionCallbackReturn.FAILURE

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Activate the publishers, start the worker, then subscribe to the audio. SUCCESS leads to active.

        Args:
            state: State before the transition.
        """
        result = super().on_activate(state)
        assert self._output is not None and self._worker is not None and self._audio is not None
        self._output.publish_model()
        self._output.open_outputs()
        if isinstance(self._worker.clock, SimClock):
            self._worker.clock.use_wall_time(False)
        self._worker.start()
        self._audio.open()
        assert self._partner_audio is not None
        self._partner_audio.open()
        assert self._gaze is not None
        self._gaze.open()
        assert self._speech is not None
        self._speech.open()
        assert self._expression is not None
        self._expression.open()
        self._is_active = True
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe from the audio, close the mouth, then stop publishing. SUCCESS leads to inactive.

        Args:
            state: State before the transition.
        """
        self._deactivate()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model, the publishers and the services. SUCCESS leads to unconfigured.

        Args:
            state: State before the transition.
        """
        self._cleanup()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate and clean up. SUCCESS leads to finalized.

        Args:
            state: State before the transition.
        """
        self._deactivate()
        self._cleanup()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate and clean up. SUCCESS leads to unconfigured, from which it may be configured again.

        Args:
            state: State before the transition.
        """
        self._deactivate()
        self._cleanup()
        return super().on_error(state)

    def close(self) -> None:
        """Close the mouth and release all resources before the process exits."""
        if self._worker is not None:
            self.get_logger().info(self._worker.summary())
        self._deactivate()
        self._cleanup()

    def _reject_invalid_transition(self) -> None:
        """Respond with success=False to a transition that the state does not allow.

        rclpy raises there, which would end the process.
        """
        service = self._service_change_state
        change_state = service.callback

        def respond(request: Any, response: Any) -> Any:
            try:
                return change_state(request, response)
            except Exception as error:
                transition = request.transition.label or f"number {request.transition.id}"
                self.get_logger().warning(
                    f"the transition {transition} is not possible from the state "
                    f"{self._state_label} ({type(error).__name__})"
                )
                response.success = False
                return response

        service.callback = respond

    @property
    def _state_label(self) -> str:
        return self._state_machine.current_state[1]

    def _autostart(self) -> None:
        self.destroy_timer(self._autostart_timer)
        # a lifecycle manager may have been faster
        if self._state_label != "unconfigured":
            return
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def _configure(self) -> None:
        self._talker_parameters = values = parameters.read(self)
        variant = audio_input.installed_variant()
        # here, since they import the model and the generated messages
        from streamingtalker_ros.robot_head.neck import load_neck_limits
        from streamingtalker_ros.ros.expression_topics import ExpressionTopics
        from streamingtalker_ros.ros.face_output import FaceOutput
        from streamingtalker_ros.ros.gaze_topic import GazeTopic
        from streamingtalker_ros.ros.speech import SpeechTopics
        from streamingtalker_ros.runtime.worker import TalkerWorker, describe_backend, load_talker

        neck_limits = load_neck_limits(values.gaze_head)
        talker = load_talker(values)
        self._output = FaceOutput(self, values, talker)
        self._worker = TalkerWorker(
            talker,
            values,
            self._publish_frame,
            warn=self.get_logger().warning,
            clock=create_clock(self),
            retains_audio=True,
            on_dialogue=self._on_dialogue,
        )
        self._worker.set_neck_limits(neck_limits)
        self._audio = audio_input.AudioInput(
            self,
            variant,
            self._worker,
            self._worker.clock,
            values.audio_topic,
            values.audio_info_topic,
            values.audio_format,
            values.audio_publisher,
        )
        self._partner_audio = audio_input.AudioInput(
            self,
            variant,
            self._worker.partner,
            self._worker.clock,
            values.partner_audio_topic,
            values.partner_audio_info_topic,
            values.audio_format,
        )
        self._gaze = GazeTopic(self, values, self._worker)
        self._speech = SpeechTopics(self, variant, values, self._worker, self._audio.on_speech)
        self._expression = ExpressionTopics(self, values, self._worker)
        self._diagnostics_reporter = diagnostics.DiagnosticsReporter(
            self._worker,
            message_types.message_class,
            self._diagnostics_name,
            outputs=self._output.output_statistics,
            extra=self._speech.speech.diagnostics,
        )
        self._trigger_services = [
            self.create_service(Trigger, f"~/{name}", callback)
            for name, callback in (("reset", self._on_reset), ("interrupt", self._on_interrupt))
        ]
        self.get_logger().info(
            f"model {talker.name} on {describe_backend(talker)}, {talker.frame_rate:g} frames per "
            f"second, look-ahead {1000 * talker.lookahead:.0f} ms"
        )

    def _deactivate(self) -> None:
        if not self._is_active:
            return
        assert self._worker is not None and self._audio is not None
        self._is_active = False
        if self._speech is not None:
            self._speech.close()
        self._audio.close()
        if self._partner_audio is not None:
            self._partner_audio.close()
        if self._gaze is not None:
            self._gaze.close()
        if self._expression is not None:
            self._expression.close()
        if isinstance(self._worker.clock, SimClock):
            # the bag has ended or the simulation is paused: publish the frames of the audio received
            # before
            self._worker.clock.use_wall_time(True)
            self._worker.drain(_DRAIN_MARGIN_S + min(self._worker.queued_seconds, MAX_DRAIN_S))
        if self._worker.state != "waiting":
            self._worker.close_mouth()
        self._worker.stop()
        assert self._output is not None
        self._output.close_outputs()
        self._worker.reset()

    def _cleanup(self) -> None:
        for service in self._trigger_services:
            self.destroy_service(service)
        self._trigger_services = []
        if self._speech is not None:
            self._speech.destroy()
        if self._expression is not None:
            self._expression.destroy()
            self._expression = None
        if self._output is not None:
            self._output.destroy()
        self._worker = self._output = self._audio = self._partner_audio = self._gaze = self._speech = None
        self._diagnostics_reporter = None
        gc.collect()  # frees the model's memory now
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _on_dialogue(self, state: DialogueState, stamp: int, interrupted: bool) -> None:
        """Publish who speaks; called in the worker's thread."""
        if interrupted and self._speech is not None:
            self._speech.speech.interrupt()
        if self._output is not None:
            self._output.publish_dialogue(state, stamp, interrupted)

    def _publish_frame(self, frame: PublishedFrame) -> None:
        """Publish a frame, and its audio with it; called in the worker's thread."""
        assert self._output is not None and self._speech is not None
        self._output.publish(frame)
        self._speech.publish(frame)

    def _active_speech(self) -> NodeSpeech | None:
        return self._speech.speech if self._is_active and self._speech is not None else None

    def _apply_parameters(self, values: Mapping[str, Any]) -> None:
        new = self._talker_parameters.replace(**values)
        if self._worker is not None:
            self._worker.set_parameters(new)
        self._talker_parameters = new

    # ------------------------------------------------------------------------------- services and diagnostics

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        assert self._worker is not None
        if self._speech is not None:
            self._speech.speech.interrupt()
        if self._audio is not None:
            self._audio.reset()
        if self._partner_audio is not None:
            self._partner_audio.reset()
        self._worker.reset()
        response.success, response.message = True, "the next audio begins a new stream"
        return response

    def _on_interrupt(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        assert self._worker is not None
        if self._speech is not None:
            self._speech.speech.interrupt()
        self._worker.interrupt()
        response.success, response.message = True, "the queued audio is dropped, the mouth closes"
        return response

    def _publish_diagnostics(self) -> None:
        now = self.get_clock().now().nanoseconds
        if self._diagnostics_reporter is not None:
            message = self._diagnostics_reporter.build(now)
        else:
            level = diagnostics.ERROR if self._configure_error else diagnostics.OK
            message = diagnostics.build_status_array(
                message_types.message_class,
                now,
                self._diagnostics_name,
                level,
                self._configure_error or "not configured",
            )
        self._diagnostics_publisher.publish(message)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until a signal arrives, then close the mouth; return the exit code.

    Args:
        args: Command line with the program's name first; None for that of the process.

    Returns:
        0 after a signal, 2 if the node could not be created.
    """
    return spin_node(
        "talker", TalkerNode, args, lambda node, spin_once: node.close(), shares_interpreter=True
    )
