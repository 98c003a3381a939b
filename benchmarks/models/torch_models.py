"""The models in PyTorch; images are NCHW, as its layers want them."""

import torch
from models import spec
from torch import nn
from torch.nn import functional as F


def build(model):
    """Returns the module of that name."""
    return {"cnn": _cnn, "mlp": _mlp, "resnet": ResNet, "gpt": Gpt, "lstm": Lstm}[model]()


def _cnn():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def _mlp():
    return nn.Sequential(
        nn.Linear(784, spec.MLP_UNITS),
        nn.ReLU(),
        nn.Linear(spec.MLP_UNITS, spec.MLP_UNITS),
        nn.ReLU(),
        nn.Linear(spec.MLP_UNITS, 10),
    )


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(64, spec.LSTM_UNITS, batch_first=True)
        self.head = nn.Linear(spec.LSTM_UNITS, 10)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def _convolve(inputs, filters, size, stride):
    return nn.Sequential(
        nn.Conv2d(inputs, filters, size, stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(filters, eps=spec.BATCH_NORM_EPSILON, momentum=1 - spec.BATCH_NORM_MOMENTUM),
    )


class ResidualBlock(nn.Module):
    def __init__(self, inputs, filters, stride):
        super().__init__()
        self.first = _convolve(inputs, filters, 3, stride)
        self.second = _convolve(filters, filters, 3, 1)
        self.shortcut = _convolve(inputs, filters, 1, stride) if stride == 2 else nn.Identity()

    def forward(self, x):
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        inputs = spec.RESNET_STAGES[0]
        self.stem = _convolve(3, inputs, 3, 1)
        blocks = []
        for stage, filters in enumerate(spec.RESNET_STAGES):
            for block in range(spec.RESNET_BLOCKS):
                blocks.append(ResidualBlock(inputs, filters, 2 if stage and not block else 1))
                inputs = filters
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inputs, 10)

    def forward(self, x):
        x = self.blocks(F.relu(self.stem(x)))
        return self.head(x.mean((2, 3)))


class GptBlock(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.heads = size.heads
        self.norm_attention = nn.LayerNorm(size.width, eps=spec.LAYER_NORM_EPSILON)
        self.split = nn.Linear(size.width, 3 * size.width)
        self.join = nn.Linear(size.width, size.width)
        self.norm_dense = nn.LayerNorm(size.width, eps=spec.LAYER_NORM_EPSILON)
        self.grow = nn.Linear(size.width, 4 * size.width)
        self.shrink = nn.Linear(4 * size.width, size.width)

    def forward(self, x):
        batch, sequence, width = x.shape
        packed = self.split(self.norm_attention(x))
        packed = packed.view(batch, sequence, 3, self.heads, width // self.heads)
        q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.join(mixed.transpose(1, 2).reshape(batch, sequence, width))
        return x + self.shrink(F.gelu(self.grow(self.norm_dense(x))))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        size = spec.GPT
        self.tokens = nn.Embedding(size.vocabulary, size.width)
        self.positions = nn.Embedding(size.sequence, size.width)
        self.blocks = nn.Sequential(*[GptBlock(size) for _ in range(size.layers)])
        self.norm = nn.LayerNorm(size.width, eps=spec.LAYER_NORM_EPSILON)
        self.head = nn.Linear(size.width, size.vocabulary, bias=False)
        for table in (self.tokens, self.positions):  # Keras's range; N(0, 1) trains far slower
            nn.init.uniform_(table.weight, -0.05, 0.05)

    def forward(self, x):
        positions = torch.arange(x.shape[1], device=x.device)
        x = self.tokens(x) + self.positions(positions)
        return self.head(self.norm(self.blocks(x)))
