"""Tables of pandas, which not every installation has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ddclient.errors import ClientError

if TYPE_CHECKING:
    from pandas import DataFrame


def frame(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> DataFrame:
    """A table with these rows.

    Args:
        rows: values by column.
        columns: in this order. Default: those of the rows, as they come.

    Raises:
        ClientError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ClientError(f"a table of pandas needs `pip install pandas` ({error.name} is missing)") from error
    return pandas.DataFrame(list(rows), columns=None if columns is None else list(columns))
