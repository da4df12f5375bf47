"""What both clients know of sets before anything travels: what is sent, and which set a word means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

from ddclient import images as own
from ddclient.dataset import DatasetHandle
from ddclient.errors import BadInputError
from ddclient.models import DatasetDocument
from ddclient.options import options_of
from ddclient.packing import Content
from ddcore.spec.ingest import IngestOptions

HandleT = TypeVar("HandleT", bound=DatasetHandle)


@dataclass(frozen=True)
class Parcel:
    """Images as the user gave them, what to call them, and how they are taken in; see ``Datasets.add``."""

    images: Any
    name: str
    test: Any
    classes: Sequence[str] | None
    channels: str | None
    options: IngestOptions

    @classmethod
    def of(
        cls, images: Any, name: str | None, test: Any, classes: Sequence[str] | None, options: Mapping[str, Any]
    ) -> Parcel:
        """Sort out what was given.

        Raises:
            BadInputError: the images need a name.
            SpecError: an option is out of range.
        """
        channels, chosen = options.get("channels"), dict(options)
        if own.encoded(images, classes):
            chosen.pop("channels", None)
        return cls(images, name or own.usual(images), test, classes, channels, options_of(chosen))

    def opened(self) -> AbstractContextManager[Content]:
        """The bytes to send; see :func:`ddclient.images.opened`."""
        return own.opened(self.images, self.test, self.name, self.classes, self.channels)

    def cut(self, content: Content, known: Iterable[DatasetDocument]) -> DatasetDocument | None:
        """A set whose upload was cut, where all that is known of it agrees.

        That the bytes agree too is checked by the digest that is sent at the end.
        """
        for one in known:
            upload = one.upload
            same = upload is not None and (upload.file, upload.size) == (content.name, content.size)
            if same and not one.complete and one.options == self.options:
                return one
        return None


def name_in(reference: str) -> str | None:
    """The name that a reference is listed by; none for a content."""
    return None if reference.startswith("ds_") else reference.partition("@")[0]


def meant(reference: str, listed: Iterable[HandleT]) -> HandleT:
    """The set that a reference means among those listed: of several the first that is ready, else the first.

    Raises:
        BadInputError: there is none.
    """
    found = [one for one in listed if _is_called(one.document, reference)]
    if not found:
        raise BadInputError(f"the service has no set {reference}; `ddctl datasets list` shows what there is")
    return next((one for one in found if one.state == "ready"), found[0])


def is_bare(reference: str) -> bool:
    """Whether a reference is a name alone, which several sets may have."""
    return not reference.startswith(("set_", "ds_")) and "@" not in reference


def check_alone(name: str, listed: Iterable[DatasetHandle]) -> None:
    """Refuse a name that does not say which set of the user's own is meant.

    Raises:
        BadInputError: several have it.
    """
    own_ones = [one for one in listed if one.document.id is not None]
    if len(own_ones) > 1:
        raise BadInputError(f"there are several sets {name}: {', '.join(one.exact for one in own_ones)}; say which")


def _is_called(document: DatasetDocument, reference: str) -> bool:
    """Whether a reference means this set: its content, its name and version, or its name alone."""
    if reference.startswith("ds_"):
        return document.content_id == reference
    return reference == (document.reference if "@" in reference else document.name)
