"""pip's view of the package: `pip install .` gives the `streamingtalker` command without ROS.

colcon builds with CMakeLists.txt instead. Torch stands in no list: its build, CPU or CUDA, is the machine
owner's choice. msg/ and config/ are carried inside the wheel, where node/resources.py finds them.
"""
import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
INIT = (HERE / "streamingtalker_ros" / "__init__.py").read_text(encoding="utf-8")
VERSION = re.search(r'__version__ = "(.+)"', INIT).group(1)
RENDER = ["vtk>=9.4.0", "av>=12.0", "pillow>=10.1"]
# curves while training (a run without them keeps its CSV log), several GPUs; aligned speech, animation
TRAIN = ["tensorboard>=2.14", "accelerate>=0.26", "pocketsphinx>=5.0", "scipy>=1.8"]
REPORT = ["matplotlib>=3.6"]       # charts of `streamingtalker evaluate --report`

setup(
    name="streamingtalker_ros",
    version=VERSION,
    description="Live speech in, a talking 3D face out: streaming speech-driven facial animation for ROS 2",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=[*find_packages(include=["streamingtalker_ros", "streamingtalker_ros.*"]),
              "streamingtalker_ros.msg", "streamingtalker_ros.config"],
    package_dir={"streamingtalker_ros.msg": "msg", "streamingtalker_ros.config": "config"},
    package_data={"streamingtalker_ros": ["weights/**/*", "data/*", "web/static/*"],
                  "streamingtalker_ros.msg": ["*.msg"],
                  "streamingtalker_ros.config": ["*.yaml", "*.rviz", "heads/*.yaml"]},
    include_package_data=False,
    zip_safe=False,
    install_requires=[
        "numpy>=1.21",         # rclpy of ROS 2 Humble is compiled against 1.21: never forced higher
        "soxr>=1.1.0",         # the first with the variable-rate engine
        "soundfile>=0.12.1",   # the first whose wheels read MP3
        "safetensors>=0.4.1",
        "pyyaml>=6.0",
        "cyclonedds>=0.10.5",
        "rosbags>=0.10.9",     # the first whose writer can be asked for MCAP
        "tqdm>=4.62",
        "transformers>=4.40",
        "sounddevice>=0.4.6",
    ],
    extras_require={
        "render": RENDER,
        "train": TRAIN,
        "voices": ["pyworld>=0.3.4"],  # `corpus revoice`; apart, since pip compiles it
        "video": ["av>=12.0", "pillow>=10.1", "scipy>=1.8"],
        "web": ["starlette>=0.37", "uvicorn>=0.36", "websockets>=13.0"],  # the page itself is bundled by Node
        "report": REPORT,
        "test": ["pytest>=7.4", "pytest-timeout>=2.2", "diffusers>=0.27", "wheel>=0.40", "setuptools>=68", *REPORT],
    },
    entry_points={"console_scripts": ["streamingtalker = streamingtalker_ros.cli:main"]},
)
