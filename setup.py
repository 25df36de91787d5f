"""What pyproject.toml cannot say: msg/ and config/ lie inside the package in the wheel, beside it in the source.

There `streamingtalker_ros.resources` finds them.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["streamingtalker_ros", "streamingtalker_ros.*"]),
        "streamingtalker_ros.msg",
        "streamingtalker_ros.config",
    ],
    package_dir={"streamingtalker_ros.msg": "msg", "streamingtalker_ros.config": "config"},
)
