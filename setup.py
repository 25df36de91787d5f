# SPDX-License-Identifier: Apache-2.0
"""What pyproject.toml cannot say: in the wheel msg/ and config/ lie in the package, in the source beside it.

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
