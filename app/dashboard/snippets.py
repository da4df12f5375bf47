"""How to do by hand what a page shows: commands and code to copy."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from app.jobs.schemas import JobDocument
from ddcore.spec import METHODS, REGULARIZERS, JobSpec, SpecError, parse


def submission(job: JobDocument) -> dict[str, Any]:
    """The shortest body that submits this job again: fields at their defaults are left out."""
    try:
        body = shortest(parse(job.spec))
    except SpecError:
        # Written by an older version whose fields have changed since; shown as it is.
        body = dict(job.spec)
    return {"name": job.name, **body} if job.name else body


def departures(job: JobDocument) -> list[tuple[str, str]]:
    """Where a plain default of the job's method or regularisers is not the published setting: (name, sentence)."""
    method, terms = job.spec["method"]["name"], [term["name"] for term in job.spec["regularizers"]]
    classes = [(method, METHODS.get(method)), *((name, REGULARIZERS.get(name)) for name in terms)]
    return [(name, sentence) for name, cls in classes if cls is not None for sentence in cls.departures]


def shortest(spec: JobSpec) -> dict[str, Any]:
    """The fields that are not at their defaults, and in full those whose defaults follow the rest of the job."""
    body, full = _changed(spec), spec.model_dump(mode="json")
    try:
        found = parse(body)
    except SpecError as error:
        body |= {name: full[name] for name in full for problem in error.problems if name in problem.pointer.split("/")}
        found = parse(body)
    return body | {name: full[name] for name in full if getattr(found, name) != getattr(spec, name)}


def _changed(config: BaseModel) -> dict[str, Any]:
    """The fields of a configuration that are not at their defaults."""
    fields = type(config).model_fields
    values = {name: getattr(config, name) for name in fields}
    changed = {
        name: value for name, value in values.items() if value != fields[name].get_default(call_default_factory=True)
    }
    body = {name: _plain(value) for name, value in changed.items() if name != "name"}
    if "regularizers" in body:
        body["regularizers"] = {regularizer.name: _strength(regularizer) for regularizer in values["regularizers"]}
    return body


def _plain(value: Any) -> Any:
    """The short spelling: a component with nothing changed is its name."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if not isinstance(value, BaseModel):
        return value
    body, name = _changed(value), getattr(value, "name", None)
    if name is None:
        return body
    return {"name": name, **body} if body else name


def _strength(regularizer: BaseModel) -> Any:
    body = _changed(regularizer)
    return body["weight"] if body.keys() == {"weight"} else body


def again(body: Mapping[str, Any], base_url: str) -> dict[str, str]:
    """The same submission over HTTP, from a shell and from Python.

    Args:
        body: of the submission, such as :func:`submission` or :func:`shortest` makes.
        base_url: where the service answers.
    """
    return {"curl": curl(body, base_url), "ddctl": ddctl(body), "Python": python(body)}


def curl(body: Mapping[str, Any], base_url: str) -> str:
    """Submit a job over HTTP."""
    return _post(base_url, "/v1/jobs", json.dumps(body, ensure_ascii=False))


def ddctl(body: Mapping[str, Any]) -> str:
    """Submit a job from a shell."""
    return f"echo {shlex.quote(json.dumps(body, ensure_ascii=False))} \\\n  | ddctl submit --spec - --watch"


def python(body: Mapping[str, Any]) -> str:
    """Submit a job from Python."""
    fields = "".join(f"    {name}={value!r},\n" for name, value in body.items() if name != "dataset")
    return (
        "from ddclient import Client\n\n"
        f"job = Client().distill(\n    {body['dataset']!r},\n{fields})\n"
        'job.wait()\ndata = job.download("out/").as_torch()'
    )


def score(base_url: str) -> dict[str, str]:
    """Have a set that others made scored, from a shell and from Python.

    Args:
        base_url: where the service answers.
    """
    return {
        "ddctl": f"DD_URL={base_url} ddctl score set.npz --dataset cifar10 --protocol dm",
        "Python": (
            "from ddclient import Client\n\n"
            'score = Client().score("set.npz", "cifar10", {"evaluation": {"protocol": "dm"}})\n'
            "print(score.results.accuracy)"
        ),
    }


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
        "curl": _post(base_url, "/v1/jobs", body),
    }


def study(request: Mapping[str, Any], base_url: str) -> dict[str, str]:
    """The same study from a shell, over HTTP and from Python.

    Args:
        request: of the study.
        base_url: where the service answers.
    """
    text = json.dumps(request, ensure_ascii=False)
    return {
        "ddctl": f"echo {shlex.quote(text)} \\\n  | ddctl study create --file - --watch",
        "curl": _post(base_url, "/v1/studies", text),
        "Python": f"from ddclient import Client\n\nstudy = Client().submit_study({dict(request)!r})\nstudy.wait()\n"
        'data = study.job.download("out/").as_torch()',
    }


def first_study(base_url: str) -> dict[str, str]:
    """What to type when there is no study yet."""
    body = {"base": {"dataset": "digits", "ipc": 1, "method": "auto"}, "budget": {"minutes": 5}}
    return {
        "Your own images": "ddctl auto ./photos --ipc 10 --minutes 20 --out best",
        "ddctl": "ddctl auto digits --ipc 1 --minutes 5 --out best",
        "curl": _post(base_url, "/v1/studies", json.dumps(body)),
    }


def distil(reference: str, wanted: Mapping[str, Any], base_url: str) -> dict[str, str]:
    """How to distil a set by hand.

    Args:
        reference: what jobs call it.
        wanted: method, images per class and seed.
        base_url: where the service answers.
    """
    given = {name: str(wanted[name]) for name in ("method", "ipc", "seed")}
    options = " ".join(f"--{name} {shlex.quote(value)}" for name, value in given.items())
    body = {"dataset": reference, **{name: _number(value) for name, value in given.items()}}
    arguments = ", ".join(f"{name}={_number(value)!r}" for name, value in given.items())
    return {
        "ddctl": f"ddctl submit {shlex.quote(reference)} {options} --watch",
        "Python": f"from ddclient import Client\n\njob = Client().distill({reference!r}, {arguments})\njob.wait()",
        "curl": _post(base_url, "/v1/jobs", json.dumps(body, ensure_ascii=False)),
    }


def upload(base_url: str) -> dict[str, str]:
    """How to send images without a browser: announce a file, then send it to the address that this gives."""
    sets = shlex.quote(f"{base_url}/v1/datasets")
    return {
        "Announce": _post(base_url, "/v1/datasets", '{"name": "photos", "file": "photos.zip"}'),
        "Send": (
            f"curl -X PUT {sets}/$ID/content \\\n"
            '  -H "Authorization: Bearer $DD_API_KEY" \\\n'
            "  --upload-file photos.zip  # $ID: the set_… that announcing it has answered"
        ),
    }


def _post(base_url: str, path: str, body: str) -> str:
    return (
        f"curl -X POST {shlex.quote(base_url + path)} \\\n"
        '  -H "Authorization: Bearer $DD_API_KEY" \\\n'
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(body)}"
    )


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdecimal() else text
