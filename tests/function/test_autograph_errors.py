"""What AutoGraph says of programs it cannot convert, and how to keep it out."""

import pytest

import distflow.ops.operators  # noqa: F401  (operators on tensors)
from distflow.base import dtypes, errors, log
from distflow.core.convert import constant
from distflow.function import autograph, cond, function
from distflow.ops import array, math

# -- errors --------------------------------------------------------------------------------


def if_else(x):
    if x > 0:
        y = x * 2
    else:
        y = -x
    return y


def only_one_branch(x):
    if x > 0:
        undefined_elsewhere = x
    return undefined_elsewhere


def only_one_return(x):  # noqa: RET503
    if x > 0:
        return x


def other_dtype(x):
    if x > 0:
        y = x
    else:
        y = 1.0
    return y


def other_structure(x):
    if x > 0:
        y = (x, x)
    else:
        y = [x]
    return y


def changing_dtype(x):
    while x < 10:
        x = math.cast(x, dtypes.float32) * 2.0
    return x


def changing_shape(x):
    v = constant([1])
    while x < 10:
        v = array.concat([v, v], 0)
        x += 1
    return v


def none_before_loop(x):
    last = None
    while x < 10:
        last = x
        x += 1
    return last


ERRORS = [
    (only_one_branch, ValueError, "'undefined_elsewhere' must also be initialized in the else"),
    (only_one_return, ValueError, "A value must also be returned from the else branch"),
    (other_dtype, TypeError, "'y' has dtype int32 in the main branch, but dtype float32"),
    (other_structure, TypeError, "'y' must have the same nested structure"),
    (changing_dtype, TypeError, "'x' enters the loop with dtype int32"),
    (changing_shape, ValueError, "'v' enters the loop with shape"),
    (none_before_loop, ValueError, "'last' is None before the loop"),
]


@pytest.mark.parametrize(("program", "kind", "match"), ERRORS, ids=lambda p: str(p)[:20])
def test_programs_that_cannot_be_graphs_say_why_and_where(program, kind, match):
    with pytest.raises(kind, match=match) as caught:
        function(program)(constant(1))
    assert f"in {program.__name__}" in str(caught.value)


def test_errors_point_at_the_users_line():
    def inner(x):
        return array.reshape(x, [7])  # the bad line

    @function
    def outer(x):
        if x[0] > 0:
            x = inner(x)
        return x

    with pytest.raises(errors.InvalidArgumentError, match="the same number of elements") as caught:
        outer(constant([1, 2]))
    text = str(caught.value)
    assert "test_autograph_errors.py" in text
    assert "return array.reshape(x, [7])" in text
    assert text.index("in outer") < text.index("in inner")


def test_without_autograph_tensors_have_no_truth():
    with pytest.raises(errors.InvalidArgumentError, match=r"bool\(\) needs a value"):
        function(if_else, autograph=False)(constant(1))


def test_do_not_convert_leaves_code_alone():
    plain = autograph.do_not_convert(if_else)
    with pytest.raises(errors.InvalidArgumentError, match=r"bool\(\) needs a value"):
        function(lambda x: plain(x))(constant(1))


def test_code_without_source_runs_as_it_is_with_one_warning(caplog):
    namespace = {}
    exec(compile("def nowhere(x):\n    return x + 1", "<nowhere>", "exec"), namespace)
    nowhere = namespace["nowhere"]
    nowhere.__module__ = "__main__"
    logger = log.get_logger()
    logger.addHandler(caplog.handler)
    try:
        f = function(nowhere)
        assert f(constant(1)).numpy() == 2
        f(constant([1]))
    finally:
        logger.removeHandler(caplog.handler)
    assert caplog.text.count("could not convert nowhere") == 1


def test_converted_code_can_be_read():
    assert "ag__.if_stmt" in autograph.to_code(if_else)


def test_branches_of_cond_may_be_converted_lambdas():
    f = function(lambda x: cond(x > 0, lambda: x, lambda: -x))
    assert f(constant(-2)).numpy() == 2


def test_converted_functions_run_without_a_trace():
    assert autograph.to_graph(if_else)(constant(-3)).numpy() == 3
    with pytest.raises(errors.InvalidArgumentError, match="a function with source code"):
        autograph.to_graph(3)
