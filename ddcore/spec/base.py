"""The base of each kind of component, and the catalogs of what can be asked for.

A method, regulariser, network, decoder or sampler is announced by one frozen pydantic model whose ``name`` field is a
``Literal``, decorated with :func:`method_config`, :func:`regularizer_config`, :func:`network_config`,
:func:`decoder_config` or :func:`sampler_config`. A file with such a class in ``ddcore/spec/methods``,
``regularizers``, ``networks``, ``decoders`` or ``samplers`` is found there, and a class that another distribution
offers by an entry point is found when the first name is looked up; nothing lists them. The API, the client and the
engine know the name from then on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from ddcore.spec import discovery
from ddcore.spec.catalog import Catalog, Component
from ddcore.spec.errors import Problem
from ddcore.spec.layers import Layer, Shape, stacked
from ddcore.spec.memory import Batch
from ddcore.spec.work import TRAINING, DataSizes, Load

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec
    from ddcore.spec.teachers import TeacherConfig


Shrink = Literal["bilinear", "nearest"]
"""How images are made smaller: by interpolation, or by taking the nearest pixel."""


class MethodConfig(Component):
    """Base of all method configurations."""

    iterations: int
    """Steps of the synthetic set (image updates, or the method's outer iterations)."""

    job_defaults: ClassVar[Mapping[str, Any]] = {}
    """Fields of the job that this method's source sets otherwise, by name; what a job says itself prevails."""

    decoders: ClassVar[tuple[str, ...]] = ("identity", "mosaic")
    """Decoders that this method can learn through."""

    computes_features: ClassVar[bool] = False
    """Whether its own loss takes the features of the real batch, so that terms which compare them pass none again."""

    matches_features: ClassVar[bool] = False
    """Whether its steps pass real and synthetic images of a class through one network under one augmentation, so that
    terms which compare the features of both can join."""

    shrink: ClassVar[Shrink] = "bilinear"
    """How its source makes real images small where several start in one stored image."""

    learns_lr: ClassVar[bool] = False
    """Whether the learning rate to train networks with is learned beside the images."""
    starts_real: ClassVar[bool] = False
    """Whether it begins with real images alone, so that `init`: 'noise' is refused."""
    keeps_real_pixels: ClassVar[bool] = False
    """Whether its images consist of pixels of real images, however many steps it takes."""
    rates: ClassVar[tuple[str, ...]] = ("lr_img",)
    """Its learning rates that can drive a run to numbers that are not finite, the likeliest first."""
    trains_networks: ClassVar[bool] = False
    """Whether each step has networks of its own, trained on the real and on the synthetic images."""

    samplers: ClassVar[tuple[str, ...]] = ("random",)
    """Samplers of real batches that this method can compare with."""

    extendable: ClassVar[bool] = False
    """Whether no step depends on how many there are to be, so that a finished job can be continued by more of them."""

    classes_apart: ClassVar[bool] = False
    """Whether the images of a class follow from the real images of that class alone, so that some classes of a set can
    be distilled anew beside others that stay."""

    stageable: ClassVar[bool] = False
    """Whether its networks can start where others have learned the earlier stages of a set, so that it can be a base of
    ``seqmatch`` and ``pdd``."""

    @classmethod
    def usable_decoders(cls) -> tuple[str, ...]:
        """The ``decoders``, and those that name this method themselves."""
        return _usable(DECODERS, cls.decoders, cls.model_fields["name"].default)

    @classmethod
    def usable_samplers(cls) -> tuple[str, ...]:
        """The ``samplers``, and those that name this method themselves."""
        return _usable(SAMPLERS, cls.samplers, cls.model_fields["name"].default)

    @property
    def matcher(self) -> MethodConfig:
        """Who takes the steps: this method itself, or the base that it stages."""
        return self

    @classmethod
    def defaults_for(cls, fields: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ARG003 - for those with a base
        """``job_defaults`` of a method with these fields, as a job gives them."""
        return cls.job_defaults

    def shares(self, ipc: int) -> tuple[int, ...]:
        """How many of the ``ipc`` stored rows of a class belong to each of the stages; one stage, by default."""
        return (ipc,)

    @property
    def own_labels(self) -> Literal["soft"] | None:
        """Labels that the method learns in the place of the classes; none by default."""
        return None

    @property
    def networks_pretrained(self) -> int:
        """Networks of the job's architecture that are trained before they are matched with."""
        return 0

    def pretraining_passes(self, job: JobSpec, data: DataSizes) -> float:  # noqa: ARG002 - for those that train some
        """Work of training them, as :meth:`image_passes` counts it."""
        return 0.0

    def teachers(self) -> Iterator[tuple[TeacherConfig, int]]:
        """Pools of networks trained on the real images, and how many of each are trained; none by default."""
        yield from ()

    def looks(self, job: JobSpec, data: DataSizes) -> Iterator[tuple[NetworkConfig, float]]:  # noqa: ARG002 - some do
        """Images that pass through such networks before the first step; none by default."""
        yield from ()

    def impossible(self, job: JobSpec) -> Iterator[Problem]:  # noqa: ARG002 - for those that override it
        """What in a job cannot work with this method; nothing by default."""
        yield from ()

    def loads(self, job: JobSpec, data: DataSizes) -> Iterator[Load]:
        """Steps, stage by stage, with the images that each of them sees; one stage by default."""
        seen = job.decoder.images_seen(job.ipc, data.shape, data.classes)
        yield Load(data, self.iterations, seen, seen)

    def steps_network(self, job: JobSpec) -> NetworkConfig:
        """Network that images pass through in its steps; that of the job, by default."""
        return job.network

    def image_passes(self, load: Load) -> float:
        """Work of one step: images forward through the network, a backward pass counting as two.

        By default the real batch goes forward, and the synthetic images forward and backward.
        """
        return load.data.drawn(int(getattr(self, "batch_real", 0))) + TRAINING * load.synthetic

    def passes(self, load: Load) -> float:
        """Work of all steps of a load; by default they are alike."""
        return load.steps * self.image_passes(load)

    def batches(self, job: JobSpec, load: Load) -> Iterator[Batch]:
        """Images that the steps of a load have in a network at once.

        By default the real batch without a graph, and the synthetic images with one.
        """
        of_class = int(getattr(self, "batch_real", 0))
        yield Batch(job.network, load.data.at_once(load.data.drawn(of_class), of_class))
        yield Batch(job.network, load.grouped, 1, whole=True)

    def networks_held(self, load: Load) -> int:  # noqa: ARG002 - for those that hold several
        """Networks, or as many numbers, that are in memory all the time; one by default."""
        return 1

    def way_back(self, load: Load) -> float:  # noqa: ARG002 - for those with ``trains_networks``
        """Work of taking one slope back through the training of a step's network; none by default."""
        return 0.0


class RegularizerConfig(Component):
    """Base of all regulariser configurations. See ``ddcore.spec.regularizers``."""

    weight: float | None = None
    relative: float | None = None

    compares_features: ClassVar[bool] = False
    """Whether it reads the features that the method matches, and so needs a method with ``matches_features``."""

    extendable: ClassVar[bool] = False
    """Whether it does not depend on how many steps there are to be; see :attr:`MethodConfig.extendable`."""

    classes_apart: ClassVar[bool] = False
    """Whether it takes each class for itself; see :attr:`MethodConfig.classes_apart`."""

    def teachers(self, job: JobSpec) -> Iterator[tuple[TeacherConfig, int]]:  # noqa: ARG002 - for those that have some
        """Pools of networks trained on the real images, and how many of each are trained; none by default."""
        yield from ()

    def image_passes(self, job: JobSpec, load: Load) -> Iterator[tuple[NetworkConfig, float]]:  # noqa: ARG002
        """Work of the term in one step, network by network, as that of a method; none by default."""
        yield from ()

    def batches(self, job: JobSpec, load: Load) -> Iterator[Batch]:
        """Images that it has in a network at once; by default those that pass in a step, with their graphs."""
        for network, _ in self.image_passes(job, load):
            yield Batch(network, load.grouped, 1, whole=True)

    def reads_real_features(self) -> bool:
        """Whether the term needs the features of the real batch, which not every method computes itself."""
        return self.compares_features

    def impossible(self, job: JobSpec) -> Iterator[Problem]:  # noqa: ARG002 - for those that override it
        """What in a job cannot work with this regulariser; nothing by default."""
        yield from ()

    def pointer(self, job: JobSpec) -> str:
        """Where this regulariser stands in a job, as a JSON pointer; that of all of them where it is not in there."""
        names = [term.name for term in job.regularizers]
        return f"/regularizers/{names.index(self.name)}" if self.name in names else "/regularizers"


def features_unmatched(regularizer: str, method: str) -> str:
    """Say that a regulariser reads features that a method does not match."""
    able = ", ".join(f"'{name}'" for name, known in METHODS.items() if known.matches_features)
    return (
        f"`{regularizer}` compares the features of real and synthetic images that a method matches, but `{method}` "
        f"matches none; use one of {able}, or drop `{regularizer}`"
    )


class DecoderConfig(Component):
    """Base of all decoder configurations."""

    for_methods: ClassVar[tuple[str, ...]] = ()
    """Methods that can learn through it although they do not name it."""

    classes_apart: ClassVar[bool] = False
    """Whether what is stored of a class makes images of that class alone; see :attr:`MethodConfig.classes_apart`."""

    @property
    def views(self) -> int:
        """Images that come out of each stored one."""
        return 1

    def images_per_class(self, ipc: int, shape: tuple[int, int, int], classes: int) -> int:  # noqa: ARG002
        """Training images of each class that a budget of ``ipc`` stored images gives.

        Args:
            ipc: what may be stored of each class, in images.
            shape: (channels, height, width) of an image.
            classes: how many there are.
        """
        return ipc * self.views

    def images_seen(self, ipc: int, shape: tuple[int, int, int], classes: int) -> int:
        """Those of them that a step sees; by default all."""
        return self.images_per_class(ipc, shape, classes)

    def impossible(self, job: JobSpec) -> Iterator[Problem]:  # noqa: ARG002 - for those that override it
        """What in a job cannot work with this decoder; nothing by default."""
        yield from ()

    @property
    def tiles(self) -> int:
        """Images that each stored one is made of at the start."""
        return self.views


class SamplerConfig(Component):
    """Base of all configurations of samplers of real batches."""

    for_methods: ClassVar[tuple[str, ...]] = ()
    """Methods that can compare with its batches although they do not name it."""

    classes_apart: ClassVar[bool] = False
    """Whether it chooses the images of a class by that class alone; see :attr:`MethodConfig.classes_apart`."""

    def passes(self, load: Load, batch_real: int) -> float:  # noqa: ARG002 - for those that look at images to choose
        """Images through the network of the step to choose the batches of all steps of a load; none by default.

        Args:
            load: the steps.
            batch_real: real images of each class that the method asks for.
        """
        return 0.0


class NetworkConfig(Component):
    """Base of all network configurations."""

    def resolved(self, shape: tuple[int, int, int]) -> NetworkConfig:  # noqa: ARG002 - for networks that depend on it
        """The same network without a field whose default depends on the images.

        Args:
            shape: channels, height and width of the images.
        """
        return self

    def sees(self, shape: Shape) -> Shape:
        """Channels, height and width of what its first layer takes of images of this shape; the same by default."""
        return shape

    def layers(self, shape: Shape, classes: int) -> Sequence[Layer]:
        """What an image passes through, in order; for networks that do not say, three blocks of 128 channels.

        Args:
            shape: of an image.
            classes: logits.
        """
        return stacked(shape, classes, [(128, 3, True)] * 3, "instance")

    def flop(self, shape: Shape, classes: int) -> float:
        """Floating-point operations of one image's forward pass, two for each multiplication.

        >>> from ddcore.spec import NETWORKS
        >>> round(NETWORKS["convnet"]().flop((3, 32, 32), 10) / 1e6)
        101
        """
        return 2.0 * sum(layer.macs for layer in self.layers(shape, classes))


METHODS: Catalog[MethodConfig] = Catalog("method", "ddservice.methods", MethodConfig)
REGULARIZERS: Catalog[RegularizerConfig] = Catalog("regulariser", "ddservice.regularizers", RegularizerConfig)
NETWORKS: Catalog[NetworkConfig] = Catalog("network", "ddservice.networks", NetworkConfig)
DECODERS: Catalog[DecoderConfig] = Catalog("decoder", "ddservice.decoders", DecoderConfig)
SAMPLERS: Catalog[SamplerConfig] = Catalog("sampler", "ddservice.samplers", SamplerConfig)
CATALOGS: tuple[Catalog[Any], ...] = (METHODS, REGULARIZERS, NETWORKS, DECODERS, SAMPLERS)


def _usable(
    catalog: Catalog[DecoderConfig] | Catalog[SamplerConfig], named: tuple[str, ...], method: str
) -> tuple[str, ...]:
    """Names of a catalog that a method can use, those that it names itself first."""
    others = (name for name, known in catalog.items() if method in known.for_methods and name not in named)
    return (*named, *others)


def broken_offers() -> tuple[discovery.Broken, ...]:
    """Every configuration of other distributions that had to be left out."""
    for catalog in CATALOGS:
        len(catalog)
    return discovery.broken()


class _Menu:
    """Annotation that validates a field through a catalog and publishes the catalog's schema."""

    def __init__(self, catalog: Catalog[Any]) -> None:
        self._catalog = catalog

    def _offered(self) -> Mapping[str, type[Component]]:
        return self._catalog

    def _parse(self, value: object) -> Component:
        parsed: Component = self._catalog.parse(value)
        return parsed

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._parse,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda component: component.model_dump(mode="json")
            ),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        offered = self._offered()
        objects = [handler(cls.__pydantic_core_schema__) for cls in offered.values()]
        return {"oneOf": [{"type": "string", "enum": sorted(offered)}, *objects]}


class _StageableMethods(_Menu):
    """The methods that can be a base of stages."""

    def _offered(self) -> Mapping[str, type[Component]]:
        return {name: cls for name, cls in METHODS.items() if cls.stageable}

    def _parse(self, value: object) -> Component:
        name = value.get("name") if isinstance(value, Mapping) else getattr(value, "name", value)
        if isinstance(name, str) and name in METHODS and name not in self._offered():
            raise ValueError(
                f"`{name}` cannot be learned in stages, since its networks cannot start where others have learned the "
                f"earlier stages; use one of {', '.join(self._offered())}"
            )
        return super()._parse(value)


AnyMethod = Annotated[MethodConfig, _Menu(METHODS)]
AnyBase = Annotated[MethodConfig, _StageableMethods(METHODS)]
AnyRegularizer = Annotated[RegularizerConfig, _Menu(REGULARIZERS)]
AnyNetwork = Annotated[NetworkConfig, _Menu(NETWORKS)]
AnyDecoder = Annotated[DecoderConfig, _Menu(DECODERS)]
AnySampler = Annotated[SamplerConfig, _Menu(SAMPLERS)]

M = TypeVar("M", bound=MethodConfig)
R = TypeVar("R", bound=RegularizerConfig)
N = TypeVar("N", bound=NetworkConfig)
D = TypeVar("D", bound=DecoderConfig)
S = TypeVar("S", bound=SamplerConfig)


def method_config(cls: type[M]) -> type[M]:
    """Class decorator: announce a method."""
    METHODS.register(cls)
    return cls


def regularizer_config(cls: type[R]) -> type[R]:
    """Class decorator: announce a regulariser."""
    REGULARIZERS.register(cls)
    return cls


def network_config(cls: type[N]) -> type[N]:
    """Class decorator: announce a network."""
    NETWORKS.register(cls)
    return cls


def decoder_config(cls: type[D]) -> type[D]:
    """Class decorator: announce a decoder."""
    DECODERS.register(cls)
    return cls


def sampler_config(cls: type[S]) -> type[S]:
    """Class decorator: announce a sampler."""
    SAMPLERS.register(cls)
    return cls
