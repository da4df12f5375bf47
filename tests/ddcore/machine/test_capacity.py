"""How much room is found: what the system says, what a container allows, and the disk below a folder to come."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from ddcore.machine.capacity import format_bytes, free_disk, free_memory

CPU = torch.device("cpu")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Files of a machine with 3,000 kB available."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemFree: 5 kB\nMemAvailable:    3000 kB\n")
    return tmp_path


def container(root: Path, limit: str, current: int = 0, inactive: int = 0) -> None:
    group = root / "sys/fs/cgroup"
    group.mkdir(parents=True)
    for name, value in {"max": limit, "current": str(current), "stat": f"anon 7\ninactive_file {inactive}"}.items():
        (group / f"memory.{name}").write_text(value + "\n")


def test_memory_is_what_the_system_calls_available(machine: Path) -> None:
    assert free_memory(CPU, machine) == 3_072_000


def test_a_container_may_have_less(machine: Path) -> None:
    container(machine, "2000000", current=1_500_000, inactive=400_000)
    assert free_memory(CPU, machine) == 900_000


def test_a_full_container_has_none(machine: Path) -> None:
    container(machine, "1000", current=2000)
    assert free_memory(CPU, machine) == 0


def test_a_container_without_a_limit_has_what_the_machine_has(machine: Path) -> None:
    container(machine, "max")
    assert free_memory(CPU, machine) == 3_072_000


def test_where_the_system_does_not_say_it_is_all_there_is(tmp_path: Path) -> None:
    assert free_memory(CPU, tmp_path) > 2**26
    assert free_memory(CPU) <= free_memory(CPU, tmp_path)


def test_a_folder_to_come_lies_on_the_disk_of_what_exists(tmp_path: Path) -> None:
    total = shutil.disk_usage(tmp_path).total
    assert 0 < free_disk(tmp_path / "a" / "b") <= total


@pytest.mark.parametrize(
    ("size", "text"), [(999, "999 B"), (1000, "1 kB"), (37_560, "37.6 kB"), (2.5e12, "2,500.0 GB")]
)
def test_sizes_are_written_in_decimal_units(size: float, text: str) -> None:
    assert format_bytes(size) == text
