"""What a job is called after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def method_with_regularizers(spec: Mapping[str, Any]) -> str:
    """The name of the method, and those of the regularisers beside it.

    Args:
        spec: a specification in the full spelling, of any version: it need not parse any more.

    >>> method_with_regularizers({"method": {"name": "dm"}, "regularizers": [{"name": "mim"}, {"name": "cmi"}]})
    'dm + mim + cmi'
    """
    method = spec.get("method")
    name = method.get("name", "?") if isinstance(method, Mapping) else method
    return " + ".join([str(name), *(str(term["name"]) for term in spec.get("regularizers") or ())])
