"""Everything that a tenant has scored, ranked within each recipe: accuracies of two recipes do not compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import BigInteger, ColumnElement, Select, case, func, select
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import Session

from app.core.security import Principal
from app.core.settings import Settings
from app.datasets.names import Names
from app.models.jobs import Job
from app.models.scores import Score
from app.models.states import Kind, State
from app.scores.board_schemas import Board, Choice, Entry, Leaderboard, PublishedFigure
from ddcore.spec import SpecError, all_presets, parse
from ddcore.spec.datasets import DatasetFacts
from ddcore.spec.naming import method_with_regularizers
from ddcore.spec.recipe import Recipe, recipe_of
from ddcore.spec.results import Results

MOST = 500
"""Entries that are listed."""
_CHOICES = 500


def leaderboard(
    session: Session, principal: Principal, settings: Settings, dataset: str | None, ipc: int | None
) -> Leaderboard:
    """What a tenant has scored.

    Args:
        session: any session.
        principal: of the tenant.
        settings: where datasets are.
        dataset: on which. Default: that of the newest entry.
        ipc: images of each class. Default: that of the newest entry on the dataset.
    """
    choices = _choices(session, principal)
    fitting = (one for one in choices if dataset in (None, one.dataset) and ipc in (None, one.ipc))
    chosen = next(fitting, None)
    if chosen is None:
        return Leaderboard(dataset=dataset, ipc=ipc, choices=choices, boards=[], left_out=0)
    found = [_Found.of(job, score) for job, score in session.execute(_entries(principal, chosen.dataset, chosen.ipc))]
    names = Names.of(session, principal, settings)
    facts = names.facts(chosen.dataset)
    return Leaderboard(
        dataset=chosen.dataset,
        ipc=chosen.ipc,
        choices=choices,
        boards=list(_boards(found, chosen, facts)),
        left_out=chosen.entries - len(found),
    )


@dataclass(frozen=True)
class _Found:
    """A row that is scored, with the specification that says how."""

    job: Job
    score: Score | None
    spec: dict[str, Any]
    results: Results

    @classmethod
    def of(cls, job: Job, score: Score | None) -> _Found:
        spec = job.spec if score is None else score.spec or {}
        return cls(job, score, spec, Results.model_validate(job.results))

    def entry(self, rank: int) -> Entry:
        results, score = self.results, self.score
        address = f"/v1/jobs/{self.job.id}" if score is None else f"/v1/scores/{score.id}"
        if results.accuracy is None:
            raise LookupError(f"{self.job.id} has no accuracy")
        return Entry(
            rank=rank,
            kind="job" if score is None else "score",
            id=self.job.id if score is None else score.id,
            name=self.job.name if score is None else score.name,
            made_by=method_with_regularizers(self.job.spec) if score is None else score.file,
            accuracy=results.accuracy,
            controls=results.controls,
            differences=results.differences,
            bytes=results.bytes,
            worth=results.worth,
            scores=results.scores,
            finished_at=self.job.finished_at,
            key_id=None if score is None else score.key_id,
            links={"self": address},
        )


def _boards(found: Sequence[_Found], chosen: Choice, facts: DatasetFacts | None) -> Iterator[Board]:
    """What is found, which is sorted, by recipe."""
    recipes: dict[str, Recipe] = {}
    members: dict[str, list[_Found]] = {}
    for one in found:
        recipe = recipe_of(one.spec, facts)
        recipes.setdefault(recipe.key, recipe)
        members.setdefault(recipe.key, []).append(one)
    published = _published(chosen, facts)
    for key, recipe in recipes.items():
        yield Board(
            recipe=key,
            protocol=recipe.protocol,
            words=recipe.words,
            entries=[one.entry(rank) for rank, one in enumerate(members[key], start=1)],
            published=[figure for of, figure in published if of == key],
        )


def _published(chosen: Choice, facts: DatasetFacts | None) -> list[tuple[str, PublishedFigure]]:
    """Figures of the literature on a dataset, highest first, each with its recipe."""
    figures = []
    for preset in all_presets().values():
        published, job = preset.published, preset.job
        if published is None or (job.get("dataset"), job.get("ipc")) != (chosen.dataset, chosen.ipc):
            continue
        try:
            spec = parse(job)
        except SpecError:  # a part of it comes from a distribution that is not installed
            continue
        figure = PublishedFigure(
            preset=preset.name, title=preset.title, accuracy=published.accuracy, std=published.std,
            source=published.source,
        )  # fmt: skip
        figures.append((recipe_of(spec.model_dump(mode="json"), facts).key, figure))
    return sorted(figures, key=lambda pair: -pair[1].accuracy)


def _choices(session: Session, principal: Principal) -> list[Choice]:
    """What there is to choose from, that with the newest entry first."""
    ipc = _ipc()
    counted = (
        select(Job.dataset, ipc, func.count())
        .select_from(Job)
        .outerjoin(Score, Score.job_id == Job.id)
        .where(*_scored(principal))
        .group_by(Job.dataset, ipc)
        .order_by(func.max(Job.finished_at).desc(), Job.dataset, ipc)
        .limit(_CHOICES)
    )
    return [Choice(dataset=name, ipc=each, entries=count) for name, each, count in session.execute(counted)]


def _entries(principal: Principal, dataset: str, ipc: int) -> Select[*tuple[Any, ...]]:
    """The entries on a dataset, highest accuracy first; of equals the older one."""
    scored = select(Job, Score).outerjoin(Score, Score.job_id == Job.id).where(*_scored(principal))
    chosen = scored.where(Job.dataset == dataset, _ipc() == ipc)
    return chosen.order_by(_accuracy().desc(), Job.finished_at, Job.id).limit(MOST)


def _scored(principal: Principal) -> tuple[ColumnElement[bool], ...]:
    own = (Job.kind == Kind.DISTILLATION) | (Score.id.is_not(None) & Score.deleted_at.is_(None))
    return (
        Job.tenant_id == principal.tenant_id,
        Job.deleted_at.is_(None),
        Job.status == State.SUCCEEDED,
        own,
        _accuracy().is_not(None),
        _ipc().is_not(None),
    )


def _accuracy() -> ColumnElement[float]:
    return cast(ColumnElement[float], Job.results["accuracy", "mean"].as_float())


def _ipc() -> ColumnElement[int]:
    """Images of each class: of a score as they were found in its file, whatever was told of them."""
    asked = sql_cast(Job.spec["ipc"].as_string(), BigInteger)
    return case((Job.kind == Kind.DISTILLATION, asked), else_=Score.ipc)
