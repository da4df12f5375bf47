"""The common base of every specification model, and the tables of what can be asked for.

A method, regulariser, network, decoder or sampler is announced by one frozen pydantic model whose ``name`` field is a
``Literal``, decorated with :func:`method_config`, :func:`regularizer_config`, :func:`network_config`,
:func:`decoder_config` or :func:`sampler_config`. A file with such a class in ``ddcore/spec/methods``,
``regularizers``, ``networks``, ``decoders`` or ``samplers`` is found there, and a class that another distribution
offers by an entry point is found when the first name is looked up; nothing lists them. The API, the client and the
engine know the name from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from ddcore.spec import discovery
from ddcore.spec.errors import Problem, nearest
from ddcore.spec.layers import Layer, Shape, stacked
from ddcore.spec.memory import Batch
from ddcore.spec.work import TRAINING, DataSizes, Load

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec
    from ddcore.spec.teachers import TeacherConfig


class SpecModel(BaseModel):
    """Frozen, closed (unknown fields are refused) and finite (no NaN or infinity)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class Component(SpecModel):
    """Something chosen by name: a method, a regulariser, a network, a decoder or a sampler.

    Subclasses narrow ``name`` to a ``Literal`` with that name as its default.
    """

    name: str

    title: ClassVar[str] = ""
    """Human-readable name."""
    citation: ClassVar[str] = ""
    """Authors, venue, year and arXiv number of the source."""
    cost: ClassVar[str] = ""
    """Cost class, in words a user can compare."""
    smoke: ClassVar[Mapping[str, Any]] = {}
    """Fields, as a job gives them, that make it small enough for the behaviour suite: seconds on small images."""
    departures: ClassVar[tuple[str, ...]] = ()
    """Where a plain default is not the published setting, in sentences."""

    def defaults_in(self, job: JobSpec) -> Mapping[str, Any]:  # noqa: ARG002 - for those that follow the job
        """Defaults that follow the rest of the job, by field; nothing by default.

        Args:
            job: complete but for these.
        """
        return {}

    def suited(self, job: JobSpec) -> Self:
        """The same with :meth:`defaults_in` a job for the fields that it was not given."""
        missing = {name: v for name, v in self.defaults_in(job).items() if name not in self.model_fields_set}
        return self.model_copy(update=missing) if missing else self


C = TypeVar("C", bound=Component)


class Catalog(Mapping[str, type[C]], Generic[C]):
    """Names of one kind of component and the configuration class behind each.

    Args:
        kind: one of them, in a word.
        group: entry points by which other distributions offer some.
        base: what every configuration class of this kind derives from.
    """

    def __init__(self, kind: str, group: str, base: type[C]) -> None:
        self.kind = kind
        self.group = group
        self._base = base
        self._classes: dict[str, type[C]] = {}
        self._others_await = False

    def __getitem__(self, name: str) -> type[C]:
        return self._known()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known())

    def __len__(self) -> int:
        return len(self._known())

    def admit_others(self) -> None:
        """Let what other distributions offer join, at the next look-up: by then their modules can import ours."""
        self._others_await = True

    def _known(self) -> dict[str, type[C]]:
        if self._others_await:
            self._others_await = False
            discovery.load_offers(self.group, self._admit)
        return self._classes

    def _admit(self, name: str, load: Callable[[], object]) -> None:
        """Take in the configuration class that an entry point offers under its name, or nothing of its module.

        Raises:
            TypeError: it is something else.
            ValueError: it has another name than its entry point, or the name is taken.
        """
        before = dict(self._classes)
        try:
            self.register(self._checked(name, load()))
        except BaseException:
            self._classes = before
            raise

    def _checked(self, name: str, cls: object) -> type[C]:
        if not isinstance(cls, type) or not issubclass(cls, self._base):
            raise TypeError(f"{cls!r} is no subclass of {self._base.__name__}")
        if cls.model_fields["name"].default != name:
            raise ValueError(
                f"the `name` of {cls.__name__} is not {name!r} by default; its entry point must have the same"
            )
        return cls

    def register(self, cls: type[C]) -> None:
        """Announce ``cls`` under the default of its ``name`` field.

        Raises:
            ValueError: the class has no default name, the name is not lower case, or it is taken.
        """
        name = cls.model_fields["name"].default
        if not isinstance(name, str) or not name.isidentifier() or name != name.lower():
            raise ValueError(f"{cls.__name__}: `name` must default to a lower-case identifier, got {name!r}")
        known = self._classes.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(
                f"{self.kind} {name!r} is already registered by {known.__qualname__} of {known.__module__}"
            )
        self._classes[name] = cls

    def unregister(self, name: str) -> None:
        """Forget a name (used by tests that register a toy component)."""
        del self._classes[name]

    def parse(self, value: object) -> C:
        """Turn ``"dm"``, ``{"name": "dm", …}`` or a ready configuration into a configuration.

        Raises:
            PydanticCustomError: nested problems, which :func:`ddcore.spec.errors.problems` unfolds.
        """
        if isinstance(value, Component):
            if value.name not in self or not isinstance(value, self[value.name]):
                raise self._unknown(value.name)
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            raise PydanticCustomError(
                "component_type",
                "a {kind} is given by its name, or as an object with a `name`; known: {known}",
                {"kind": self.kind, "known": ", ".join(sorted(self))},
            )
        if value["name"] not in self:
            raise self._unknown(value["name"])
        cls = self[value["name"]]
        try:
            return cls.model_validate(dict(value))
        except ValidationError as error:
            raise PydanticCustomError(
                "component_fields",
                "the {kind} `{name}` has invalid fields",
                {"kind": self.kind, "name": value["name"], "errors": error.errors(), "model": cls},
            ) from error

    def _unknown(self, name: str) -> PydanticCustomError:
        guess, reason = nearest(name, self), discovery.why_missing(self.group, name)
        hint = f", did you mean '{guess}'?" if guess else ""
        return PydanticCustomError(
            "unknown_name",
            "unknown {kind} '{name}'{hint}; known: {known}",
            {
                "kind": self.kind,
                "name": name,
                "hint": f": {reason}" if reason else hint,
                "known": ", ".join(sorted(self)),
            },
        )


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
    trains_networks: ClassVar[bool] = False
    """Whether each step has networks of its own, trained on the real and on the synthetic images."""

    samplers: ClassVar[tuple[str, ...]] = ("random",)
    """Samplers of real batches that this method can compare with."""

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

    def looks(self, data: DataSizes) -> Iterator[tuple[NetworkConfig, float]]:  # noqa: ARG002 - for those that look
        """Images that pass through such networks before the first step; none by default."""
        yield from ()

    def impossible(self, job: JobSpec) -> Iterator[Problem]:  # noqa: ARG002 - for those that override it
        """What in a job cannot work with this method; nothing by default."""
        yield from ()

    def loads(self, job: JobSpec, data: DataSizes) -> Iterator[Load]:
        """Steps, stage by stage, with the images that each of them sees; one stage by default."""
        seen = job.decoder.images_seen(job.ipc, data.shape, data.classes)
        yield Load(data, self.iterations, seen, seen)

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
