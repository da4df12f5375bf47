"""When two phases are alike enough for one to tell how long the other takes.

Every phase of a job has a few keys, from the most specific to the least. A new phase is compared with the measured ones
that share its first key; where there are none, with those that share the second, and so on. Keys are digests, because
measurements outlive the jobs and sets that they come from, and are read for every tenant.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ddcore.spec import JobSpec
from ddcore.spec.workload import Workload

Keys = tuple[str, ...]

_OF_NO_MATTER = frozenset({"seed", "evaluation", "metrics", "snapshots", "checkpoints", "device"})
"""Fields of a job on which the speed of its steps does not depend."""


def keys_by_phase(spec: JobSpec, workload: Workload) -> dict[str, Keys]:
    """The keys of each phase of a job.

    Args:
        spec: the job; a user's own set is named by its content.
        workload: its work, and the machine.
    """
    how = workload.machine.ways
    sizes = [workload.shape, workload.classes]
    data = [*sizes, workload.train]
    terms = sorted(term.name for term in spec.regularizers)
    network = _plain(spec.network)
    scored = [_plain(each) for each in spec.evaluation.architectures(spec.network)]
    return {
        "loading": (
            digest("loading", data, spec.method.name, network, terms, spec.init, how),
            digest("loading", data, how),
            digest("loading", data),
        ),
        "pretraining": (
            digest("pretraining", sorted(workload.networks)),
            digest("pretraining", network, sizes, how),
            digest("pretraining", sizes),
        ),
        "distilling": (
            kind(spec, workload),
            digest("distilling", spec.method.name, terms, network, sizes, how),
            digest("distilling", spec.method.name, network, sizes),
            digest("distilling", network, sizes),
        ),
        "evaluating": (
            digest("evaluating", _plain(spec.evaluation), network, _plain(spec.decoder), spec.ipc, data, how),
            digest("evaluating", spec.evaluation.protocol, scored, spec.evaluation.controls, sizes, how),
            digest("evaluating", scored, sizes),
        ),
        "finalizing": (digest("finalizing", spec.ipc, sizes, how), digest("finalizing", sizes)),
        "around": (digest("around"),),
    }


def kind(spec: JobSpec, workload: Workload) -> str:
    """Digest of all that the speed of a job's steps depends on, but not of how many there are."""
    fields = {name: value for name, value in _plain(spec).items() if name not in _OF_NO_MATTER}
    fields["method"] = {name: value for name, value in fields["method"].items() if name != "iterations"}
    return digest("distilling", fields, workload.shape, workload.train, *workload.machine.ways)


def digest(*parts: object) -> str:
    """Short digest of some values, as JSON spells them."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _plain(model: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = model.model_dump(mode="json")
    return found
