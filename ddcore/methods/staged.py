"""SeqMatch and PDD: distil some images of each class after others, for networks that have learned the latter.

Du, Shi & Zhou, "Sequential Subset Matching for Dataset Distillation", NeurIPS 2023 (arXiv 2311.01570);
Chen et al., "Data Distillation Can Be Like Vodka: Distilling More Times For Better Quality" (PDD), ICLR 2024
(arXiv 2310.06982).

The set S is divided into S_1 ... S_K. In stage k a base method learns S_k; the student, or the class whose gradient is
matched, is the union S_1 u ... u S_k, of which all but S_k is frozen. From the second stage on, the base's networks
start where a chain of trainings on S_1, S_1 u S_2, ... has brought them (:mod:`ddcore.pretrained.stage_networks`), each
at the learning rate that was learned with its last stage. Both papers stage alike. They differ in how a network is
trained on the whole set, which the evaluation decides (``evaluation.staging``): SeqMatch starts every stage at rest,
PDD carries the momentum over.

Released code does this for two stages at most: of SeqMatch on trajectories, only S_1 is ever trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from typing_extensions import override

from ddcore.errors import DivergedError
from ddcore.methods import build_method
from ddcore.pretrained.pool import Demand
from ddcore.pretrained.stage_networks import Stageable, StageNetworks, StagesSoFar
from ddcore.pretrained.store import NetworkStore
from ddcore.registry import implements
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Method, Readings, Step
from ddcore.spec import PDDConfig, SeqMatchConfig, StagedConfig, TrajectoryConfig
from ddcore.synthetic.set import SyntheticSet
from ddcore.synthetic.stages import Stages


class Staged(Method[StagedConfig, Step]):
    """A base method, run once for each stage.

    Step ``index`` of the run is step ``index`` mod (steps of a stage) of the base. A stage begins before its first step
    (:meth:`enter`): so a checkpoint on the border still holds the stage before, and the training that leads to the next
    one may be interrupted and done again.
    """

    def __init__(self, config: StagedConfig, run: Run) -> None:
        super().__init__(config, run)
        if run.fresh:
            self._check_room()
        base = build_method(config.base, run)
        if not isinstance(base, Method) or not isinstance(base, Stageable):
            raise TypeError(f"{type(base).__name__} is said to be stageable, but cannot start from other networks")
        self._base, self._stageable = base, base
        self._ends = config.ends(run.spec.ipc)
        self._stage = 0
        self._rates: list[float] = []
        self._chain: list[StageNetworks] = []
        """Where the networks of the second stage start, of the third, and so on as far as that is known."""

    @override
    def prepare(self) -> None:
        self._base.prepare()

    @override
    def start(self) -> SyntheticSet:
        self._synthetic = self._base.start()
        self._synthetic.learn(self._rows(0))
        return self._synthetic

    @override
    def enter(self, index: int, synthetic: SyntheticSet) -> None:
        """Where a stage begins: freeze what was learned, train networks on it, and go on with new rows."""
        stage = index // self.config.base.iterations
        if stage == self._stage:
            return
        rates, callback = [*self._rates, self._rate()], self.run.callback
        callback.on_log("info", f"stage {stage + 1} of {self.config.stages} begins at step {index}")
        self._begin(stage, rates)
        synthetic.learn(self._rows(stage))
        self._stage, self._rates = stage, rates
        callback.on_phase("distilling", self.config.iterations)
        callback.on_progress(index, self.config.iterations)

    def _begin(self, stage: int, rates: list[float]) -> None:
        """Have the base's networks start where those have arrived that learned all stages before this one."""
        chain = list(self._chain)
        for learned in range(len(chain), stage):
            stages = StagesSoFar(*self._synthetic.union(self._ends[learned]), rates[learned])
            before = chain[-1] if chain else None
            config = self.config
            chain.append(StageNetworks(config.networks, stages, config.epochs, self.run, before, config.schedule))
        self._stageable.start_from(chain[-1])
        self._chain = chain

    def _rows(self, stage: int) -> range:
        """Rows of each class that a stage learns."""
        return range(self._ends[stage - 1] if stage else 0, self._ends[stage])

    def _rate(self) -> float:
        """At which networks are trained on what this stage and those before it have made."""
        learned = self._synthetic.learning_rate
        return self.config.lr if learned is None else learned

    @override
    def draw(self, index: int, synthetic: SyntheticSet) -> Step:
        step: Step = self._base.draw(index % self.config.base.iterations, synthetic)
        return step

    @override
    def backward(self, step: Step) -> Readings:
        with self._in_stage():
            return {**self._base.backward(step), "stage": torch.tensor(self._stage + 1)}

    @override
    def advance(self, step: Step) -> Readings | None:
        with self._in_stage():
            later: Readings | None = self._base.advance(step)
        return later

    @override
    def stages(self) -> Stages:
        """Which images belong together, and the rates; stages not reached have that which the base begins with."""
        rates = [*self._rates, self._rate()]
        begun = self.config.base.lr_init if isinstance(self.config.base, TrajectoryConfig) else self.config.lr
        rates += [begun] * (self.config.stages - len(rates))
        synthetic = self._synthetic
        rows = synthetic.decoder.finished.origins(synthetic.ipc).repeat(synthetic.classes)
        return Stages.of(rows, self.config.shares(synthetic.ipc), rates)

    @override
    def state(self) -> dict[str, Tensor]:
        rates = torch.tensor(self._rates, dtype=torch.float64)
        return {"rates": rates, **{f"base/{name}": tensor for name, tensor in self._base.state().items()}}

    @override
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue; networks of the stage that are not in the cache are trained again, on the rows restored before."""
        rates = state["rates"].tolist()
        if rates:
            self._begin(len(rates), rates)
        self._stage, self._rates = len(rates), rates
        prefix = "base/"
        self._base.load_state({name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)})

    def _check_room(self) -> None:
        """Refuse networks of the later stages that do not fit where they are to be kept, all of them taken for missing.

        Which of them a run finds that goes on is known when their stage begins; what is missing then is refused there.
        """
        config, run = self.config, self.run
        kept = 2 + config.base.trained_to if isinstance(config.base, TrajectoryConfig) else 1
        size = (config.stages - 1) * kept * run.functional.parameter_bytes
        demand = Demand(
            field="method.pool",
            sizes=[size] * config.networks,
            contents=f"the {kept} states of each of them that {config.stages} stages keep from the second on",
            smaller="fewer `method.stages` or a smaller `network`",
        )
        demand.check(NetworkStore("start", run), run.functional)

    @contextmanager
    def _in_stage(self) -> Iterator[None]:
        """Have errors of the base's steps name the stage."""
        try:
            yield
        except DivergedError as error:
            raise DivergedError(f"in stage {self._stage + 1} of {self.config.stages}: {error}") from error


@implements(SeqMatchConfig)
class SeqMatch(Staged):
    """Sequential subset matching."""


@implements(PDDConfig)
class PDD(Staged):
    """Progressive dataset distillation."""
