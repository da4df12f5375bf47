"""From a request to the trials of a study, or to every reason why there are none."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from app.core.errors import Invalid
from app.jobs import capacity, submission
from app.jobs.assessment import Assessor
from app.jobs.schemas import Envelope
from app.jobs.submission import Submission
from app.studies import halving, proposals, space
from app.studies.automatic import Forecast, Halving, automatic
from app.studies.forecast import forecast, minutes_to_the_end
from app.studies.objectives import Price, divisor
from app.studies.schemas import MOST_JOBS, StudyRequest
from app.studies.space import Space, Values
from ddcore.spec import METHODS, JobSpec, Problem, SpecError, all_presets, parse
from ddcore.spec.errors import problems

AUTO = "auto"
"""The method of an automatic study."""
_OF_THE_STUDY = ("name", "labels", "priority")
_NOT_SEARCHED: Mapping[str, str] = {
    "seed": "list them in `seeds`",
    "dataset": "accuracies on different datasets do not compare; make one study for each",
    "evaluation.during": "`scoring` and `rungs` say how jobs are scored on the way",
    "limits": "give `limits` in `base`",
    "device": "give `device` in `base`",
    **{name: f"give `{name}` beside `base`" for name in _OF_THE_STUDY},
}
"""Paths that a study cannot search, and what to do instead."""


@dataclass(frozen=True)
class PlannedTrial:
    """A trial that a study will have.

    Attributes:
        values: what it sets.
        title: the same in words.
        requests: its jobs, one for each seed.
        forecast: of one of them; ``None`` where the dataset's size is not known.
        price: what its accuracy costs.
    """

    values: Values
    title: str
    requests: Sequence[Submission]
    forecast: Forecast | None
    price: Price

    @property
    def iterations(self) -> int:
        """Steps of each job."""
        return self.requests[0].spec.method.iterations


@dataclass(frozen=True)
class Plan:
    """What a request comes to.

    Attributes:
        request: as it was asked for.
        points: of the whole space.
        trials: in the order of the space.
        refused: points that are no jobs, by reason.
        warnings: what the user may not have meant.
        later: trials that are proposed once those are scored.
    """

    request: StudyRequest
    points: int
    trials: Sequence[PlannedTrial]
    refused: Mapping[str, int]
    warnings: Sequence[str]
    later: int = 0

    @property
    def jobs(self) -> int:
        """Of all trials, those that are proposed later too."""
        return (len(self.trials) + self.later) * len(self.request.seeds)

    def holds(self, trial: PlannedTrial) -> tuple[int, ...]:
        """Steps after which a trial is held."""
        return halving.holds(trial.iterations, self.request.rungs, self.request.reduction)


class _RefusedError(Exception):
    """A point that is no job; ``problems`` say why."""

    def __init__(self, found: Sequence[Problem]) -> None:
        self.problems = tuple(found)
        super().__init__("; ".join(problem.detail for problem in found))


@dataclass
class Planner:
    """Plans one request.

    Args:
        request: the study.
        names: the datasets that its jobs can name.
        assessor: knows workers and measurements.
        check_room: whether to refuse points that take longer, or more memory, than they may.
    """

    request: StudyRequest
    names: Any
    assessor: Assessor
    check_room: bool = True
    _known: dict[str, str] = field(default_factory=dict, init=False)

    def plan(self) -> Plan:
        """The trials.

        Raises:
            Invalid: the request cannot be a study: with every reason.
        """
        found = list(self._faults())
        if found:
            raise Invalid(found)
        if self._automatic:
            return self._plan_automatic()
        searched = Space(self.request.space)
        plan = self._planned(searched.size, [(values, {}) for values in self._sampled(searched)])
        return replace(plan, later=max(0, points_of(self.request) - len(plan.trials))) if self._proposes else plan

    def more(self, points: Iterable[Values], known: Iterable[Mapping[str, Any]], most: int) -> Plan:
        """Trials of a study that goes on, from what is proposed to it.

        Args:
            points: that are proposed, taken one by one.
            known: specifications that the study has, as they are stored: one for each of its trials.
            most: trials to make at most.

        Returns:
            No trial where none of the points is a job that the study does not have.
        """
        self._known |= {_letters(spec): "one that was tried before" for spec in known}
        trials, refused = [], Counter[str]()
        for values in points:
            try:
                trials.append(self._once(self._trial(values, {})))
            except _RefusedError as error:
                refused[str(error)] += 1
            if len(trials) == most:
                break
        return Plan(self.request, Space(self.request.space).size, trials, dict(refused.most_common()), ())

    @property
    def _proposes(self) -> bool:
        return self.request.sampler == "tpe"

    @property
    def _automatic(self) -> bool:
        method = self.request.base.get("method")
        return (method.get("name") if isinstance(method, Mapping) else method) == AUTO

    def _faults(self) -> Iterator[Problem]:
        """What is wrong with the request itself, before any point is looked at."""
        request = self.request
        for name in _OF_THE_STUDY:
            if name in request.base:
                yield Problem(f"/base/{name}", "not_of_a_job", f"`base.{name}`: {_NOT_SEARCHED[name]}")
        if "seed" in request.base:
            yield Problem("/base/seed", "not_of_a_job", "`base.seed` decides nothing here; list it in `seeds`")
        for path in request.space:
            for barred, instead in _NOT_SEARCHED.items():
                if path == barred or path.startswith(f"{barred}."):
                    yield Problem(f"/space/{path}", "not_searched", f"`{path}` cannot be searched: {instead}")
            for other in request.space:
                if path.startswith(f"{other}.") and other not in ("method", "preset", "network", "decoder", "sampler"):
                    detail = f"`{other}` and `{path}` overlap, so that one would undo the other; leave one out"
                    yield Problem(f"/space/{path}", "overlapping_paths", detail)
        yield from self._faults_of_automatic() if self._automatic else self._faults_of_budget()
        if self._proposes:
            yield from self._faults_of_proposals()

    def _faults_of_budget(self) -> Iterator[Problem]:
        request, seeds = self.request, len(self.request.seeds)
        jobs, size = request.budget.jobs, Space(request.space).size
        if jobs is not None and jobs < seeds:
            detail = (
                f"`budget.jobs` is {jobs}, but each point has {seeds} jobs, one for each seed; allow {seeds} or more"
            )
            yield Problem("/budget/jobs", "budget_too_small", detail)
        elif request.sampler != "grid" and jobs is None:
            detail = f"`sampler` is '{request.sampler}', which fills `budget.jobs`; give 1 to {MOST_JOBS}"
            yield Problem("/budget/jobs", "budget_missing", detail)
        elif request.sampler == "grid" and size * seeds > (jobs or MOST_JOBS):
            each = "" if seeds == 1 else f" with {seeds} seeds each, {size * seeds:,} jobs"
            most = f"`budget.jobs` is {jobs:,}" if jobs else f"a study has {MOST_JOBS} jobs at most"
            detail = (
                f"the grid has {size:,} points{each}, but {most}; "
                "list fewer values, raise the budget, or draw points with `sampler`: 'random'"
            )
            yield Problem("/space", "grid_too_large", detail)

    def _faults_of_proposals(self) -> Iterator[Problem]:
        if self._automatic:
            detail = "`sampler` is 'tpe', but an automatic study has a space of its own; leave `sampler` out"
            yield Problem("/sampler", "sampler_of_automatic", detail)
        if not proposals.available():
            detail = (
                "`sampler` is 'tpe', which needs Optuna, and this service lacks it: `pip install 'ddservice[optuna]'` "
                "where the service and its workers run, or take 'random'"
            )
            yield Problem("/sampler", "optuna_missing", detail)
        if self.request.objective == "accuracy_per_minute":
            detail = (
                "`objective` is 'accuracy_per_minute', but `sampler` 'tpe' makes trials while the study goes on, and "
                "estimates change meanwhile; take 'accuracy' or 'accuracy_per_byte', or `sampler` 'random'"
            )
            yield Problem("/objective", "objective_changes", detail)

    def _faults_of_automatic(self) -> Iterator[Problem]:
        request = self.request
        if request.space:
            detail = "an automatic study has a space of its own; leave `space` out, or name a `method` in `base`"
            yield Problem("/space", "space_of_automatic", detail)
        if request.budget.minutes is None:
            detail = "an automatic study needs `budget.minutes`, such as 20: how much it tries follows from them"
            yield Problem("/budget/minutes", "budget_missing", detail)
        if request.budget.jobs is not None:
            detail = "an automatic study decides by `budget.minutes` how many jobs it has; leave `budget.jobs` out"
            yield Problem("/budget/jobs", "budget_of_automatic", detail)
        if len(request.seeds) > 1:
            detail = f"an automatic study has one seed, got {list(request.seeds)}"
            yield Problem("/seeds", "seeds_of_automatic", detail)
        for name in ("preset", "regularizers", "iterations"):
            if name in request.base:
                detail = f"an automatic study chooses `{name}` itself; leave it out of `base`"
                yield Problem(f"/base/{name}", "base_of_automatic", detail)

    def _sampled(self, searched: Space) -> Sequence[Values]:
        if self.request.sampler == "grid":
            return list(searched.grid())
        points = points_of(self.request)
        return searched.draw(proposals.drawn(points) if self._proposes else points, self.request.seed)

    def _plan_automatic(self) -> Plan:
        request = self.request
        dataset = request.base.get("dataset")
        facts = self.names.facts(dataset) if isinstance(dataset, str) else None
        if facts is None:
            self._check_base()
            detail = f"the size of {dataset} is not known yet, so that no study of it can be planned; list a `space`"
            raise Invalid([Problem("/base/dataset", "size_unknown", detail)])
        minutes = request.budget.minutes or 0.0
        points = automatic(facts, minutes, Halving(request.rungs, request.reduction), self._forecast)
        if not points:
            self._check_base()
            detail = f"{minutes:g} minutes do not suffice for one job on {dataset}; allow more, or evaluate less"
            raise Invalid([Problem("/budget/minutes", "budget_too_small", detail)])
        steps = [{} if point.iterations is None else {"iterations": point.iterations} for point in points]
        return self._planned(len(points), [(point.values, more) for point, more in zip(points, steps, strict=True)])

    def _check_base(self) -> None:
        """Raise what is wrong with the base of an automatic study."""
        try:
            self._trial({"method": "random"}, {})
        except _RefusedError as refused:
            raise Invalid([_of_base(problem) for problem in refused.problems]) from refused

    def _forecast(self, values: Values) -> Forecast | None:
        try:
            return self._trial(values, {}).forecast
        except _RefusedError:
            return None

    def _planned(self, points: int, sampled: Sequence[tuple[Values, Values]]) -> Plan:
        trials, refused, first = [], Counter[str](), dict[str, Sequence[Problem]]()
        for values, more in sampled:
            try:
                trials.append(self._once(self._trial(values, more)))
            except _RefusedError as error:
                refused[str(error)] += 1
                first.setdefault(str(error), error.problems)
        if not trials:
            found = {(p.pointer, p.detail): _of_base(p) for problems in first.values() for p in problems}
            raise Invalid(list(found.values()))
        return Plan(self.request, points, trials, dict(refused.most_common()), list(self._warnings(trials)))

    def _once(self, trial: PlannedTrial) -> PlannedTrial:
        """Refuse a trial whose job another one has already."""
        spec = _letters(trial.requests[0].spec.model_dump(mode="json"))
        other = self._known.setdefault(spec, trial.title)
        if other is not trial.title:
            raise _RefusedError([Problem("/space", "same_job", f"the same job as another point ({other})")])
        return trial

    def _trial(self, values: Values, more: Values) -> PlannedTrial:
        """A point as a trial.

        Raises:
            _RefusedError: it is no job.
        """
        body = {name: value for name, value in self.request.base.items() if not (name == "method" and self._automatic)}
        body = space.laid_over(body, {**values, **more})
        body = space.with_iterations(body, _takes_steps(body))
        try:
            iterations = self._alone(body).method.iterations
            first, *others = self.request.seeds
            request = submission.read(self._scored(body, first, iterations), self.names)
        except (SpecError, Invalid) as error:
            raise _RefusedError(error.problems) from error
        # Nothing but the seed differs, and seeds were checked with the request.
        specs = [request.spec, *(request.spec.model_copy(update={"seed": seed}) for seed in others)]
        return self._assessed(values, [replace(request, spec=spec) for spec in specs])

    def _alone(self, body: Mapping[str, Any]) -> JobSpec:
        """The specification as it is without the study."""
        rest = {name: value for name, value in body.items() if name not in Envelope.model_fields}
        evaluation = rest.get("evaluation")
        if isinstance(evaluation, Mapping):
            rest["evaluation"] = {**evaluation, "during": None}
        return parse(rest, self.names.certain_facts)

    def _scored(self, body: Mapping[str, Any], seed: int, iterations: int) -> dict[str, Any]:
        """The body of a job with the scorings of the study."""
        request, evaluation = self.request, body.get("evaluation") or {}
        steps = halving.holds(iterations, request.rungs, request.reduction)
        during = {
            "every": None, "at": sorted(set(steps)), "on": "validation", "held_out": True, "stop": None,
            "checkpoint": "last", **request.scoring.model_dump(),
        }  # fmt: skip
        return {**body, "seed": seed, "evaluation": {**evaluation, "during": during}}

    def _assessed(self, values: Values, requests: Sequence[Submission]) -> PlannedTrial:
        request, spec = requests[0], requests[0].spec
        if spec.evaluation.repeats == 0:
            detail = "the winner is evaluated in full, but `evaluation.repeats` is 0; choose 1 to 100"
            raise _RefusedError([Problem("/evaluation/repeats", "winner_not_evaluated", detail)])
        assessment = self.assessor.of(request)
        if self.check_room and not request.envelope.limits.ignore_estimate:
            # What would fit is not looked for: that takes long, and a study has other points.
            found = capacity.refusals(assessment.costing, assessment.room, _never)
            if found:
                raise _RefusedError(found)
        expected = forecast(self.assessor, assessment.costing)
        during = spec.evaluation.during
        scorings = len(during.at or ()) if during is not None else 0
        price = Price(
            None if expected is None else minutes_to_the_end(expected, spec.method.iterations, scorings),
            assessment.costing.distilled_bytes,
        )
        if divisor(self.request.objective, price) is None:
            detail = f"`objective` is {self.request.objective}, which needs the size of {spec.dataset}; take 'accuracy'"
            raise _RefusedError([Problem("/objective", "objective_unknown", detail)])
        return PlannedTrial(values, space.title(values), requests, expected, price)

    def _warnings(self, trials: Sequence[PlannedTrial]) -> Iterator[str]:
        evaluation = self.request.base.get("evaluation")
        if isinstance(evaluation, Mapping) and evaluation.get("during") is not None:
            yield "`base.evaluation.during` gives way to the scorings of the study (`scoring`, `rungs`)"
        if self.request.scoring.networks == 1 and len(self.request.seeds) == 1:
            yield (
                "`scoring.networks` is 1, so that nothing tells chance from a difference: of each rung, exactly the "
                "best go on"
            )
        if len(trials) == 1:
            yield "there is one trial, so that nothing is compared"
        facts = self.names.facts(trials[0].requests[0].spec.dataset)
        first = trials[0].requests[0]
        yield from submission.warnings(first.spec, facts)
        room = self.assessor.of(first).room
        if not room.memory:
            yield f"no worker for `device` '{first.spec.device}' is alive: the study waits until one comes"


def points_of(request: StudyRequest) -> int:
    """Points that a study with a random part tries: as many as the budget and the space have."""
    return min((request.budget.jobs or 0) // len(request.seeds), Space(request.space).size)


def _takes_steps(body: Mapping[str, Any]) -> bool:
    """Whether the method of a body takes steps, as far as its name is known."""
    method, preset = body.get("method"), body.get("preset")
    if method is None and isinstance(preset, str) and preset in all_presets():
        method = all_presets()[preset].job.get("method")
    name = method.get("name") if isinstance(method, Mapping) else method
    return not (isinstance(name, str) and name in METHODS and METHODS[name].model_fields["iterations"].default == 0)


def _letters(spec: Mapping[str, Any]) -> str:
    """A specification in letters, whatever order a database keeps its fields in."""
    return json.dumps(spec, sort_keys=True)


def _of_base(problem: Problem) -> Problem:
    """A fault of a job, as one of the request."""
    if problem.pointer.startswith(("/space", "/objective")):
        return problem
    return Problem(f"/base{problem.pointer}", problem.code, problem.detail)


def _never(_body: Mapping[str, Any]) -> JobSpec:
    raise SpecError([Problem("", "not_looked_for", "not looked for")])


def read(body: Mapping[str, Any]) -> StudyRequest:
    """Read a request.

    Raises:
        Invalid: with every fault.
    """
    try:
        return StudyRequest.model_validate(body)
    except ValidationError as error:
        raise Invalid(problems(error, tuple(StudyRequest.model_fields), StudyRequest)) from error
