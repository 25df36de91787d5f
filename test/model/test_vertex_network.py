# SPDX-License-Identifier: Apache-2.0
"""The published parts that are faster than the published order: composed head, cached predictor, picked
features."""

from __future__ import annotations

import pytest
import torch

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.vertex import checkpoint, config, hubert, offline
from streamingtalker_ros.model.vertex.diffusion_head import coefficients, sample_stepped
from streamingtalker_ros.model.vertex.network import VertexNetwork
from streamingtalker_ros.model.vertex.predictor import Layer, alibi_slopes
from support import vertex_reference as reference


@pytest.fixture(scope="module", params=["vocaset", "biwi"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VertexNetwork:
    folder = tmp_path_factory.mktemp("made")
    reference.write_checkpoint(folder, reference.VOCASET if request.param == "vocaset" else reference.BIWI)
    hubert_json = config.read_hubert_json(folder / "hubert_config.json")
    settings = config.read_yaml(folder / "config.yaml", hubert_json)
    return checkpoint.read_ckpt(folder / "checkpoint.ckpt", settings)


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 16, 50, 999])
def test_the_collapsed_head_equals_the_stepped_one(network: VertexNetwork, steps: int) -> None:
    torch.manual_seed(steps)
    c = network.config
    noise, condition = torch.randn(20, c.latent_dim), torch.randn(20, c.width)
    table = coefficients(c, steps)
    head, enter = network.head, network.predictor.latent_in
    in_double = sample_stepped(head.double(), enter.double(), condition.double(), noise.double(), table)
    stepped = sample_stepped(head.float(), enter.float(), condition, noise, table)
    composed = network.composed_sampler(steps)(noise, condition)
    assert composed.dtype == torch.float32
    assert (composed - in_double).abs().max() <= 1e-6 * in_double.abs().max()
    # it rounds more
    assert (composed - stepped).abs().max() <= (1e-6 if steps < 500 else 1e-5) * stepped.abs().max()


def test_the_cached_predictor_equals_the_whole_clip_while_the_history_lasts(network: VertexNetwork) -> None:
    c, T = network.config, network.config.context_frames
    past, audio = torch.randn(1, T, c.latent_dim), torch.randn(1, T, c.audio_dim)
    identity = torch.tensor([1])
    expected = network.predictor(past, audio, identity)[0]
    state = network.predictor.init_state(1)
    for n in range(T):
        row = network.predictor.step(past[:, n], audio[:, n], identity, state)[0]
        assert (row - expected[n]).abs().max() <= 2e-6 * expected.abs().max()


def test_the_ring_holds_exactly_the_last_h_rows(network: VertexNetwork) -> None:
    """Row n depends on rows n − layers·(h − 1) … n and on none before, and its state does not grow."""
    c = network.config
    identity, T = torch.tensor([0]), c.layers * (c.context_frames - 1) + c.context_frames + 5
    T += -T % c.positional_period  # start both runs at the same positional row
    torch.manual_seed(1)
    past, audio = torch.randn(1, T, c.latent_dim), torch.randn(1, T, c.audio_dim)

    def newest_condition(past: torch.Tensor) -> torch.Tensor:
        state = network.predictor.init_state(1)
        sizes = [k.shape for k in state.keys]
        for n in range(T):
            row = network.predictor.step(past[:, n], audio[:, n], identity, state)
        assert [k.shape for k in state.keys] == sizes
        return row[0]

    row, reach = newest_condition(past), c.layers * (c.context_frames - 1) + 1
    old, edge = past.clone(), past.clone()
    old[:, : T - reach] += 1.0
    edge[:, T - c.context_frames] += 1.0
    assert (newest_condition(old) - row).abs().max() <= 1e-6
    assert (newest_condition(edge) - row).abs().max() > 1e-6  # the oldest cached row still has an effect


def test_the_ring_past_its_end_equals_a_plain_computation(network: VertexNetwork) -> None:
    """One layer deep, the ring after wrapping equals attention over exactly the last h rows with the true
    distances."""
    c = network.config
    layer, h, T = network.predictor.layers[0], c.context_frames, c.context_frames + 17
    assert isinstance(layer, Layer)
    torch.manual_seed(2)
    past, audio, identity = torch.randn(1, T, c.latent_dim), torch.randn(1, T, c.audio_dim), torch.tensor([0])
    p = network.predictor
    x = p.latent_in(past) + p.identity(identity)[:, None] + p.position[torch.arange(T) % c.positional_period]
    q, k, v = layer.project(x)
    distance = torch.arange(h).flip(0)  # of the last h rows from the newest
    bias = -torch.tensor(alibi_slopes(c.heads))[:, None, None] * (distance // c.positional_period)
    attended = layer.attend(q[:, :, -1:], k[:, :, -h:], v[:, :, -h:], bias)
    expected = layer.combine(x[:, -1:], attended, p.audio_in(audio)[:, -1:])
    full = p.layers
    try:
        p.layers = torch.nn.ModuleList([layer])
        state = p.init_state(1)
        for n in range(T):
            row = p.step(past[:, n], audio[:, n], identity, state)
    finally:
        p.layers = full
    assert (row - expected[:, 0]).abs().max() <= 2e-6 * expected.abs().max()


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 6, 8])
def test_alibi_slopes_follow_the_published_rule(heads: int) -> None:
    result = alibi_slopes(heads)
    assert len(result) == heads
    if heads in (1, 2, 4, 8):
        assert result == [2.0 ** (-8 * (i + 1) / heads) for i in range(heads)]
    else:  # the powers below, then every second of the powers above
        below = 2 if heads == 3 else 4
        assert (
            result[:below] == alibi_slopes(below)
            and result[below:] == alibi_slopes(2 * below)[0::2][: heads - below]
        )


def test_gathering_at_the_published_positions_equals_the_published_interpolation() -> None:
    torch.manual_seed(0)
    for count, rate in ((99, 30), (50, 25), (7, 30), (120, 25), (61, 60)):
        features = torch.randn(2, count, 5)
        published = hubert.interpolate(features, 50, rate)
        places = torch.linspace(0, count - 1, published.shape[1], dtype=torch.float64)
        # the published index rounds to float32
        assert (hubert.gather_features(features, places.expand(2, -1)) - published).abs().max() <= 1e-4


def test_newest_rows_of_the_decoder_equal_the_same_rows_of_all(network: VertexNetwork) -> None:
    latents = torch.randn(1, 12, network.config.latent_dim)
    every = network.codec.decode(latents)
    assert (network.codec.decode(latents, last=3) - every[:, -3:]).abs().max() <= 1e-6 * every.abs().max()


def test_the_published_order_rejects_too_little_noise(network: VertexNetwork) -> None:
    audio = torch.randn(16000)
    with pytest.raises(TalkerError, match="noise has 3 rows"):
        offline.generate(network, audio, 0, torch.zeros(3, network.config.latent_dim))
