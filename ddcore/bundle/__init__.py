"""What a user gets: the distilled images with everything needed to train on them, in files that run no code."""

from ddcore.bundle.content import DatasetReference, Distilled
from ddcore.bundle.exports import export_imagefolder, export_npz, export_zip
from ddcore.bundle.folder import load, read, write
from ddcore.bundle.neighbours import write_audit
from ddcore.bundle.preview import preview_png
from ddcore.bundle.reproduce import train_on
from ddcore.bundle.scoring import Scored, score

__all__ = [
    "DatasetReference",
    "Distilled",
    "Scored",
    "export_imagefolder",
    "export_npz",
    "export_zip",
    "load",
    "preview_png",
    "read",
    "score",
    "train_on",
    "write",
    "write_audit",
]
