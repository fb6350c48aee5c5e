"""What the policy does with what it sees: two heads of the same size over the same context.

`FlowHead` learns the distribution of action chunks by flow matching with x-prediction: along the
straight path x_t = (1 - t) z + t A from noise z to the clean chunk A it is asked for A itself.
Sampling follows that path in a few Euler steps. With a single step it would return the conditional
mean, which is what `RegressionHead` learns directly: the mean of passing left and passing right.
"""

import math

import torch
from torch import Generator, Tensor, nn

from lerobot_policy_so101.configuration_so101_flow import So101FlowConfig
from lerobot_policy_so101.networks import mlp


class TimeEmbedding(nn.Module):
    """Flow time in [0, 1], (B, 1), as sines and cosines, (B, size)."""

    frequencies: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        octaves = torch.linspace(0.0, math.log(100.0), size // 2)
        self.register_buffer("frequencies", octaves.exp() * math.pi, persistent=False)

    def forward(self, time: Tensor) -> Tensor:
        """Return the sines, then the cosines."""
        angles = time * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class FlowHead(nn.Module):
    """Distribution over chunks given a context, by x-prediction flow matching."""

    def __init__(self, config: So101FlowConfig) -> None:
        super().__init__()
        self.chunk_shape = (config.chunk_size, config.action_size)
        self.noise_draws = config.noise_draws
        self.integration_steps = config.integration_steps
        chunk = config.chunk_size * config.action_size
        # The first layer in two parts: the context's part is computed once for all noise draws and
        # Euler steps.
        self.embed_time = TimeEmbedding(config.time_embedding)
        self.from_context = nn.Linear(config.context_sizes[-1], config.head_sizes[0])
        self.from_noisy = nn.Linear(config.time_embedding + chunk, config.head_sizes[0], bias=False)
        self.rest = mlp([*config.head_sizes, chunk], ends_linear=True)

    def _clean(self, context_part: Tensor, noisy: Tensor, time: Tensor) -> Tensor:
        """Guess the clean chunk, flat (B, chunk), from a noisy one at flow time (B, 1)."""
        hidden = context_part + self.from_noisy(torch.cat([self.embed_time(time), noisy], dim=1))
        return self.rest(nn.functional.silu(hidden))

    def errors(self, context: Tensor, actions: Tensor, generator: Generator | None) -> Tensor:
        """Return squared errors of the clean chunks, mean over noise draws: (B, chunk, joints)."""
        count, draws = len(actions), self.noise_draws
        target = actions.flatten(1).repeat(draws, 1)
        noise = torch.randn(target.shape, generator=generator).to(target.device)
        time = torch.rand((len(target), 1), generator=generator).to(target.device)
        noisy = torch.lerp(noise, target, time)
        guess = self._clean(self.from_context(context).repeat(draws, 1), noisy, time)
        return (guess - target).square().view(draws, count, *self.chunk_shape).mean(dim=0)

    def sample(self, context: Tensor, noise: Tensor) -> Tensor:
        """Carry noise (B, chunk, joints) to a chunk of that shape, in Euler steps."""
        context_part = self.from_context(context)
        chunk = noise.flatten(1)
        for step in range(self.integration_steps):
            time = step / self.integration_steps
            guess = self._clean(context_part, chunk, chunk.new_full((len(chunk), 1), time))
            # dx/dt = (guess - x) / (1 - t); the last step lands on the guess itself.
            chunk = chunk + (guess - chunk) / ((1.0 - time) * self.integration_steps)
        return chunk.view(-1, *self.chunk_shape)


class RegressionHead(nn.Module):
    """Conditional mean of the chunks: mean squared error, the point estimate to compare with."""

    def __init__(self, config: So101FlowConfig) -> None:
        super().__init__()
        self.chunk_shape = (config.chunk_size, config.action_size)
        chunk = config.chunk_size * config.action_size
        self.layers = mlp([config.context_sizes[-1], *config.head_sizes, chunk], ends_linear=True)

    def errors(self, context: Tensor, actions: Tensor, generator: Generator | None) -> Tensor:
        """Return the squared error, (B, chunk, joints); nothing is drawn."""
        del generator
        return (self.layers(context).view(-1, *self.chunk_shape) - actions).square()

    def sample(self, context: Tensor, noise: Tensor) -> Tensor:
        """Return the mean chunk, whatever the noise."""
        del noise
        return self.layers(context).view(-1, *self.chunk_shape)
