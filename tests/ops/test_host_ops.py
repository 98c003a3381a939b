"""Assertions, print, strings, Python calls, DLPack: what happens on the host."""

import numpy as np
import pytest

import distflow as tf

INVALID = tf.errors.InvalidArgumentError


# -- debugging -----------------------------------------------------------------------------

FAILING = {
    "equal": (lambda x: tf.debugging.assert_equal(x, [1, 3], message="hey"), "(?s)hey.*\\[2\\]"),
    "none_equal": (lambda x: tf.debugging.assert_none_equal(x, [1, 3]), "x != y"),
    "less": (lambda x: tf.debugging.assert_less(x, 2), "x < y"),
    "less_equal": (lambda x: tf.debugging.assert_less_equal(x, 1), "x <= y"),
    "greater": (lambda x: tf.debugging.assert_greater(x, 1), "x > y"),
    "greater_equal": (lambda x: tf.debugging.assert_greater_equal(x, 2), "x >= y"),
    "near": (lambda x: tf.debugging.assert_near(tf.cast(x, tf.float32), 1.0), "within rtol"),
    "positive": (lambda x: tf.debugging.assert_positive(x - 1), "x > 0"),
    "negative": (lambda x: tf.debugging.assert_negative(x), "x < 0"),
    "non_negative": (lambda x: tf.debugging.assert_non_negative(x - 2), "x >= 0"),
    "non_positive": (lambda x: tf.debugging.assert_non_positive(x), "x <= 0"),
    "Assert": (lambda x: tf.Assert(x[0] > 1, [x]), r"\[1 2\]"),
    "numerics": (
        lambda x: tf.debugging.check_numerics(tf.cast(x, tf.float32) / 0.0, "bad"), "bad.*Inf"),
}  # fmt: skip


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("name", FAILING)
def test_failing_assertion_shows_values(name, traced):
    call, text = FAILING[name]
    with pytest.raises(INVALID, match=text):
        (tf.function(call) if traced else call)(tf.constant([1, 2]))


def test_assertions_that_hold_are_silent():
    tf.debugging.assert_equal([1, 2], [1, 2])
    tf.debugging.assert_near(1.0, 1.0000001)
    tf.debugging.assert_less([1, 2], 3)
    tf.debugging.assert_all_finite([1.0], "x")


def test_static_shapes_are_compared_and_both_shown():
    x = tf.zeros([32, 10])
    tf.debugging.assert_equal(x.shape, (32, 10))
    with pytest.raises(INVALID, match=r"\(32, 10\), y: \(32, 11\)"):
        tf.debugging.assert_equal(x.shape, (32, 11))


def test_static_shapes_are_compared_in_a_trace():
    @tf.function
    def f(x):
        tf.debugging.assert_equal(x.shape, (2, 4))
        return x

    with pytest.raises(INVALID, match=r"\(2, 3\), y: \(2, 4\)"):
        f(tf.zeros([2, 3]))


def test_ranks_shapes_and_types():
    tf.debugging.assert_shapes([(tf.zeros([2, 3]), ("N", "D")), (tf.zeros([3]), ("D",))])
    tf.debugging.assert_rank_in(tf.zeros([2]), [1, 2])
    with pytest.raises(INVALID, match="D = 3"):
        tf.debugging.assert_shapes([(tf.zeros([2, 3]), ("N", "D")), (tf.zeros([4]), ("D",))])
    with pytest.raises(INVALID, match="rank must be 2"):
        tf.debugging.assert_rank([1], 2)
    with pytest.raises(TypeError, match="expected float32; received int32"):
        tf.debugging.assert_type([1], tf.float32)


# -- print ---------------------------------------------------------------------------------

PRINTED = {
    "numbers": (
        (tf.constant([0.1, 1 / 3, 1e10, 16777216.0, 1.0]),),
        "[0.1 0.333333343 1e+10 16777216 1]",
    ),
    "doubles": ((tf.constant([1 / 3, 1e10], tf.float64),), "[0.33333333333333331 10000000000]"),
    "long": ((tf.range(10),), "[0 1 2 ... 7 8 9]"),
    "rows": ((tf.reshape(tf.range(4), [2, 2]),), "[[0 1]\n [2 3]]"),
    "strings": ((tf.constant(["a"]), "b"), '["a"] b'),
    "nested": (
        ([1, tf.constant(2), "z"], {"a": tf.constant([1])}, (1,)), "[1, 2, 'z'] {'a': [1]} (1,)"),
    "bools": ((tf.constant([True, False]), None, 1.5), "[1 0] None 1.5"),
}  # fmt: skip


@pytest.mark.parametrize("name", PRINTED)
def test_print_looks_as_in_tensorflow(name, capsys):
    values, text = PRINTED[name]
    tf.print(*values, summarize=3 if name == "long" else -1)
    assert capsys.readouterr().err == text + "\n"


def test_print_in_a_function_runs_every_time_and_in_order(capsys):
    @tf.function
    def f(x):
        tf.print("first", x)
        tf.print("second")
        return x

    f(tf.constant(1))
    f(tf.constant(2))
    assert capsys.readouterr().err == "first 1\nsecond\nfirst 2\nsecond\n"


def test_print_to_a_file(tmp_path):
    tf.print("a", "b", sep="-", end="!", output_stream=f"file://{tmp_path}/out")
    assert (tmp_path / "out").read_text() == "a-b!"


# -- strings -------------------------------------------------------------------------------

STRINGS = {
    "as_string": (lambda: tf.as_string([1.5, 2]), [b"1.500000", b"2.000000"]),
    "as_string int": (lambda: tf.strings.as_string([7], width=3, fill="0"), [b"007"]),
    "as_string bool": (lambda: tf.as_string([True]), [b"true"]),
    "as_string short": (lambda: tf.strings.as_string([0.25], shortest=True), [b"0.25"]),
    "join": (lambda: tf.strings.join(["a", ["b", "c"]], "-"), [b"a-b", b"a-c"]),
    "reduce_join": (lambda: tf.strings.reduce_join([["a", "b"], ["c", "d"]], 1), [b"ab", b"cd"]),
    "reduce_join all": (lambda: tf.strings.reduce_join([["a", "b"]], separator=","), b"a,b"),
    "length": (lambda: tf.strings.length(["é"]), [2]),
    "length chars": (lambda: tf.strings.length(["é"], "UTF8_CHAR"), [1]),
    "lower": (lambda: tf.strings.lower(["AÉ"]), ["aÉ".encode()]),
    "lower utf8": (lambda: tf.strings.lower(["AÉ"], "utf-8"), ["aé".encode()]),
    "upper": (lambda: tf.strings.upper(["ab"]), [b"AB"]),
    "strip": (lambda: tf.strings.strip([" a\n"]), [b"a"]),
    "substr": (lambda: tf.strings.substr(["hello"], -3, 2), [b"ll"]),
    "to_number": (lambda: tf.strings.to_number(["1.5", "-2"]), [1.5, -2]),
    "to_number int": (lambda: tf.strings.to_number(["12"], tf.int64), [12]),
    "regex_replace": (lambda: tf.strings.regex_replace(["abab"], "(b)", r"[\1]"), [b"a[b]a[b]"]),
    "regex_replace once": (
        lambda: tf.strings.regex_replace(["aa"], "a", "b", replace_global=False), [b"ba"]),
    "regex_full_match": (lambda: tf.strings.regex_full_match(["aa", "ab"], "a+"), [True, False]),
}  # fmt: skip


@pytest.mark.parametrize("name", STRINGS)
def test_string_operation(name):
    call, expected = STRINGS[name]
    assert np.asarray(call()).tolist() == expected


def test_hash_buckets_are_tensorflows():
    # tf.strings.to_hash_bucket_fast of TensorFlow 2.21.
    result = tf.strings.to_hash_bucket_fast(["hello", "w", ""], 100)
    assert result.numpy().tolist() == [96, 39, 63]


def test_bad_number_is_named():
    with pytest.raises(INVALID, match="b'abc'"):
        tf.strings.to_number(["abc"])


def test_strings_are_wanted():
    with pytest.raises(TypeError, match="expected string; received int32"):
        tf.strings.lower([1])


# -- Python calls --------------------------------------------------------------------------


def test_eager_py_function_lets_gradients_through():
    x = tf.constant(3.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.py_function(lambda v: v * v, [x], tf.float32)
    assert tape.gradient(y, x).numpy() == 6


def test_traced_py_function_sees_values():
    seen = []

    @tf.function
    def f(x):
        return tf.py_function(
            lambda v: (seen.append(v.numpy().tolist()), v * 2)[1], [x], tf.TensorSpec([2])
        )

    np.testing.assert_array_equal(f(tf.constant([1.0, 2.0])), [2, 4])
    assert seen == [[1.0, 2.0]]


def test_traced_py_function_must_say_its_rank():
    f = tf.function(lambda x: tf.py_function(lambda v: v, [x], tf.float32))
    with pytest.raises(INVALID, match=r"(?s)rank.*TensorSpec"):
        f(tf.constant(1.0))


def test_numpy_function_takes_and_returns_arrays():
    result = tf.numpy_function(lambda a: [np.sin(a), a.sum()], [np.ones(2)], [tf.float64] * 2)
    np.testing.assert_allclose(result[0], np.sin(np.ones(2)))
    assert result[1].numpy() == 2


# -- DLPack and NumPy ----------------------------------------------------------------------


def test_numpy_takes_tensors_without_a_copy_by_dlpack():
    x = tf.constant([[1.0, 2.0]])
    np.testing.assert_array_equal(np.from_dlpack(x), [[1, 2]])


def test_dlpack_there_and_back():
    capsule = tf.experimental.dlpack.to_dlpack(tf.constant([1, 2]))
    np.testing.assert_array_equal(tf.experimental.dlpack.from_dlpack(capsule), [1, 2])


def test_tensor_and_array_mix():
    x = tf.constant([1.0, 2.0])
    assert isinstance(np.ones(2, np.float32) * x, tf.Tensor)
    assert isinstance(x + np.ones(2, np.float32), tf.Tensor)
    assert isinstance(np.asarray(x), np.ndarray)
    np.testing.assert_array_equal(np.sum(np.asarray(x)), 3)
