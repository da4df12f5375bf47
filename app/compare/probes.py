"""Whether readings of the probe may stand in one picture: only where the same probe has read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Comparable = Literal["same", "unknown", "different"]


@dataclass(frozen=True)
class Probe:
    """What is known of the probe of one job; ``None`` where it is not.

    Attributes:
        digest: identity of its weights and of the real images it compares with.
        network: ``teacher`` or ``random``.
        temperature: of the critic.
    """

    dataset: str
    digest: str | None = None
    network: str | None = None
    temperature: float | None = None


@dataclass(frozen=True)
class Verdict:
    """Whether readings compare, and why not, or why that is not certain."""

    comparable: Comparable
    reason: str | None = None


def probe_of(spec: Mapping[str, Any], results: Mapping[str, Any] | None) -> Probe:
    """The probe of a job: what its results report, else what it asked for."""
    reported = (results or {}).get("probe") or {}
    asked = spec["metrics"]["probe"]
    return Probe(
        dataset=spec["dataset"],
        digest=reported.get("digest"),
        network=reported.get("network") or (None if asked == "auto" else asked),
        temperature=reported.get("temperature"),
    )


def verdict(probes: Sequence[Probe]) -> Verdict:
    """Whether the readings of some probes compare."""
    for what, values in (
        ("on different datasets", _known(probe.dataset for probe in probes)),
        ("by different kinds of network", _known(probe.network for probe in probes)),
        ("at different temperatures", _known(probe.temperature for probe in probes)),
        ("by different probes", _known(probe.digest and probe.digest[:12] for probe in probes)),
    ):
        if len(values) > 1:
            return Verdict("different", f"they were read {what} ({', '.join(values)}), so their levels do not compare")
    missing = sum(probe.digest is None for probe in probes)
    if missing and len(probes) > 1:
        which = "of none of the jobs" if missing == len(probes) else f"of {missing} of {len(probes)} jobs not"
        return Verdict("unknown", f"it is known {which} which probe has read them, so their levels may not compare")
    return Verdict("same")


def _known(values: Iterable[str | float | None]) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values if value is not None))
