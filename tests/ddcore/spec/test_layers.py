"""What networks say they are made of, against what is built."""

from __future__ import annotations

from typing import Literal

import pytest

from ddcore import nets
from ddcore.spec import NETWORKS, AlexNetConfig, ConvNetConfig, MLPConfig, NetworkConfig, ResNet18Config
from ddcore.spec.memory import parameter_bytes


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 64, 64), (1, 28, 28)])
@pytest.mark.parametrize(
    "config",
    [
        *(NETWORKS.parse(name) for name in sorted(NETWORKS)),
        ConvNetConfig(norm="layer", depth=2),
        ConvNetConfig(norm="none", pooling="none", depth=2),
        ResNet18Config(downsampling="pooling", norm="batch"),
        AlexNetConfig(norm="batch"),
        MLPConfig(width=16),
    ],
    ids=str,
)
def test_networks_know_their_multiplications_and_parameters(config: NetworkConfig, shape: tuple[int, int, int]) -> None:
    built = nets.build(config, shape, 10)
    assert config.flop(shape, 10) == pytest.approx(2 * nets.macs(built), rel=0.01)
    trainable = sum(parameter.numel() for parameter in built.parameters())
    assert parameter_bytes(config, shape, 10) == pytest.approx(4 * trainable, rel=0.01)


def test_a_wide_mlp_costs_more_than_a_narrow_one() -> None:
    narrow, wide = (MLPConfig(width=width).flop((3, 32, 32), 10) for width in (16, 65_536))
    assert wide / narrow == pytest.approx((3072 + 65_536 + 10) * 65_536 / ((3072 + 16 + 10) * 16))


class Unknown(NetworkConfig):
    """A network that does not say what it is made of."""

    name: Literal["unknown"] = "unknown"


def test_a_network_that_does_not_say_is_taken_for_a_convnet() -> None:
    assert Unknown().flop((3, 32, 32), 10) == ConvNetConfig().flop((3, 32, 32), 10)
