"""What a job can ask for: methods, regularisers, networks, decoders, samplers and presets."""

from __future__ import annotations

import inspect

from fastapi import APIRouter
from pydantic import BaseModel

from app.catalog.schemas import ComponentDocument, ComponentKind
from app.core.errors import NotFound
from app.core.pagination import Page
from app.core.problems import responses
from app.keys.principals import JobReader
from ddcore.spec import (
    DECODERS,
    METHODS,
    NETWORKS,
    REGULARIZERS,
    SAMPLERS,
    Preset,
    all_presets,
    did_you_mean,
)
from ddcore.spec.catalog import Component
from ddcore.spec.readings import Reading, catalogue

router = APIRouter(prefix="/v1", tags=["catalog"])


@router.get("/methods")
def list_methods(_: JobReader) -> Page[ComponentDocument]:
    """List the distillation methods."""
    return Page[ComponentDocument](data=[_component("method", cls) for cls in METHODS.values()])


@router.get("/regularizers")
def list_regularizers(_: JobReader) -> Page[ComponentDocument]:
    """List the regularisers, which pull on the images beside a method."""
    return Page[ComponentDocument](data=[_component("regularizer", cls) for cls in REGULARIZERS.values()])


@router.get("/networks")
def list_networks(_: JobReader) -> Page[ComponentDocument]:
    """List the networks that images can be matched with, trained and scored with."""
    return Page[ComponentDocument](data=[_component("network", cls) for cls in NETWORKS.values()])


@router.get("/decoders")
def list_decoders(_: JobReader) -> Page[ComponentDocument]:
    """List the decoders, which make training images of what is stored."""
    return Page[ComponentDocument](data=[_component("decoder", cls) for cls in DECODERS.values()])


@router.get("/samplers")
def list_samplers(_: JobReader) -> Page[ComponentDocument]:
    """List the samplers, which choose the real images that a step compares with."""
    return Page[ComponentDocument](data=[_component("sampler", cls) for cls in SAMPLERS.values()])


@router.get("/presets")
def list_presets(_: JobReader) -> Page[Preset]:
    """List the presets: complete jobs with their source, the published score and the one measured here."""
    return Page[Preset](data=list(all_presets().values()))


@router.get("/presets/{name:path}", responses=responses(NotFound))
def get_preset(name: str, _: JobReader) -> Preset:
    """Get a preset, such as `paper/dm-cifar10-ipc10`."""
    presets = all_presets()
    if name not in presets:
        raise NotFound(f"there is no preset {name}{did_you_mean(name, presets)}")
    return presets[name]


@router.get("/readings")
def list_readings(_: JobReader) -> Page[Reading]:
    """List the readings that jobs report as metrics: what each is, its unit, and the range that it can lie in."""
    return Page[Reading](data=list(catalogue().values()))


def _component(kind: ComponentKind, cls: type[Component]) -> ComponentDocument:
    fields = cls.model_fields
    optional = {
        name: field.get_default(call_default_factory=True) for name, field in fields.items() if not field.is_required()
    }
    return ComponentDocument(
        name=str(fields["name"].default),
        kind=kind,
        title=cls.title,
        citation=cls.citation,
        cost=cls.cost,
        description=inspect.getdoc(cls) or "",
        defaults={
            name: value.model_dump(mode="json") if isinstance(value, BaseModel) else value
            for name, value in optional.items()
        },
        departures=list(cls.departures),
        parameters=cls.model_json_schema(),
    )
