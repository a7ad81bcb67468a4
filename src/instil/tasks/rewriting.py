"""Rewrites a template's tree, so that each place where it can make something large pays for it first.

    {% for x in xs %}ab{% endfor %}    ->   {% for x in xs | rounds(3) %}    1 + the 2 characters a round writes
    a ~ b                              ->   [a, b] | ~
    [x, x]                             ->   [x, x] | pay
    text[1:9]                          ->   text | cut(1, 9, None)
    a == b                             ->   (a | tick) == b

What is not on the list of node kinds does not exist: macros, includes, blocks, recursive loops.
"""

# ruff: noqa: N802 - Jinja finds visit_Concat by the name of the node

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Undefined
from jinja2.utils import pass_context
from jinja2.visitor import NodeTransformer

from instil.tasks.budget import RenderContext, paid


@pass_context
def show(context: RenderContext, value: Any) -> Any:
    """Every `{{ ... }}` comes through here before it is written."""
    kind = type(value)
    if kind is str:
        context.budget.spend(len(value))
    elif not isinstance(value, Undefined):
        context.budget.weigh(value, text=True)
    return value


@pass_context
def pay(context: RenderContext, value: Any) -> Any:
    """A list, tuple or mapping that the template writes down."""
    context.budget.weigh(value)
    return value


@pass_context
def tick(context: RenderContext, value: Any) -> Any:
    """A comparison or test: cheap each, so only the clock is read."""
    context.budget.spend(1)
    return value


@pass_context
def concat(context: RenderContext, values: list[Any]) -> str:
    """`a ~ b ~ c`."""
    context.budget.weigh(values, text=True)
    return "".join(map(str, values))


@pass_context
def cut(context: RenderContext, value: Any, start: Any, stop: Any, step: Any) -> Any:
    """`value[start:stop:step]`."""
    which = slice(start, stop, step)
    context.budget.spend(len(range(*which.indices(len(value)))) + 1)
    return value[which]


@pass_context
def rounds(context: RenderContext, values: Any, price: int) -> Iterable[Any]:
    """What a `for` loops over; `price` is one plus the characters that a round writes by itself."""
    result = paid(context, values, price)
    # A loop that appends to the list that it walks over would never end.
    return tuple(result) if context.environment.growing and isinstance(result, list) else result  # type: ignore[attr-defined]


ALLOWED_NODES = frozenset(
    {
        *("Template", "Output", "TemplateData", "Assign", "If", "For"),
        *("Name", "NSRef", "Const", "Tuple", "List", "Dict", "Pair", "Keyword", "CondExpr"),
        *("Filter", "Test", "Call", "Getattr", "Getitem", "Slice", "Concat", "Compare", "Operand"),
        *("And", "Or", "Not", "Neg", "Pos", "Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"),
    }
)
_NAMES = {"Include": "include", "Import": "import", "FromImport": "import", "Extends": "extends", "CallBlock": "call"}
_CHEAP_TESTS = frozenset({"defined", "undefined", "none", "string", "number", "mapping", "boolean", "true", "false"})


class Rewriter(NodeTransformer):
    """Sends every place that can make something large through the functions above."""

    allowed: frozenset[str] = ALLOWED_NODES

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        """Refuse a node that is not listed; visit what it holds."""
        kind = type(node).__name__
        if kind not in self.allowed:
            raise SecurityError(f"uses `{_NAMES.get(kind, kind.lower())}`, which templates here do not have")
        return super().generic_visit(node, *args, **kwargs)

    def _through(self, tool: str, node: nodes.Node, *arguments: nodes.Expr) -> nodes.Filter:
        assert isinstance(node, nodes.Expr)
        return nodes.Filter(node, tool, list(arguments), [], None, None, lineno=node.lineno)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        """Pay for `a ~ b`."""
        self.generic_visit(node)
        return self._through("~", nodes.List(node.nodes, lineno=node.lineno))

    def _literal(self, node: nodes.Expr, parts: list[nodes.Expr]) -> nodes.Node:
        self.generic_visit(node)
        plain = all(isinstance(part, nodes.Const) for part in parts)
        return node if plain or getattr(node, "ctx", "load") != "load" else self._through("pay", node)

    def visit_List(self, node: nodes.List) -> nodes.Node:
        """Pay for `[a, b]`."""
        return self._literal(node, node.items)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        """Pay for `(a, b)`."""
        return self._literal(node, node.items)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        """Pay for `{a: b}`."""
        return self._literal(node, [part for pair in node.items for part in (pair.key, pair.value)])

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        """Read the clock at `a == b`."""
        self.generic_visit(node)
        node.expr = self._through("tick", node.expr)
        return node

    def visit_Test(self, node: nodes.Test) -> nodes.Node:
        """Read the clock at `a is in b`."""
        self.generic_visit(node)
        if node.name not in _CHEAP_TESTS:
            node.node = self._through("tick", node.node)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        """Pay for `a[1:2]`."""
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        ends = [end if end is not None else nodes.Const(None) for end in (node.arg.start, node.arg.stop, node.arg.step)]
        return self._through("cut", node.node, *ends)

    def visit_For(self, node: nodes.For) -> nodes.Node:
        """Pay for the rounds, and for what each writes by itself."""
        if node.recursive:
            raise SecurityError("uses a recursive loop, which templates here do not have")
        price = 1 + sum(len(text.data) for text in node.find_all(nodes.TemplateData))
        self.generic_visit(node)
        node.iter = self._through("rounds", node.iter, nodes.Const(price))
        return node


#: The filters that the rewritten tree calls; their names cannot be written in a template, or do no harm there.
TOOLS: Mapping[str, Callable[..., Any]] = {"~": concat, "pay": pay, "tick": tick, "cut": cut, "rounds": rounds}
