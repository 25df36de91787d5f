# SPDX-License-Identifier: Apache-2.0
"""`python -m streamingtalker_ros COMMAND …`, the same as `streamingtalker COMMAND …`."""

import sys

from streamingtalker_ros.cli import main

sys.exit(main())
