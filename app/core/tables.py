"""The base of every table, column types that both databases share, and the database's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import JSON, BigInteger, ColumnElement, Dialect, Integer, MetaData, String, type_coerce
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Timestamp(TypeDecorator[datetime]):
    """An instant, kept as milliseconds since 1970 so that both databases compare and add alike."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002 - SQLAlchemy's signature
        """An aware datetime becomes an integer."""
        return None if value is None else (value - EPOCH) // timedelta(milliseconds=1)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """An integer becomes an aware datetime in UTC."""
        return None if value is None else EPOCH + timedelta(milliseconds=value)


Serial = BigInteger().with_variant(Integer(), "sqlite")
"""Integer key that the database counts up (SQLite does so only for ``INTEGER``)."""

Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
"""JSON document; ``None`` is SQL's NULL."""

Id = String(40)
"""Public identifier such as ``job_…``."""


class Base(DeclarativeBase):
    """Base of every model; constraints get predictable names, which migrations need."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class _Milliseconds(FunctionElement[int]):
    """Milliseconds since 1970 by the database's clock."""

    type = BigInteger()
    inherit_cache = True


@compiles(_Milliseconds, "postgresql")
def _milliseconds_postgresql(_element: _Milliseconds, _compiler: SQLCompiler, **_: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"


@compiles(_Milliseconds, "sqlite")
def _milliseconds_sqlite(_element: _Milliseconds, _compiler: SQLCompiler, **_: Any) -> str:
    return "CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)"


def clock(offset_s: float = 0.0) -> ColumnElement[datetime]:
    """SQL expression: the database's own clock plus ``offset_s`` seconds, which alone judges leases."""
    return type_coerce(_Milliseconds() + round(offset_s * 1000), Timestamp())
