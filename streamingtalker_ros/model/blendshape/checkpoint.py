# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of the default family: a folder with `weights.safetensors` and `config.json`, nothing pickled.

`save(folder, network)` writes it, `load(folder)` gives the network back in evaluation mode on the CPU.
"""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.blendshape.network import TalkerNetwork

WEIGHTS, CONFIG = "weights.safetensors", "config.json"


def save(folder, network) -> None:
    """Write the network (float32) and its configuration into `folder`, which is made."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()},
        str(folder / WEIGHTS),
    )
    (folder / WEIGHTS).chmod(0o644)  # safetensors writes for its owner alone; a checkpoint is to be shared
    (folder / CONFIG).write_text(json.dumps(network.config.to_json(), indent=2) + "\n")


def read_config(folder):
    """The JSON of a checkpoint folder, as a dict. Raises TalkerError when it is missing or malformed."""
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise TalkerError(f"no checkpoint at {folder}: a folder with {CONFIG} and {WEIGHTS} is expected")
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise TalkerError(
            f"{path} is not valid JSON ({error}): restore it from where the checkpoint came"
        ) from None


def load(folder):
    """Read a checkpoint. Raises TalkerError naming the file when it is missing, damaged or of another shape."""
    network = TalkerNetwork(TalkerConfig.from_json(read_config(folder)))
    path = Path(folder) / WEIGHTS
    try:
        network.load_state_dict(load_file(str(path)))
    except (OSError, SafetensorError) as error:
        raise TalkerError(f"{path} cannot be read ({error}): copy the checkpoint again") from None
    except RuntimeError as error:
        detail = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise TalkerError(f"{path} does not fit its {CONFIG}: {detail}") from None
    return network.eval()
