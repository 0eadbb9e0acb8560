"""Check what linters do not: size caps, and the few house rules that keep tests honest.

A cap that has to be passed is passed by name, on the line of the `def` or `class`, with its reason:

    def decode(...):  # cap: function-lines, one table of cases reads better whole
"""

import argparse
import ast
import io
import re
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

SOURCE_ROOTS = ("training", "export", "serving", "monitoring", "protos")
FOLDERS = (*SOURCE_ROOTS, "tests", "tools", "benchmarks", "examples")

FILE_LINES = 400
CLASS_LINES = 250
FUNCTION_LINES = 50  # without its docstring
PARAMETERS = 8  # without self and cls
POSITIONAL = 5  # the others are keyword-only

SLEEPS = {"sleep", "time.sleep", "asyncio.sleep"}
SKIPS = re.compile(r"(pytest|unittest)\.(mark\.)?(skip\w*|xfail|importorskip|expectedFailure)")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Finding = tuple[int, str]  # the line, and what is wrong there and what to do


@dataclass(frozen=True)
class Source:
    """One Python file, read and parsed once."""

    path: Path  # relative to the repository
    text: str

    @cached_property
    def lines(self) -> list[str]:
        """The lines of the file."""
        return self.text.splitlines()

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of the syntax tree."""
        return list(ast.walk(ast.parse(self.text, filename=str(self.path))))

    @property
    def functions(self) -> Iterator[Function]:
        """Every function and method."""
        return (node for node in self.nodes if isinstance(node, Function))

    def is_in(self, *folders: str) -> bool:
        """Whether the file is below this folder of the repository."""
        return self.path.parts[: len(folders)] == folders

    def excused(self, node: Function | ast.ClassDef, rule: str) -> bool:
        """Whether the head of the definition carries `# cap: RULE, reason`."""
        head = self.lines[node.lineno - 1 : node.body[0].lineno]
        return any(re.search(rf"# cap: {rule}, \w+", line) for line in head)


def check_file_lines(source: Source) -> Iterator[Finding]:
    """A file has one subject."""
    if len(source.lines) > FILE_LINES:
        yield 1, f"{len(source.lines)} lines, at most {FILE_LINES}: split it by subject"


def check_class_lines(source: Source) -> Iterator[Finding]:
    """A class is small; composition keeps it so."""
    for node in source.nodes:
        if isinstance(node, ast.ClassDef) and not source.excused(node, "class-lines"):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > CLASS_LINES:
                yield node.lineno, f"class {node.name} has {lines} lines, at most {CLASS_LINES}"


def check_function_lines(source: Source) -> Iterator[Finding]:
    """A function fits on a screen."""
    for node in source.functions:
        lines = function_lines(node)
        if lines > FUNCTION_LINES and not source.excused(node, "function-lines"):
            yield (
                node.lineno,
                f"{node.name}() has {lines} lines without its docstring, at most {FUNCTION_LINES}",
            )


def function_lines(node: Function) -> int:
    """Lines from `def` to the end, without decorators and docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def check_parameters(source: Source) -> Iterator[Finding]:
    """Few parameters, and keyword-only ones beyond the first few."""
    for node in source.functions:
        if is_filled_by_others(source, node) or source.excused(node, "parameters"):
            continue
        names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
        positional = len([name for name in names if name not in {"self", "cls"}])
        total = positional + len(node.args.kwonlyargs)
        if total > PARAMETERS:
            yield node.lineno, f"{node.name}() takes {total} parameters, at most {PARAMETERS}: group them"
        elif positional > POSITIONAL:
            yield node.lineno, f"{node.name}() takes {positional} by position, at most {POSITIONAL}: add `*`"


def is_filled_by_others(source: Source, node: Function) -> bool:
    """Whether typer makes options of the parameters (in `cli.py` or `cli/`), or pytest fills them."""
    is_command = "cli" in (*source.path.parts, source.path.stem)
    return is_command or (source.is_in("tests") and node.name.startswith("test_"))


def check_unfinished(source: Source) -> Iterator[Finding]:
    """Unfinished work is an issue, and the mark names it."""
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT and UNFINISHED.search(token.string):
            yield token.start[0], "name the issue, as in TODO(#12): what is left"


def check_skipped_tests(source: Source) -> Iterator[Finding]:
    """A test runs and passes, or it goes."""
    for node in source.nodes:
        if source.is_in("tests") and isinstance(node, ast.Attribute) and SKIPS.fullmatch(dotted_name(node)):
            yield node.lineno, f"{dotted_name(node)}: a test runs and passes, or it goes"


def check_sleeps(source: Source) -> Iterator[Finding]:
    """Unit tests inject the clock; `asyncio.sleep(0)` only gives way."""
    if source.is_in("tests", "unit"):
        calls = [node for node in source.nodes if isinstance(node, ast.Call)]
        for call in calls:
            if dotted_name(call.func) in SLEEPS and [ast.unparse(argument) for argument in call.args] != [
                "0"
            ]:
                yield call.lineno, "unit tests do not sleep: inject the clock"


def dotted_name(node: ast.AST) -> str:
    """`a.b.c` for a chain of attributes, empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted_name(node.value)}.{node.attr}"
    return ""


CHECKS: dict[str, Callable[[Source], Iterator[Finding]]] = {
    "file-lines": check_file_lines,
    "class-lines": check_class_lines,
    "function-lines": check_function_lines,
    "parameters": check_parameters,
    "unfinished": check_unfinished,
    "skipped-test": check_skipped_tests,
    "sleep": check_sleeps,
}


def read_sources(root: Path) -> list[Source]:
    """Every Python file that people wrote; generated code is not held to caps."""
    paths = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))]
    written = [path for path in paths if not path.stem.endswith(("_pb2", "_pb2_grpc"))]
    return [Source(path.relative_to(root), path.read_text(encoding="utf-8")) for path in written]


def find_problems(root: Path, sources: list[Source]) -> Iterator[str]:
    """One line for each problem: `path:line: rule: what is wrong and what to do`."""
    for folder in SOURCE_ROOTS:
        path = Path(folder, "steersman", "__init__.py")
        if (root / path).exists():
            yield f"{path}:1: namespace: remove it, for `steersman` is one namespace over five source roots"
    for source in sources:
        for rule, check in CHECKS.items():
            yield from (f"{source.path}:{line}: {rule}: {message}" for line, message in check(source))


def summary(sources: list[Source]) -> str:
    """One line on how near the caps the code is."""
    file = max(sources, key=lambda source: len(source.lines))
    functions = [(function_lines(node), node.name) for source in sources for node in source.functions]
    lines, name = max(functions, default=(0, "-"))
    longest = f"longest file {file.path} ({len(file.lines)} of {FILE_LINES} lines)"
    return f"{len(sources)} files, {longest}, longest function {name}() ({lines} of {FUNCTION_LINES})"


def main(argv: list[str] | None = None) -> int:
    """Print every problem; the exit code is 1 if there is one."""
    parser = argparse.ArgumentParser(description="Check size caps and house rules.")
    parser.add_argument("--root", type=Path, default=Path(__file__).parent.parent, metavar="FOLDER")
    root = parser.parse_args(argv).root
    sources = read_sources(root)
    problems = list(find_problems(root, sources))
    for problem in problems:
        print(problem)
    if sources:
        print(summary(sources))
    if problems:
        print(f"{len(problems)} to mend, or to excuse by name with a reason: see {Path(__file__).name}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
