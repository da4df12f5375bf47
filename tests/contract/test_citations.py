"""Docstrings and comments cite what a stranger can find: papers, released code and web standards."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.conftest import ROOT

PACKAGES = ("ddcore", "app", "worker", "ddclient", "benchmarks", "examples", "tests")
UNKNOWN = re.compile(
    r"""
    (?<![/\w])methods/(?!\w+\.py)[a-z]+           # a document that is not in the repository; modules of the engine are
    | trajectory[ -]and[ -]bilevel
    | [(,]\ ?[A-G][0-9][,.;:)]                    # its paragraphs: A3, E1
    | \b(?:IDM|IDC|DC|DM|MTT)[ ,]+[0-9](?:\.[0-9])?[;).]
    | [Ss]ections?\ [0-9]+                        # of which document?
    """,
    re.VERBOSE,
)
KNOWN = re.compile(r"\bRFC \d+|\bWHATWG\b|\barXiv \d{4}\.\d{5}|\b(?:19|20)\d\d\b")
"""What says whose sections a line cites."""


def prose(source: str) -> Iterator[str]:
    """Lines of comments and of docstrings."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and '"""' in token.string[:4]):
            yield from token.string.splitlines()


def unknown(source: str) -> list[str]:
    return [line.strip() for line in prose(source) if UNKNOWN.search(line) and not KNOWN.search(line)]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_citation_leads_out_of_the_repository_to_nothing_public(package: str) -> None:
    files = [file for file in (ROOT / package).rglob("*.py") if file != Path(__file__)]
    assert files
    found = {str(file.relative_to(ROOT)): lines for file in files if (lines := unknown(file.read_text()))}
    assert found == {}


@pytest.mark.parametrize(
    "comment",
    [
        "Initial weights of the literature (methods/matching, A1).",
        "Trained on it from scratch (A3).",
        "In closed form (matching, E0).",
        "Each enlarged to full size (IDM 2; IDC 6.2).",
        "See section 8.2 for why.",
        "Source: trajectory and bilevel, 6 and 7.",
    ],
)
def test_such_citations_are_found(comment: str) -> None:
    assert unknown(f"# {comment}\n") == [f"# {comment}"]


def test_citations_of_standards_and_papers_are_not() -> None:
    assert (
        unknown("# WHATWG HTML, section 9.2\n# RFC 9110, sections 13 and 14\n# Sener & Savarese 2018, section 3\n")
        == []
    )
