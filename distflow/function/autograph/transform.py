"""Turns Python functions into ones whose control flow works on tensors, with diastatic-malt.

The package rewrites `if`, `while`, `for`, `break`, `return`, `and`, `or`, `not`, `assert` and calls
into operators (Moldovan et al. 2018, arXiv:1810.08061); `runtime.py` has ours, which choose plain
Python or graph control flow at run time. This file chooses what is converted, and keeps errors
pointing at the user's lines. Nothing of the package is imported before the first conversion.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import threading
import traceback
import types
import weakref
from collections.abc import Callable
from typing import Any

from distflow.base import errors, log, parsing
from distflow.core import context
from distflow.function.autograph import loops, runtime
from distflow.function.autograph.conversions import Conversion

# Code of these packages, and of the standard library, runs as it is.
_LEFT_ALONE = frozenset({
    "PIL", "distflow", "distflow_launcher", "h5py", "keras", "malt", "matplotlib", "ml_dtypes",
    "mpi4py", "numpy", "pandas", "pytest", "rich", "scipy", "sklearn", "tensorflow",
})  # fmt: skip


class _State(threading.local):
    def __init__(self) -> None:
        self.enabled = False


_state = _State()
_failed: weakref.WeakSet[Any] = weakref.WeakSet()  # code objects that could not be converted


def converted(f: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that runs `f` converted, with errors that name the user's lines.

    Where `f` cannot be converted (no source, say) it runs as it is, after one warning.
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        before, _state.enabled = _state.enabled, True
        try:
            return converted_call(f, args, kwargs)
        except Exception as error:
            _show_user_code(error)
            raise
        finally:
            _state.enabled = before

    return run


def convert_user_code(f: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `f` converted if the function being traced is; for rooms that call user code.

    A layer's `call`, say: it is called from code of distflow, which is never converted.
    """
    if not _state.enabled or context.executing_eagerly():
        return f
    return functools.partial(_call_with, f)


def _call_with(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return converted_call(f, args, kwargs)


def do_not_convert(func: Callable[..., Any] | None = None) -> Any:
    """Decorates a function that is to run as plain Python, and all that it calls."""
    if func is None:
        return do_not_convert

    @functools.wraps(func)
    def plain(*args: Any, **kwargs: Any) -> Any:
        before, _state.enabled = _state.enabled, False
        try:
            return func(*args, **kwargs)
        finally:
            _state.enabled = before

    plain.autograph_plain = True  # type: ignore[attr-defined]
    return plain


def converted_call(
    f: Any, args: Any, kwargs: Any, caller_fn_scope: Any = None, options: Any = None
) -> Any:
    """Calls `f`, converted if it is user code (generated code makes each of its calls by this)."""
    kwargs = kwargs or {}
    if not _state.enabled:
        return f(*args, **kwargs)
    if isinstance(f, functools.partial):
        return converted_call(f.func, (*f.args, *args), {**f.keywords, **kwargs}, caller_fn_scope)
    if isinstance(f, types.BuiltinFunctionType | type):
        return _call_builtin(f, args, kwargs, caller_fn_scope)
    target, first = _target(f)
    made = None if target is None else _convert(target)
    if made is None:
        return f(*args, **kwargs)
    try:
        return made(*first, *args, **kwargs)
    except Exception as error:
        _note_user_line(error, made, target)
        raise


def _call_builtin(f: Any, args: Any, kwargs: Any, scope: Any) -> Any:
    own = runtime.BUILTINS.get(f) if isinstance(f, types.BuiltinFunctionType | type) else None
    if own is not None:
        return own(*args, **kwargs)
    if f in (super, locals, globals, eval):
        special = importlib.import_module("malt.operators.py_builtins")
        if f is eval:
            return special.eval_in_original_context(f, args, scope)
        if f is super:
            return special.super_in_original_context(f, args, scope)
        return getattr(special, f"{f.__name__}_in_original_context")(scope)
    return f(*args, **kwargs)


def _target(f: Any) -> tuple[Any, tuple[Any, ...]]:
    """Returns the function to convert and the arguments it is bound to, or (None, ())."""
    if hasattr(f, "bound_to"):  # a method that holds its object weakly
        function, reference = f.bound_to
        owner = reference()
        return (None, ()) if owner is None else (function, (owner,))
    if inspect.ismethod(f):
        return f.__func__, (f.__self__,)
    if inspect.isfunction(f):
        return f, ()
    call = inspect.getattr_static(type(f), "__call__", None)
    return (call, (f,)) if inspect.isfunction(call) else (None, ())


def _is_user_code(f: Any) -> bool:
    package = (getattr(f, "__module__", None) or "").partition(".")[0]
    return not (
        package in _LEFT_ALONE
        or package in sys.stdlib_module_names - {"__main__"}
        or hasattr(f, "autograph_plain")
        or hasattr(f, "ag_module")
        or inspect.isgeneratorfunction(f)
        or inspect.iscoroutinefunction(f)
        or not hasattr(f, "__code__")
        # Defined inside a converted function, so converted with it.
        or hasattr(f, "autograph_info__")
        or "ag__" in f.__code__.co_freevars
    )


def _convert(f: Any) -> Any:
    """Returns `f` converted (cached by its code), or None if it runs as it is."""
    if not _is_user_code(f) or f.__code__ in _failed:
        return None
    try:
        return _machinery().convert(f)
    except Exception as error:  # noqa: BLE001  (whatever the parser meets, the code still runs)
        _failed.add(f.__code__)
        # A lambda has no statements, so there is rarely anything to convert.
        report = log.get_logger().info if f.__name__ == "<lambda>" else log.get_logger().warning
        report(
            "AutoGraph could not convert %s (%s) and runs it as plain Python: %s\n"
            "To silence this, decorate it with @tf.autograph.experimental.do_not_convert.",
            f.__qualname__, f.__module__, error,
        )  # fmt: skip
        return None


class _Machinery:
    """The parts of the package, put together with our operators."""

    def __init__(self) -> None:
        try:
            api = importlib.import_module("malt.impl.api")
        except ImportError as error:
            raise errors.missing_extra("diastatic-malt", "autograph", "AutoGraph") from error
        self._converter = importlib.import_module("malt.core.converter")

        class Scope(api.operators.FunctionScope):  # type: ignore[misc, name-defined]
            def ret(self, value: Any, did_return: Any) -> Any:
                return super().ret(runtime.returned(value, did_return), did_return)

        class Transpiler(api.PyToPy):  # type: ignore[misc, name-defined]
            def get_extra_locals(self) -> dict[str, Any]:
                if not hasattr(self, "_names"):
                    own = types.SimpleNamespace(**vars(super().get_extra_locals()["ag__"]))
                    vars(own).update(
                        runtime.OPERATORS,
                        **loops.OPERATORS,
                        converted_call=converted_call,
                        FunctionScope=Scope,
                    )
                    self._names = {"ag__": own}
                return self._names

            def transform_function(self, fn: Any, user_context: Any) -> Any:
                subkey = self.get_caching_key(user_context)
                if self._cache.has(fn, subkey):
                    return super().transform_function(fn, user_context)
                with parsing.lock, self._cache_lock:
                    # The source of a lambda is a line that may hold several.
                    if fn.__name__ == "<lambda>":
                        return super().transform_function(fn, user_context)
                    features = user_context.options.optional_features
                    kept = Conversion(fn, sorted(feature.name for feature in features))
                    factory = kept.read(self.get_extra_locals())
                    if factory is not None:
                        self._cache[fn][subkey] = factory
                    made = super().transform_function(fn, user_context)
                    if factory is None:
                        kept.write(self._cache[fn][subkey])
                    return made

        self._transpiler = Transpiler()
        feature = self._converter.Feature
        self._feature_sets = (
            (feature.BUILTIN_FUNCTIONS, feature.ASSERT_STATEMENTS),
            (feature.BUILTIN_FUNCTIONS,),
        )

    def convert(self, f: Any) -> Any:
        """Returns `f` converted; it keeps its closure, defaults and name."""
        for i, features in enumerate(self._feature_sets):
            options = self._converter.ConversionOptions(
                recursive=True, user_requested=False, optional_features=features
            )
            try:
                made, module, lines = self._transpiler.transform(
                    f, self._converter.ProgramContext(options=options)
                )
                break
            except NotImplementedError:  # an assert whose message is not a plain string
                if i == len(self._feature_sets) - 1:
                    raise
        made.ag_module, made.ag_source_map = module, lines
        return made


@functools.lru_cache(maxsize=1)
def _machinery() -> _Machinery:
    return _Machinery()


def to_graph(
    entity: Any, recursive: bool = True, experimental_optional_features: Any = None
) -> Any:
    """Returns a function with its control flow converted, without tracing it.

    Raises:
      InvalidArgumentError: if `entity` is not a Python function or method with source code.
    """
    target, first = _target(getattr(entity, "python_function", entity))
    try:
        made = _machinery().convert(target)
    except Exception as error:
        raise errors.invalid("autograph", "a function with source code", repr(entity)) from error
    return functools.partial(made, *first) if first else made


def to_code(entity: Any, recursive: bool = True, experimental_optional_features: Any = None) -> str:
    """Returns the source code of a function as converted, for reading."""
    made = to_graph(entity)
    return inspect.getsource(getattr(made, "func", made))


# -- errors --------------------------------------------------------------------------------


def _note_user_line(error: Exception, made: Any, target: Any) -> None:
    """Notes on an error the user's line that it came through, innermost first."""
    location = importlib.import_module("malt.pyct.origin_info").LineLocation
    lines = error.__dict__.setdefault("_user_lines", [])
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        origin = made.ag_source_map.get(location(filename=frame.filename, lineno=frame.lineno))
        if origin is not None:
            lines.append(
                f'  File "{origin.loc.filename}", line {origin.loc.lineno}, in '
                f"{origin.function_name}\n    {origin.source_code_line.strip()}"
            )
            return
    code = target.__code__
    lines.append(f'  File "{code.co_filename}", line {code.co_firstlineno}, in {code.co_name}')


def _show_user_code(error: Exception) -> None:
    """Adds the user's lines to the message of an error."""
    lines = error.__dict__.pop("_user_lines", None)
    if lines and len(error.args) == 1 and isinstance(error.args[0], str):
        text = "\n".join(["in user code:", *reversed(lines)])
        error.args = (f"{error.args[0]}\n\n{text}",)
