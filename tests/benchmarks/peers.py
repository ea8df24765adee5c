"""The peers: the same network as good users of SpikingJelly and snnTorch write it, and AIHWKIT's crossbar products.

The network has layers of leaky integrate-and-fire neurons (decay exp(-1/10) a step, no input scaling, threshold 0.6,
hard reset to 0) under a linear read-out without neurons. The image is a constant current: its product is computed once
a batch. Float32. Each peer is imported where it is used, so that this module imports without any of them.
"""

import importlib.metadata
import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

DECAY, THRESHOLD = math.exp(-1 / 10), 0.6


class LayerByLayer(nn.Module):
    """Each layer of neurons sees all steps before the next one starts, and the read-out the mean of its spikes.

    `neurons` are called with currents [steps, batch, n] and return as many spikes. The linear layers stand in `linears`
    for every peer, so that one peer's weights load into another. The read-out is linear, so the mean of its outputs is
    its output for the mean; that spares `window` - 1 of its products. Run eagerly, as its users do by default;
    `inference` and `bptt_step` would take a compiled one too.
    """

    def __init__(self, sizes: Sequence[int], window: int, neurons: Sequence[nn.Module]):
        super().__init__()
        self.window = window
        self.linears = nn.ModuleList(nn.Linear(n, m) for n, m in itertools.pairwise(sizes))
        self.neurons = nn.ModuleList(neurons)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [batch, outputs] for images [batch, inputs]."""
        current = self.linears[0](x).expand(self.window, -1, -1)
        for neurons, linear in zip(self.neurons, self.linears[1:-1], strict=False):
            current = linear(neurons(current))
        return self.linears[-1](self.neurons[-1](current).mean(0))


def spikingjelly_network(sizes: Sequence[int], window: int) -> nn.Module:
    """SpikingJelly's network in multi-step mode with its torch backend, the one that it has on a CPU."""
    from spikingjelly.activation_based import functional, neuron, surrogate

    class Network(LayerByLayer):
        def forward(self, x: Tensor) -> Tensor:
            functional.reset_net(self)
            return super().forward(x)

    def neurons() -> nn.Module:
        return neuron.LIFNode(
            tau=1 / (1 - DECAY),
            decay_input=False,
            v_threshold=THRESHOLD,
            v_reset=0.0,
            surrogate_function=surrogate.ATan(),
            detach_reset=True,
            step_mode="m",
        )

    return Network(sizes, window, [neurons() for _ in sizes[1:-1]])


def snntorch_network(sizes: Sequence[int], window: int) -> nn.Module:
    """Return snnTorch's network: its neurons step by step, its products for all steps of a layer at once.

    `LeakyParallel`, which takes all steps at once, has no reset, so it cannot do this network.
    """
    import snntorch

    class Neurons(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.leaky = snntorch.Leaky(beta=DECAY, threshold=THRESHOLD, reset_mechanism="zero")

        def forward(self, currents: Tensor) -> Tensor:
            membrane, spikes = self.leaky.reset_mem(), []
            for current in currents:
                spike, membrane = self.leaky(current, membrane)
                spikes.append(spike)
            return torch.stack(spikes)

    return LayerByLayer(sizes, window, [Neurons() for _ in sizes[1:-1]])


def bptt_step(network: nn.Module, optimiser: torch.optim.Optimizer) -> Callable[[Tensor, Tensor], float]:
    """One step of spatio-temporal back-propagation: forward, cross entropy, backward, update; returns the loss."""
    network.train()

    def step(x: Tensor, labels: Tensor) -> float:
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(network(x), labels)
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def inference(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the network's forward pass alone, without a graph."""
    network.eval()
    return torch.inference_mode()(network.__call__)


def peer_version(name: str) -> str | None:
    """Return the installed version of a peer's distribution, None where there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def aihwkit_crossbars(
    sizes: Sequence[int], *, read_noise: float = 0.02, torch_tile: bool = False
) -> Callable[[Sequence[Tensor]], list[Tensor]]:
    """AIHWKIT's noisy products of a network's layers: programmed once, then a read of every layer for its inputs.

    PCM programming noise, 8-bit converters and additive noise that is new at each access: of each weight with the C++
    tile; of each output with the torch tile, which refuses `w_noise`. One tile holds a layer. Noise and bound
    management, drift compensation and learned input ranges are off, which spares it work that the others do not do.
    """
    from aihwkit.inference import PCMLikeNoiseModel
    from aihwkit.nn.conversion import convert_to_analog
    from aihwkit.simulator.configs import InferenceRPUConfig, TorchInferenceRPUConfig
    from aihwkit.simulator.parameters import (
        BoundManagementType,
        IOParameters,
        MappingParameter,
        NoiseManagementType,
        WeightNoiseType,
    )

    forward = IOParameters(
        inp_res=1 / 254,
        out_res=1 / 254,
        out_noise=read_noise if torch_tile else 0.0,
        w_noise=0.0 if torch_tile else read_noise,
        w_noise_type=WeightNoiseType.NONE if torch_tile else WeightNoiseType.ADDITIVE_CONSTANT,
        noise_management=NoiseManagementType.NONE,
        bound_management=BoundManagementType.NONE,
    )
    tile = TorchInferenceRPUConfig if torch_tile else InferenceRPUConfig
    config = tile(
        forward=forward,
        noise_model=PCMLikeNoiseModel(g_max=25.0),
        drift_compensation=None,
        mapping=MappingParameter(max_input_size=0, max_output_size=0, weight_scaling_omega=1.0),
    )
    linears = nn.ModuleList(nn.Linear(n, m) for n, m in itertools.pairwise(sizes))
    crossbars = convert_to_analog(linears, config).eval()
    for crossbar in crossbars:
        crossbar.program_analog_weights()
        crossbar.drift_analog_weights(0.0)

    @torch.no_grad()
    def products(inputs: Sequence[Tensor]) -> list[Tensor]:
        return [crossbar(x) for crossbar, x in zip(crossbars, inputs, strict=True)]

    return products
