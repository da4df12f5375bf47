"""Jobs that extend a finished one, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from app.core.ids import new_id
from app.datasets.documents import as_json
from app.models.artifacts import Artifact, Blob
from app.models.datasets import Dataset
from ddcore.spec import DatasetFacts
from tests.app.jobs.test_extend_api import finish as finish_with_state
from tests.app.jobs.test_verbs_api import codes

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")
NOBODY = "job_01m7wfazz0fpcr59g52gcd7d4a"


def digest(version: int) -> str:
    return f"{version:x}" * 64


def take_in(api: Api, version: int, classes: str, side: int = 8, tenant: str = "default") -> None:
    """A version of a user's own set `photos`, with a class for each letter."""
    facts = DatasetFacts(
        name="photos", title="photos", shape=(1, side, side), classes=tuple(classes), train_size=50 * len(classes),
        smallest_class=50, mean=(0.5,), std=(0.5,), flip=False, download=False, test_size=10 * len(classes),
    )  # fmt: skip
    with api.database.write() as session:
        session.add(
            Dataset(
                id=new_id("set"), tenant_id=tenant, name="photos", version=version, file="photos.zip", options={},
                content_id=f"ds_{digest(version)[:20]}", facts=as_json(facts), received=1, size=1,
            )
        )  # fmt: skip


def finish(api: Api, job: dict[str, Any], **data: Any) -> str:
    """Have a job on the first version of the set succeed, and its bundle be there; its identifier."""
    facts = {"digest": digest(1), "classes": ["a", "b"], "shape": [1, 8, 8], "class_digests": True} | data
    with api.database.write() as session:
        session.merge(Blob(sha256=digest(9), size=9))
        session.flush()
        for kind, about in (("bundle", None), ("manifest", facts)):
            session.add(
                Artifact(
                    id=new_id("art"), tenant_id="default", job_id=job["id"], attempt=1, fence=1, kind=kind, name=kind,
                    media_type="x/y", sha256=digest(9), size=9, data=about, state="ready",
                )
            )  # fmt: skip
    api.force(job["id"], status="succeeded", step=10)
    return str(job["id"])


@pytest.fixture
def parent(api: Api, spec: dict[str, Any]) -> str:
    """A finished job on a set of the classes a and b, of which there is a version with c."""
    take_in(api, 1, "ab")
    take_in(api, 2, "abc")
    return finish(api, api.submit(spec | {"dataset": "photos@1"}))


@pytest.fixture
def grown(spec: dict[str, Any], parent: str) -> dict[str, Any]:
    """What extends that job."""
    return spec | {"dataset": "photos@2", "extends": parent}


def refused(api: Api, body: dict[str, Any]) -> dict[str, str]:
    """Faults of a submission, which its validation finds as well."""
    found = codes(api.post("/v1/jobs", json=body))
    assert codes(api.post("/v1/jobs:validate", json=body)) == found
    return found


def held(api: Api, job_id: str) -> list[tuple[str, str | None, str]]:
    with api.database.read() as session:
        rows = session.scalars(select(Artifact).where(Artifact.job_id == job_id, Artifact.state == "ready"))
        return [(row.kind, row.sha256, row.name) for row in rows]


def test_the_job_names_its_parent_and_holds_its_bundle(api: Api, grown: dict[str, Any], parent: str) -> None:
    job = api.submit(grown)
    assert (job["parent_id"], job["spec"]["extends"], job["spec"]["dataset"]) == (parent, parent, "photos@2")
    assert held(api, job["id"]) == [("parent_bundle", digest(9), "bundle")]
    warned = api.post("/v1/jobs:validate", json=grown).json()["warnings"]
    assert any("estimate is of all classes" in one for one in warned)


def test_copies_go_on_holding_the_bundle_of_a_parent_that_is_gone(api: Api, grown: dict[str, Any], parent: str) -> None:
    job = api.submit(grown)
    copy = api.post(f"/v1/jobs/{job['id']}:clone", json={"overrides": {"seed": 5}}).json()
    assert (copy["parent_id"], copy["spec"]["extends"]) == (job["id"], parent)
    assert held(api, copy["id"]) == held(api, job["id"])
    assert api.delete(f"/v1/jobs/{parent}").status_code == 204
    assert held(api, job["id"]) == [("parent_bundle", digest(9), "bundle")]
    assert codes(api.post(f"/v1/jobs/{job['id']}:clone")) == {"/extends": "unknown_job"}


def test_jobs_that_are_not_there_are_told_apart_from_none(
    api: Api, rival: Api, grown: dict[str, Any], parent: str
) -> None:
    assert refused(api, grown | {"extends": NOBODY}) == {"/extends": "unknown_job"}
    take_in(api, 1, "abc", tenant="rival")
    assert refused(rival, grown | {"dataset": "photos@1"}) == {"/extends": "unknown_job"}
    assert api.delete(f"/v1/jobs/{parent}").status_code == 204
    assert refused(api, grown) == {"/extends": "unknown_job"}
    assert refused(api, grown | {"extends": "the last one"}) == {"/extends": "string_pattern_mismatch"}


@pytest.mark.parametrize("status", ["queued", "running", "failed", "cancelled"])
def test_a_job_that_has_no_images_to_keep_is_refused(api: Api, grown: dict[str, Any], parent: str, status: str) -> None:
    api.force(parent, status=status)
    response = api.post("/v1/jobs", json=grown)
    assert codes(response) == {"/extends": "job_not_finished"}
    assert f"which is {status}" in response.text


@pytest.mark.parametrize(
    ("fields", "faults"),
    [
        ({"ipc": 3}, {"/ipc": "unlike_the_extended_job"}),
        ({"method": "random"}, {"/method": "unlike_the_extended_job"}),
        ({"decoder": "mosaic"}, {"/decoder": "unlike_the_extended_job"}),
        ({"method": "mtt"}, {"/method": "classes_mixed"}),
        ({"regularizers": {"mim": 1.0}}, {"/regularizers/0": "classes_mixed"}),
        ({"whitening": True}, {"/whitening": "classes_mixed"}),
        ({"evaluation": {"labels": "soft"}}, {"/evaluation/labels": "classes_mixed"}),
        ({"network": {"name": "convnet", "norm": "batch"}}, {"/network/norm": "classes_mixed"}),
    ],
)
def test_what_would_mix_old_and_new_classes_is_refused(
    api: Api, grown: dict[str, Any], fields: dict[str, Any], faults: dict[str, str]
) -> None:
    assert refused(api, grown | fields) == faults


def test_sets_that_do_not_grow_are_refused(api: Api, grown: dict[str, Any]) -> None:
    assert refused(api, grown | {"dataset": "photos@1"}) == {"/extends": "nothing_to_do"}
    take_in(api, 3, "acd")
    take_in(api, 4, "abc", side=16)
    assert refused(api, grown | {"dataset": "photos@3"}) == {"/extends": "classes_lost"}
    assert refused(api, grown | {"dataset": "photos@4"}) == {"/extends": "other_image_size"}


def test_parents_of_earlier_versions_and_of_methods_that_mix_are_refused(
    api: Api, spec: dict[str, Any], grown: dict[str, Any]
) -> None:
    old = finish(api, api.submit(spec | {"dataset": "photos@1"}), class_digests=False)
    response = api.post("/v1/jobs", json=grown | {"extends": old})
    assert codes(response) == {"/extends": "no_class_digests"}
    assert "clone that job, and extend the copy" in response.text
    mixed = finish(api, api.submit(spec | {"dataset": "photos@1", "regularizers": {"cmi": 1.0}}))
    assert refused(api, grown | {"extends": mixed}) == {"/extends": "classes_mixed"}
    built_in = finish(api, api.submit(spec), classes=list("0123456789"))
    assert refused(api, spec | {"extends": built_in}) == {"/extends": "nothing_to_do"}


def test_a_job_that_extends_goes_on_when_its_parent_is_gone(api: Api, grown: dict[str, Any], parent: str) -> None:
    job = api.submit(grown)
    assert api.delete(f"/v1/jobs/{parent}").status_code == 204
    more = api.post(f"/v1/jobs/{finish_with_state(api, job, 10)}:extend", json={"iterations": 5})
    assert more.status_code == 201, more.text
    assert (more.json()["parent_id"], more.json()["spec"]["extends"]) == (job["id"], parent)
    assert ("parent_bundle", digest(9), "bundle") in held(api, more.json()["id"])
