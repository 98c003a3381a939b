"""Residual networks of 50, 101 and 152 layers, in their first and second form.

Sources: He et al. 2015, arXiv:1512.03385; He et al. 2016, arXiv:1603.05027 (second form).
"""

from __future__ import annotations

from typing import Any

from distflow.keras.applications.building import Net, Request, Weights, published

_EPSILON = 1.001e-5
_FILTERS = (64, 128, 256, 512)
# Name -> blocks of the four stages, whether it is of the second form, checksums.
_VARIANTS: dict[str, tuple[tuple[int, ...], bool, Weights]] = {
    name: (blocks, name.endswith("V2"), published("resnet", name.lower(), *sums))
    for name, blocks, sums in (
        ("ResNet50", (3, 4, 6, 3),
         ("2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626")),
        ("ResNet101", (3, 4, 23, 3),
         ("f1aeb4b969a6efcfb50fad2f0c20cfc5", "88cf7a10940856eca736dc7b7e228a21")),
        ("ResNet152", (3, 8, 36, 3),
         ("100835be76be38e30d865e96f2aaae62", "ee4c566cf9a93f14d82f913c2dc6dd0c")),
        ("ResNet50V2", (3, 4, 6, 3),
         ("3ef43a0b657b3be2300d5770ece849e0", "fac2f116257151a9d068a22e544a4917")),
        ("ResNet101V2", (3, 4, 23, 3),
         ("6343647c601c52e1368623803854d971", "c0ed64b8031c3730f411d2eb4eea35b5")),
        ("ResNet152V2", (3, 8, 36, 3),
         ("a49b44d1979771252814e80f8ec446f9", "ed17cf2e0169df9d443503ef94b23b33")),
    )
}  # fmt: skip


def _first_form(net: Net, filters: int, strides: int, project: bool, name: str) -> Net:
    """Convolutions 1 x 1, 3 x 3, 1 x 1, and the input added, then an activation."""
    shortcut = net.fork()
    if project:
        shortcut.conv(4 * filters, 1, strides=strides, bias=True, name=f"{name}_0_conv")
        shortcut.norm(f"{name}_0_bn", epsilon=_EPSILON)
    net.conv(filters, 1, strides=strides, bias=True, name=f"{name}_1_conv")
    net.norm(f"{name}_1_bn", epsilon=_EPSILON).act("relu", f"{name}_1_relu")
    net.conv(filters, 3, padding="same", bias=True, name=f"{name}_2_conv")
    net.norm(f"{name}_2_bn", epsilon=_EPSILON).act("relu", f"{name}_2_relu")
    net.conv(4 * filters, 1, bias=True, name=f"{name}_3_conv")
    net.norm(f"{name}_3_bn", epsilon=_EPSILON)
    return net.add(shortcut, f"{name}_add").act("relu", f"{name}_out")


def _second_form(net: Net, filters: int, strides: int, project: bool, name: str) -> Net:
    """Normalization and activation come before each convolution."""
    shortcut = net.fork()
    net.norm(f"{name}_preact_bn", epsilon=_EPSILON).act("relu", f"{name}_preact_relu")
    if project:
        shortcut = net.fork().conv(4 * filters, 1, strides=strides, bias=True,
                                   name=f"{name}_0_conv")  # fmt: skip
    elif strides > 1:
        shortcut.max_pool(1, strides)
    net.conv(filters, 1, name=f"{name}_1_conv")
    net.norm(f"{name}_1_bn", epsilon=_EPSILON).act("relu", f"{name}_1_relu")
    net.pad(1, f"{name}_2_pad").conv(filters, 3, strides=strides, name=f"{name}_2_conv")
    net.norm(f"{name}_2_bn", epsilon=_EPSILON).act("relu", f"{name}_2_relu")
    net.conv(4 * filters, 1, bias=True, name=f"{name}_3_conv")
    return net.add(shortcut, f"{name}_out")


def _stages(net: Net, blocks: tuple[int, ...], second: bool) -> Net:
    for stage, (filters, count) in enumerate(zip(_FILTERS, blocks)):
        for i in range(1, count + 1):
            name = f"conv{stage + 2}_block{i}"
            if second:  # the last block of a stage makes images smaller, not in the last stage
                _second_form(net, filters, 2 if i == count and stage < 3 else 1, i == 1, name)
            else:  # the first block does, not in the first stage
                _first_form(net, filters, 2 if i == 1 and stage else 1, i == 1, name)
    return net


def variant(where: str) -> Any:
    """Returns the function that makes a model of a row of the table."""
    blocks, second, weights_files = _VARIANTS[where]

    def make(
        include_top: bool = True, weights: Any = "imagenet", input_tensor: Any = None,
        input_shape: Any = None, pooling: str | None = None, classes: int = 1000,
        classifier_activation: Any = "softmax", name: str = where.lower(),
    ) -> Any:  # fmt: skip
        ask = Request(where, include_top, weights, input_tensor, input_shape, pooling, classes,
                      classifier_activation)  # fmt: skip
        net = ask.start(224)
        beginning = net.x
        net.pad(3, "conv1_pad").conv(64, 7, strides=2, bias=True, name="conv1_conv")
        if not second:
            net.norm("conv1_bn", epsilon=_EPSILON).act("relu", "conv1_relu")
        net.pad(1, "pool1_pad").max_pool(3, 2, name="pool1_pool")
        _stages(net, blocks, second)
        if second:
            net.norm("post_bn", epsilon=_EPSILON).act("relu", "post_relu")
        return ask.finish(beginning, ask.head(net), name, weights_files)

    make.__name__ = make.__qualname__ = where
    make.__doc__ = f"Returns {where}; arguments are those of `keras.applications.{where}`."
    return make
