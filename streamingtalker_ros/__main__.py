"""`python -m streamingtalker_ros COMMAND …`, the same as `streamingtalker COMMAND …`."""
import sys

from .cli import main

sys.exit(main())
