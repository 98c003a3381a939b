"""Random programs full of special numbers, and what two forms of one must agree in."""

import numpy as np

import distflow.function  # noqa: F401  (registers control flow)
from distflow.base import dtypes, flags
from distflow.base.specs import TensorSpec
from distflow.compiler.numpy_backend import NumpyExecutable
from distflow.core.primitive import REGISTRY
from distflow.core.variable import Variable
from distflow.graph import trace
from distflow.graph.control import call, cond_graphs
from distflow.graph.loops import while_graphs

# What rules look for; and what they must not fall over.
SOUGHT = [0.0, -0.0, 1.0, 2.0, 0.5]
SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, -4.0, 3.0, 1e-40, 1e38, np.inf, -np.inf, np.nan]
SHAPES = [(), (1,), (3,), (1, 3), (2, 1), (2, 3), (3, 3), (1, 1, 3)]
UNARY = ["neg", "abs", "sign", "floor", "sqrt", "exp", "tanh", "stop_gradient"]
BINARY = ["add", "sub", "mul", "div", "max", "min"]
COMPARE = ["eq", "ne", "lt", "le"]
KINDS = (
    "neutral unary binary binary fresh select move move reduce cast integer state state "
    "control control"
).split()


class Writer:
    """Writes one random program while it is traced."""

    def __init__(self, random, inputs, variables):
        self.random = random
        self.values = [x for x in inputs if x.dtype is dtypes.float32]
        self.integers = [x for x in inputs if x.dtype is dtypes.int32]
        self.bools = []
        self.variables = variables
        self.depth = 0

    def pick(self, choices):
        return choices[int(self.random.integers(len(choices)))]

    def bind(self, name, *operands, **attributes):
        return REGISTRY[name](*operands, **attributes)

    def constant(self, kind=np.float32):
        shape = self.pick(SHAPES)
        if self.random.random() < 0.7:
            array = np.full(shape, self.pick(SOUGHT))
        else:
            array = self.random.choice(SPECIAL, shape)
        if kind is not np.float32:
            array = np.nan_to_num(array, posinf=5, neginf=-5).clip(-7, 7)
        return self.bind("constant", value=np.asarray(array, kind))

    def step(self):
        """Adds one operation (or a few)."""
        getattr(self, self.pick(KINDS))()

    def unary(self):
        self.values.append(self.bind(self.pick(UNARY), self.pick(self.values)))

    def compatible(self, *operands):
        try:
            return np.broadcast_shapes(*[tuple(x.shape) for x in operands]) is not None
        except ValueError:
            return False

    def binary(self):
        x = self.pick(self.values)
        y = self.constant() if self.random.random() < 0.4 else self.pick(self.values)
        if self.compatible(x, y):
            operands = (x, y) if self.random.random() < 0.5 else (y, x)
            self.values.append(self.bind(self.pick(BINARY), *operands))

    def neutral(self):
        number = self.bind("constant", value=np.float32(self.pick(SOUGHT)))
        name = self.pick(["add", "sub", "mul", "div"])
        self.values.append(self.bind(name, self.pick(self.values[:12]), number))

    def integer(self):
        x = self.pick(self.integers)
        y = self.constant(np.int32) if self.random.random() < 0.4 else self.pick(self.integers)
        if self.compatible(x, y):
            name = self.pick(["add", "sub", "mul", "max", "and", "or", "xor"])
            self.integers.append(self.bind(name, x, y))
        if self.random.random() < 0.3 and len(x.shape) == 2:
            product = self.bind("dot_general", x, x, contract=((1,), (1,)), batch=((), ()))
            self.integers.append(self.bind("transpose", product, perm=self.pick([(0, 1), (1, 0)])))

    def fresh(self):
        self.values.append(self.constant())

    def select(self):
        x, y = self.pick(self.values), self.pick(self.values)
        if not self.compatible(x, y):
            return
        self.bools.append(self.bind(self.pick(COMPARE), x, y))
        predicate = self.pick(self.bools)
        if self.random.random() < 0.3:
            predicate = self.bind("not", predicate)
        if self.random.random() < 0.2:
            predicate = self.bind("constant", value=np.asarray(self.random.random() < 0.5))
        a = self.pick([x, y])
        if self.compatible(predicate, a, y):
            self.values.append(self.bind("select", predicate, a, y))

    def move(self):
        x = self.pick(self.values)
        shape, rank = tuple(x.shape), len(x.shape)
        perm = tuple(int(i) for i in self.random.permutation(rank))
        axes = tuple(i for i in range(rank) if self.random.random() < 0.5)
        moved = {
            "transpose": lambda: self.bind("transpose", x, perm=perm),
            "reshape": lambda: self.bind(
                "reshape", x, shape=self.pick([(-1,), (1, *shape), shape, (*shape, 1), shape[::-1]])
            ),
            "broadcast": lambda: self.bind(
                "broadcast_to", x, shape=self.pick([shape, (2, *shape)])
            ),
            "reverse": lambda: self.bind("reverse", x, axes=axes),
            "slice": lambda: self.bind(
                "slice", x, starts=(0,) * rank, stops=(self.pick([None, 9]),) * rank,
                strides=(1,) * rank,
            ),
            "pad": lambda: self.bind(
                "pad", x, np.float32(-0.0), config=((0, 0, self.pick([0, 1])),) * rank
            ),
        }  # fmt: skip
        result = moved[self.pick(list(moved))]()
        if len(result.shape) < 5:
            self.values.append(result)

    def reduce(self):
        x = self.pick(self.values)
        axes = tuple(i for i in range(len(x.shape)) if self.random.random() < 0.5)
        name = self.pick(["reduce_sum", "reduce_max", "reduce_min"])
        self.values.append(self.bind(name, x, axes=axes))

    def cast(self):
        x = self.pick(self.integers)
        wide = self.bind("cast", x, dtype=self.pick([dtypes.int64, dtypes.float64, dtypes.int32]))
        self.values.append(self.bind("cast", wide, dtype=dtypes.float32))
        self.integers.append(self.bind("cast", wide, dtype=dtypes.int32))

    def state(self):
        variable = self.pick(self.variables)
        if self.random.random() < 0.5:
            self.values.append(self.bind("read_variable", variable))
            return
        value = self.pick(self.values)
        if tuple(value.shape) == tuple(variable.shape):
            mode = self.pick(["assign", "add", "sub"])
            self.bind("assign_variable", variable, value, mode=mode)

    def control(self):
        if self.depth:
            return
        kind, x, v = self.pick(["call", "cond", "while"]), self.pick(self.values), self.variables[0]
        bodies = []
        for _ in range(2):

            def body(x, v):
                inner = Writer(self.random, [x, self.bind("constant", value=np.int32(3))], [v])
                inner.depth = 1
                for _ in range(4):
                    inner.step()
                return self.pick(inner.values), x

            bodies.append(trace(body, TensorSpec(x.shape, x.dtype), v)[0])
        if kind == "call":
            self.values += call(x, v, graph=bodies[0], split=None)
        elif kind == "cond" and bodies[0].outputs[0].shape == bodies[1].outputs[0].shape:
            go = self.bind("constant", value=np.asarray(self.random.random() < 0.5))
            predicate = (
                go if self.random.random() < 0.5 or not self.bools else self.pick(self.bools)
            )
            if not predicate.shape:
                self.values += cond_graphs(predicate, [x, v], *bodies)
        elif kind == "while":
            self.loop(x, v)

    def loop(self, x, v):
        i = self.bind("constant", value=np.int32(self.random.integers(0, 3)))
        if self.random.random() < 0.5:
            i = self.bind("min", i, next(k for k in self.integers if not k.shape))
        types = [TensorSpec((), dtypes.int32), TensorSpec(x.shape, x.dtype), v]
        go_on, _ = trace(lambda i, x, v: self.bind("lt", i, np.int32(2)), *types)

        def body(i, x, v):
            self.bind("assign_variable", v, self.bind("read_variable", v), mode="add")
            return self.bind("add", i, np.int32(1)), self.bind("neg", x), v

        step, _ = trace(lambda *a: body(*a)[:2], *types)
        self.values.append(while_graphs([i, x], [v], go_on, step)[1])


def _numbers(random, shape):
    # Mostly ordinary ones: a NaN in everything would hide what is wrong.
    ordinary = random.normal(size=shape)
    special = np.where(random.random(shape) < 0.5, -0.0, random.choice(SPECIAL, shape))
    return np.asarray(np.where(random.random(shape) < 0.3, special, ordinary), np.float32)


def make(seed, steps=40):
    """Returns a random program, and the inputs and Variables to run it on."""
    random = np.random.default_rng(seed)
    floats = [_numbers(random, s) for s in SHAPES]
    integers = [random.integers(-3, 4, s).astype(np.int32) for s in [(), (3,), (2, 3)]]
    starts = [_numbers(random, s) for s in [(3,), (3,), ()]]

    def program(*inputs):
        tensors, variables = inputs[: len(floats) + len(integers)], inputs[-3:]
        writer = Writer(random, tensors, list(variables))
        for _ in range(steps):
            writer.step()
        made = [*writer.values[len(floats) :], *writer.integers[len(integers) :]]
        return [x for x in made if random.random() < 0.4]

    specs = [TensorSpec(a.shape, dtypes.of_array(a)) for a in (*floats, *integers)]
    graph, _ = trace(program, *specs, *[Variable(a) for a in starts])
    return graph, [*floats, *integers], starts


def run(graph, arrays, starts, executable=NumpyExecutable):
    """Returns the outputs and the last values of the variables."""
    variables = [Variable(a) for a in starts]
    # Bodies of control flow are run by references in any case.
    with flags.override(DISTFLOW_EXECUTOR="numpy"):
        outputs = executable(graph)([*arrays, *variables])
    return [*outputs, *(v.storage.read() for v in variables)]


def assert_same_bits(found, wanted):
    """All bits agree; a NaN's sign and payload may differ."""
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if a.dtype.kind == "f":
            nan = np.isnan(a)
            np.testing.assert_array_equal(nan, np.isnan(b))
            a, b = np.where(nan, 0, a), np.where(nan, 0, b)
        assert a.tobytes() == b.tobytes(), f"{a} != {b}"
