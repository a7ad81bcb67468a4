"""The place where templates run: they see the row, a few plain tools, and a budget that they cannot leave.

    "{{ premise }} Does it follow? |||  {{ answer_choices[label] }}"     compiled once, run for every row
    "{{ ''.__class__.__mro__ }}"                                         SecurityError: no such attribute here
    "{% for a in range(9999) %}{% for b in range(9999) %}..."            BoundError after 1,000,000 steps

A template comes with a data set, so it is somebody else's program. Three walls stand around it:

1. **Only what is listed exists.** Node kinds, filters, tests, methods and globals are white lists: no macro, include,
   attribute that starts with `_`, printf or `str.format` (both can reach attributes or print a billion blanks).
2. **Work is paid for before it is done.** Every operation that can make something large (loops, `+ * ** ~`, literals,
   slices, calls, filters, what is printed) pays its size from a budget: one step is about one character or one round of
   a loop. The tree of the template is rewritten so that these places go through `Sandbox`. The budget counts work, not
   time, so the same template stops at the same place on every machine, in any thread.
3. **A clock** is read each time something is paid, for what the budget prices too low.

Nothing a template makes can be larger than its budget, so no single operation between two payments takes long. Shared
parts count each time that they are reached: lists of lists of the same list (exponential once printed) pay in full.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, LoopContext, StrictUndefined, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from instil.errors import TemplateError
from instil.tasks.budget import BoundError, Budget, RenderContext, paid
from instil.tasks.filters import FILTERS, TESTS
from instil.tasks.rewriting import TOOLS, Rewriter, show

#: Longest template text; the longest of the 1,399 templates of promptsource has 2,241 characters.
MAX_SOURCE = 10_000
#: Longest `range`, and largest integer in bits: no template that phrases a row needs more.
MAX_RANGE = 100_000
MAX_BITS = 4_096


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_METHODS: dict[type, frozenset[str]] = {
    str: _words("""
        capitalize count endswith find index isalnum isalpha isdecimal isdigit islower isnumeric isspace istitle isupper
        join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip split
        splitlines startswith strip swapcase title upper
    """),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    dict: frozenset({"get", "items", "keys", "values"}),
}
#: Methods that change what they are called on. A template that names one is given copies of the row's lists.
MUTATORS = frozenset({"append", "pop", "update"})
_MUTATORS_OF: dict[type, frozenset[str]] = {list: frozenset({"append", "pop"}), dict: frozenset({"pop", "update"})}
_LOOP = frozenset(
    {"index", "index0", "revindex", "revindex0", "first", "last", "length", "previtem", "nextitem", "cycle"}
)


class Missing(StrictUndefined):
    """A field that the row lacks: fine for `default` and `is defined`, an error wherever it is used."""

    @property
    def _undefined_message(self) -> str:
        where = "" if self._undefined_obj is jinja2.utils.missing else f" of {_described(self._undefined_obj)}"
        name: Any = self._undefined_name
        # A name can be any value that a template puts in brackets, of any size.
        shown = repr(name[:80] if isinstance(name, str) else name) if isinstance(name, (str, int)) else "there"
        return f"needs field {shown}{where}"


def _described(value: object) -> str:
    if isinstance(value, Mapping):
        return f"an object with {', '.join(map(str, list(value)[:8])) or 'no fields'}"
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, (list, tuple)) else "")


class Sandbox(ImmutableSandboxedEnvironment):
    """A Jinja environment with the walls built in."""

    context_class = RenderContext
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})
    rewriter: type[Rewriter] = Rewriter

    def __init__(self, *, growing: bool, undefined: type[Undefined] = Missing, **options: Any) -> None:
        """
        Args:
            growing: whether lists and mappings may grow in place (`append`, `pop`, `update`).
            undefined: what a name without a value is.
            options: of Jinja: extensions, what becomes of white space around blocks.
        """
        super().__init__(undefined=undefined, finalize=show, optimized=False, cache_size=0, **options)
        self.growing = growing
        self.globals = dict(GLOBALS)
        self.filters = {**FILTERS, **TOOLS}
        self.tests = dict(TESTS)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        rewritten: nodes.Template = self.rewriter().visit(tree)
        return rewritten

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether the attribute is listed for this kind of value."""
        if attr.startswith("_"):
            return False
        kind = type(obj)
        if attr in _METHODS.get(kind, ()) or (self.growing and attr in _MUTATORS_OF.get(kind, ())):
            return True
        return kind is Namespace or (isinstance(obj, LoopContext) and attr in _LOOP)

    def wrap_str_format(self, value: Any) -> None:
        """`str.format` does not exist here, so there is nothing to wrap."""

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        """Refuse at once, even where the value would not be used."""
        raise SecurityError(f"reaches for {attribute!r} of a {type(obj).__name__}, which the sandbox does not give")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Pay for `left operator right`, then compute it."""
        assert isinstance(context, RenderContext)
        _pay_for_operation(context.budget, operator, left, right)
        return _OPERATIONS[operator](left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - Jinja's names
        """Pay for what is handed over and for what can come back, then call."""
        assert isinstance(__context, RenderContext)
        budget = __context.budget
        if kwargs:  # what Jinja hands over inside loops is for functions that look at the context: there are none here
            kwargs.pop("_loop_vars", None)
            kwargs.pop("_block_vars", None)
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if type(owner) is str and name != "join" and not kwargs and _TEXTS.issuperset(map(type, args)):
            # Most calls: a listed method of a text, with texts or numbers. Nothing of it is left to look at.
            budget.spend(_length_after(owner, name, args) + len(args))
            return __obj(*args)
        if __obj is zip or (type(owner) is str and name == "join"):
            args = tuple(list(paid(__context, values)) for values in args)
        if type(owner) is str:
            budget.spend(_length_after(owner, name, args))
        elif type(owner) in (list, dict) and name in MUTATORS:
            # A copy goes in, so that a value never holds itself, and never grows behind the back of what was paid.
            args = tuple(_copied(budget, value) for value in args)
            kwargs = {key: _copied(budget, value) for key, value in kwargs.items()}
        elif owner is not None and name in ("index", "count") and type(owner) in (list, tuple):
            budget.spend(len(owner))
        # What a method of a list or mapping does not find stands in its complaint, written out.
        budget.weigh([*args, *kwargs.values()], text=isinstance(owner, (list, tuple, dict)))
        result = super().call(__context, __obj, *args, **kwargs)
        return list(result) if __obj is zip else result


def _copied(budget: Budget, value: Any) -> Any:
    budget.weigh(value)
    return copied(value)


def copied(value: Any) -> Any:
    """A copy of JSON-like data, down to its scalars."""
    if isinstance(value, list):
        return [copied(item) for item in value]
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return value


def _range(*ends: int) -> range:
    numbers = range(*ends)
    try:
        length = len(numbers)
    except OverflowError:
        length = MAX_RANGE + 1
    if length > MAX_RANGE:
        raise BoundError(f"asks for a range of more than {MAX_RANGE:,} numbers")
    return numbers


#: The names that a template sees beside the row's.
GLOBALS: Mapping[str, Any] = {"range": _range, "zip": zip, "dict": dict, "namespace": Namespace}

_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}
#: String methods that take the product of both lengths in the worst case: Python searches fast only forwards.
_SLOW_SEARCHES = frozenset({"rfind", "rindex", "rsplit", "rpartition", "strip", "lstrip", "rstrip"})
_SEQUENCES = (str, list, tuple)
_TEXTS = frozenset({str, int})


def _pay_for_operation(budget: Budget, symbol: str, left: Any, right: Any) -> None:
    if isinstance(left, _SEQUENCES) or isinstance(right, _SEQUENCES):
        if symbol == "%" and isinstance(left, str):
            raise SecurityError("formats text with %, which the sandbox does not give: join with ~ instead")
        if symbol == "*":
            parts, times = (left, right) if isinstance(left, _SEQUENCES) else (right, left)
            if isinstance(times, int):
                before = budget.left
                if not isinstance(parts, str):
                    budget.weigh(parts)
                budget.spend(max(times, 0) * (len(parts) + before - budget.left))
        elif symbol == "+" and isinstance(left, str) and isinstance(right, str):
            budget.spend(len(left) + len(right))
        else:
            budget.weigh(left)
            budget.weigh(right)
        return
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * max(right, 0) if symbol == "**" else left.bit_length() + right.bit_length()
        if symbol in ("*", "**") and bits > MAX_BITS:
            raise BoundError(f"makes a number of more than {MAX_BITS:,} bits")
    budget.spend(1)


def _length_after(text: str, method: str, arguments: tuple[Any, ...]) -> int:
    """How long the result of a string method can be; arguments of the wrong kind are left for Python to refuse."""
    if method == "replace" and len(arguments) >= 2:
        old, new = arguments[:2]
        if isinstance(old, str) and isinstance(new, str):
            return len(text) + text.count(old) * len(new)
    if method == "join" and arguments:
        parts = [part for part in arguments[0] if isinstance(part, str)]
        return sum(map(len, parts)) + len(text) * len(parts) + 1
    if method in _SLOW_SEARCHES:
        sought = max((len(part) for part in arguments if isinstance(part, str)), default=0)
        return len(text) + len(text) * sought // 64 + 1
    return len(text) + 1


# One compiled template. --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Compiled:
    """A template text, ready to run."""

    template: jinja2.Template
    fields: frozenset[str]
    """The names that it takes from the row."""
    growing: bool

    def run(self, names: dict[str, Any], budget: Budget) -> str:
        """The text for one row. Raises whatever went wrong: `tasks.template` gives it a name.

        Args:
            names: the row's fields and `GLOBALS`; they are not changed.
            budget: what the run may do.
        """
        context = RenderContext.of(self.template.environment, copied(names) if self.growing else names, budget)
        return "".join(self.template.root_render_func(context))


@lru_cache(maxsize=1)
def _sandboxes() -> tuple[Sandbox, Sandbox]:
    return Sandbox(growing=False), Sandbox(growing=True)


def tree_of(source: str) -> nodes.Template:
    """The tree of a template text as it was written, for those who look at what it uses.

    Raises:
        TemplateError: if it is no template.
    """
    try:
        return super(Sandbox, _sandboxes()[0])._parse(source, None, None)
    except (jinja2.TemplateSyntaxError, RecursionError, MemoryError) as error:
        raise TemplateError(f"is no template ({type(error).__name__})", remedy="Correct the Jinja") from None


@lru_cache(maxsize=8192)
def compiled(source: str) -> Compiled:
    """Compile a template text; the last 8,192 are kept.

    Raises:
        TemplateError: if it is no template, or uses what the sandbox does not give.
    """
    if len(source) > MAX_SOURCE:
        raise TemplateError(f"it is longer than {MAX_SOURCE:,} characters", remedy="Keep data in rows")
    plain, growing = _sandboxes()
    try:
        tree = plain.parse(source)
        grows = any(node.attr in MUTATORS for node in tree.find_all(nodes.Getattr))
        undeclared = meta.find_undeclared_variables(tree)
        template = (growing if grows else plain).from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(
            f"line {error.lineno}: {(error.message or '').rstrip('.')}", remedy="Correct the Jinja there"
        ) from None
    except SecurityError as error:
        raise TemplateError(f"it {error}", remedy="Write it with plain expressions, `if` and `for`") from None
    except (RecursionError, MemoryError):
        raise TemplateError("it is nested too deeply", remedy="Write it flatter") from None
    except Exception as error:  # noqa: BLE001 - Jinja and the compiler may raise anything on hostile text
        raise TemplateError(f"it does not compile ({type(error).__name__})", remedy="Correct the Jinja") from None
    return Compiled(template, frozenset(undeclared) - set(plain.globals), grows)
