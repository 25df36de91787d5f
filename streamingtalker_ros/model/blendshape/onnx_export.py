# SPDX-License-Identifier: Apache-2.0
"""Builds the ONNX graphs of a blendshape network: its frame step, with the state as inputs and outputs.

Three graphs compute what the modules compute, from the tensors of `weights.safetensors`:

| graph | computes | modules |
|---|---|---|
| `encoder` | feature and auxiliary logits of a hop, from log-mel columns | `AudioEncoder` |
| `predictor` | the condition, projected for the head | `ConditionPredictor`, `project_condition` |
| `sampler` | latent and motion from noise and projected conditions | `HeadSampler`, `MotionCodec.decode` |

A convolution receives its past rows as an input and returns its newest row as an output; attention likewise.
Which past rows those are is the business of `onnx_backend.py`: no graph moves a history. Guidance runs the
predictor twice and gives the sampler two rows of conditions for each voice, which `mix` combines.

The graphs refer to the bytes of `weights.safetensors`. Compositions of linear layers, and in precision `int8`
the quantization of weights to 8 bits with a scale for each output, are nodes that the runtime folds when it
loads the graph. The input of each int8 product is quantized while a frame is computed, with one scale for all
of its rows (`DynamicQuantizeMatMul`), so that the rows of one call must belong to one voice.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import require
from streamingtalker_ros.model.blendshape.backend import Precision
from streamingtalker_ros.model.blendshape.config import (
    COLUMN_CHANNELS,
    DECODER_KERNEL,
    ENCODER_KERNEL,
    TalkerConfig,
    column_dilation,
)

Array = npt.NDArray[Any]

EPSILON: Final = 1e-5
"""Of layer norms, torch's default."""
ZERO_POINT: Final = 128
"""Code of a weight of 0 in int8. Codes are unsigned: the product of AVX2 saturates for signed ones."""
MIN_SCALE: Final = 1e-12
"""Of an output's int8 weights, which may all be 0."""
OPSET: Final = 18  # the first whose Split names a number of outputs
IR_VERSION: Final = 8
_UNUSED_PARTS: Final = ("codec.encoder.", "codec.codebook", "head.time.", ".norm_audio.")
"""Parts of the names of tensors that no graph holds: training alone uses them, or times are tables."""
GRAPHS: Final = ("encoder", "predictor", "sampler")


@dataclass(frozen=True)
class ExternalTensor:
    """Bytes of a tensor in the file of weights.

    Attributes:
        location: Name of the file, beside the graph.
        offset: First byte.
        length: Number of bytes.
    """

    location: str
    offset: int
    length: int


class _GraphBuilder:
    """A graph under construction.

    Args:
        name: Of the graph.
        tensors: Tensors of the network by name, float32.
        external: Where the file of weights holds them, by name; those left out are embedded.
        precision: Of linear layers.
    """

    def __init__(
        self,
        name: str,
        tensors: Mapping[str, Array],
        external: Mapping[str, ExternalTensor],
        precision: Precision,
    ) -> None:
        self.onnx = require("onnx", "exporting to ONNX")
        self.name, self.tensors, self.external, self.precision = name, tensors, external, precision
        self.nodes: list[Any] = []
        self.weight_nodes: list[Any] = []  # of weights alone: folded when the graph is loaded
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self._count = 0

    # -- values ----------------------------------------------------------------------------------------------

    def input(self, name: str, *shape: int | str, dtype: type[np.generic] = np.float32) -> str:
        """Add an input; texts in its shape are dimensions that a call chooses."""
        helper = self.onnx.helper
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, value: str, *shape: int | str) -> None:
        """Return a value under a name."""
        helper = self.onnx.helper
        self.nodes.append(helper.make_node("Identity", [value], [name], name=f"return_{name}"))
        self.outputs.append(helper.make_tensor_value_info(name, self.onnx.TensorProto.FLOAT, shape))

    def constant(self, value: Array | float | Sequence[int], name: str | None = None) -> str:
        """Embed an array; floats as float32, whole numbers as int64."""
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
        elif array.dtype != np.uint8:
            array = array.astype(np.int64)
        if name is None:
            self._count += 1
            name = f"constant_{self._count}"
        self.initializers[name] = self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def weight(self, name: str) -> str:
        """Refer to a tensor of the network."""
        if name in self.initializers:
            return name
        where = self.external.get(name)
        if where is None:
            return self.constant(self.tensors[name], name)
        tensor = self.onnx.TensorProto(
            name=name,
            data_type=self.onnx.TensorProto.FLOAT,
            dims=self.tensors[name].shape,
            data_location=self.onnx.TensorProto.EXTERNAL,
        )
        for key, value in (("location", where.location), ("offset", where.offset), ("length", where.length)):
            tensor.external_data.add(key=key, value=str(value))
        self.initializers[name] = tensor
        return name

    def node(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add an operation with one output and return that."""
        return self.split_node(op, 1, *inputs, domain=domain, **attributes)[0]

    def split_node(
        self, op: str, outputs: int, *inputs: str, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Add an operation with several outputs and return them."""
        self._count += 1
        names = [f"{op.lower()}_{self._count}" + (f"_{i}" if outputs > 1 else "") for i in range(outputs)]
        self.nodes.append(
            self.onnx.helper.make_node(
                op, list(inputs), names, name=f"{op}_{self._count}", domain=domain, **attributes
            )
        )
        return names

    # -- layers ----------------------------------------------------------------------------------------------

    def reshape(self, x: str, *shape: int) -> str:
        """Reshape; one dimension may be -1."""
        return self.node("Reshape", x, self.constant(list(shape)))

    def norm(self, x: str, name: str | None, width: int) -> str:
        """Layer norm over the last axis; without a name one without scale and bias."""
        if name is None:
            inputs = [x, self.constant(np.ones(width), f"ones_{width}")]
        else:
            inputs = [x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias")]
        return self.node("LayerNormalization", *inputs, axis=-1, epsilon=EPSILON)

    def gelu(self, x: str) -> str:
        """Gelu of the error function."""
        return self.node("Gelu", x, domain="com.microsoft")

    def silu(self, x: str) -> str:
        """X · sigmoid(x)."""
        return self.node("QuickGelu", x, domain="com.microsoft", alpha=1.0)

    def linear(self, x: str, name: str, quantize: bool = True) -> str:
        """An nn.Linear with a bias on (rows, inputs).

        Args:
            x: The rows.
            name: Of the layer.
            quantize: Whether precision int8 applies.
        """
        matrix, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        if quantize and self.precision == "int8":
            return self.quantized(x, matrix, len(self.tensors[f"{name}.bias"]), bias)
        return self.affine(x, matrix, bias)

    def affine(self, x: str, matrix: str, bias: str | None = None) -> str:
        """X @ matrix.T + bias, in float32."""
        inputs = [x, matrix] if bias is None else [x, matrix, bias]
        return self.node("Gemm", *inputs, transB=1)

    def quantized(self, x: str, matrix: str, outputs: int, bias: str | None = None) -> str:
        """X @ matrix.T + bias with 8-bit weights, quantized symmetrically with a scale for each output.

        Args:
            x: (rows, inputs).
            matrix: (outputs, inputs), float32, or float64 where weights were composed.
            outputs: Their number.
            bias: (outputs,), or None.
        """
        with self.weights_only():
            zero_points = self.constant(np.full(outputs, ZERO_POINT, np.uint8), f"zero_point_{outputs}")
            if matrix in self.initializers:
                scales = self.reshape(self._int8_scales(matrix, str), -1)
                codes = self.node("QuantizeLinear", matrix, scales, zero_points, axis=0)
            else:  # composed in float64
                scales = self.to_float(self._int8_scales(matrix, self.to_double))
                codes = self.node("Round", self.node("Div", matrix, self.to_double(scales)))
                codes = self.node("Add", codes, self.to_double(self.constant(float(ZERO_POINT))))
                codes = self.node("Cast", codes, to=self.onnx.TensorProto.UINT8)
                scales = self.reshape(scales, -1)
            inputs = [x, self.node("Transpose", codes), scales, zero_points]
        if bias is not None:
            inputs.append(bias)
        return self.node("DynamicQuantizeMatMul", *inputs, domain="com.microsoft")

    def _int8_scales(self, matrix: str, convert: Callable[[str], str]) -> str:
        """Scales (outputs, 1) of a matrix (outputs, inputs): its largest weights have codes 1 or 255."""
        axis = self.constant([1])
        least = self.node("Neg", self.node("ReduceMin", matrix, axis, keepdims=1))
        largest = self.node("Max", least, self.node("ReduceMax", matrix, axis, keepdims=1))
        scales = self.node("Div", largest, convert(self.constant(127.0, "int8_range")))
        return self.node("Max", scales, convert(self.constant(MIN_SCALE, "int8_min_scale")))

    @contextmanager
    def weights_only(self) -> Generator[None]:
        """Collect the nodes that are added now among those of weights, which stand outside of loops."""
        nodes, self.nodes = self.nodes, self.weight_nodes
        try:
            yield
        finally:
            self.nodes = nodes

    def to_double(self, value: str) -> str:
        """Convert to float64."""
        return self.node("Cast", value, to=self.onnx.TensorProto.DOUBLE)

    def to_float(self, value: str) -> str:
        """Convert to float32."""
        return self.node("Cast", value, to=self.onnx.TensorProto.FLOAT)

    def convolution(self, taps: str, x: str, name: str) -> str:
        """X + out(gelu(conv(taps))), the part of a residual block behind its norm."""
        hidden = self.gelu(self.linear(taps, f"{name}.conv.linear"))
        return self.node("Add", x, self.linear(hidden, f"{name}.out"))

    def build(self, metadata: Mapping[str, str]) -> bytes:
        """Return the graph as the bytes of a file."""
        helper = self.onnx.helper
        graph = helper.make_graph(
            [*self.weight_nodes, *self.nodes],
            self.name,
            self.inputs,
            self.outputs,
            list(self.initializers.values()),
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)],
            ir_version=IR_VERSION,
            producer_name="streamingtalker_ros",
        )
        helper.set_model_props(model, dict(metadata))
        return model.SerializeToString(deterministic=True)


def build_graphs(
    config: TalkerConfig,
    tensors: Mapping[str, Array],
    precision: Precision,
    external: Mapping[str, ExternalTensor] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> dict[str, bytes]:
    """Build the graphs of a network.

    Args:
        config: Its sizes.
        tensors: Its tensors by name, float32.
        precision: "float32" or "int8".
        external: Where the file of weights holds the tensors; those left out are embedded.
        metadata: Written into each graph.

    Returns:
        The bytes of each of `GRAPHS`.

    Raises:
        TalkerError: If the package onnx is missing.
        KeyError: If a tensor is missing.
        ValueError: If a tensor has another shape, or there are more of them than the network has.
    """
    recorded = _RecordedTensors(tensors)
    builders: dict[str, Callable[[_GraphBuilder, TalkerConfig], None]] = {
        "encoder": _build_encoder,
        "predictor": _build_predictor,
        "sampler": _build_sampler,
    }
    graphs: dict[str, bytes] = {}
    for name, build in builders.items():
        graph = _GraphBuilder(name, recorded, external or {}, precision)
        build(graph, config)
        graphs[name] = graph.build(metadata or {})
    unknown = [
        name
        for name in tensors
        if name not in recorded.used and not any(part in name for part in _UNUSED_PARTS)
    ]
    if unknown:
        raise ValueError(f"{unknown[0]} is unknown")
    return graphs


class _RecordedTensors(dict[str, Array]):
    """Tensors by name, and which of them were read."""

    def __init__(self, tensors: Mapping[str, Array]) -> None:
        super().__init__(tensors)
        self.used: set[str] = set()

    def __getitem__(self, name: str) -> Array:
        self.used.add(name)
        return super().__getitem__(name)


def _build_encoder(graph: _GraphBuilder, config: TalkerConfig) -> None:
    columns, narrow, width = config.columns, COLUMN_CHANNELS, config.audio_width
    taps = graph.input("mel_taps", "B", columns, ENCODER_KERNEL * config.num_mels)
    x = graph.reshape(taps, -1, ENCODER_KERNEL * config.num_mels)
    x = graph.gelu(graph.linear(x, "encoder.column_conv.linear"))  # (B·columns, narrow)
    for i in range(config.column_blocks):
        name, dilation = f"encoder.column_blocks.{i}", column_dilation(i)
        reach = (ENCODER_KERNEL - 1) * dilation
        context = graph.input(f"column_context_{i}", "B", reach, narrow)
        new = graph.reshape(graph.norm(x, f"{name}.norm", narrow), -1, columns, narrow)
        graph.output(f"column_rows_{i}", new, "B", columns, narrow)
        joined = graph.node("Concat", context, new, axis=1)  # (B, reach + columns, narrow)
        index = np.arange(columns)[:, None] + dilation * np.arange(ENCODER_KERNEL)
        taps = graph.node("Gather", joined, graph.constant(index.ravel()), axis=1)
        x = graph.convolution(graph.reshape(taps, -1, ENCODER_KERNEL * narrow), x, name)
    loudness = graph.input("loudness", "B", 1)
    row = graph.node("Concat", graph.reshape(x, -1, columns * narrow), loudness, axis=1)
    graph.output("frame_conv_row", row, "B", columns * narrow + 1)
    past = graph.input("frame_conv_context", "B", columns * narrow + 1)
    x = graph.linear(graph.node("Concat", past, row, axis=1), "encoder.frame_conv.linear")
    x = graph.gelu(x)
    for i in range(config.audio_blocks):
        name = f"encoder.blocks.{i}"
        past = graph.input(f"frame_taps_{i}", "B", (ENCODER_KERNEL - 1) * width)
        new = graph.norm(x, f"{name}.norm", width)
        graph.output(f"frame_row_{i}", new, "B", width)
        x = graph.convolution(graph.node("Concat", past, new, axis=1), x, name)
    feature = graph.norm(x, "encoder.norm", width)
    graph.output("feature", feature, "B", width)
    stacked, frames = feature, config.articulation_context_frames
    if frames:  # the heads' features are kept as those of one block more
        past = graph.input(f"frame_taps_{config.audio_blocks}", "B", frames * width)
        graph.output(f"frame_row_{config.audio_blocks}", graph.node("Identity", feature), "B", width)
        stacked = graph.node("Concat", past, feature, axis=1)
    graph.output("logits", _build_heads(graph, config, feature, stacked), "B", "heads")


def _build_heads(graph: _GraphBuilder, config: TalkerConfig, feature: str, stacked: str) -> str:
    """The auxiliary heads, in float32: thresholds of small probabilities apply to their outputs."""
    names = ["bilabial_head"] if config.bilabial_thresholds else []
    names += ["open_vowel_head"] if config.open_vowel_thresholds else []
    names += ["lip_head"] if config.lip_measure_weight else []
    outputs = [graph.linear(feature, "encoder.vad_head", quantize=False)]
    for name in (f"encoder.{name}" for name in names):
        hidden = graph.gelu(graph.linear(stacked, f"{name}.0", quantize=False))
        outputs.append(graph.linear(hidden, f"{name}.2", quantize=False))
    return graph.node("Concat", *outputs, axis=1)


def _build_predictor(graph: _GraphBuilder, config: TalkerConfig) -> None:
    width, heads, past = config.width, config.heads, config.context_frames
    size = width // heads
    latent = graph.input("latent", "B", config.latent_dim)
    known = graph.input("known", "B", 1, dtype=np.bool_)
    style = graph.input("style", "B", dtype=np.int64)
    position = graph.input("position", "B", dtype=np.int64)
    feature = graph.input("feature", "B", config.audio_width)
    bias = graph.input("age_bias", "B", heads, past, 1)
    table = graph.constant(periodic_encoding(config.positional_period, width), "position_table")
    x = graph.linear(latent, "predictor.latent_in")
    x = graph.node("Where", known, x, graph.weight("predictor.no_latent"))
    rows = graph.tensors["predictor.style.weight"].shape[0]
    if rows != len(config.styles):
        raise ValueError(f"there are {len(config.styles)} styles, but {rows} rows of weights for them")
    x = graph.node("Add", x, graph.node("Gather", graph.weight("predictor.style.weight"), style, axis=0))
    x = graph.node("Add", x, graph.node("Gather", table, position, axis=0))
    audio = _build_audio(graph, config, feature)
    # 1/sqrt(size) of the queries' product
    scale = graph.constant(float(size**-0.5), "query_scale")
    for i in range(config.layers):
        name = f"predictor.layers.{i}"
        new = graph.linear(graph.norm(x, f"{name}.norm_self", width), f"{name}.qkv")
        query, key, value = graph.split_node("Split", 3, new, axis=1, num_outputs=3)
        key, value = (graph.reshape(part, -1, heads, 1, size) for part in (key, value))
        graph.output(f"new_keys_{i}", key, "B", heads, 1, size)
        graph.output(f"new_values_{i}", value, "B", heads, 1, size)
        keys = graph.input(f"keys_{i}", "B", heads, past, size)
        values = graph.input(f"values_{i}", "B", heads, past, size)
        query = graph.reshape(graph.node("Mul", query, scale), -1, heads, size, 1)
        scores = graph.node("Add", graph.node("MatMul", keys, query), bias)  # (B, heads, past, 1)
        scores = graph.node("Concat", scores, graph.node("MatMul", key, query), axis=2)
        scores = graph.node("Softmax", graph.reshape(scores, -1, heads, 1, past + 1), axis=3)
        split = graph.constant([past, 1])
        of_past, of_new = graph.split_node("Split", 2, scores, split, axis=3)
        attended = graph.node("Add", graph.node("MatMul", of_past, values), graph.node("Mul", of_new, value))
        attended = graph.reshape(attended, -1, width)
        matrix = graph.weight(f"{name}.attention_out.weight")
        if graph.precision == "int8":
            attended = graph.quantized(attended, matrix, width)
        else:
            attended = graph.affine(attended, matrix)
        x = graph.node("Add", graph.node("Add", x, attended), audio[i])
        hidden = graph.linear(graph.norm(x, f"{name}.norm_feedforward", width), f"{name}.up")
        x = graph.node("Add", x, graph.linear(graph.gelu(hidden), f"{name}.down"))
    condition = graph.norm(x, "predictor.norm", width)
    graph.output("projected", graph.linear(condition, "head.condition"), "B", _projected_width(config))


def _build_audio(graph: _GraphBuilder, config: TalkerConfig, feature: str) -> list[str]:
    """The audio's part of every layer in one product; it includes the bias of `attention_out`."""
    is_int8 = graph.precision == "int8"
    exact = graph.to_double if is_int8 else str
    names = [f"predictor.layers.{i}" for i in range(config.layers)]
    matrices: list[str] = []
    biases: list[str] = []
    with graph.weights_only():
        for name in names:
            weight = exact(graph.weight(f"{name}.audio_out.weight"))
            matrices.append(graph.node("MatMul", weight, exact(graph.weight(f"{name}.audio_value.weight"))))
            bias = graph.node("MatMul", weight, exact(graph.weight(f"{name}.audio_value.bias")))
            for part in ("audio_out", "attention_out"):
                bias = graph.node("Add", bias, exact(graph.weight(f"{name}.{part}.bias")))
            biases.append(graph.to_float(bias) if is_int8 else bias)
        matrix, bias = graph.node("Concat", *matrices, axis=0), graph.node("Concat", *biases, axis=0)
    if is_int8:
        parts = graph.quantized(feature, matrix, len(names) * config.width, bias)
    else:
        parts = graph.affine(feature, matrix, bias)
    return graph.split_node("Split", len(names), parts, axis=1, num_outputs=len(names))


def _projected_width(config: TalkerConfig) -> int:
    return config.head_width * (1 + 2 * config.head_blocks)


def _build_sampler(graph: _GraphBuilder, config: TalkerConfig) -> None:
    width, blocks = config.head_width, config.head_blocks
    projected = graph.input("projected", "R", _projected_width(config))
    noise = graph.input("noise", "B", config.latent_dim)
    source = graph.input("source", "R", dtype=np.int64)
    mix = graph.input("mix", "B", "R")
    shifts = graph.input("time_shifts", "S", blocks * width)
    keep, add = graph.input("keep", "S"), graph.input("add", "S")
    # the sampler carries u = latent_in(z) - bias; the bias is added to the condition's first part
    sizes = graph.constant([width, blocks * width, blocks * width])
    first, scales, cond_shifts = graph.split_node("Split", 3, projected, sizes, axis=1)
    first = graph.node("Add", first, graph.weight("head.latent_in.bias"))
    scales = graph.node("Add", scales, graph.constant(1.0, "one"))
    block_scales = graph.split_node("Split", blocks, scales, axis=1, num_outputs=blocks)
    if graph.precision == "int8":
        u = graph.quantized(noise, graph.weight("head.latent_in.weight"), width)
    else:
        u = graph.affine(noise, graph.weight("head.latent_in.weight"))
    x = _build_steps(graph, config, u, first, block_scales, cond_shifts, (source, mix, shifts, keep, add))
    latent = graph.linear(x, "head.out")
    graph.output("new_latent", latent, "B", config.latent_dim)
    _build_decoder(graph, config, latent)


def _build_steps(
    graph: _GraphBuilder,
    config: TalkerConfig,
    start: str,
    first: str,
    block_scales: Sequence[str],
    cond_shifts: str,
    step_inputs: tuple[str, str, str, str, str],
) -> str:
    """The DDIM steps as a loop; returns the head's last hidden values (B, width)."""
    source, mix, shifts, keep, add = step_inputs
    width, blocks, helper = config.head_width, config.head_blocks, graph.onnx.helper
    is_int8 = graph.precision == "int8"
    exact = graph.to_double if is_int8 else str
    with graph.weights_only():  # into latent_in right from the last hidden values
        into = exact(graph.weight("head.latent_in.weight"))
        matrix = graph.node("MatMul", into, exact(graph.weight("head.out.weight")))
        bias = graph.node("MatMul", into, exact(graph.weight("head.out.bias")))
        bias = graph.to_float(bias) if is_int8 else bias
    outer, graph.nodes = graph.nodes, []
    u = graph.node("Gather", "u_in", source, axis=0)
    x = graph.node("Add", u, first)
    shift = graph.node("Gather", shifts, "step", axis=0)  # (blocks·width,)
    block_shifts = graph.split_node(
        "Split", blocks, graph.node("Add", cond_shifts, shift), axis=1, num_outputs=blocks
    )
    for i in range(blocks):
        y = graph.node("Mul", graph.norm(x, None, width), block_scales[i])
        y = graph.node("Add", y, block_shifts[i])
        hidden = graph.silu(graph.linear(y, f"head.up.{i}"))
        x = graph.node("Add", x, graph.linear(hidden, f"head.down.{i}"))
    x = graph.node("MatMul", mix, graph.norm(x, "head.norm", width))
    if is_int8:
        moved = graph.node("Add", graph.quantized(x, matrix, width), bias)
    else:
        moved = graph.affine(x, matrix, bias)
    u = graph.node(
        "Add",
        graph.node("Mul", "u_in", graph.node("Gather", keep, "step", axis=0)),
        graph.node("Mul", moved, graph.node("Gather", add, "step", axis=0)),
    )
    proto = graph.onnx.TensorProto
    body_nodes, graph.nodes = graph.nodes, outer
    body_nodes += [
        helper.make_node("Identity", ["go_in"], ["go_out"]),
        helper.make_node("Identity", [u], ["u_out"]),
        helper.make_node("Identity", [x], ["x_out"]),
    ]
    rows = ["B", width]
    body = helper.make_graph(
        body_nodes,
        "step",
        [
            helper.make_tensor_value_info("step", proto.INT64, []),
            helper.make_tensor_value_info("go_in", proto.BOOL, []),
            helper.make_tensor_value_info("u_in", proto.FLOAT, rows),
            helper.make_tensor_value_info("x_in", proto.FLOAT, rows),
        ],
        [
            helper.make_tensor_value_info("go_out", proto.BOOL, []),
            helper.make_tensor_value_info("u_out", proto.FLOAT, rows),
            helper.make_tensor_value_info("x_out", proto.FLOAT, rows),
        ],
    )
    steps = graph.node("Squeeze", graph.node("Shape", keep))
    return graph.split_node("Loop", 2, steps, "", start, start, body=body)[1]


def _build_decoder(graph: _GraphBuilder, config: TalkerConfig, latent: str) -> None:
    width = config.codec_width
    row = graph.node("Mul", latent, graph.weight("codec.latent_scale"))
    row = graph.node("Add", row, graph.weight("codec.latent_mean"))
    graph.output("decoder_row", row, "B", config.latent_dim)
    past = graph.input("decoder_context", "B", (DECODER_KERNEL - 1) * config.latent_dim)
    x = graph.linear(graph.node("Concat", past, row, axis=1), "codec.decoder.first.linear")
    x = graph.gelu(x)
    for i in range(2):
        name = f"codec.decoder.blocks.{i}"
        past = graph.input(f"decoder_context_{i}", "B", (DECODER_KERNEL - 1) * width)
        new = graph.norm(x, f"{name}.norm", width)
        graph.output(f"decoder_row_{i}", new, "B", width)
        x = graph.convolution(graph.node("Concat", past, new, axis=1), x, name)
    motion = graph.linear(x, "codec.decoder.out", quantize=False)
    motion = graph.node("Mul", motion, graph.weight("codec.motion_scale"))
    motion = graph.node("Add", motion, graph.weight("codec.motion_mean"))
    graph.output("motion", motion, "B", config.motion_dim)


def periodic_encoding(period: int, width: int) -> npt.NDArray[np.float32]:
    """Return sinusoids of the frame modulo `period`, (period, width), as `predictor.periodic_encoding`."""
    position = np.arange(period, dtype=np.float64)[:, None]
    frequency = np.exp(np.arange(0, width, 2) * (-np.log(10000.0) / width))
    table = np.zeros((period, width), np.float32)
    table[:, 0::2], table[:, 1::2] = np.sin(position * frequency), np.cos(position * frequency)
    return table
