"""Weights of frozen networks that others trained, read from files and from nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Generator, Tensor
from typing_extensions import override

from ddcore import nets
from ddcore.errors import ConfigurationError
from ddcore.machine import capacity
from ddcore.machine.capacity import format_bytes
from ddcore.nets.backbone import Backbone
from ddcore.nets.functional import Functional, Params
from ddcore.pretrained.frozen import Frozen
from ddcore.pretrained.store import MEMORY_SHARE
from ddcore.runtime.context import Run
from ddcore.spec.backbones import BackboneConfig
from ddcore.spec.results import BackboneReport
from ddcore.spec.weight_files import VARIABLE, WeightsError, digest_of, look_into, place_of

_NUMBER = 4
_LISTED = 3


def backbone_of(config: BackboneConfig, run: Run) -> FrozenBackbone:
    """The backbone of a configuration, one object however often a run asks for it."""
    found = run.pretrained.get(config)
    if not isinstance(found, FrozenBackbone):
        found = run.pretrained[config] = FrozenBackbone(config, run)
    return found


class FrozenBackbone(Frozen):
    """The network of a file, for the images of a run.

    Args:
        config: which network and which file.
        run: the run that needs it, with the folder of the files.

    Raises:
        ConfigurationError: the network does not take the images of the run, timm is missing, or the file is not that of
            the specification, belongs to another network, or takes more memory than there is.
    """

    def __init__(self, config: BackboneConfig, run: Run) -> None:
        super().__init__(run)
        self._config = config
        dataset = run.dataset
        self._network = cast(Backbone, nets.build(config, dataset.shape, len(dataset.classes)))
        self._network.in_units_of(dataset.mean, dataset.std)
        self._functional = Functional(self._network, run.compute)
        self._check(self._file())

    @property
    @override
    def functional(self) -> Functional:
        return self._functional

    def bytes_to_come(self) -> int:
        """Nothing: it is read, and not trained and kept."""
        return 0

    @override
    def prepare(self, generator: Generator) -> None:
        """Read the weights, once; nothing is drawn.

        Raises:
            ConfigurationError: they are no finite numbers, or have changed meanwhile.
        """
        if self._params:
            return
        self._params = {name: value.to(self._run.compute.device) for name, value in self._loaded(self._file()).items()}
        self._run.callback.on_log(
            "info",
            f"the backbone {self._config.weights} is a `{self._network.name}` of "
            f"{self._functional.parameter_count:,} parameters that sees images of "
            f"{' x '.join(map(str, self._network.seen))} and has {self.feature_count} features (SHA-256 "
            f"{self._config.sha256})",
        )

    @property
    def report(self) -> BackboneReport:
        """What it is, for who trains on the set later."""
        dataset, trained = self._run.dataset, self._network.trained
        config = self._config.resolved(dataset.shape)
        return BackboneReport(
            weights=config.weights,
            sha256=config.sha256,
            network=None if config.network is None else config.network.model_dump(mode="json"),
            timm=config.timm,
            shape=trained.shape,
            mean=trained.mean or dataset.mean,
            std=trained.std or dataset.std,
            features=self.feature_count,
        )

    def _file(self) -> Path:
        """Where the weights are, the same bytes as the specification was completed with.

        Raises:
            ConfigurationError: they are not.
        """
        config, folder = self._config, self._run.backbones
        if folder is None or not place_of(config.weights, folder).is_file():
            raise ConfigurationError(
                f"the folder of backbones ({VARIABLE}) has no {config.weights}.safetensors; put it there"
            )
        path = place_of(config.weights, folder)
        if config.sha256 not in (None, digest_of(path)):
            raise ConfigurationError(
                f"{path.name} is not the file that the job was submitted with (SHA-256 {config.sha256}); put that one "
                f"into the folder of backbones ({VARIABLE}) of every worker"
            )
        return path

    def _is_of_head(self, name: str) -> bool:
        """Whether a tensor of the file belongs to the classifier, which is left aside."""
        return name.startswith(self._network.trained.heads)

    def _loaded(self, path: Path) -> Params:
        """Parameters and buffers as :class:`Functional` wants them, on the CPU, in float32."""
        try:
            found = {name: tensor for name, tensor in load_file(path).items() if not self._is_of_head(name)}
        except (SafetensorError, OSError) as error:
            raise ConfigurationError(f"{path.name} cannot be read as a safetensors file: {error}") from error
        spoilt = [name for name, tensor in found.items() if not bool(tensor.isfinite().all())]
        if spoilt:
            raise ConfigurationError(
                f"{path.name} holds values in `{spoilt[0]}` that are NaN or infinite; fetch it again"
            )
        self._network.trained.body.load_state_dict(found)
        # Those that no file holds, such as tables of positions, are as the network has made them.
        params = {**dict(self._network.named_parameters()), **dict(self._network.named_buffers())}
        # Nobody asks for its logits: whoever puts a classifier on it brings one.
        return {
            name: torch.zeros_like(value) if name.startswith("classifier.") else value.detach()
            for name, value in params.items()
        }

    def _check(self, path: Path) -> None:
        """Refuse a file by its header.

        Raises:
            ConfigurationError: it belongs to another network, or takes more memory than there is.
        """
        expected = self._network.trained.body.state_dict()
        self._check_room(path, expected)
        try:
            shapes = look_into(path).shapes
        except WeightsError as error:
            raise ConfigurationError(f"{path.name} {error}") from error
        self._check_names(path, {name: shape for name, shape in shapes.items() if not self._is_of_head(name)}, expected)

    def _check_room(self, path: Path, expected: Mapping[str, Tensor]) -> None:
        free = int(MEMORY_SHARE * capacity.free_memory(self._run.compute.device))
        needed = _NUMBER * sum(tensor.numel() for tensor in expected.values())
        if needed > free:
            raise ConfigurationError(
                f"the backbone of {path.name} needs {format_bytes(needed)} of memory for its weights, and "
                f"{MEMORY_SHARE:.0%} of the free memory is {format_bytes(free)}; use a smaller network, or a larger "
                "machine"
            )

    def _check_names(self, path: Path, found: Mapping[str, tuple[int, ...]], expected: Mapping[str, Tensor]) -> None:
        """Refuse weights of another network.

        Raises:
            ConfigurationError: with the first few names, and how many there are.
        """
        wanted = {name: tuple(tensor.shape) for name, tensor in expected.items()}
        missing, others = [n for n in wanted if n not in found], [n for n in found if n not in wanted]
        shaped = [
            f"`{name}` {list(found[name])} for {list(shape)}"
            for name, shape in wanted.items()
            if name in found and found[name] != shape
        ]
        faults = [
            _listed(f"{len(missing)} of its {len(wanted)} tensors are missing", [f"`{name}`" for name in missing]),
            _listed(f"{len(others)} are unknown to it", [f"`{name}`" for name in others]),
            _listed(f"{len(shaped)} have another shape", shaped),
        ]
        said = [fault for fault in faults if fault]
        if said:
            raise ConfigurationError(
                f"{path.name} does not hold the weights of `{self._network.name}` for images of "
                f"{' x '.join(map(str, self._network.seen))}: {'; '.join(said)}. Name the architecture that the file "
                "was saved from, with the fields and the size of images that it was trained with"
            )


def _listed(what: str, names: list[str]) -> str:
    """So many things, with the first of them; nothing where there are none."""
    more = ", …" if len(names) > _LISTED else ""
    return f"{what} ({', '.join(names[:_LISTED])}{more})" if names else ""
