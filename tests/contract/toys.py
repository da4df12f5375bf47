"""One toy of each kind, as somebody would add it: a few lines of configuration, and a few of what it does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

CONFIGURATIONS: Mapping[str, str] = {
    "methods/grey": '''
from typing import Literal
from ddcore.spec.base import method_config
from ddcore.spec.methods.dm import DMConfig

@method_config
class GreyConfig(DMConfig):
    """Pull every image to the mean."""

    name: Literal["grey"] = "grey"
''',
    "regularizers/faint": '''
from typing import ClassVar, Literal
from ddcore.spec.base import regularizer_config
from ddcore.spec.regularizers.base import Weighted

@regularizer_config
class FaintConfig(Weighted):
    """Pull the images to the mean, beside a method."""

    title: ClassVar[str] = "Faint images"
    name: Literal["faint"] = "faint"
''',
    "networks/linear": '''
from typing import ClassVar, Literal
from ddcore.spec.base import NetworkConfig, network_config

@network_config
class LinearConfig(NetworkConfig):
    """No hidden layer."""

    title: ClassVar[str] = "Linear classifier"
    name: Literal["linear"] = "linear"
''',
    "decoders/mirrored": '''
from typing import ClassVar, Literal
from ddcore.spec.base import DecoderConfig, decoder_config

@decoder_config
class MirroredConfig(DecoderConfig):
    """Images are stored as their mirror images."""

    title: ClassVar[str] = "Mirrored"
    for_methods: ClassVar[tuple[str, ...]] = ("dm",)
    name: Literal["mirrored"] = "mirrored"
''',
    "samplers/steady": '''
from typing import ClassVar, Literal
from ddcore.spec.base import SamplerConfig, sampler_config

@sampler_config
class SteadyConfig(SamplerConfig):
    """The same real batch at every step."""

    title: ClassVar[str] = "Steady batches"
    for_methods: ClassVar[tuple[str, ...]] = ("dm",)
    name: Literal["steady"] = "steady"
''',
}
"""By the place of a file below `ddcore/spec`."""

IMPLEMENTATIONS: Mapping[str, str] = {
    "methods/grey": """
from ddcore.methods.dm import DM
from ddcore.registry import implements
from ddcore.spec.methods.grey import GreyConfig

@implements(GreyConfig)
class Grey(DM):
    def backward(self, step):
        loss = step.synthetic.images.square().mean()
        loss.backward()
        return {"loss/base": loss.detach()}
""",
    "regularizers/faint": """
from ddcore.registry import implements
from ddcore.runtime.objective import Regularizer
from ddcore.spec.regularizers.faint import FaintConfig

@implements(FaintConfig)
class Faint(Regularizer):
    def backward(self, step, weight):
        loss = step.synthetic.images.square().mean()
        (weight * loss).backward()
        return {"loss/faint": loss.detach()}
""",
    "nets/linear": """
import math
from torch import nn
from ddcore.nets.network import Network
from ddcore.registry import implements
from ddcore.spec.networks.linear import LinearConfig

@implements(LinearConfig)
class Linear(Network):
    def __init__(self, config, shape, classes):
        super().__init__(shape, classes)
        self.classifier = nn.Linear(math.prod(shape), classes)

    def block_outputs(self, x):
        return (x,)
""",
    "synthetic/decoders/mirrored": """
from ddcore.registry import implements
from ddcore.spec.decoders.mirrored import MirroredConfig
from ddcore.synthetic.decoders.decoder import Decoder

@implements(MirroredConfig)
class Mirrored(Decoder):
    def __init__(self, config, shape, filling):
        pass

    def decode(self, stored, rows):
        return stored.flip(-1)

    encode = decode
""",
    "runtime/real_batches/steady": """
import torch
from ddcore.registry import implements
from ddcore.runtime.real_batches import RealBatches
from ddcore.spec.samplers.steady import SteadyConfig

@implements(SteadyConfig)
class Steady(RealBatches):
    def __init__(self, config, run):
        self.run = run

    def rows(self, index, params, batch):
        return self.run.sampler.draw_each(batch, torch.Generator().manual_seed(0))
""",
    "data/readers/dusk": """
import numpy as np
from ddcore.data.readers import reader
from ddcore.data.source import Guess, Labels, Part, Source

@reader("dusk")
class Dusk:
    heeds = frozenset()

    def sniff(self, place):
        return Guess(1.0, "it holds dusk.npz") if (place / "dusk.npz").is_file() else None

    def read(self, place, choices):
        images, labels = np.load(place / "dusk.npz"), Labels(np.arange(40) % 2, ("dark", "light"))
        return Source([Part.of_array(split, split, images[split], labels) for split in ("train", "test")])
""",
}
"""By the place of a file below `ddcore`."""


def put_into(package: Path) -> None:
    """Add the toys to a copy of `ddcore`, as new files only."""
    for place, text in [*((f"spec/{place}", text) for place, text in CONFIGURATIONS.items()), *IMPLEMENTATIONS.items()]:
        file = package / f"{place}.py"
        assert not file.exists()
        file.write_text(text)


def distribution(site: Path, name: str, groups: Mapping[str, Mapping[str, str]]) -> None:
    """What installing a distribution leaves in a folder of packages, but for its modules.

    Args:
        site: the folder.
        name: of the distribution, version 1.0.
        groups: entry points: name and object of each, by group.
    """
    lines = [
        line
        for group, points in groups.items()
        for line in (f"[{group}]", *(f"{point} = {target}" for point, target in points.items()))
    ]
    metadata(site, name, "\n".join(lines))


def metadata(site: Path, name: str, entry_points: str) -> None:
    """The metadata of a distribution of version 1.0."""
    folder = site / f"{name}-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(entry_points)


def install(site: Path) -> None:
    """A distribution `dd-toys` with all toys, joined by entry points."""
    package = site / "dd_toys"
    package.mkdir(parents=True)
    groups: dict[str, dict[str, str]] = {"ddservice.implementations": {}}
    for place, text in CONFIGURATIONS.items():
        kind, name = place.split("/")
        (package / f"{name}_config.py").write_text(text)
        groups[f"ddservice.{kind}"] = {name: f"dd_toys.{name}_config:{name.title()}Config"}
    for place, text in IMPLEMENTATIONS.items():
        name = place.rpartition("/")[2]
        family = next((found.split("/")[0] for found in CONFIGURATIONS if found.endswith(f"/{name}")), None)
        (package / f"{name}.py").write_text(text.replace(f"ddcore.spec.{family}.{name}", f"dd_toys.{name}_config"))
        if family is None:
            groups["ddservice.datasets"] = {name: f"dd_toys.{name}:{name.title()}"}
        else:
            groups["ddservice.implementations"][name] = f"dd_toys.{name}"
    distribution(site, "dd-toys", groups)


def install_broken(site: Path) -> None:
    """Distributions that offer what cannot be used, each in another way."""
    package = site / "dd_broken"
    package.mkdir(parents=True)
    (package / "config.py").write_text(
        CONFIGURATIONS["methods/grey"].replace('"grey"', '"dull"').replace("GreyConfig", "DullConfig")
        + "ANSWER = 42\n"
        + CONFIGURATIONS["methods/grey"].replace("@method_config\n", "").replace('"grey"', '"dm"')
    )
    (package / "half.py").write_text(
        CONFIGURATIONS["methods/grey"].replace('"grey"', '"half"') + "raise RuntimeError('in the middle')\n"
    )
    groups = {
        "ddservice.methods": {
            "absent": "dd_broken.nowhere:AbsentConfig",
            "dm": "dd_broken.config:GreyConfig",
            "dull": "dd_broken.config:DullConfig",
            "half": "dd_broken.half:GreyConfig",
            "odd": "dd_broken.config:ANSWER",
            "other": "dd_broken.config:DullConfig",
        },
        "ddservice.implementations": {"dull": "dd_broken.engine"},
        "ddservice.datasets": {"tape": "dd_broken.config:ANSWER"},
    }
    distribution(site, "dd-broken", groups)


def install_damaged(site: Path) -> None:
    """A distribution whose list of offers cannot be read, to be found after the others.

    Python takes it for the second of one name, `dd`, and passes over it. Where it is the first, the libraries that look
    for offers to themselves, pydantic among them, cannot even be imported.
    """
    metadata(site, "dd-damaged", "[ddservice.methods]\nno equals sign\n")
