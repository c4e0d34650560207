"""A function, a `ModuleStates` or another object of a Python session as a frozen encoder: `encoder=python` without a file.

The object may be all that `probing.encoders.user.python` names, and is checked as that is. Its key covers its content
(`probing.encoders.memory.content_sha256`) in place of source files. A torch module is run through a copy that shares its weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any

from probing.encoders.memory import content_sha256, shared_copy
from probing.encoders.user.adapters import Adapter
from probing.encoders.user.modules import ModuleStates
from probing.encoders.user.python import Facts, PythonEncoder
from probing.encoders.user.usercode import Code
from probing.errors import EncoderError, described


@dataclass(repr=False)
class ObjectEncoder(PythonEncoder):
    """The options of `PythonEncoder`, `target` being a name, and the object."""

    thing: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.subject = f"encoder {self.label or self.target}"
        try:
            self._content = content_sha256(self.thing)  # before it is called, which may change it
        except EncoderError:
            raise
        except Exception as error:  # the code of any object that it reaches
            raise EncoderError(
                f"{self.subject}: its content cannot be hashed ({described(error)}): give it an attribute `version`"
            ) from None

    @property
    def origin(self) -> str:
        return f"{'random weights, ' if self.init_seed is not None else ''}{self.description['form']} of a Python object in memory"

    def _adapt(self, code: Code) -> Adapter:
        thing = code.thing
        if isinstance(thing, ModuleStates):
            code = replace(code, thing=replace(thing, module=shared_copy(thing.module)))
        return super()._adapt(code)

    def _code(self) -> Code:
        return Code(ModuleType("memory"), "object", self.thing, None)

    def _find_facts(self, adapter: Adapter, code: Code) -> Facts:
        facts = super()._find_facts(adapter, code)
        return replace(facts, description={**facts.description, "content": self._content})


def name_of(thing: Any) -> str:
    """A short name for tables: that of a function, a module's or an object's class."""
    if isinstance(thing, partial):
        return name_of(thing.func)
    if isinstance(thing, ModuleStates):
        return type(thing.module).__name__
    return getattr(thing, "__name__", type(thing).__name__).strip("<>")
