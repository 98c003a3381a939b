"""Training and inference steps in PyTorch, with the fused Adam."""

import numpy as np
import torch
from models import spec, torch_models
from torch.nn import functional as F


class Steps:
    """A model of PyTorch: variant is eager, channels_last or compile.

    compile takes channels_last images too, and freezes the weights for inference.
    """

    def __init__(self, module, variant, model):
        self.version = torch.__version__
        self._variant = variant
        self._name = model
        torch.manual_seed(0)
        self._model = torch_models.build(model)
        if self._layout is not None:
            self._model = self._model.to(memory_format=self._layout)
        self._optimizer = torch.optim.Adam(
            self._model.parameters(), lr=spec.LEARNING_RATE, eps=spec.ADAM_EPSILON, fused=True
        )
        x, y = spec.data(model, spec.SPECS[model].batch)
        self._x, self._y = self._input(x), torch.from_numpy(y).long().flatten()
        self._loss = torch.compile(self._eager_loss) if variant == "compile" else self._eager_loss

    def step(self) -> float:
        """Trains on the batch once and fetches the loss."""
        self._model.train()
        loss = self._loss(self._x, self._y)
        loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return loss.item()

    def inference(self, batch):
        """Returns a function that fetches the logits of `batch` examples."""
        x = self._input(spec.data(self._name, batch)[0])
        self._model.eval()
        predict = self._model
        if self._variant == "compile":
            predict = torch.compile(predict, dynamic=False, options={"freezing": True})

        def infer():
            # Freezing works under no_grad only; inference_mode is the cheaper of the two in eager.
            with torch.no_grad() if self._variant == "compile" else torch.inference_mode():
                return np.asarray(predict(x))

        return infer

    @property
    def _layout(self):
        is_image = spec.SPECS[self._name].is_image
        return torch.channels_last if is_image and self._variant != "eager" else None

    def _input(self, x):
        if spec.SPECS[self._name].is_image:
            x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        tensor = torch.from_numpy(x)
        return tensor if self._layout is None else tensor.to(memory_format=self._layout)

    def _eager_loss(self, x, y):
        return F.cross_entropy(self._model(x).flatten(0, -2), y)
