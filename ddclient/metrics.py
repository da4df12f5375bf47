"""Readings of a job as tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ddclient.frames import frame
from ddclient.models import MetricPoint, Series

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = ("key", *MetricPoint.model_fields)


class Metrics(dict[str, Series]):
    """The readings of a job, a series of points for each metric.

    >>> Metrics({"loss": [MetricPoint(step_min=1, step_max=1, last=0.5)]}).to_csv().splitlines()
    ['key,step_min,step_max,n,min,max,mean,last,nonfinite', 'loss,1,1,1,,,,0.5,0']
    """

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each point: ``key`` and the fields of :class:`MetricPoint`."""
        for key, series in self.items():
            for point in series:
                yield {"key": key} | {name: getattr(point, name) for name in MetricPoint.model_fields}

    def to_csv(self) -> str:
        """All rows as CSV with a heading; a cell is empty where no reading was finite."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        return text.getvalue()

    def to_pandas(self) -> DataFrame:
        """All rows as a table of pandas; readings are float64, NaN where none was finite.

        Raises:
            ClientError: pandas is not installed.
        """
        return frame(self.rows(), COLUMNS).astype(dict.fromkeys(("min", "max", "mean", "last"), "float64"))
