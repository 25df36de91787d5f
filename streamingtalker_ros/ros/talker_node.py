# SPDX-License-Identifier: Apache-2.0
"""The talker as an rclpy lifecycle node: audio topic in, face_motion (and face_model, face_vertices) out.

configure loads and warms the model, activate opens subscriptions and publishers, deactivate closes the mouth
and then both, cleanup frees the model. With `autostart` (the default) it configures and activates by itself.
What is said when is the core's business; here are only transitions, parameters, services and diagnostics.
`main` is the executable.
"""

import gc
import sys
import time

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from std_srvs.srv import Trigger

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging import diagnostics
from streamingtalker_ros.ros import audio_input, parameters
from streamingtalker_ros.ros import clock as ros_time
from streamingtalker_ros.ros import spin as ros_run
from streamingtalker_ros.runtime.parameters import NODE_NAME

LONGEST_REST = 3.0  # s of queued audio that are still spoken when a simulated voice ends
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class TalkerNode(LifecycleNode):
    """Raises TalkerError when a parameter has a value that it cannot take."""

    def __init__(self, **kwargs) -> None:
        super().__init__(NODE_NAME, **kwargs)
        self._survive_bad_transitions()
        parameters.declare(self)
        self._settings = parameters.read(self)
        parameters.watch(self, self._apply)
        self._core = self._output = self._audio = self._diagnostics_reporter = None
        self._services_open = []
        # a robot's several talkers are told apart by their namespaces
        self._name_in_graph = self.get_fully_qualified_name().lstrip("/")
        self._active = False
        self._problem = ""  # why the last configure failed
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # runs where a simulation stands still
        self.create_timer(1.0, self._diagnose, clock=steady)
        if self._settings.autostart:
            self._starter = self.create_timer(0.0, self._start, clock=steady)

    # -- transitions ---------------------------------------------------------------------------------------

    def on_configure(self, state):
        """Load and warm the model. Fails with one logged sentence when it, the device or the audio types are
        missing.
        """
        try:
            self._configure()
        except TalkerError as error:
            self._problem = str(error)
        except Exception as error:  # rclpy would swallow it without a word
            self._problem = f"configuring failed ({type(error).__name__}: {error}): please report it"
        else:
            self._problem = ""
            return super().on_configure(state)
        self.get_logger().error(self._problem)
        self._release()
        return FAILURE

    def on_activate(self, state):
        """Open the gates: publishers first, so that no frame is lost, then the audio."""
        result = super().on_activate(state)
        self._output.send_model()
        if self._core.clock is not time.monotonic:
            self._core.clock.run(real=False)
        self._core.start()
        self._audio.open()
        self._active = True
        return result

    def on_deactivate(self, state):
        """Stop listening, let the mouth close, then fall silent."""
        self._rest()
        return super().on_deactivate(state)

    def on_cleanup(self, state):
        """Free the model, the publishers and the services."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state):
        self._rest()
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state):
        """Back to unconfigured, from where it may be configured again."""
        self._rest()
        self._release()
        return super().on_error(state)

    def close(self) -> None:
        """End as the process ends: the face at rest, nothing held."""
        if self._core is not None:
            self.get_logger().info(self._core.summary())
        self._rest()
        self._release()

    # -- what they are made of -----------------------------------------------------------------------------

    def _survive_bad_transitions(self) -> None:
        """Answer False to a transition that the state does not allow: rclpy raises, which would end the process."""
        service = self._service_change_state
        change = service.callback

        def asked(request, response):
            try:
                return change(request, response)
            except Exception as error:
                wanted = request.transition.label or f"number {request.transition.id}"
                self.get_logger().warning(
                    f"the transition {wanted} is not possible from the state "
                    f"{self._state_machine.current_state[1]} ({type(error).__name__})"
                )
                response.success = False
                return response

        service.callback = asked

    def _start(self) -> None:
        self.destroy_timer(self._starter)
        # a manager may have been faster
        if self._state_machine.current_state[1] == "unconfigured" and self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def _configure(self) -> None:
        self._settings = settings = parameters.read(self)
        variant = audio_input.installed_variant()
        from streamingtalker_ros.ros import (
            face_output,  # late: they bring in torch and the generated messages
        )
        from streamingtalker_ros.runtime import worker

        talker = worker.load_talker(settings)
        self._output = face_output.FaceOutput(self, settings, talker.frame_rate)
        self._core = worker.TalkerWorker(
            talker, settings, self._output.send, warn=self.get_logger().warning, clock=ros_time.clock_of(self)
        )
        self._audio = audio_input.AudioInput(self, variant, settings, self._core)
        self._diagnostics_reporter = diagnostics.DiagnosticsReporter(
            self._core, audio_input.message_class, self._name_in_graph
        )
        self._services_open = [
            self.create_service(Trigger, f"~/{name}", serve)
            for name, serve in (("reset", self._reset), ("interrupt", self._interrupt))
        ]
        self.get_logger().info(
            f"model {talker.name} on {talker.device}, {talker.frame_rate:g} frames per "
            f"second, look-ahead {1000 * talker.lookahead:.0f} ms"
        )

    def _rest(self) -> None:
        if not self._active:
            return
        self._active = False
        self._audio.close()
        if self._core.clock is not time.monotonic:
            # a bag that has ended, or a simulation that stands still: its last frames are owed all the same
            self._core.clock.run(real=True)
            self._core.drain(1.0 + min(self._core.queued_seconds, LONGEST_REST))
        if self._core.state != "waiting":
            self._core.close_mouth()
        self._core.stop()
        self._core.reset()

    def _release(self) -> None:
        for service in self._services_open:
            self.destroy_service(service)
        self._services_open = []
        if self._output is not None:
            self._output.destroy()
        self._core = self._output = self._audio = self._diagnostics_reporter = None
        gc.collect()  # the model's memory, now
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _apply(self, values) -> None:
        settings = self._settings.replace(**values)
        if self._core is not None:
            self._core.set_parameters(settings)
        self._settings = settings

    # -- services and diagnostics --------------------------------------------------------------------------

    def _reset(self, request, response):
        self._core.reset()
        response.success, response.message = True, "the next audio begins afresh"
        return response

    def _interrupt(self, request, response):
        self._core.interrupt()
        response.success, response.message = True, "the queued audio is dropped, the mouth closes"
        return response

    def _diagnose(self) -> None:
        now = self.get_clock().now().nanoseconds
        if self._diagnostics_reporter is not None:
            message = self._diagnostics_reporter.build(now)
        else:
            level = diagnostics.ERROR if self._problem else diagnostics.OK
            message = diagnostics.build_status_array(
                audio_input.message_class, now, self._name_in_graph, level, self._problem or "not configured"
            )
        self._diagnostics.publish(message)


def main(args=None):
    """Run the node until SIGINT or SIGTERM; at its end the face is brought to rest. Returns the exit code."""
    return ros_run.run("talker", TalkerNode, args, lambda node, spin: node.close())
