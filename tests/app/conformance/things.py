"""What a tenant has, in every state that the paths, queries and bodies of made-up requests could mean."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.artifacts.service import Output, publish
from app.core.ids import new_id
from app.core.tables import clock
from app.events import repository as events
from app.logs import repository as logs
from app.metrics import repository as metrics
from app.models.fleet import Worker
from app.models.states import HELD, TERMINAL, State
from tests.app.compare.jobs import results
from tests.app.conftest import Api
from tests.app.datasets.conftest import Sets
from tests.app.scores.conftest import Scores

MOSTLY = 0.8
JOB: Mapping[str, Any] = {"dataset": "digits", "ipc": 1, "method": {"name": "dm", "iterations": 10}}
STUDY: Mapping[str, Any] = {"base": JOB, "space": {"ipc": [1, 2]}, "budget": {"jobs": 2}}
HOOK: Mapping[str, Any] = {"url": "https://hooks.example.org/"}
SOUND: Mapping[str, Mapping[str, Any]] = {
    "/v1/jobs": JOB,
    "/v1/jobs:validate": JOB,
    "/v1/studies": STUDY,
    "/v1/studies:validate": STUDY,
    "/v1/webhooks": HOOK,
    "/v1/scores": {"file": "set.npz", "dataset": "digits"},
}
"""Bodies that are accepted, by path, where one made up as a whole hardly ever is."""
WORKER = "wrk_01m7wewc2pfn6v37mwaesxmpy7"
ERROR = {"code": "data_error", "message": "no images", "param": None, "retryable": False, "attempt": 1}


class Things:
    """Identifiers of what there is, by the name that parameters have for it.

    Args:
        api: of the tenant, with all rights.
        folder: for files.
        chance: decides what a request names.
    """

    def __init__(self, api: Api, folder: Path, chance: random.Random) -> None:
        self._api = api
        self._folder = folder
        self._chance = chance
        self.renew()

    def renew(self) -> None:
        """Make all of it anew, since requests change and delete it."""
        jobs = {state: self._job(state) for state in State}
        finished = [jobs[State.SUCCEEDED], self._job(State.SUCCEEDED)]
        artifacts = [self._artifact(job, *of) for job in finished for of in (("bundle", "zip"), ("preview", "png"))]
        sets = Sets(self._api, self._folder)
        ready = sets.ready("shown", per_class=2)
        self._make_worker()
        scores = Scores(self._api)
        webhook = self._made("/v1/webhooks", HOOK)
        message = self._api.post(f"/v1/webhooks/{webhook}:test").json()["id"]
        self._known = {
            "job_id": [*jobs.values(), *finished * 4],
            "ids": finished,
            "job": finished,
            "key": ["loss"],
            "artifact_id": artifacts,
            "study_id": [self._made("/v1/studies", STUDY), self._ended_study()],
            "dataset_id": [sets.announce(), sets.uploaded(), ready, ready],
            "score_id": [scores.announce(), scores.sent()],
            "name": ["dataset.json", "shown"],
            "/v1/presets/{name}": ["quick/dm-digits"],
            "key_id": [self._made("/v1/api-keys", {"name": "spare"})],
            "member_id": [self._made("/v1/members", {"email": f"{new_id('mem')}@example.org"})],
            "tenant_id": [self._made("/v1/tenants", {"id": new_id("t").replace("_", "-")})],
            "worker_id": [WORKER],
            "webhook_id": [webhook],
            "delivery_id": [message],
            "code": ["internal"],
        }

    def named_in(self, path: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The same parameters of a path; those that name something now mostly name something that there is."""
        return {name: self._named(path, name, value) for name, value in parameters.items()}

    def _named(self, path: str, name: str, value: Any) -> Any:
        known = self._known.get(path) or self._known.get(name)
        return self._chance.choice(known) if known and self._mostly() else value

    def body(self, path: str, body: Any) -> Any:
        """The body made up for a path; mostly no more of it than a field or two in one that would be accepted."""
        if path not in SOUND or not isinstance(body, dict) or not self._mostly():
            return body
        fields = self._chance.sample(sorted(body), min(len(body), self._chance.randrange(3)))
        return {**SOUND[path], **{name: body[name] for name in fields}}

    def _mostly(self) -> bool:
        return self._chance.random() < MOSTLY

    def _job(self, state: State) -> str:
        job_id = str(self._api.submit(dict(JOB))["id"])
        done = results([0.5, 0.6], "ab" * 32, random=[0.4, 0.4]) if state is State.SUCCEEDED else None
        held = {"owner": WORKER, "lease_until": clock(3600)} if state in HELD else {}
        ended = {"finished_at": clock()} if state in TERMINAL else {}
        error = ERROR if state is State.FAILED else None
        self._api.force(job_id, status=state, results=done, attempt=1, fence=1, error=error, **held, **ended)
        with self._api.database.write() as session:
            metrics.ingest(session, job_id, "default", [(step, step, "loss", 1 / step) for step in range(1, 9)])
            events.append(session, job_id, "job.log", "info", "something")
            logs.append(session, job_id, b"2026-11-20T12:36:41Z 1 something\n")
        return job_id

    def _artifact(self, job_id: str, kind: Any, suffix: str) -> str:
        path = self._folder / f"{kind}.{suffix}"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
        media_type = {"zip": "application/zip", "png": "image/png"}[suffix]
        with self._api.database.write() as session:
            return publish(session, self._api.state.store, job_id, 1, Output(kind, path, media_type))

    def _made(self, path: str, body: Mapping[str, Any]) -> str:
        answer = self._api.post(path, json=dict(body))
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def _ended_study(self) -> str:
        study_id = self._made("/v1/studies", STUDY)
        assert self._api.post(f"/v1/studies/{study_id}:cancel").json()["status"] == "cancelled"
        return study_id

    def _make_worker(self) -> None:
        facts = {"id": WORKER, "name": "w@h", "host": "h", "pid": 1, "device_class": "cpu", "facts": {}, "losses": []}
        worker = Worker(**facts, state="idle", heartbeat_at=clock(86_400))
        with self._api.database.write() as session:
            session.merge(worker)
