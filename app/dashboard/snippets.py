"""How to do by hand what a page shows: commands and code to copy."""

from __future__ import annotations

import json
import shlex
from typing import Any

from app.jobs.schemas import JobDocument
from ddcore.spec import JobSpec, SpecError, parse


def submission(job: JobDocument) -> dict[str, Any]:
    """The shortest body that submits this job again: fields at their defaults are left out."""
    try:
        body = _short(parse(job.spec))
    except SpecError:
        # Written by an older version whose fields have changed since; shown as it is.
        body = dict(job.spec)
    return {"name": job.name, **body} if job.name else body


def _short(spec: JobSpec) -> dict[str, Any]:
    body = spec.model_dump(mode="json", exclude_defaults=True)
    for field, config in (("method", spec.method), ("network", spec.network)):
        if field in body:
            body[field] = _component(config)
    if spec.regularizers:
        body["regularizers"] = {r.name: _strength(_component(r)) for r in spec.regularizers}
    return body


def _component(config: Any) -> Any:
    changed = config.model_dump(mode="json", exclude_defaults=True)
    changed.pop("name", None)
    return {"name": config.name, **changed} if changed else config.name


def _strength(component: Any) -> Any:
    if isinstance(component, str):
        return {}
    named = {name: value for name, value in component.items() if name != "name"}
    return named["weight"] if named.keys() == {"weight"} else named


def curl(job: JobDocument, base_url: str) -> str:
    """Submit the job again over HTTP."""
    body = json.dumps(submission(job), ensure_ascii=False)
    return (
        f"curl -X POST {shlex.quote(base_url + '/v1/jobs')} \\\n"
        '  -H "Authorization: Bearer $DD_API_KEY" \\\n'
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(body)}"
    )


def ddctl(job: JobDocument) -> str:
    """Submit the job again from a shell."""
    body = json.dumps(submission(job), ensure_ascii=False)
    return f"echo {shlex.quote(body)} \\\n  | ddctl submit --spec - --watch"


def python(job: JobDocument) -> str:
    """Submit the job again from Python."""
    body = submission(job)
    fields = "".join(f"    {name}={value!r},\n" for name, value in body.items() if name != "dataset")
    return (
        "from ddclient import Client\n\n"
        f"job = Client().distill(\n    {body['dataset']!r},\n{fields})\n"
        'job.wait()\ndata = job.download("out/").as_torch()'
    )


def load(job: JobDocument) -> str:
    """Fetch the bundle and train on it."""
    return (
        f"# ddctl get {job.id} -o out\n"
        "from safetensors.torch import load_file\n"
        "from torch.utils.data import TensorDataset\n\n"
        'd = load_file("out/distilled.safetensors")\n'
        'data = TensorDataset(d["images"], d["labels"])\n'
        "# float32, 0 to 1 nominal; normalise as manifest.json says"
    )


def load_datasets() -> str:
    """Read the bundle with the Hugging Face library."""
    return 'from datasets import load_dataset\n\ndata = load_dataset("out", split="train")  # image, label'


def first_job(base_url: str) -> dict[str, str]:
    """What to type when there is no job yet."""
    body = '{"preset": "quick/dm-mim-cmi-digits"}'
    return {
        "ddctl": "ddctl submit --preset quick/dm-mim-cmi-digits --watch",
        "curl": (
            f"curl -X POST {shlex.quote(base_url + '/v1/jobs')} \\\n"
            '  -H "Authorization: Bearer $DD_API_KEY" \\\n'
            "  -H 'Content-Type: application/json' \\\n"
            f"  -d {shlex.quote(body)}"
        ),
    }
