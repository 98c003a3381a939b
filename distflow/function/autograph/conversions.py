"""Conversions on disk: the text that a function was converted to, for the next process.

Converting a function takes some 20 ms, reading what it became one. An entry is named by all that
decides the text: the function's source and place, its free variables, the options, the versions of
Python and of diastatic-malt. It lies in the private cache of machine code and is trusted like it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import inspect
import json
import logging
import re
import sys
from typing import Any

from distflow.base import log
from distflow.compiler.kept import Place, place_for

_WORD = re.compile(r"[^\W\d]\w*")
# Calls of these are gone from the converted text, whatever name they were called by.
_DIRECTIVES = ("set_loop_options", "set_element_type")


class Conversion:
    """The conversion of one function, on disk or to be put there.

    Args:
      function: a Python function with a `def`.
      options: what else decides how it is converted; its `repr` counts.
    """

    def __init__(self, function: Any, options: Any):
        self._function = function
        self._namespace = _pyct("inspect_utils").getnamespace(function)
        self._source = _pyct("inspect_utils").getimmediatesource(function)
        self._place = self._find_place(options)

    def read(self, extra_locals: dict[str, Any]) -> Any:
        """Returns malt's factory of the converted function; None if there is none to be trusted."""
        data = None if self._place is None else self._place.read()
        if data is None:
            return None
        try:
            return self._factory(json.loads(data), extra_locals)
        except (ValueError, KeyError, TypeError, AttributeError, SyntaxError) as error:
            log.get_logger().log(logging.INFO, "a function is converted anew: %r", error)
            return None

    def write(self, factory: Any) -> None:
        """Keeps what malt's factory holds."""
        if self._place is None:
            return
        text = inspect.getsource(factory.module)
        outer = [n for n in vars(factory.module) if n.startswith("outer_factory")]
        if len(outer) != 1:
            return
        rows = [
            [at.lineno, *found.loc, found.function_name, found.source_code_line, found.comment]
            for at, found in factory.source_map.items()
        ]
        made_up = sorted(set(_WORD.findall(text)) - set(_WORD.findall(self._source)))
        found = {
            "name": factory._name, "outer": outer[0], "text": text, "lines": rows, "words": made_up
        }  # fmt: skip
        self._place.write(json.dumps(found).encode())

    def _find_place(self, options: Any) -> Place | None:
        code = self._function.__code__
        directives = importlib.import_module("malt.lang.directives")
        known = [getattr(directives, name, None) for name in _DIRECTIVES]
        if any(name in self._source for name in _DIRECTIVES) or any(
            value is one for value in self._namespace.values() for one in known if one is not None
        ):
            return None
        future = sorted(_pyct("inspect_utils").getfutureimports(self._function))
        return place_for(
            "autograph", _version(), sys.version_info[:3], options, self._source,
            code.co_filename, code.co_firstlineno, code.co_freevars, self._function.__name__,
            hashlib.sha256(repr(future).encode()).hexdigest(),
        )  # fmt: skip

    def _factory(self, found: dict[str, Any], extra_locals: dict[str, Any]) -> Any:
        # A name that was made up must not hide one that the function sees today.
        if not self._namespace.keys().isdisjoint(found["words"]):
            return None
        origin = _pyct("origin_info")
        module, path = _pyct("loader").load_source(found["text"], delete_on_exit=True)
        factory = _pyct("transpiler")._PythonFnFactory(
            found["name"], self._function.__code__.co_freevars, extra_locals
        )
        factory._unbound_factory = getattr(module, found["outer"])()
        factory.module = module
        factory.source_map = {
            origin.LineLocation(path, line): origin.OriginInfo(origin.Location(*where), *rest)
            for line, *of in found["lines"]
            for where, rest in [(of[:3], of[3:])]
        }
        return factory


def _pyct(name: str) -> Any:
    return importlib.import_module(f"malt.pyct.{name}")


def _version() -> str:
    return importlib.metadata.version("diastatic-malt")
