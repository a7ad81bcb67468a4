"""What templates say about the fields of a row, read off how they use them.

    {% if label == 2 %}                label   compared with 2
    {{ answers.text[0] }}              answers a mapping, its text a list of at least one
    {{ title.split("_")[1] }}          title   a text with a "_" in it
    {{ answer_choices[label] }}        label   a whole number below the number of choices

`tasks.made_up` fills these shapes. Templates are read as trees, not run: a branch that no row takes speaks as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import nodes

from instil.tasks.sandbox import tree_of
from instil.tasks.template import SEPARATOR, Template

_TEXT_METHODS = frozenset(["lower", "upper", "title", "strip", "replace", "capitalize", "lstrip", "rstrip"])
_TEXT_FILTERS = frozenset(["trim", "lower", "upper", "capitalize", "title", "replace", "wordcount"])
_NUMBER_FILTERS = frozenset(["int", "round", "abs", "float"])
_SAME_FILTERS = frozenset(
    ["unique", "sort", "list", "reverse", "default", "d", "most_frequent", "reject", "select", "string"]
)
_PICKING_FILTERS = frozenset(["choice", "random", "first", "last", "max", "min"])
#: Lists have this many items where nothing else is asked for.
USUAL_LENGTH = 3


@dataclass(eq=False, slots=True)
class Shape:
    """What is known of a value."""

    keys: dict[str, Shape] = field(default_factory=dict)
    """It is a mapping with these."""
    item: Shape | None = None
    """It is a list of these."""
    least: int = 0
    """It is a list of at least so many."""
    lengths: list[int] = field(default_factory=list)
    """Its length is compared with these."""
    constants: list[Any] = field(default_factory=list)
    """It is compared with these."""
    below: int = 0
    """It is a whole number below this one."""
    is_text: bool = False
    is_number: bool = False
    is_tested: bool = False
    """Whether a template asks if there is something in it."""
    one_of: Shape | None = None
    """It is one of the items of another value."""
    parts: dict[str, Shape] = field(default_factory=dict)
    """It is split at these texts, into lists of these shapes."""
    holds: dict[str, None] = field(default_factory=dict)
    """It is a text with these in it, in this order."""
    starts: str = ""
    """It is a text that begins so."""
    length_of: Shape | None = None
    """It is the length of another value."""
    shifted: tuple[Shape, int] | None = None
    """It is another value less a number."""

    def key(self, name: str) -> Shape:
        """What stands under a name."""
        return self.keys.setdefault(name, Shape())

    def items(self, least: int = 0) -> Shape:
        """What each item is; calling it makes this a list."""
        self.least = max(self.least, least)
        if self.item is None:
            self.item = Shape()
        return self.item


class Shapes:
    """Reads templates, and gathers the shapes of the fields that they name."""

    def __init__(self) -> None:
        self.fields: dict[str, Shape] = {}
        self.names: dict[str, Shape] = {}

    def read(self, template: Template) -> None:
        """Gather what one template says."""
        choices = Shape(item=Shape(is_text=True))
        self.names = {"answer_choices": choices, "loop": Shape()}
        if template.answer_choices:
            tree = tree_of(template.answer_choices)
            joined = any(
                call.name == "join" and SEPARATOR in _constant(call.args) for call in tree.find_all(nodes.Filter)
            )
            choices.least = USUAL_LENGTH if joined else template.answer_choices.count(SEPARATOR) + 1
            self._statements(tree.body)
        choices.lengths = [choices.least]  # how many there are is known
        for part in (template.instruction, template.input, template.target, template.answer, template.rationale):
            if part:
                self._statements(tree_of(part).body)

    def _statements(self, body: Sequence[nodes.Node]) -> None:
        for node in body:
            if isinstance(node, nodes.Output):
                for part in node.nodes:
                    self._value(part)
            elif isinstance(node, nodes.If):
                self._tested(node.test)
                self._statements([*node.body, *node.elif_, *node.else_])
            elif isinstance(node, nodes.For):
                self._bind(node.target, self._value(node.iter).items())
                if node.test is not None:
                    self._tested(node.test)
                self._statements([*node.body, *node.else_])
            elif isinstance(node, nodes.Assign):
                self._bind(node.target, self._value(node.node))
            else:
                for child in node.iter_child_nodes():
                    self._statements([child])

    def _bind(self, target: nodes.Node, shape: Shape) -> None:
        if isinstance(target, nodes.Name):
            self.names[target.name] = shape
        elif isinstance(target, nodes.Tuple):
            for number, part in enumerate(target.items):
                self._bind(part, shape.keys.get(str(number)) or Shape())

    def _tested(self, node: nodes.Node) -> None:
        """A condition: what is asked for by itself may be empty."""
        if isinstance(node, (nodes.Name, nodes.Getattr, nodes.Getitem)):
            self._value(node).is_tested = True
        else:
            self._value(node)

    def _value(self, node: nodes.Node) -> Shape:
        kind = type(node).__name__
        read = getattr(self, f"_{kind.lower()}", None)
        if read is not None:
            shape: Shape = read(node)
            return shape
        for child in node.iter_child_nodes():
            self._value(child)
        return Shape(is_text=kind == "Concat")

    def _name(self, node: nodes.Name) -> Shape:
        return self.names.get(node.name) or self.fields.setdefault(node.name, Shape())

    def _const(self, node: nodes.Const) -> Shape:
        return Shape(constants=[node.value])

    def _list(self, node: Any) -> Shape:
        shapes = [self._value(item) for item in node.items]
        # All items may be picked: the first tells what they are.
        return Shape(item=shapes[0] if shapes else None, lengths=[len(shapes)] if shapes else [])

    _tuple = _list

    def _dict(self, node: nodes.Dict) -> Shape:
        shape = Shape()
        for pair in node.items:
            value = self._value(pair.value)
            if isinstance(pair.key, nodes.Const):
                shape.keys[str(pair.key.value)] = value
                shape.constants.append(pair.key.value)
        return shape

    def _getattr(self, node: nodes.Getattr) -> Shape:
        return self._value(node.node).key(node.attr)

    def _getitem(self, node: nodes.Getitem) -> Shape:
        base = self._value(node.node)
        if isinstance(node.arg, nodes.Slice):
            for end in (node.arg.start, node.arg.stop):
                if end is not None:
                    self._value(end).is_number = True
            first, last = _number(node.arg.start) or 0, _number(node.arg.stop) or 0
            base.least = max(base.least, first + 1 if first > 0 else -first, -last + 1 if last < 0 else 0)
            return base
        at = _number(node.arg)
        if at is not None:
            return base.items(at + 1 if at >= 0 else -at)
        if isinstance(node.arg, nodes.Const):
            return base.key(str(node.arg.value))
        index = self._value(node.arg)
        if isinstance(node.node, nodes.Dict):
            index.constants += base.constants
            return next(iter(base.keys.values()), Shape())
        if not index.length_of:
            fits = min([*base.lengths, *([base.least] if base.least else [])], default=1)
            if index.shifted is not None:
                counted, by = index.shifted
                counted.constants += range(by, by + fits)
            else:
                index.is_number = True
                index.below = min(index.below, fits) if index.below else fits
        return base.items(1)

    def _filter(self, node: nodes.Filter) -> Shape:
        base = self._value(node.node) if node.node is not None else Shape()
        arguments = [self._value(argument) for argument in node.args]
        named: dict[Any, nodes.Expr] = {pair.key: pair.value for pair in node.kwargs}
        name = node.name
        if name in _TEXT_FILTERS:
            base.is_text = True
            return base
        if name in _NUMBER_FILTERS:
            base.is_number = True
            return base
        if name in ("length", "count"):
            return Shape(is_number=True, length_of=base)
        if name in _PICKING_FILTERS:
            return base.items(1)
        if name == "map":
            item = base.items()
            attribute = named.get("attribute")
            return Shape(
                item=item.key(str(attribute.value)) if isinstance(attribute, nodes.Const) else Shape(is_text=True)
            )
        if name in ("selectattr", "rejectattr"):
            about = base.items(1).key(_constant(node.args))
            about.constants += [constant for shape in arguments[2:] for constant in shape.constants]
            return base
        if name == "join":
            base.items()
            return Shape(is_text=True)
        return base if name in _SAME_FILTERS else Shape()

    def _call(self, node: nodes.Call) -> Shape:
        arguments = [self._value(argument) for argument in node.args]
        if isinstance(node.node, nodes.Getattr):
            return self._method(self._value(node.node.node), node.node.attr, node, arguments)
        called = node.node.name if isinstance(node.node, nodes.Name) else ""
        if called == "range":
            for argument in arguments:
                argument.is_number = True
            return Shape(item=Shape(is_number=True))
        if called == "zip":
            return Shape(item=Shape(keys={str(place): each.items() for place, each in enumerate(arguments)}))
        if called == "namespace":
            return Shape(keys={pair.key: self._value(pair.value) for pair in node.kwargs})
        return Shape()

    def _method(self, base: Shape, method: str, node: nodes.Call, arguments: list[Shape]) -> Shape:
        if method == "split":
            base.is_text = True
            return base.parts.setdefault(_constant(node.args) or " ", Shape(item=Shape(is_text=True)))
        if method in _TEXT_METHODS:
            base.is_text = True
            return base
        if method == "startswith":
            base.is_text, base.starts = True, _constant(node.args)
        if method in ("index", "find") and _constant(node.args) and base.item is None:
            base.is_text, base.holds[_constant(node.args)] = True, None
            return Shape(is_number=True, length_of=base)
        if method == "index" and arguments:
            base.items(1)
            arguments[0].one_of = base
            return Shape(is_number=True, length_of=base)
        if method == "append" and arguments:
            base.item = base.item or arguments[0]
        if method == "items":
            return Shape(item=Shape(keys={"0": Shape(is_text=True), "1": Shape()}))
        if method == "join" and arguments:
            arguments[0].items()
        if method == "pop":
            return base.items(2)
        return Shape(is_text=method == "join")

    def _compare(self, node: nodes.Compare) -> Shape:
        left = self._value(node.expr)
        for operand in node.ops:
            right = self._value(operand.expr)
            if operand.op in ("in", "notin"):
                self._contained(left, right, operand.expr)
                continue
            for one, other in ((left, right), (right, left)):
                for constant in list(other.constants):
                    if one.length_of is not None and isinstance(constant, int):
                        one.length_of.lengths += [constant, constant + 1, max(constant - 1, 0)]
                    elif operand.op in ("eq", "ne") or not isinstance(constant, (int, float)):
                        one.constants.append(constant)
                    else:
                        one.constants += [constant - 1, constant, constant + 1]
        return Shape()

    def _contained(self, left: Shape, right: Shape, container: nodes.Expr) -> None:
        if isinstance(container, (nodes.List, nodes.Tuple)):
            left.constants += [item.value for item in container.items if isinstance(item, nodes.Const)]
        elif left.constants and right.is_text:
            right.holds |= dict.fromkeys(map(str, left.constants))
        elif left.constants:
            target = right.item if right.item is not None else right
            target.constants += left.constants
        elif right.item is not None:
            left.one_of = right

    def _add(self, node: nodes.Add) -> Shape:
        left, right = self._value(node.left), self._value(node.right)
        if (
            any(isinstance(constant, str) for constant in left.constants + right.constants)
            or left.is_text
            or right.is_text
        ):
            for each in (left, right):
                each.is_text = each.is_text or not each.constants
            return Shape(is_text=True)
        return self._numbers(left, right)

    def _numbers(self, left: Shape, right: Shape) -> Shape:
        if left.item is not None or right.item is not None:
            return left
        for each in (left, right):
            each.is_number = True
        return left if right.constants else right if left.constants else Shape(is_number=True)

    def _sub(self, node: nodes.Sub) -> Shape:
        left, by = self._value(node.left), _number(node.right)
        if by is None:
            return self._numbers(left, self._value(node.right))
        left.is_number = True
        return Shape(is_number=True, shifted=(left, by))

    def _mul(self, node: nodes.BinExpr) -> Shape:
        return self._numbers(self._value(node.left), self._value(node.right))

    _div = _floordiv = _mod = _mul

    def _condexpr(self, node: nodes.CondExpr) -> Shape:
        self._tested(node.test)
        otherwise = self._value(node.expr2) if node.expr2 is not None else Shape()
        first = self._value(node.expr1)
        return first if first.keys or first.item or not otherwise.keys else otherwise

    def _or(self, node: nodes.Or) -> Shape:
        left = self._value(node.left)
        self._value(node.right)
        return left


def _constant(arguments: Sequence[nodes.Node]) -> str:
    first = arguments[0] if arguments else None
    return first.value if isinstance(first, nodes.Const) and isinstance(first.value, str) else ""


def _number(node: nodes.Node | None) -> int | None:
    if isinstance(node, nodes.Neg) and isinstance(node.node, nodes.Const):
        inner = _number(node.node)
        return None if inner is None else -inner
    value = node.value if isinstance(node, nodes.Const) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
