"""The parser: CEL's grammar as far as it is supported, by precedence climbing.

Grammar and precedences: https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax
"""

from __future__ import annotations

from steersman.safety.errors import ExpressionError
from steersman.safety.expressions.source import Source
from steersman.safety.expressions.syntax import Feature, Literal, Node, Operation
from steersman.safety.expressions.tokens import Token, tokenize

PRECEDENCE = {"||": 1, "&&": 2} | dict.fromkeys(("<", "<=", ">", ">=", "==", "!=", "in"), 3)
PRECEDENCE |= dict.fromkeys("+-", 4) | dict.fromkeys("*/%", 5)

FUNCTIONS = {"abs": (1, 1), "min": (2, None), "max": (2, None)}
"""Function -> least and greatest number of arguments."""

_RESERVED_WORDS = """
as break const continue else false for function if import in let loop null package namespace return true var
void while
"""
RESERVED = frozenset(_RESERVED_WORDS.split())
"""What CEL does not take as an identifier."""

_WORDS = {"and": "&&", "or": "||", "not": "!"}
_INT64_MAX = 2**63 - 1


def parse(source: Source) -> Node:
    """The syntax tree of an expression.

    Raises:
        ExpressionError: It is not in the supported subset of CEL.
    """
    parser = _Parser(source)
    node = parser.expression()
    parser.expect_end()
    return node


class _Parser:
    """Reads tokens from left to right; each method reads what it is named after."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._tokens = tokenize(source)
        self._next = 0
        self._level = 0

    def expression(self) -> Node:
        """Whatever stands at the top, within parentheses, or as an argument."""
        self._level += 1
        self._source.check_depth(self._level, self._token.offset)
        condition = self._binary(1)
        question = self._taken("?")
        if question:
            yes = self._binary(1)
            self._expect(":")
            condition = self._operation("?:", (condition, yes, self.expression()), question.offset)
        self._level -= 1
        return condition

    def expect_end(self) -> None:
        """Refuse anything after the expression."""
        if self._token.kind != "end":
            raise self._unexpected("an operator or the end")

    def _binary(self, least: int) -> Node:
        left = self._unary()
        while self._is_binary() and PRECEDENCE.get(self._token.text, 0) >= least:
            operator = self._take()
            right = self._list() if operator.text == "in" else (self._binary(PRECEDENCE[operator.text] + 1),)
            left = self._operation(operator.text, (left, *right), operator.offset)
        return left

    def _is_binary(self) -> bool:
        return self._token.kind == "operator" or (self._token.kind == "name" and self._token.text == "in")

    def _list(self) -> tuple[Node, ...]:
        """What stands in brackets after `in`; CEL allows a comma at the end."""
        self._expect("[")
        items: list[Node] = []
        while not self._taken("]"):
            items.append(self.expression())
            if not self._taken(","):
                self._expect("]")
                break
        return tuple(items)

    def _unary(self) -> Node:
        """CEL has runs of `!` and runs of `-`, not mixed."""
        operators = (
            [self._take()] if self._token.text in {"!", "-"} and self._token.kind == "operator" else []
        )
        while operators and self._token.kind == "operator" and self._token.text == operators[0].text:
            operators.append(self._take())
        node = self._primary()
        for operator in reversed(operators):
            name = "negate" if operator.text == "-" else "!"
            node = self._operation(name, (node,), operator.offset)
        return node

    def _primary(self) -> Node:
        token = self._token
        if token.kind in {"int", "double"}:
            return self._number(self._take())
        if token.kind == "name":
            return self._name(self._take())
        if self._taken("("):
            node = self.expression()
            self._expect(")")
            return node
        raise self._unexpected("a number, a feature or '('")

    def _number(self, token: Token) -> Node:
        value: int | float = float(token.text) if token.kind == "double" else int(token.text)
        if value > (_INT64_MAX if token.kind == "int" else 1.7976931348623157e308):
            raise self._source.error(token.offset, "this number is too large")
        return Literal(value, token.offset)

    def _name(self, token: Token) -> Node:
        if self._taken("("):
            return self._call(token)
        if self._token.text == "[" and self._token.kind == "operator":
            return self._indexed(token)
        if token.text in {"true", "false"}:
            return Literal(token.text == "true", token.offset)
        if token.text in RESERVED:
            hint = f'A feature of that name is written obs["{token.text}"].'
            raise self._source.error(token.offset, f"{token.text!r} is a reserved word of CEL", hint=hint)
        return Feature(token.text, token.offset)

    def _indexed(self, token: Token) -> Node:
        if token.text != "obs":
            raise self._unexpected("an operator or the end", hint='Only obs["name"] has brackets.')
        self._expect("[")
        name = self._take()
        if name.kind != "string":
            raise self._source.error(
                name.offset, "unexpected index", expected='a name in quotes, as obs["name"]'
            )
        self._expect("]")
        return Feature(name.text, token.offset)

    def _call(self, token: Token) -> Node:
        if token.text not in FUNCTIONS:
            known = ", ".join(FUNCTIONS)
            raise self._source.error(
                token.offset, f"there is no function {token.text!r}", expected=f"one of {known}"
            )
        arguments = [self.expression()] if self._token.text != ")" else []
        while self._taken(","):
            arguments.append(self.expression())
        self._expect(")")
        least, most = FUNCTIONS[token.text]
        if len(arguments) < least or (most is not None and len(arguments) > most):
            expected = str(least) if most == least else f"at least {least}"
            what = f"{token.text}() has {len(arguments)} arguments"
            raise self._source.error(token.offset, what, expected=expected)
        return self._operation(token.text, tuple(arguments), token.offset)

    def _operation(self, operator: str, operands: tuple[Node, ...], offset: int) -> Operation:
        depth = 1 + max(operand.depth for operand in operands)
        self._source.check_depth(depth, offset)
        return Operation(operator, operands, offset, depth)

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._token
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _taken(self, operator: str) -> Token | None:
        """The next token, taken, if it is this operator."""
        return self._take() if self._token.kind == "operator" and self._token.text == operator else None

    def _expect(self, operator: str) -> None:
        if self._taken(operator) is None:
            raise self._unexpected(repr(operator))

    def _unexpected(self, expected: str, hint: str | None = None) -> ExpressionError:
        token = self._token
        what = "the expression ends too early" if token.kind == "end" else f"unexpected {token.text!r}"
        for near in self._tokens[max(self._next - 1, 0) : self._next + 1]:
            if hint is None and near.text in _WORDS:
                hint = f"Write {_WORDS[near.text]} for {near.text}."
        return self._source.error(token.offset, what, expected=expected, hint=hint)
