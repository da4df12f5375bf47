"""What the methods share that match the gradients of each class's loss: DC, DSA, IDC and DREAM."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor
from typing_extensions import override

from ddcore.augment import siamese
from ddcore.autograd.gradients import Gradients
from ddcore.autograd.second_order import Readout
from ddcore.methods.shared.feature_matching import MatchingStep
from ddcore.nets.functional import Params
from ddcore.pretrained.stage_networks import Stageable, StageNetworks
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Method, Readings
from ddcore.spec import MethodConfig

C = TypeVar("C", bound=MethodConfig)


class GradientMatching(Method[C, MatchingStep], Stageable):
    """Layer-wise matching of the gradients of each class's mean loss under one network.

    Args:
        config: of the method.
        run: whose images and network are matched.
        gradients: of the run's network, in the parameters that are compared.
        distance: between two gradients.
    """

    def __init__(self, config: C, run: Run, gradients: Gradients, distance: Readout) -> None:
        super().__init__(config, run)
        self._gradients = gradients
        self._distance = distance
        self._networks: StageNetworks | None = None

    @override
    def start_from(self, networks: StageNetworks) -> None:
        """Match under networks that have learned the earlier stages, drawn from a pool."""
        networks.prepare()
        self._networks = networks

    @torch.no_grad()
    def _renew(self, params: Params) -> None:
        """Make a network, in place, the next to match with: a random one, or one that learned the earlier stages."""
        if self._networks is None:
            self.run.functional.init_(params, self.run.random.stream("method/network"))
            return
        for name, value in self._networks.draw(self.run.random.host_stream("method/start")).items():
            params[name].copy_(value)

    @override
    def backward(self, step: MatchingStep) -> Readings:
        """sum_c D(grad CE(A_c(S_c)), grad CE(A_c(R_c))), class by class: graphs of one class are in memory at once."""
        total = torch.zeros((), device=step.synthetic.device)
        for classes in self._groups(step):
            targets = self._real_gradients(step, classes)
            for place, label in enumerate(classes):
                target = {name: gradient[place] for name, gradient in targets.items()}
                total += self._match(step, label, target)
        return {"loss/base": total}

    def _match(self, step: MatchingStep, label: int, target: Params) -> Tensor:
        """Add the slope of one class's distance to the images of the class; the distance, a scalar."""
        augmented = siamese.apply(step.draws[label], step.picked_images(range(label, label + 1)))
        labels = torch.full((len(augmented),), label, device=augmented.device)
        value, slope = self._gradients.distance_gradient(
            step.params, augmented.detach(), labels, target, self._distance, moving=step.moving_of(label)
        )
        augmented.backward(slope)
        return value

    def _real_gradients(self, step: MatchingStep, classes: range) -> Params:
        """Gradients on each class's augmented real batch, by parameter (len(classes), ...), as constants."""
        rows = step.rows[classes.start : classes.stop]
        sizes = [len(of_class) for of_class in rows]
        images = self.run.real_images(torch.cat(rows))
        images = siamese.apply_by_class(step.draws[classes.start : classes.stop], images, sizes)
        labels = torch.tensor(classes).repeat_interleave(torch.tensor(sizes)).to(images.device)
        return self._gradients.class_gradients(step.params, images, labels, sizes)

    def _groups(self, step: MatchingStep) -> Iterator[range]:
        """As many classes as one pass over real images takes; their gradients are all that is kept of them."""
        size = max(1, self.run.functional.grad_piece // max(len(rows) for rows in step.rows))
        for first in range(0, step.synthetic.classes, size):
            yield range(first, min(first + size, step.synthetic.classes))
