"""What a run is about to do on which machine, and what that took: how an installation learns its own speed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from ddcore.spec.cost import Cost

WORKING = ("pretraining", "distilling", "evaluating")
"""Phases whose seconds grow with their work; the others take what they take."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Machine(_Frozen):
    """What a run computes with."""

    device_class: Literal["cpu", "cuda"]
    name: str = Field(max_length=200, description="Of the processor or accelerator, with the threads of a CPU.")
    precision: str = Field(max_length=16, description="fp32 or bf16.")
    compiled: bool = Field(description="Whether passes through networks are compiled.")
    own_kernels: bool = Field(False, description="Whether they go through kernels of our own where these fit.")

    @property
    def ways(self) -> tuple[object, ...]:
        """What a speed depends on besides the device; what was measured before our own kernels keeps its name."""
        return (self.precision, self.compiled, *(("own kernels",) if self.own_kernels else ()))


class PhaseWork(_Frozen):
    """Work of a phase."""

    passes: float = Field(ge=0, description="Images through networks, a backward pass counting as two.")
    flop: float = Field(ge=0, description="Floating-point operations.")


class Workload(_Frozen):
    """What a run is about to do, by the cost model and the real sizes of its dataset."""

    machine: Machine
    shape: tuple[int, int, int] = Field(description="(channels, height, width).")
    classes: int = Field(ge=1)
    train: int = Field(ge=1, description="Training images.")
    phases: Mapping[str, PhaseWork]
    networks: Mapping[str, float] = Field(
        description="Operations of training the networks that the cache keeps, by digest of what they depend on."
    )
    network_epochs: float = Field(ge=0, description="Epochs of networks that the cache keeps, if none is there yet.")
    peak_bytes: int = Field(ge=0, description="Most bytes of tensors alive at once.")

    @classmethod
    def of(cls, cost: Cost, machine: Machine) -> Workload:
        """The work of a job on a machine.

        Args:
            cost: the model of the job.
            machine: what it would compute with.
        """
        phases = {phase: PhaseWork(passes=cost.passes(phase), flop=cost.operations(phase)) for phase in WORKING}
        how = "/".join(map(str, machine.ways))
        return cls(
            machine=machine,
            shape=cost.data.shape,
            classes=cost.data.classes,
            train=cost.data.train,
            phases=phases,
            networks={f"{how}/{name}": flop for name, flop in cost.networks_kept().items()},
            network_epochs=cost.network_epochs,
            peak_bytes=cost.peak_bytes,
        )


class Usage(_Frozen):
    """What a run took that went from its beginning to its end without a break."""

    workload: Workload
    seconds: Mapping[str, float] = Field(description="Of each phase that there was.")
    warm_up: Mapping[str, float] = Field(
        description="Those of them that the first unit of a phase took beyond the others: compilation, first use."
    )
    trained_epochs: int = Field(ge=0, description="Epochs of networks that were trained, because no cache had them.")
    peak_bytes: int = Field(ge=0, description="Most memory: of the process on a CPU, of tensors on an accelerator.")
