"""What each worker trains on: batches of its own, in turn.

One batch again and again would be learnt by heart within some hundred steps; gradients then fade
into denormal numbers, which processors multiply a hundred times slower.
"""

from models import spec

# Enough to be no end of news for the steps of a run; the ranks' batches follow each other.
COUNT = {"mlp": 64, "cnn": 64, "resnet": 16}


def of_worker(model, batch, rank):
    """Returns the (x, y) of one worker, `batch` rows each."""
    count = COUNT[model]
    x, y = spec.data(model, batch * count * (rank + 1))
    first = batch * count * rank
    cuts = range(first, first + batch * count, batch)
    return [(x[cut : cut + batch], y[cut : cut + batch]) for cut in cuts]
