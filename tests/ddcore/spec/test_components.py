from typing import ClassVar, Literal

import pytest
from pydantic import Field

from ddcore.spec import (
    AUGMENTATIONS,
    DECODERS,
    METHODS,
    NETWORKS,
    REGULARIZERS,
    ConvNetConfig,
    JobSpec,
    MethodConfig,
    Problem,
    SpecError,
    did_you_mean,
    method_config,
    parse,
)
from ddcore.spec.catalog import Component
from ddcore.spec.errors import pointer


def components() -> list[type[Component]]:
    return [cls for catalog in (METHODS, REGULARIZERS, NETWORKS, DECODERS) for cls in catalog.values()]


@pytest.mark.parametrize("cls", components(), ids=lambda cls: cls.__name__)
def test_every_component_says_what_it_is_and_describes_every_field(cls: type[Component]) -> None:
    assert cls.title
    assert cls.citation
    assert cls.cost
    undescribed = [n for n, f in cls.model_fields.items() if n != "name" and not f.description]
    assert undescribed == []


def test_registering_a_configuration_is_all_it_takes() -> None:
    class ToyConfig(MethodConfig):
        """A toy."""

        title: ClassVar[str] = "Toy"
        name: Literal["toy"] = "toy"
        iterations: int = Field(5, ge=1)

    method_config(ToyConfig)
    try:
        spec = parse({"dataset": "digits", "ipc": 1, "method": {"name": "toy", "iterations": 2}})
        assert isinstance(spec.method, ToyConfig)
        assert parse(spec.model_dump(mode="json")) == spec
        assert "ToyConfig" in str(JobSpec.model_json_schema())
    finally:
        METHODS.unregister("toy")
    with pytest.raises(SpecError, match="unknown method 'toy'"):
        parse({"dataset": "digits", "ipc": 1, "method": "toy"})


def test_a_taken_name_is_refused() -> None:
    class Other(MethodConfig):
        name: Literal["dm"] = "dm"
        iterations: int = 1

    with pytest.raises(ValueError, match="method 'dm' is already registered by DMConfig"):
        method_config(Other)


def test_a_component_needs_a_lower_case_name() -> None:
    class Nameless(MethodConfig):
        iterations: int = 1

    class Shouting(MethodConfig):
        name: Literal["LOUD"] = "LOUD"
        iterations: int = 1

    for cls in (Nameless, Shouting):
        with pytest.raises(ValueError, match="must default to a lower-case identifier"):
            method_config(cls)


def test_schema_lists_every_method_with_its_fields() -> None:
    schema = JobSpec.model_json_schema()
    assert schema["additionalProperties"] is False
    text = str(schema)
    for cls in components():
        assert cls.__name__ in text
        for name in cls.model_fields:
            assert name in text


@pytest.mark.parametrize(("size", "depth"), [(4, 1), (8, 2), (16, 3), (28, 3), (32, 3), (64, 4), (128, 5), (224, 5)])
def test_default_depth_follows_the_size_of_the_images(size: int, depth: int) -> None:
    assert ConvNetConfig().depth_for(size) == depth
    assert ConvNetConfig(depth=2).depth_for(size) == 2
    assert size >> depth >= 1


def test_augmentations_are_those_that_exist() -> None:
    from ddcore.augment import siamese

    assert set(AUGMENTATIONS) == set(siamese._OPERATIONS)


def test_pointer_escapes_as_rfc_6901_asks() -> None:
    assert pointer(()) == ""
    assert pointer(("a/b", 0, "c~d")) == "/a~1b/0/c~0d"


def test_nothing_is_meant_where_nothing_is_near() -> None:
    assert did_you_mean("zzzz", ["mnist", "cifar10"]) == ""
    assert did_you_mean("MNIST", ["mnist"]) == ", did you mean 'mnist'?"


def test_at_most_three_names_are_near_and_the_nearest_is_the_first() -> None:
    known = ["cifar", "cifar1", "cifar10", "cifar100", "mnist"]
    assert did_you_mean("cifar_10", known, "`") == ", did you mean `cifar10`? Others: `cifar100`, `cifar1`"


def test_a_specification_error_reads_as_text() -> None:
    error = SpecError([Problem("/ipc", "x", "too small"), Problem("", "y", "not an object")])
    assert str(error) == "/ipc: too small\n/: not an object"
    with pytest.raises(ValueError, match="at least one problem"):
        SpecError([])
