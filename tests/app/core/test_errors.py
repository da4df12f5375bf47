from __future__ import annotations

from app.core.errors import CODES, ServiceError


def test_every_error_class_is_in_the_table() -> None:
    def below(cls: type[ServiceError]) -> set[type[ServiceError]]:
        return {child for sub in cls.__subclasses__() for child in {sub, *below(sub)}}

    assert set(CODES.values()) == below(ServiceError)


def test_codes_are_unique_and_explained() -> None:
    for code, error in CODES.items():
        assert code == error.code
        assert error.title
        assert error.__doc__
        assert 400 <= error.status < 600
    assert len({error.title for error in CODES.values()}) == len(CODES)
