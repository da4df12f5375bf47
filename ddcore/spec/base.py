"""The common base of every specification model, and the tables of what can be asked for.

A method, regulariser, network, decoder or sampler is announced by one frozen pydantic model whose ``name`` field is a
``Literal``. Decorating it with :func:`method_config`, :func:`regularizer_config`, :func:`network_config`,
:func:`decoder_config` or :func:`sampler_config` is all it takes to make the name known to the API, the client and the
engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from ddcore.spec.errors import Problem, nearest

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec


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


C = TypeVar("C", bound=Component)


class Catalog(Mapping[str, type[C]], Generic[C]):
    """Names of one kind of component and the configuration class behind each."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._classes: dict[str, type[C]] = {}

    def __getitem__(self, name: str) -> type[C]:
        return self._classes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)

    def register(self, cls: type[C]) -> None:
        """Announce ``cls`` under the default of its ``name`` field.

        Raises:
            ValueError: the class has no default name, the name is not lower case, or it is taken.
        """
        name = cls.model_fields["name"].default
        if not isinstance(name, str) or not name.isidentifier() or name != name.lower():
            raise ValueError(f"{cls.__name__}: `name` must default to a lower-case identifier, got {name!r}")
        known = self._classes.get(name)
        if known is not None and known.__qualname__ != cls.__qualname__:
            raise ValueError(f"{self.kind} {name!r} is already registered by {known.__qualname__}")
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
        guess = nearest(name, self)
        return PydanticCustomError(
            "unknown_name",
            "unknown {kind} '{name}'{hint}; known: {known}",
            {
                "kind": self.kind,
                "name": name,
                "hint": f", did you mean '{guess}'?" if guess else "",
                "known": ", ".join(sorted(self)),
            },
        )


class MethodConfig(Component):
    """Base of all method configurations."""

    iterations: int
    """Steps of the synthetic set (image updates, or the method's outer iterations)."""

    job_defaults: ClassVar[Mapping[str, Any]] = {}
    """Fields of the job that this method's source sets otherwise, by name; what a job says itself prevails."""

    decoders: ClassVar[tuple[str, ...]] = ("identity", "mosaic")
    """Decoders that this method can learn through."""

    matches_features: ClassVar[bool] = False
    """Whether its steps pass real and synthetic images of a class through one network under one augmentation, so that
    terms which compare the features of both can join."""

    learns_lr: ClassVar[bool] = False
    """Whether the learning rate to train networks with is learned beside the images."""
    trains_networks: ClassVar[bool] = False
    """Whether each step has networks of its own, trained on the real and on the synthetic images."""

    samplers: ClassVar[tuple[str, ...]] = ("random",)
    """Samplers of real batches that this method can compare with."""

    stageable: ClassVar[bool] = False
    """Whether its networks can start where others have learned the earlier stages of a set, so that it can be a base of
    ``seqmatch`` and ``pdd``."""

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
    def networks_pretrained(self) -> int:
        """Networks that are trained before they are matched with."""
        return 0

    def pretraining_passes(self, train_images: int, images: int) -> float:  # noqa: ARG002 - for those that train some
        """Work of training them, as :meth:`image_passes` counts it.

        Args:
            train_images: real images.
            images: synthetic images of all classes, decoded.
        """
        return 0.0

    def impossible(self, job: JobSpec) -> Iterator[Problem]:  # noqa: ARG002 - for those that override it
        """What in a job cannot work with this method; nothing by default."""
        yield from ()

    def image_passes(self, ipc: int, classes: int, class_size: int) -> float:
        """Rough work of one step: images forward through the network, a backward pass counting as two.

        By default the real batch goes forward, and the synthetic images forward and backward.

        Args:
            ipc: synthetic images of each class, decoded.
            classes: how many there are.
            class_size: real images of a class, which caps the batch.
        """
        return classes * (min(int(getattr(self, "batch_real", 0)), class_size) + 3 * ipc)


class RegularizerConfig(Component):
    """Base of all regulariser configurations. See ``ddcore.spec.regularizers``."""

    weight: float | None = None
    relative: float | None = None

    compares_features: ClassVar[bool] = False
    """Whether it reads the features that the method matches, and so needs a method with ``matches_features``."""

    def impossible(self, job: JobSpec) -> Iterator[tuple[str, str]]:  # noqa: ARG002 - for those that override it
        """What in a job cannot work with this regulariser, as (code, sentence); nothing by default."""
        yield from ()


def features_unmatched(regularizer: str, method: str) -> str:
    """Say that a regulariser reads features that a method does not match."""
    able = ", ".join(f"'{name}'" for name, known in METHODS.items() if known.matches_features)
    return (
        f"`{regularizer}` compares the features of real and synthetic images that a method matches, but `{method}` "
        f"matches none; use one of {able}, or drop `{regularizer}`"
    )


class DecoderConfig(Component):
    """Base of all decoder configurations."""

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

    def impossible(self, job: JobSpec) -> Iterator[Problem]:  # noqa: ARG002 - for those that override it
        """What in a job cannot work with this decoder; nothing by default."""
        yield from ()

    @property
    def tiles(self) -> int:
        """Images that each stored one is made of at the start."""
        return self.views


class SamplerConfig(Component):
    """Base of all configurations of samplers of real batches."""


class NetworkConfig(Component):
    """Base of all network configurations."""

    def resolved(self, shape: tuple[int, int, int]) -> NetworkConfig:  # noqa: ARG002 - for networks that depend on it
        """The same network without a field whose default depends on the images.

        Args:
            shape: channels, height and width of the images.
        """
        return self


METHODS: Catalog[MethodConfig] = Catalog("method")
REGULARIZERS: Catalog[RegularizerConfig] = Catalog("regulariser")
NETWORKS: Catalog[NetworkConfig] = Catalog("network")
DECODERS: Catalog[DecoderConfig] = Catalog("decoder")
SAMPLERS: Catalog[SamplerConfig] = Catalog("sampler")


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
