"""Networks as functions of their parameters: one template, any number of weights, one compiled pass.

New random weights are written into a flat dictionary in place, so that a pass compiled once serves
every random initialisation.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ddcore.formulas.batch_statistics import moments
from ddcore.machine.compiler import compile_for_each_shape
from ddcore.machine.compute import Compute, laid_out
from ddcore.nets.network import Network, Shape, Tap, Taps

Params = dict[str, Tensor]
"""Parameters and buffers of one network by their names in the template; float32, counters int64."""

Pass = Callable[[Params, Tensor], tuple[Tensor, ...]]

Moments = dict[str, tuple[Tensor, Tensor]]
"""Mean and biased variance (channels,) of what comes to a batch normalisation, by its name."""

_GRANULARITY = 16


class Functional:
    """A network template and its passes as functions of (parameters, images).

    Passes differentiate to the images, to the parameters, to both or to neither, as ``requires_grad``
    of their arguments says; they return float32 whatever the precision inside. Where the network
    treats every image by itself, a batch goes through in pieces (of one size, the last one padded
    where the pass is compiled), which equals one batch up to rounding. A graph can be walked
    backwards once.

    Batch normalisation: its running statistics are buffers and live in :data:`Params` beside the
    parameters. With ``training=True`` a pass uses the statistics of its batch and updates the
    buffers in place; such a batch is never cut into pieces or padded. With ``training=False`` a pass
    uses the buffers. Other networks ignore ``training``.

    Args:
        template: the architecture; its own weights are not used, and it is not changed.
        compute: device, precision and compilation.

    Attributes:
        names: names of the trainable parameters; every other entry of :data:`Params` is a buffer.
        convolutions: those of them that are weights of convolutions.
        per_sample: whether no pass lets one image influence another (there is no batch normalisation).
        piece: images a pass without autograd takes at a time.
        grad_piece: the same with autograd.
        graph_images: images whose graphs may be in memory at once; callers with more go group by group.
    """

    def __init__(self, template: Network, compute: Compute) -> None:
        self.compute = compute
        self.shape, self.classes = template.shape, template.classes
        self._templates = {mode: _skeleton(template).train(mode) for mode in (False, True)}
        skeleton = self._templates[True]
        self.names = tuple(name for name, _ in skeleton.named_parameters())
        self.convolutions = tuple(name for name, weight in skeleton.named_parameters() if weight.ndim == 4)
        self.per_sample = not any(isinstance(m, nn.BatchNorm2d) for m in skeleton.modules())
        pixels = template.seen[1] * template.seen[2]
        self.piece = compute.piece_for(pixels, training=False)
        self.grad_piece = compute.piece_for(pixels, training=True)
        self.graph_images = compute.graph_for(pixels)
        self._initial = list(_initial_values(skeleton))
        self._passes: dict[tuple[Tap, bool], Pass] = {}
        self._fused, self._layout = self._templates, compute.layout
        if compute.own_kernels:
            self._fuse()

    @cached_property
    def feature_map(self) -> Shape | None:
        """Channels, height and width of the map that features are flattened from; ``None`` where they are no map."""
        skeleton = self._templates[False]
        with torch.no_grad():
            last = skeleton.pool(skeleton.block_outputs(torch.empty((1, *self.shape), device="meta"))[-1])
        return (last.shape[1], last.shape[2], last.shape[3]) if last.ndim == 4 else None

    @property
    def parameter_count(self) -> int:
        """Trainable parameters of one network."""
        return sum(math.prod(shape) for name, shape, _, _ in self._initial if name in self.names)

    @property
    def parameter_bytes(self) -> int:
        """Bytes of one network's parameters and buffers."""
        return sum(math.prod(shape) * dtype.itemsize for _, shape, dtype, _ in self._initial)

    def new(self, generator: torch.Generator) -> Params:
        """Parameters of a freshly initialised network, on the device of the run, without gradients.

        Args:
            generator: the only source of randomness; fastest on the device of the run.
        """
        params = {
            name: torch.empty(shape, dtype=dtype, device=self.compute.device) for name, shape, dtype, _ in self._initial
        }
        self.init_(params, generator)
        return params

    @torch.no_grad()
    def init_(self, params: Params, generator: torch.Generator) -> None:
        """Initialise a network in place, as the framework does by default.

        Weights and biases of convolutions and linear layers ~ U(-1/sqrt(fan_in), 1/sqrt(fan_in)),
        scales of normalisations 1, shifts 0, running means 0, running variances 1.

        Args:
            params: as from :meth:`new`; the same tensors afterwards, so nothing recompiles.
            generator: one draw of it fills the whole network; fastest on the device of the run.
        """
        drawn = sum(math.prod(shape) for _, shape, _, value in self._initial if isinstance(value, Bound))
        uniform = torch.rand(drawn, generator=generator, device=generator.device).mul_(2).sub_(1)
        uniform = uniform.to(self.compute.device)
        offset = 0
        for name, shape, _, value in self._initial:
            if isinstance(value, Bound):
                size = math.prod(shape)
                torch.mul(uniform[offset : offset + size].view(shape), value, out=params[name])
                offset += size
            else:
                params[name].fill_(value)

    def features(self, params: Params, x: Tensor, *, training: bool = True) -> Tensor:
        """Features (N, F) float32 of normalised images (N, C, H, W): the input of the classifier."""
        return self._run("features", params, x, training)[0]

    def logits(self, params: Params, x: Tensor, *, training: bool = True) -> Tensor:
        """Logits (N, classes) float32 of normalised images (N, C, H, W)."""
        return self._run("logits", params, x, training)[0]

    def taps(self, params: Params, x: Tensor, *, training: bool = True) -> Taps:
        """Block outputs, features and logits, float32, of normalised images (N, C, H, W), from one pass."""
        *blocks, features, logits = self._run("taps", params, x, training)
        return Taps(tuple(blocks), features, logits)

    @torch.no_grad()
    def features_no_grad(self, params: Params, x: Tensor | Iterable[Tensor], *, training: bool = True) -> Tensor:
        """Features (N, F) float32 without autograd, of one batch or of a stream of batches.

        Args:
            params: as from :meth:`new`.
            x: normalised images (N, C, H, W), or batches of them that need not exist all at once.
            training: whether batch normalisation uses each batch's statistics.
        """
        batches = [x] if isinstance(x, Tensor) else x
        return torch.cat([self.features(params, batch, training=training) for batch in batches])

    def plain(self, tap: Tap, params: Params, x: Tensor, *, training: bool = True) -> tuple[Tensor, ...]:
        """One uncompiled pass over a whole batch: to be nested in ``torch.func`` transforms.

        Returns:
            (logits,), (features,), for ``taps`` (*blocks, features, logits), for ``levels`` those of
            :meth:`Network.levels`; float32, or float64 where everything passed is.
        """
        return self._through(self._templates[training], tap, params, x)

    def with_moments(self, params: Params, x: Tensor) -> tuple[Tensor, Moments]:
        """Logits of one batch in evaluation mode, and the statistics of what comes to each batch normalisation.

        The batch is never cut: the statistics are those of all its images.

        Args:
            params: as from :meth:`new`.
            x: normalised images (N, C, H, W).

        Returns:
            (N, classes) logits, and by the name of the normalisation, in the order of the pass, the mean and the biased
            variance (channels,), float32 and differentiable.
        """
        return self._pass_with_moments(params, laid_out(x, self.compute.layout))

    @cached_property
    def _pass_with_moments(self) -> Callable[[Params, Tensor], tuple[Tensor, Moments]]:
        template = copy.deepcopy(self._templates[False])
        found: Moments = {}

        def note(name: str, maps: Tensor) -> None:
            found[name] = moments(maps.float() if maps.dtype == torch.bfloat16 else maps)

        for name, module in template.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_pre_hook(lambda _, inputs, name=name: note(name, inputs[0]))

        def one_pass(params: Params, x: Tensor) -> tuple[Tensor, Moments]:
            found.clear()
            (logits,) = self._through(template, "logits", params, x)
            statistics = dict(found)
            found.clear()  # their graphs go with whoever has asked for them
            return logits, statistics

        return compile_for_each_shape(one_pass) if self.compute.compiled else one_pass

    def _through(self, template: Network, tap: Tap, params: Params, x: Tensor) -> tuple[Tensor, ...]:
        with self.compute.autocast():
            output = functional_call(template, params, (x,), {"tap": tap})
        if isinstance(output, Taps):
            output = (*output.blocks, output.features, output.logits)
        outputs = output if isinstance(output, tuple) else (output,)
        return tuple(tensor.float() if tensor.dtype == torch.bfloat16 else tensor for tensor in outputs)

    def _run(self, tap: Tap, params: Params, x: Tensor, training: bool) -> tuple[Tensor, ...]:
        if x.ndim != 4 or tuple(x.shape[1:]) != self.shape or len(x) == 0:
            raise ValueError(f"images {tuple(x.shape)} are not a batch of one or more {self.shape}")
        x = laid_out(x, self._layout)
        one_pass = self._pass(tap, training or self.per_sample)
        if training and not self.per_sample:
            return one_pass(params, x)
        differentiates = torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in params.values()))
        pieces = [
            one_pass(params, piece) for piece in self._pieces(x, self.grad_piece if differentiates else self.piece)
        ]
        if len(pieces) == 1:
            return tuple(output[: len(x)] for output in pieces[0])
        return tuple(torch.cat(parts)[: len(x)] for parts in zip(*pieces, strict=True))

    def _fuse(self) -> None:
        """Have passes that are differentiated once at most go through kernels of our own."""
        fused = copy.deepcopy(self._templates)
        if all(template.fuse() for template in fused.values()):
            self._fused, self._layout = fused, torch.channels_last

    def _pass(self, tap: Tap, training: bool) -> Pass:
        key = (tap, training)
        if key not in self._passes:
            template = self._fused[training]

            def one_pass(params: Params, x: Tensor) -> tuple[Tensor, ...]:
                return self._through(template, tap, params, x)

            if self.compute.compiled:
                one_pass = compile_for_each_shape(one_pass)
            self._passes[key] = one_pass
        return self._passes[key]

    def _pieces(self, x: Tensor, most: int) -> Iterator[Tensor]:
        """Cut a batch into pieces; compiled passes get pieces of one size, padded with zeros.

        The size depends on nothing but the batch size, so that a resumed run rounds alike, and is a
        multiple of ``most`` / 16, so that few sizes occur.
        """
        if not self.compute.compiled:
            yield from torch.split(x, most)
            return
        size = piece_size(len(x), most)
        for piece in torch.split(x, size):
            missing = size - len(piece)
            if missing:
                padding = piece.new_zeros((missing, *piece.shape[1:]))
                piece = laid_out(torch.cat([piece, padding]), self._layout)
            yield piece


def piece_size(images: int, most: int) -> int:
    """Size of the equal pieces, at most ``most``, into which a batch is cut with little padding.

    >>> [piece_size(n, 64) for n in (2560, 100, 10, 64, 65)]
    [64, 52, 12, 64, 36]
    """
    pieces = -(-images // most)
    step = max(1, most // _GRANULARITY)
    return min(most, -(-images // (pieces * step)) * step)


class Bound(float):
    """Half-width of a uniform distribution around zero."""


def _initial_values(template: nn.Module) -> Iterator[tuple[str, torch.Size, torch.dtype, float]]:
    """Name, shape and type of every entry of a state, with a constant or the :class:`Bound` it is drawn within."""
    for prefix, module in template.named_modules():
        for name, tensor in (*module.named_parameters(prefix, False), *module.named_buffers(prefix, False)):
            leaf = name.rpartition(".")[2]
            value: float = 1.0 if leaf in ("weight", "running_var") else 0.0
            if isinstance(module, nn.Conv2d | nn.Linear):
                value = Bound(1 / math.sqrt(math.prod(module.weight.shape[1:])))
            yield name, tensor.shape, tensor.dtype, value


def _skeleton(template: Network) -> Network:
    """A copy of a network without storage, to be filled with parameters at each pass."""
    return copy.deepcopy(template).to("meta").requires_grad_(False)
