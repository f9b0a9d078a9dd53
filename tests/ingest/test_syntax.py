"""Source code in blocks: classes and functions are sections, and nothing is lost."""

import inspect
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.formats import FORMATS
from ingest.languages import LANGUAGES
from ingest.structure import Blocks, parse
from tests.growth import growth

PYTHON = '''"""About the module."""
import os

LIMIT = 1

# What A is for.
@register
class A(Base):
    """Doc é字."""

    size = 2

    # Before go.
    @property
    def go(self):
        def inner():
            return "😀"

        return inner

    async def später(self): return 1  # at the end


if LIMIT:
    def maybe(): pass

def last():
    pass


if __name__ == "__main__":
    last()
'''
TYPESCRIPT = """import x from "y";

/** About A. */
@Injectable()
export class A<T> extends B {
  private x = 1;
  // About go.
  @Input() go(a: number): string { return ""; }
  handler = async () => { return 1; };
}
export interface Shape { a: number }
export const area = (a: number) => a + 1;
const LIMIT = 5;
namespace N { export function inner() { return 1; } }
Foo.prototype.bar = function () { return 2; };
"""
GO = """package main

// T is.
type T struct {
	a int
}

// Search does.
func (t *T) Search(q string) ([]int, error) {
	return nil, nil
} // done

func main() {}
var x = 1
"""
RUST = """use std::fmt;

/// About S.
#[derive(Debug)]
pub struct S<T> { a: T }

impl<T: Clone> fmt::Display for S<T> {
    /// About fmt.
    fn fmt(&self) -> fmt::Result { Ok(()) }
}
#[cfg(test)]
mod tests {
    #[test]
    fn it() { assert!(true); }
}
const X: u8 = 1;
"""
JAVA = """package a.b;

/** About A. */
@Service
public class A<T> implements B {
    private int x;

    /** Makes one. */
    public A() { }

    @Override
    public List<String> find(String q) { return null; }
    public List<String> find(int q) { return null; }

    enum E { X, Y; void m() {} }
}
"""
CPP = """#include <x>

// About ns.
namespace ns {
template <typename T>
class Foo : public Bar {
 public:
  Foo() : a(1) {}
  int &get() { return a; }
  int a;
};

/* About
   go. */
int Foo::go(int x) { return x; }
}  // namespace ns
#ifdef X
extern "C" {
static void *plain(void) { return 0; }
}
#endif
typedef struct { int a; } point_t;
struct later;
int main(int argc, char **argv) { return 0; }
"""
C = "#if A\nstruct s { int a; };\n#endif\n/* Adds. */\nint *add(int a, int b)\n{\n  return 0;\n}\nint prototype(int);\n"

CASES = [
    ("python", PYTHON, "import os", ()),
    ("python", PYTHON, "# What A is for.", ("class A",)),
    ("python", PYTHON, "@register", ("class A",)),
    ("python", PYTHON, "size = 2", ("class A",)),
    ("python", PYTHON, "# Before go.", ("class A", "def go")),
    ("python", PYTHON, "@property", ("class A", "def go")),
    ("python", PYTHON, '"😀"', ("class A", "def go")),
    ("python", PYTHON, "async def", ("class A", "def später")),
    ("python", PYTHON, "# at the end", ("class A", "def später")),
    ("python", PYTHON, "if LIMIT", ()),
    ("python", PYTHON, "def maybe", ("def maybe",)),
    ("python", PYTHON, "if __name__", ()),
    ("typescript", TYPESCRIPT, "/** About A.", ("class A",)),
    ("typescript", TYPESCRIPT, "@Injectable", ("class A",)),
    ("typescript", TYPESCRIPT, "// About go.", ("class A", "method go")),
    ("typescript", TYPESCRIPT, "handler =", ("class A", "method handler")),
    ("typescript", TYPESCRIPT, "interface Shape", ("interface Shape",)),
    ("typescript", TYPESCRIPT, "export const area", ("const area",)),
    ("typescript", TYPESCRIPT, "const LIMIT", ()),
    ("typescript", TYPESCRIPT, "inner()", ("namespace N", "function inner")),
    ("typescript", TYPESCRIPT, "return 2", ("function Foo.prototype.bar",)),
    ("tsx", "function A() { return <p>{x}</p>; }\n", "<p>", ("function A",)),
    ("javascript", "module.exports = { a: 1 };\nfunction* gen() {}\n", "module", ()),
    ("javascript", "module.exports = { a: 1 };\nfunction* gen() {}\n", "gen", ("function gen",)),
    ("javascript", "(function () {\n  function inner() { return 1; }\n})();\n", "return", ("function inner",)),
    ("javascript", 'describe("x", () => {\n  class A { go() {} }\n});\n', "go()", ("class A", "method go")),
    ("go", GO, "// T is.", ("type T",)),
    ("go", GO, "// Search does.", ("func (t *T) Search",)),
    ("go", GO, "// done", ("func (t *T) Search",)),
    ("go", GO, "var x", ()),
    ("rust", RUST, "#[derive", ("struct S",)),
    ("rust", RUST, "/// About fmt.", ("impl<T: Clone> fmt::Display for S<T>", "fn fmt")),
    ("rust", RUST, "#[test]", ("mod tests", "fn it")),
    ("rust", RUST, "const X", ()),
    ("java", JAVA, "package", ()),
    ("java", JAVA, "/** About A.", ("class A",)),
    ("java", JAVA, "/** Makes one.", ("class A", "constructor A")),
    ("java", JAVA, "find(int", ("class A", "method find")),
    ("java", JAVA, "void m", ("class A", "enum E", "method m")),
    ("cpp", CPP, "// About ns.", ("namespace ns",)),
    ("cpp", CPP, "template", ("namespace ns", "class Foo")),
    ("cpp", CPP, "return a;", ("namespace ns", "class Foo", "function get")),
    ("cpp", CPP, "  int a;", ("namespace ns", "class Foo")),
    ("cpp", CPP, "/* About", ("namespace ns", "function Foo::go")),
    ("cpp", CPP, "// namespace ns", ("namespace ns", "function Foo::go")),
    ("cpp", CPP, "static void", ("function plain",)),
    ("cpp", CPP, "point_t", ("typedef point_t",)),
    ("cpp", CPP, "struct later", ()),
    ("c", C, "struct s", ("struct s",)),
    ("c", C, "/* Adds.", ("function add",)),
    ("c", C, "int prototype", ()),
]


@pytest.mark.parametrize(("language", "text", "place", "path"), CASES)
def test_every_line_knows_its_class_and_function(language, text, place, path):
    blocks = parse(text, f"code:{language}")
    assert blocks.headings_at(text.index(place)) == path
    check(text, blocks)


def test_sections_of_the_same_name_are_kept_apart():
    blocks = parse(JAVA, "code:java")
    starts = [start for start, path in blocks.sections or () if path[-1:] == ("method find",)]
    assert [JAVA[start:].split("(", maxsplit=1)[0].rsplit(maxsplit=1)[-1] for start in starts] == ["find", "find"]


def check(text: str, blocks: Blocks) -> None:
    """Every visible character lies in exactly one block, and no block reaches over a section's edge."""
    at = 0
    for block in blocks.blocks:
        assert block.kind == "code"
        assert at <= block.start < block.end <= len(text)
        assert not text[at : block.start].strip()
        assert text[block.start : block.end].strip() == text[block.start : block.end]
        assert blocks.headings_at(block.start) == blocks.headings_at(block.end - 1)
        at = block.end
    assert not text[at:].strip()
    starts = [start for start, _ in blocks.sections or ()]
    assert starts[0] == 0
    assert starts == sorted(starts)


PIECES = st.sampled_from(
    [*PYTHON.split(), *JAVA.split(), *RUST.split(), *CPP.split(), "\n", "\n    ", "é", "😀", "\x0c"]
)


@given(st.one_of(st.text(), st.lists(PIECES, max_size=40).map(" ".join)), st.sampled_from([*LANGUAGES, "lua"]))
def test_nothing_is_lost_whatever_the_text(text, language):
    check(text, parse(text, f"code:{language}"))


def test_a_text_that_does_not_parse_is_cut_at_blank_lines():
    text = "%% )( ]]\n\n<<<< ??\nmore\n\n\n))"
    for language in (*LANGUAGES, "lua"):
        blocks = parse(text, f"code:{language}")
        assert [text[block.start : block.end] for block in blocks.blocks] == ["%% )( ]]", "<<<< ??\nmore", "))"]
        assert blocks.headings_at(len(text) - 1) == ()


def test_definitions_around_an_error_are_found():
    text = "def before():\n    pass\n\nx = = (3\n\ndef after():\n    pass\n"
    blocks = parse(text, "code:python")
    assert blocks.headings_at(text.index("pass")) == ("def before",)
    check(text, blocks)


def test_real_modules_and_speed():
    source = Path(inspect.__file__).read_text(encoding="utf-8")
    text = source * 8
    blocks = parse(text, "code:python")
    assert growth(lambda times: parse(source * times, "code:python"), 2) < 9
    assert blocks.headings_at(text.index("def getsource(")) == ("def getsource",)
    check(source, parse(source, "code:python"))


@pytest.mark.parametrize("unit", ["class A:\n", "(", "#if X\nint f(){}\n#elif Y\n", "namespace a {", "if x:\n ", "{"])
@pytest.mark.parametrize("language", ["python", "cpp", "typescript"])
def test_hostile_code_neither_hangs_nor_overflows(unit, language):
    text = unit * 5_000
    check(text, parse(text, f"code:{language}"))


def test_every_format_of_code_has_its_language():
    languages = {form.removeprefix("code:") for form in FORMATS.values() if form.startswith("code:")}
    assert set(LANGUAGES) <= languages
