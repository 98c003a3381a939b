"""InceptionV3: convolutions of several sizes side by side, large ones cut into rows and columns.

Source: Szegedy et al. 2015, arXiv:1512.00567.
"""

from __future__ import annotations

from typing import Any

from distflow.keras.applications.building import Net, Request, published
from distflow.keras.applications.imagenet_utils import decode_predictions
from distflow.keras.applications.kinds import to_signed_unit as preprocess_input

_WEIGHTS = published("inception_v3", "inception_v3", "9a0d58056eeedaa3f26cb7ebd46da564",
                     "bcbd6486424b2319ff4ef7d526e38f63")  # fmt: skip
# A branch is a row of convolutions (filters, rows, columns); one that ends in "/2" is valid and
# of stride 2. Branches "mean" and "max" start with a pooling.
_A = (((64, 1, 1),), ((48, 1, 1), (64, 5, 5)), ((64, 1, 1), (96, 3, 3), (96, 3, 3)))
_SHRINK_A = (((384, 3, 3, "/2"),), ((64, 1, 1), (96, 3, 3), (96, 3, 3, "/2")))
_SHRINK_B = (
    ((192, 1, 1), (320, 3, 3, "/2")),
    ((192, 1, 1), (192, 1, 7), (192, 7, 1), (192, 3, 3, "/2")),
)


def _b(n: int) -> Any:
    return (
        ((192, 1, 1),),
        ((n, 1, 1), (n, 1, 7), (192, 7, 1)),
        ((n, 1, 1), (n, 7, 1), (n, 1, 7), (n, 7, 1), (192, 1, 7)),
    )


# Name -> branches and the filters behind a mean pooling (None: a max pooling that shrinks).
_MIXED: dict[str, tuple[Any, int | None]] = {
    "mixed0": (_A, 32), "mixed1": (_A, 64), "mixed2": (_A, 64), "mixed3": (_SHRINK_A, None),
    "mixed4": (_b(128), 192), "mixed5": (_b(160), 192), "mixed6": (_b(160), 192),
    "mixed7": (_b(192), 192), "mixed8": (_SHRINK_B, None),
}  # fmt: skip


def _conv(net: Net, filters: int, rows: int, columns: int, mark: str = "") -> Net:
    if mark == "/2":
        net.conv(filters, (rows, columns), strides=2)
    else:
        net.conv(filters, (rows, columns), padding=mark or "same")
    return net.norm(scale=False).act("relu")


def _branch(net: Net, row: Any) -> Net:
    branch = net.fork()
    for convolution in row:
        _conv(branch, *convolution)
    return branch


def _pooled(net: Net, filters: int) -> Net:
    return _conv(net.fork().mean_pool(3, 1, "same"), filters, 1, 1)


def _mixed(net: Net, name: str) -> Net:
    rows, filters = _MIXED[name]
    parts = [_branch(net, row) for row in rows]
    parts.append(net.fork().max_pool(3, 2) if filters is None else _pooled(net, filters))
    return Net.joined(parts, name)


def _sides(net: Net, name: str | None = None) -> Net:
    return Net.joined([_branch(net, ((384, *side),)) for side in ((1, 3), (3, 1))], name)


def _last(net: Net, i: int) -> Net:
    """The block whose 3 x 3 convolutions are cut into a row and a column side by side."""
    first = _branch(net, ((320, 1, 1),))
    three = _sides(_branch(net, ((384, 1, 1),)), f"mixed9_{i}")
    twice = _sides(_branch(net, ((448, 1, 1), (384, 3, 3))))
    return Net.joined([first, three, twice, _pooled(net, 192)], f"mixed{9 + i}")


def InceptionV3(
    include_top: bool = True, weights: Any = "imagenet", input_tensor: Any = None,
    input_shape: Any = None, pooling: str | None = None, classes: int = 1000,
    classifier_activation: Any = "softmax", name: str = "inception_v3",
) -> Any:  # fmt: skip
    """Returns InceptionV3; arguments are those of all `keras.applications`."""
    ask = Request("InceptionV3", include_top, weights, input_tensor, input_shape, pooling, classes,
                  classifier_activation)  # fmt: skip
    net = ask.start(299, 75)
    beginning = net.x
    _conv(net, 32, 3, 3, "/2")
    _conv(net, 32, 3, 3, "valid")
    _conv(net, 64, 3, 3).max_pool(3, 2)
    _conv(net, 80, 1, 1, "valid")
    _conv(net, 192, 3, 3, "valid").max_pool(3, 2)
    for block in _MIXED:
        net = _mixed(net, block)
    for i in range(2):
        net = _last(net, i)
    ask.head(net, average=None, largest=None)
    return ask.finish(beginning, net, name, _WEIGHTS)


__all__ = ["InceptionV3", "decode_predictions", "preprocess_input"]
