# SPDX-License-Identifier: Apache-2.0
"""Backend on ONNX Runtime: the graphs of `onnx_export.py` on the CPU, without torch.

Inputs and outputs of each graph are bound once to arrays of a fixed address. The histories of the voices
stay in rings (`onnx_state.py`): the rows that a frame reads are gathered into the inputs, attention's keys
and values of a single voice are read in place, and the new rows are written back.

In int8 voices are stepped one by one: the scale of a quantized activation is that of all rows of a call, and
no voice may depend on its neighbours. In float32 they are stepped as a batch.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import require
from streamingtalker_ros.face.mouth_measures import MEASURES
from streamingtalker_ros.model.blendshape.backend import MAX_SAMPLERS, FloatArray, Precision
from streamingtalker_ros.model.blendshape.config import (
    COLUMN_CHANNELS,
    DECODER_KERNEL,
    ENCODER_KERNEL,
    TalkerConfig,
    column_dilation,
    frame_dilation,
)
from streamingtalker_ros.model.blendshape.numpy_features import HopFeatures
from streamingtalker_ros.model.blendshape.onnx_state import AgeBias, DelayLines, RowPool
from streamingtalker_ros.model.ddim import NoiseSchedule, ddim_coefficients

DECODER_BLOCKS: Final = 2


def open_session(graph: str | bytes) -> Any:
    """Load a graph.

    Args:
        graph: Path of its file, or its bytes.

    Returns:
        An `onnxruntime.InferenceSession` on one thread, which sleeps while there is nothing to do.

    Raises:
        TalkerError: If onnxruntime is missing.
    """
    onnxruntime = require("onnxruntime", "backend onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # errors are raised, none is printed
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # without fallback: it would try the same provider again, and print
    session = onnxruntime.InferenceSession(
        graph, options, providers=["CPUExecutionProvider"], enable_fallback=0
    )
    session.disable_fallback()
    return session


class BoundGraph:
    """A graph with the arrays that it reads and writes.

    Args:
        session: Of `open_session`.
        dimensions: Values of the dimensions that a call chooses.
        provided: Arrays to use in place of new ones, by name of the input or output.
        unbound: Names of inputs that `bind` gives an address.
    """

    def __init__(
        self,
        session: Any,
        dimensions: Mapping[str, int],
        provided: Mapping[str, np.ndarray] | None = None,
        unbound: Sequence[str] = (),
    ) -> None:
        self.arrays: dict[str, np.ndarray] = dict(provided or {})
        self._session, self._binding = session, session.io_binding()
        self._run = session.run_with_iobinding
        self._addresses: dict[str, int] = {}
        for value in session.get_inputs():
            if value.name not in unbound:
                self.bind(value.name, self._array(value, dimensions))
        for value in session.get_outputs():
            array = self._array(value, dimensions)
            self._binding.bind_output(value.name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def _array(self, value: Any, dimensions: Mapping[str, int]) -> np.ndarray:
        if value.name not in self.arrays:
            kind: Any = {"tensor(int64)": np.int64, "tensor(bool)": np.bool_}.get(value.type, np.float32)
            shape = [size if isinstance(size, int) else dimensions[size] for size in value.shape]
            self.arrays[value.name] = np.zeros(shape, kind)
        return self.arrays[value.name]

    def bind(self, name: str, array: np.ndarray) -> None:
        """Let an input read an array, which must live as long as it is bound.

        Args:
            name: Of the input.
            array: Contiguous, of the input's shape and type.
        """
        address = array.ctypes.data
        if self._addresses.get(name) != address:
            self._binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, address)
            self._addresses[name], self.arrays[name] = address, array

    def run(self) -> None:
        """Compute the outputs."""
        self._run(self._binding)


class OnnxBackend:
    """A network on ONNX Runtime. Implements `backend.FrameBackend`.

    Args:
        config: Of the checkpoint.
        graphs: The graphs of `onnx_export.GRAPHS`: paths, or bytes.
        time_tensors: The tensors `head.time.…` of the checkpoint, by name.
        precision: Of the graphs.

    Raises:
        TalkerError: If onnxruntime is missing.
    """

    name: Literal["onnx"] = "onnx"
    device = "cpu"

    def __init__(
        self,
        config: TalkerConfig,
        graphs: Mapping[str, str | bytes],
        time_tensors: Mapping[str, npt.NDArray[np.float32]],
        precision: Precision,
    ) -> None:
        self.config = config
        self.precision: Precision = precision
        self._sessions = {name: open_session(graph) for name, graph in graphs.items()}
        self._time_tensors = time_tensors
        self._features = HopFeatures(config)
        self._column_lines, self._frame_lines = _column_lines(config), _frame_lines(config)
        self._age_bias = AgeBias(config.heads, config.context_frames)
        self._pool = RowPool(self._init_arrays)
        self._uncond_pool = RowPool(self._init_attention)
        self._encoders: dict[int, BoundGraph] = {}  # by number of voices
        self._predictors: dict[int, BoundGraph] = {}
        self._samplers: dict[tuple[int, int, int], BoundGraph] = {}  # by steps, voices, rows of conditions
        self._tables: dict[int, dict[str, np.ndarray]] = {}  # by steps
        self._tables_lock = threading.Lock()  # streams prepare their steps in any thread

    @property
    def description(self) -> str:
        """What runs, for a log."""
        version = require("onnxruntime", "backend onnx").__version__
        return f"ONNX Runtime {version}, {self.precision}, CPU, 1 thread"

    # -- state -----------------------------------------------------------------------------------------------

    def _init_arrays(self, rows: int) -> dict[str, np.ndarray]:
        """State of all parts but the unconditional branch."""
        config = self.config
        samples, level, columns = self._features.init_state(rows)
        frame_row = config.columns * COLUMN_CHANNELS + 1
        zeros = {
            "column_lines": (self._column_lines.slots if self._column_lines else 0, COLUMN_CHANNELS),
            "frame_lines": (self._frame_lines.slots if self._frame_lines else 0, config.audio_width),
            "frame_conv_context": (frame_row,),
            "latent": (config.latent_dim,),
            "decoder_context": ((DECODER_KERNEL - 1) * config.latent_dim,),
            **{
                f"decoder_context_{i}": ((DECODER_KERNEL - 1) * config.codec_width,)
                for i in range(DECODER_BLOCKS)
            },
        }
        return {
            "samples": samples,
            "level": level,
            "columns": columns,
            "hops": np.zeros(rows, np.int64),
            **{name: np.zeros((rows, *shape), np.float32) for name, shape in zeros.items()},
            **self._init_attention(rows),
        }

    def _init_attention(self, rows: int) -> dict[str, np.ndarray]:
        """State of the predictor: rings of keys and values, row n mod h holds frame n."""
        config = self.config
        shape = rows, config.heads, config.context_frames, config.width // config.heads
        return {
            "frame": np.zeros(rows, np.int64),
            "cached": np.zeros(rows, np.int64),
            **{f"keys_{i}": np.zeros(shape, np.float32) for i in range(config.layers)},
            **{f"values_{i}": np.zeros(shape, np.float32) for i in range(config.layers)},
        }

    def open_row(self) -> int:
        """See `FrameBackend.open_row`."""
        return self._pool.open()

    def close_row(self, row: int) -> None:
        """See `FrameBackend.close_row`."""
        self._pool.close(row)

    def reset_row(self, row: int) -> None:
        """See `FrameBackend.reset_row`."""
        self._pool.reset(row)

    def open_uncond_row(self, frame: int) -> int:
        """See `FrameBackend.open_uncond_row`."""
        row = self._uncond_pool.open()
        self._uncond_pool.arrays["frame"][row] = frame
        return row

    def close_uncond_row(self, row: int) -> None:
        """See `FrameBackend.close_uncond_row`."""
        self._uncond_pool.close(row)

    def reset_uncond_row(self, row: int) -> None:
        """See `FrameBackend.reset_uncond_row`."""
        self._uncond_pool.reset(row)

    def state_layout(self) -> list[tuple[int, tuple[int, ...]]]:
        """See `FrameBackend.state_layout`."""
        return self._pool.layout()

    # -- a step ----------------------------------------------------------------------------------------------

    def stages(self, steps: int) -> dict[str, tuple[object, str]]:
        """See `FrameBackend.stages`."""
        return {
            "features": (self._features, "compute"),
            "encoder": (self, "run_encoder"),
            "predictor": (self, "run_predictor"),
            "head, decoder": (self, "run_sampler"),
        }

    def run_encoder(self, graph: BoundGraph) -> None:
        """Run the graph of the encoder."""
        graph.run()

    def run_predictor(self, graph: BoundGraph) -> None:
        """Run the graph of the predictor."""
        graph.run()

    def run_sampler(self, graph: BoundGraph) -> None:
        """Run the graph of the head and the decoder."""
        graph.run()

    def prepare_steps(self, steps: int) -> None:
        """See `FrameBackend.prepare_steps`."""
        self.get_tables(steps)

    def encode_hops(self, rows: Sequence[int], hops: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `FrameBackend.encode_hops`."""
        if self.precision == "float32" or len(rows) == 1:
            return self._encode(rows, hops)
        parts = [self._encode([row], hops[i : i + 1]) for i, row in enumerate(rows)]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _encode(self, rows: Sequence[int], hops: FloatArray) -> tuple[FloatArray, FloatArray]:
        state, graph = self._pool.arrays, self._get_encoder(len(rows))
        arrays, select = graph.arrays, _selection(rows)
        if isinstance(select, slice):
            past = (state["samples"][select], state["level"][select], state["columns"][select])
            self._features.compute(hops, past, arrays["mel_taps"], arrays["loudness"])
        else:
            past = (state["samples"][select], state["level"][select], state["columns"][select])  # copies
            self._features.compute(hops, past, arrays["mel_taps"], arrays["loudness"])
            state["samples"][select], state["level"][select], state["columns"][select] = past
        frames = state["hops"][select].tolist()
        writes: list[tuple[FloatArray, Any, np.ndarray]] = []
        for name, lines in (("column_lines", self._column_lines), ("frame_lines", self._frame_lines)):
            if lines is not None:
                pool = state[name].reshape(-1, state[name].shape[-1])
                reads, written = lines.indices(rows, frames)
                np.take(pool, reads, 0, arrays[f"{name}_in"], "clip")
                writes.append((pool, written, arrays[f"{name}_out"]))
        np.copyto(arrays["frame_conv_context"], state["frame_conv_context"][select])
        self.run_encoder(graph)
        for pool, index, new in writes:
            pool[index] = new
        state["frame_conv_context"][select] = arrays["frame_conv_row"]
        state["hops"][select] += 1
        return arrays["feature"].copy(), arrays["logits"].copy()

    def generate(
        self,
        rows: Sequence[int],
        features: FloatArray,
        noise: FloatArray,
        style_rows: Sequence[int],
        steps: int,
        context_frames: int | None = None,
        uncond_rows: Sequence[int] = (),
        guidance: Sequence[float] = (),
    ) -> FloatArray:
        """See `FrameBackend.generate`."""
        if self.precision == "float32" or len(rows) == 1:
            return self._generate(
                rows, features, noise, style_rows, steps, context_frames, uncond_rows, guidance
            )
        parts: list[FloatArray] = []
        for i, row in enumerate(rows):
            one = slice(i, i + 1)
            parts.append(
                self._generate(
                    [row],
                    features[one],
                    noise[one],
                    style_rows[one],
                    steps,
                    context_frames,
                    uncond_rows[one],
                    guidance[one],
                )
            )
        return np.concatenate(parts)

    def _generate(
        self,
        rows: Sequence[int],
        features: FloatArray,
        noise: FloatArray,
        style_rows: Sequence[int],
        steps: int,
        context_frames: int | None,
        uncond_rows: Sequence[int],
        guidance: Sequence[float],
    ) -> FloatArray:
        batch, state, select = len(rows), self._pool.arrays, _selection(rows)
        sampler = self._get_sampler(steps, batch, 2 * batch if uncond_rows else batch)
        predictor, arrays = self._get_predictor(batch), sampler.arrays
        predictor.arrays["latent"][:] = state["latent"][select]
        predictor.arrays["style"][:] = style_rows
        predictor.arrays["feature"][:] = features
        arrays["projected"][:batch] = self._predict(predictor, state, rows, context_frames)
        if uncond_rows:
            predictor.arrays["feature"][:] = 0.0
            arrays["projected"][batch:] = self._predict(
                predictor, self._uncond_pool.arrays, uncond_rows, context_frames
            )
            own = np.arange(batch)
            arrays["mix"][own, own] = guidance
            arrays["mix"][own, own + batch] = 1.0 - np.asarray(guidance, np.float32)
        arrays["noise"][:] = noise
        for name in _DECODER_ROWS:
            arrays[name][:] = state[name][select]
        self.run_sampler(sampler)
        state["latent"][select] = arrays["new_latent"]
        for name, row in _DECODER_ROWS.items():
            state[name][select] = arrays[row]
        return arrays["motion"].copy()

    def _predict(
        self,
        graph: BoundGraph,
        state: Mapping[str, np.ndarray],
        rows: Sequence[int],
        context_frames: int | None,
    ) -> np.ndarray:
        """Run the predictor on its inputs and the attention state of some rows; return its output."""
        arrays, select, past = graph.arrays, _selection(rows), self.config.context_frames
        frames, cached = state["frame"][select].tolist(), state["cached"][select].tolist()
        for i, (frame, count) in enumerate(zip(frames, cached, strict=True)):
            arrays["known"][i] = frame > 0 and context_frames != 0
            arrays["position"][i] = frame % self.config.positional_period
            self._age_bias.fill(arrays["age_bias"][i, :, :, 0], frame, count, context_frames)
        names = [f"{kind}_{i}" for i in range(self.config.layers) for kind in ("keys", "values")]
        for name in names:
            if isinstance(select, slice):
                graph.bind(name, state[name][select])
            else:
                np.take(state[name], select, 0, arrays[name], "clip")
        self.run_predictor(graph)
        slots = [frame % past for frame in frames]
        for name in names:
            if isinstance(select, slice):
                state[name][rows[0], :, slots[0]] = arrays[f"new_{name}"][0, :, 0]
            else:
                state[name][select, :, slots] = arrays[f"new_{name}"][:, :, 0]
        state["frame"][select] += 1
        state["cached"][select] += 1
        return arrays["projected"]

    # -- graphs and tables -----------------------------------------------------------------------------------

    def _get_encoder(self, batch: int) -> BoundGraph:
        graph = self._encoders.get(batch)
        if graph is None:
            config, provided = self.config, dict[str, np.ndarray]()
            shapes: list[tuple[str, DelayLines | None, str, str, int, int]] = [
                ("column_lines", self._column_lines, "column_context", "column_rows", COLUMN_CHANNELS, 0),
                ("frame_lines", self._frame_lines, "frame_taps", "frame_row", config.audio_width, 1),
            ]
            for name, lines, source, target, width, flat in shapes:
                if lines is None:
                    continue
                counts, new = lines.counts, lines.rows_per_frame
                read = provided[f"{name}_in"] = np.zeros((batch * sum(counts), width), np.float32)
                written = provided[f"{name}_out"] = np.zeros((batch * len(counts) * new, width), np.float32)
                first = 0
                for i, count in enumerate(counts):
                    taps = read[first : first + batch * count]
                    provided[f"{source}_{i}"] = taps.reshape((batch, -1) if flat else (batch, count, width))
                    rows = written[i * batch * new : (i + 1) * batch * new]
                    provided[f"{target}_{i}"] = rows if flat else rows.reshape(batch, new, width)
                    first += batch * count
            graph = BoundGraph(self._sessions["encoder"], {"B": batch, "heads": self._num_heads()}, provided)
            _keep(self._encoders, batch, graph)
        return graph

    def _num_heads(self) -> int:
        config = self.config
        optional = (config.bilabial_thresholds, config.open_vowel_thresholds)
        num_measures = len(MEASURES) if config.lip_measure_weight else 0
        return 1 + sum(map(bool, optional)) + num_measures

    def _get_predictor(self, batch: int) -> BoundGraph:
        graph = self._predictors.get(batch)
        if graph is None:
            names = [f"{kind}_{i}" for i in range(self.config.layers) for kind in ("keys", "values")]
            graph = BoundGraph(self._sessions["predictor"], {"B": batch}, unbound=names if batch == 1 else ())
            _keep(self._predictors, batch, graph)
        return graph

    def _get_sampler(self, steps: int, batch: int, conditions: int) -> BoundGraph:
        key = steps, batch, conditions
        graph = self._samplers.get(key)
        if graph is None:
            dimensions = {"B": batch, "R": conditions, "S": steps}
            graph = BoundGraph(self._sessions["sampler"], dimensions, self.get_tables(steps))
            graph.arrays["source"][:] = np.arange(conditions) % batch
            graph.arrays["mix"][:] = np.eye(batch, conditions)
            _keep(self._samplers, key, graph)
        return graph

    def get_tables(self, steps: int) -> dict[str, np.ndarray]:
        """Return what depends on the number of steps alone: coefficients, and shifts by the diffusion times.

        Args:
            steps: Number of DDIM steps.

        Returns:
            Inputs of the sampler's graph by name; those of the last `MAX_SAMPLERS` numbers are kept.
        """
        tables = self._tables.get(steps)
        if tables is None:
            config = self.config
            schedule = NoiseSchedule(config.beta_start, config.beta_end, config.num_train_timesteps)
            coefficients = ddim_coefficients(steps, "trailing", schedule=schedule)
            tables = {
                "keep": coefficients.keep,
                "add": coefficients.add,
                "time_shifts": timestep_shifts(coefficients.timesteps, self._time_tensors),
            }
            with self._tables_lock:
                _keep(self._tables, steps, tables)
        return tables


_DECODER_ROWS: Final = {
    "decoder_context": "decoder_row",
    **{f"decoder_context_{i}": f"decoder_row_{i}" for i in range(DECODER_BLOCKS)},
}
"""State of the decoder -> output that replaces it."""


def timestep_shifts(times: npt.NDArray[np.int64], tensors: Mapping[str, FloatArray]) -> FloatArray:
    """Return the shifts of diffusion times, (S, blocks·width), as `DiffusionHead.timestep_shifts`.

    Args:
        times: (S,) times 0 … num_train_timesteps - 1.
        tensors: `head.time.…` of the checkpoint, by name.
    """
    size = tensors["head.time.0.weight"].shape[1]
    frequency = np.exp(np.arange(size // 2) * (-np.log(10000.0) / (size // 2)))
    angle = times[:, None] * frequency
    embedding = np.concatenate((np.cos(angle), np.sin(angle)), 1)
    hidden = embedding @ tensors["head.time.0.weight"].T + tensors["head.time.0.bias"]
    hidden = hidden / (1.0 + np.exp(-hidden))
    shifts = hidden @ tensors["head.time.2.weight"].T + tensors["head.time.2.bias"]
    return np.ascontiguousarray(shifts, np.float32)


def _column_lines(config: TalkerConfig) -> DelayLines | None:
    reaches = [(ENCODER_KERNEL - 1) * column_dilation(i) for i in range(config.column_blocks)]
    return DelayLines([range(-reach, 0) for reach in reaches], config.columns) if reaches else None


def _frame_lines(config: TalkerConfig) -> DelayLines | None:
    dilations = [frame_dilation(i) for i in range(config.audio_blocks)]
    offsets = [[-d * tap for tap in range(ENCODER_KERNEL - 1, 0, -1)] for d in dilations]
    if config.articulation_context_frames:
        offsets.append(list(range(-config.articulation_context_frames, 0)))
    return DelayLines(offsets) if offsets else None


def _selection(rows: Sequence[int]) -> Any:
    """Return what selects rows of an array: a slice, which copies nothing, for one."""
    return slice(rows[0], rows[0] + 1) if len(rows) == 1 else np.asarray(rows, np.intp)


def _keep(cache: dict[Any, Any], key: Any, value: Any) -> None:
    """Add to a cache of at most `MAX_SAMPLERS` entries; the oldest leaves."""
    while len(cache) >= MAX_SAMPLERS:
        del cache[next(iter(cache))]
    cache[key] = value
