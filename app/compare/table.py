"""A comparison as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from app.compare.schemas import ComparedJob, Comparison
from ddcore.spec.results import Score


def table(comparison: Comparison) -> str:
    """A comparison as CSV (RFC 4180); what is not known is empty."""
    names = [field.path for field in comparison.differences if field.path not in ComparedJob.model_fields]
    by_path = {field.path: field.values for field in comparison.differences}
    rows = [_row(job) | {path: by_path[path].get(job.id, "") for path in names} for job in comparison.jobs]
    return _csv(rows)


def _row(job: ComparedJob) -> dict[str, Any]:
    plain = job.model_dump(mode="json", exclude={"accuracy", "random", "best_coreset", "kind"})
    best = job.best_coreset
    return plain | {
        **_score("accuracy", job.accuracy),
        **_score("random", job.random),
        "best_coreset": best.name if best else None,
        **_score("best_coreset_accuracy", best.score if best else None),
    }


def _score(name: str, score: Score | None) -> dict[str, Any]:
    values = (None, None, None) if score is None else (score.mean, score.std, score.networks)
    return dict(zip((name, f"{name}_std", f"{name}_networks"), values, strict=True))


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
