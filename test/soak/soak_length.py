"""How long the soak tests run: `make soak` sets SOAK_SECONDS=600 and SOAK_HOUR=3600; without it, their short forms."""
import os

SECONDS = float(os.environ.get("SOAK_SECONDS", 20))         # of abuse
HOUR = float(os.environ.get("SOAK_HOUR", 30))               # of one undisturbed voice
LONG = SECONDS > 60


def tell(capsys, text):
    """Print what was measured, in the long form only."""
    if LONG:
        with capsys.disabled():
            print(f"\n    {text}", end="")
