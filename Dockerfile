# SPDX-License-Identifier: Apache-2.0
# The package on the official ROS 2 image, with the audio_common_msgs of ros-drivers.
#
#   docker build -t streamingtalker_ros .                      (Humble, Lyrical: --build-arg ROS_DISTRO=humble, lyrical)
#   docker run --rm --net=host streamingtalker_ros             the talker: subscribes to /audio, publishes /face_motion
#   docker run --rm --net=host --device /dev/snd streamingtalker_ros \
#     ros2 launch streamingtalker_ros demo.launch.py microphone:=true rviz:=false
#
# The model runs on ONNX Runtime. --build-arg TORCH=torch adds PyTorch, for a GPU (run with --gpus all) and vertex
# checkpoints; --build-arg TORCH_INDEX= the index that pytorch.org names for another build of it.
ARG ROS_DISTRO=jazzy
FROM ros:${ROS_DISTRO}-ros-base
ARG TORCH=""
ARG TORCH_INDEX=""
SHELL ["/bin/bash", "-o", "pipefail", "-c"]

RUN apt-get update && apt-get install -y --no-install-recommends \
      python3-pip python3-venv libportaudio2 \
      ros-${ROS_DISTRO}-rmw-cyclonedds-cpp ros-${ROS_DISTRO}-audio-common-msgs ros-${ROS_DISTRO}-launch-pytest \
    && rm -rf /var/lib/apt/lists/*

# ROS's own Python packages are seen; numpy stays of the major version that rclpy is compiled against
RUN python3 -m venv --system-site-packages /opt/talker && touch /opt/talker/COLCON_IGNORE \
    && python3 -c 'import numpy; print(f"numpy<{int(numpy.__version__.split(chr(46))[0]) + 1}")' > /opt/talker/constraints.txt \
    && if [ -n "${TORCH}" ]; then /opt/talker/bin/pip install --no-cache-dir ${TORCH_INDEX:+--index-url ${TORCH_INDEX}} "${TORCH}"; fi \
    && /opt/talker/bin/pip install --no-cache-dir -c /opt/talker/constraints.txt "onnxruntime>=1.17" "soxr>=1.1.0" \
         "soundfile>=0.12.1" "safetensors>=0.4.1" "av>=12.0" "cyclonedds>=0.10.5" "rosbags>=0.10.9" "sounddevice>=0.4.6"

WORKDIR /ws
COPY . src/streamingtalker_ros
RUN apt-get update && source /opt/ros/${ROS_DISTRO}/setup.bash && source /opt/talker/bin/activate \
    && rosdep update --rosdistro ${ROS_DISTRO} && rosdep install -y --from-paths src --ignore-src --skip-keys python3-sounddevice-pip \
    && colcon build --cmake-args -DPython3_EXECUTABLE=/opt/talker/bin/python3 \
    && rm -rf /var/lib/apt/lists/* build log

ENV RMW_IMPLEMENTATION=rmw_cyclonedds_cpp
RUN printf '#!/bin/bash\nset -e\nsource /opt/talker/bin/activate\nsource /opt/ros/%s/setup.bash\n%s\nexec "$@"\n' \
      "${ROS_DISTRO}" 'source /ws/install/setup.bash' > /entrypoint.sh && chmod +x /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh"]
CMD ["ros2", "launch", "streamingtalker_ros", "talker.launch.py"]
