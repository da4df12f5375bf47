"""Interactive documentation that works with the network cut, and an OpenAPI document that names every schema."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from app.core.problems import ProblemDocument
from app.jobs.schemas import Envelope
from ddcore.spec import JobSpec

ASSETS = "/docs-assets"
TEMPLATE = "#/components/schemas/{model}"


def install(app: FastAPI) -> None:
    """Serve ``/docs`` from files of this machine, and ``/openapi.json``."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title=f"{app.title}: API",
        swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{ASSETS}/favicon.png",
    ).body
    headers = {"Content-Security-Policy": _policy(bytes(page).decode())}

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        """Show the interactive documentation."""
        return HTMLResponse(bytes(page), headers=headers)

    assets = Path(fastapi_offline.__file__).parent / "static"
    app.mount(ASSETS, StaticFiles(directory=assets), name="docs-assets")
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign] # FastAPI's documented way to extend it


def _policy(page: str) -> str:
    """A policy that allows the page's one inline script by its digest, and the inline styles of the interface."""
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'self'; script-src 'self' {allowed}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'"
    )


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = document["components"]["schemas"]
        schemas["ProblemDocument"] = _component(schemas, ProblemDocument)
        schemas["JobSpec"] = _component(schemas, JobSpec)
        schemas["JobSubmission"] = _submission(schemas["JobSpec"], _component(schemas, Envelope))
        for path in ("/v1/jobs", "/v1/jobs:validate"):
            body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
            body["schema"] = {"$ref": TEMPLATE.format(model="JobSubmission")}
        app.openapi_schema = document
    return app.openapi_schema


def _component(schemas: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Schema of a model, its definitions moved to where the document's references point."""
    schema = model.model_json_schema(ref_template=TEMPLATE)
    schemas.update(schema.pop("$defs", {}))
    return schema


def _submission(spec: dict[str, Any], envelope: dict[str, Any]) -> dict[str, Any]:
    """Both in one object. Nothing is required there, because a preset may give it."""
    preset = {"type": "string", "description": "A preset to start from; other fields override it."}
    return {
        "title": "JobSubmission",
        "description": "A specification, or a preset with overrides, and what stands beside it.",
        "type": "object",
        "additionalProperties": False,
        "properties": {"preset": preset, **spec["properties"], **envelope["properties"]},
    }
