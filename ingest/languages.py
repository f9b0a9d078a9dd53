"""The programming languages whose classes and functions are recognised, by the names of their grammars' nodes."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node

_FUNCTIONS = ("arrow_function", "function_expression", "function", "generator_function", "class")


@dataclass(frozen=True, eq=False)
class Language:
    """A grammar, and which of its nodes are sections.

    `sections` gives for each kind of definition the word in front of its name. Definitions are looked for at the top,
    in `classes`, which are definitions themselves, in `bodies`, and in `wrappers`, which become part of the one
    definition that they wrap (with its decorators, say). `attached` are the siblings that belong to the definition
    below them.
    """

    package: str
    sections: Mapping[str, str]
    classes: frozenset[str]
    bodies: frozenset[str]
    wrappers: frozenset[str]
    attached: frozenset[str]
    function: str = "language"

    def load(self) -> object:
        """The grammar's pointer, as `tree_sitter.Language` takes it."""
        return getattr(importlib.import_module(self.package), self.function)()

    def is_section(self, node: Node) -> bool:
        """Whether a node of a kind in `sections` defines something worth a section, not a mere name or variable."""
        if node.type in ("struct_specifier", "union_specifier", "enum_specifier", "class_specifier"):
            return node.child_by_field_name("body") is not None
        if node.type == "type_definition":
            kind = node.child_by_field_name("type")
            return kind is not None and kind.child_by_field_name("body") is not None
        if node.type in ("variable_declarator", "assignment_expression", "public_field_definition", "field_definition"):
            value = node.child_by_field_name("value") or node.child_by_field_name("right")
            return value is not None and value.type in _FUNCTIONS
        return True


_PYTHON = Language(
    package="tree_sitter_python",
    sections={"class_definition": "class", "function_definition": "def"},
    classes=frozenset(("class_definition",)),
    bodies=frozenset(
        (
            *("block", "if_statement", "else_clause", "elif_clause", "try_statement", "except_clause"),
            *("finally_clause", "with_statement", "ERROR"),
        )
    ),
    wrappers=frozenset(("decorated_definition",)),
    attached=frozenset(("comment",)),
)
_JAVASCRIPT = Language(
    package="tree_sitter_javascript",
    sections={
        **{"function_declaration": "function", "generator_function_declaration": "function"},
        **{"class_declaration": "class", "abstract_class_declaration": "class", "method_definition": "method"},
        **{"interface_declaration": "interface", "enum_declaration": "enum", "type_alias_declaration": "type"},
        **{"internal_module": "namespace", "module": "module"},
        **{"variable_declarator": "const", "assignment_expression": "function"},
        **{"field_definition": "method", "public_field_definition": "method"},
    },
    classes=frozenset(("class_declaration", "abstract_class_declaration", "internal_module", "module")),
    # A call may have the whole program as a function among its arguments.
    bodies=frozenset(
        (
            *("class_body", "statement_block", "parenthesized_expression", "call_expression", "unary_expression"),
            *("arguments", "function_expression", "arrow_function", "ERROR"),
        )
    ),
    wrappers=frozenset(
        (
            *("export_statement", "lexical_declaration", "variable_declaration", "ambient_declaration"),
            "expression_statement",
        )
    ),
    attached=frozenset(("comment", "decorator")),
)
_C = Language(
    package="tree_sitter_c",
    sections={
        **{"function_definition": "function", "struct_specifier": "struct", "union_specifier": "union"},
        **{"enum_specifier": "enum", "type_definition": "typedef", "class_specifier": "class"},
        **{"namespace_definition": "namespace", "concept_definition": "concept"},
    },
    classes=frozenset(("struct_specifier", "union_specifier", "class_specifier", "namespace_definition")),
    bodies=frozenset(
        (
            *("preproc_if", "preproc_ifdef", "preproc_else", "preproc_elif", "linkage_specification"),
            *("declaration_list", "field_declaration_list", "ERROR"),
        )
    ),
    wrappers=frozenset(("template_declaration",)),
    attached=frozenset(("comment",)),
)

LANGUAGES = {
    "python": _PYTHON,
    "javascript": _JAVASCRIPT,
    "typescript": replace(_JAVASCRIPT, package="tree_sitter_typescript", function="language_typescript"),
    "tsx": replace(_JAVASCRIPT, package="tree_sitter_typescript", function="language_tsx"),
    "go": Language(
        package="tree_sitter_go",
        sections={
            **{"function_declaration": "func", "method_declaration": "func"},
            **{"type_spec": "type", "type_alias": "type"},
        },
        classes=frozenset(),
        bodies=frozenset(("ERROR",)),
        wrappers=frozenset(("type_declaration",)),
        attached=frozenset(("comment",)),
    ),
    "rust": Language(
        package="tree_sitter_rust",
        sections={
            **{"function_item": "fn", "function_signature_item": "fn", "struct_item": "struct", "enum_item": "enum"},
            **{"union_item": "union", "trait_item": "trait", "impl_item": "impl", "mod_item": "mod"},
            **{"macro_definition": "macro_rules!", "type_item": "type"},
        },
        classes=frozenset(("trait_item", "impl_item", "mod_item")),
        bodies=frozenset(("declaration_list", "foreign_mod_item", "ERROR")),
        wrappers=frozenset(),
        attached=frozenset(("line_comment", "block_comment", "attribute_item")),
    ),
    "java": Language(
        package="tree_sitter_java",
        sections={
            **{"class_declaration": "class", "interface_declaration": "interface", "enum_declaration": "enum"},
            **{"record_declaration": "record", "annotation_type_declaration": "@interface"},
            **{"method_declaration": "method", "constructor_declaration": "constructor"},
            **{"compact_constructor_declaration": "constructor"},
        },
        classes=frozenset(("class_declaration", "interface_declaration", "enum_declaration", "record_declaration")),
        bodies=frozenset(("class_body", "interface_body", "enum_body", "enum_body_declarations", "ERROR")),
        wrappers=frozenset(),
        attached=frozenset(("line_comment", "block_comment")),
    ),
    "c": _C,
    "cpp": replace(_C, package="tree_sitter_cpp"),
}
