"""What a job may call a dataset, and which set that is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from sqlalchemy.orm import Session

from app.core.errors import Invalid
from app.core.security import Principal
from app.core.settings import Settings
from app.datasets import found
from app.datasets.documents import facts, reference, state_of
from app.datasets.found import Found
from app.datasets.repository import DatasetRepository
from app.datasets.schemas import DatasetState
from app.models.datasets import Dataset
from ddcore.spec import DATASETS, DatasetFacts, Problem, did_you_mean
from ddcore.spec.local_sets import certain_facts_of, facts_of, names_in, places_of, report_in

_CONTENT = re.compile(r"ds_[0-9a-f]{20}")


@dataclass(frozen=True)
class Names:
    """The datasets that a principal's jobs can name: their own, then the data root's, then the built-in ones.

    Own sets are named ``photos`` (the newest version), ``photos@2`` or by their content, ``ds_…``.
    """

    sets: DatasetRepository
    data_root: Path
    backbones: Path
    """Folder of the weights that a job can name."""
    _own: dict[str, Dataset | None] = field(default_factory=dict, init=False, repr=False)
    _found: dict[str, Found] = field(default_factory=dict, init=False, repr=False)
    """What was asked for already: a submission is checked against its set, and then looks it up."""

    @classmethod
    def of(cls, session: Session, principal: Principal, settings: Settings) -> Names:
        """Those of a principal's jobs, by the folders of the settings."""
        return cls(DatasetRepository(session, principal), settings.data_root, settings.backbones_dir)

    def own(self, name: str) -> Dataset | None:
        """The user's own set of a name, ready to be distilled."""
        if name not in self._own:
            self._own[name] = self._ready(name)
        return self._own[name]

    def _ready(self, name: str) -> Dataset | None:
        if _CONTENT.fullmatch(name):
            return self.sets.of_content(name)
        bare, at, version = name.partition("@")
        if not at:
            return self.sets.named(bare)
        return self.sets.named(bare, int(version)) if version.isdecimal() else None

    def certain_facts(self, name: str) -> DatasetFacts | None:
        """What is known for certain: what a job may be refused by."""
        own = self.own(name)
        return self._looked_at(name).facts or certain_facts_of(name, self.data_root) if own is None else facts(own)

    def facts(self, name: str) -> DatasetFacts | None:
        """What is known or presumed: what an estimate may rest on."""
        own = self.own(name)
        return self._looked_at(name).facts or facts_of(name, self.data_root) if own is None else facts(own)

    def check(self, name: str) -> Dataset | None:
        """The user's own set of a name; ``None`` for one that workers find by its name.

        Raises:
            Invalid: no set has the name, or the one that has cannot be distilled; with what ingest knows of it.
        """
        own = self.own(name)
        if own is not None:
            return own
        unfit = self._looked_at(name).error
        if unfit is not None:
            raise Invalid([Problem("/dataset", "dataset_unfit", f"{name} cannot be used: {unfit.message}")])
        if name in self._others:
            return None
        raise Invalid([self._unfit(name, self._others)])

    @cached_property
    def _others(self) -> tuple[str, ...]:
        """Names of the sets that are nobody's own."""
        return (*DATASETS, *names_in(self.data_root), *found.known(self.sets.session))

    def _looked_at(self, name: str) -> Found:
        """What is known of files of that name in data roots: by their report, else by what workers found in them."""
        if name not in self._found:
            self._found[name] = self._in_data_roots(name)
        return self._found[name]

    def _in_data_roots(self, name: str) -> Found:
        report = next(filter(None, map(report_in, places_of(name, self.data_root))), None)
        if report is not None:
            return Found(facts=report.facts)
        return found.known(self.sets.session, name).get(name, Found())

    def _unfit(self, name: str, others: tuple[str, ...]) -> Problem:
        bare = name.partition("@")[0]
        versions = self.sets.versions(bare)
        if versions:
            there = ", ".join(f"{bare}@{version}" for version in versions)
            return Problem("/dataset", "unknown_dataset", f"there is no {name}; there is {there}")
        announced = self.sets.newest(bare)
        if announced is not None:
            return Problem("/dataset", "dataset_not_ready", self._why_not(announced))
        known = (*others, *self.sets.ready_names())
        detail = f"unknown dataset '{name}'{did_you_mean(name, known)}; known: {', '.join(sorted(set(known)))}"
        return Problem("/dataset", "unknown_dataset", detail)

    def _why_not(self, announced: Dataset) -> str:
        job = self.sets.jobs([announced]).get(announced.job_id or "")
        state = state_of(announced, job)
        if state is DatasetState.FAILED and job is not None and job.error is not None:
            return f"{announced.name} could not be taken in: {job.error['message']}"
        if state is DatasetState.RECEIVING:
            return f"{announced.name} is not complete: {announced.received:,} bytes of its upload have come"
        return f"{reference(announced)} is {state}; submit the job again once it is ready"
