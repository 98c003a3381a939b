"""DistributedDataParallel over gloo, with the fused Adam."""

import itertools

import numpy as np
import torch
from models import spec, torch_models
from torch import distributed
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from workers import batches


class Steps:
    """A model of PyTorch: variant is eager or channels_last."""

    def __init__(self, module, variant, model, batch):
        self.version = torch.__version__
        torch.set_num_threads(1)
        distributed.init_process_group("gloo")
        torch.manual_seed(0)
        layout = torch.channels_last if variant == "channels_last" else None
        net = torch_models.build(model)
        given = batches.of_worker(model, batch, distributed.get_rank())
        self._batches = itertools.cycle([_tensors(model, layout, *pair) for pair in given])
        if layout is not None:
            net = net.to(memory_format=layout)
        self._model = DistributedDataParallel(net)
        self._optimizer = torch.optim.Adam(
            self._model.parameters(), lr=spec.LEARNING_RATE, eps=spec.ADAM_EPSILON, fused=True
        )

    def step(self) -> float:
        """Trains on the next batch and fetches this worker's loss."""
        x, y = next(self._batches)
        self._model.train()
        loss = F.cross_entropy(self._model(x).flatten(0, -2), y)
        loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return loss.item()

    def report(self):
        """Returns nothing."""
        return {}


def _tensors(model, layout, x, y):
    if spec.SPECS[model].is_image:
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    images = torch.from_numpy(x)
    if layout is not None:
        images = images.to(memory_format=layout)
    return images, torch.from_numpy(y).long().flatten()
