"""Documents held against models: every mistake, in words, where it stands, and without a secret."""

from enum import StrEnum
from typing import Annotated, Literal

import pytest
from pydantic import AfterValidator, Field, ValidationInfo

from sidecar.config.documents.merging import (
    Document,
    DocumentError,
    FindingsError,
    Lax,
    Model,
    context_value,
    parse,
    validate,
)


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


def refuse(value: str) -> str:
    if value == "bad":
        raise ValueError("not good; good text")
    return value


def refuse_inside(value: dict[str, int]) -> dict[str, int]:
    raise FindingsError([((name,), "odd", "even") for name, number in value.items() if number % 2])


class Leaf(Model):
    count: Annotated[int, Field(ge=1, le=9)] = 1
    flag: bool = False
    word: Annotated[str, Field(min_length=1, max_length=4, pattern="^[a-z]*$")] = "w"


class Tree(Model):
    leaf: Leaf
    leaves: Lax[tuple[Leaf, ...]] = ()
    named: dict[str, Leaf] = Field(default_factory=dict)
    ratio: float = 1.0
    colour: Lax[Colour] = Colour.RED
    mode: Literal["a", "b"] = "a"
    checked: Annotated[str, AfterValidator(refuse)] = ""
    either: int | str | Leaf = 1
    maybe: int | None = None


def found(text: str, model: type[Model] = Tree) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        validate(model, parse("x.yaml", text))
    return [str(problem) for problem in caught.value.problems]


def test_a_good_document_becomes_the_model():
    tree = validate(
        Tree, parse("x.yaml", "leaf: {count: 2}\nleaves: [{flag: true}]\ncolour: blue\nratio: 2\neither: x")
    )
    assert tree.leaf.count == 2
    assert tree.leaves == (Leaf(flag=True),)
    assert tree.colour is Colour.BLUE
    assert tree.ratio == 2.0
    assert tree.either == "x"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("leaves: []", "x.yaml:1:1: leaf: required but missing"),
        ("leaf: {}\nleafs: 1", "x.yaml:2:1: leafs: unknown key; accepted: leaf, leaves, named, ratio, colour, mode,"),
        ("leaf:\n  flag: yes", "x.yaml:2:9: leaf.flag: text is given; accepted: true or false"),
        ("leaf: {flag: 1}", "x.yaml:1:14: leaf.flag: an integer is given; accepted: true or false"),
        ("leaf: {count: '1'}", "x.yaml:1:15: leaf.count: text is given; accepted: an integer"),
        ("leaf: {count: 1.0}", "x.yaml:1:15: leaf.count: a number with a fraction is given; accepted: an integer"),
        ("leaf: {count: true}", "x.yaml:1:15: leaf.count: true or false is given; accepted: an integer"),
        ("leaf: {count: 0}", "x.yaml:1:15: leaf.count: too small; accepted: at least 1"),
        ("leaf: {count: 10}", "x.yaml:1:15: leaf.count: too large; accepted: at most 9"),
        ("leaf: {word: ''}", "x.yaml:1:14: leaf.word: too short; accepted: at least 1 characters"),
        ("leaf: {word: abcde}", "x.yaml:1:14: leaf.word: too long; accepted: at most 4 characters"),
        ("leaf: {word: A}", "x.yaml:1:14: leaf.word: not of the accepted form; accepted: text that matches ^[a-z]*$"),
        ("leaf: {word: 12}", "x.yaml:1:14: leaf.word: an integer is given; accepted: text"),
        ("leaf:", "x.yaml:1:6: leaf: nothing is given; accepted: a mapping"),
        ("leaf: []", "x.yaml:1:7: leaf: a list is given; accepted: a mapping"),
        ("leaf: {}\nleaves: {}", "x.yaml:2:9: leaves: a mapping is given; accepted: a list"),
        ("leaf: {}\nleaves: [{}, 3]", "x.yaml:2:14: leaves[1]: an integer is given; accepted: a mapping"),
        ("leaf: {}\nnamed: {a: {x: 1}}", "x.yaml:2:13: named.a.x: unknown key; accepted: count, flag, word"),
        ("leaf: {}\nratio: true", "x.yaml:2:8: ratio: true or false is given; accepted: a number"),
        ("leaf: {}\ncolour: green", "x.yaml:2:9: colour: not an accepted value; accepted: red or blue"),
        ("leaf: {}\nmode: c", "x.yaml:2:7: mode: not an accepted value; accepted: a or b"),
        ("leaf: {}\nchecked: bad", "x.yaml:2:10: checked: not good; accepted: good text"),
        ("leaf: {}\neither: []", "x.yaml:2:9: either: a list is given; accepted: an integer or text or a mapping"),
        ("leaf: {}\neither: {flag: 1}", "x.yaml:2:16: either.flag: an integer is given; accepted: true or false"),
        ("leaf: {}\nmaybe: x", "x.yaml:2:8: maybe: text is given; accepted: an integer"),
    ],
)
def test_each_mistake_is_reported_in_words(text, problem):
    problems = found(text)
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_all_mistakes_are_reported_at_once_in_the_order_of_lines():
    problems = found("leaf: {count: x, count: 2}\nnope: 1\nleaves: [1, {flag: 2}]\nratio: 010")
    assert [problem.split(": ")[1] for problem in problems] == [
        "leaf.count",
        "leaf.count",
        "nope",
        "leaves[0]",
        "leaves[1].flag",
        "ratio",
    ]


def test_a_problem_of_parsing_alone_refuses_the_document():
    assert found("leaf: {}\nleaf: {}") == [
        "x.yaml:2:1: leaf: given twice, the first time at x.yaml:1:1; accepted: each key once"
    ]


def test_a_validator_may_find_several_things_inside_of_its_value():
    class Odd(Model):
        numbers: Annotated[dict[str, int], AfterValidator(refuse_inside)]

    assert found("numbers:\n  a: 1\n  b: 2\n  c: 3", Odd) == [
        "x.yaml:2:6: numbers.a: odd; accepted: even; found: 1",
        "x.yaml:4:6: numbers.c: odd; accepted: even; found: 3",
    ]


def test_validators_read_what_validate_was_given():
    def prefixed(value: str, info: ValidationInfo) -> str:
        return f"{context_value(info, 'prefix')}{value}"

    class Prefixed(Model):
        name: Annotated[str, AfterValidator(prefixed)]

    assert validate(Prefixed, parse("x.yaml", "name: b"), prefix="a").name == "ab"
    assert Prefixed(name="b").name == "Noneb"


# --- substitution ------------------------------------------------------------------------------


def substituted(text: str, **values: str) -> Document:
    def replace(written: str) -> str:
        for name, value in values.items():
            written = written.replace("${" + name + "}", value)
        if "${" in written:
            raise ValueError("not set")
        return written

    return parse("x.yaml", text, replace)


def test_a_value_that_is_wholly_substituted_is_read_as_a_scalar():
    document = substituted("a: ${A}\nb: '${B}'\nc: ${A}0\nd: [$A, '${C}']", A="12", B="true", C="a: [b]")
    assert document.value == {"a": 12, "b": True, "c": "120", "d": ["$A", "a: [b]"]}


def test_where_text_is_wanted_the_substituted_text_is_taken():
    leaf = validate(Tree, substituted("leaf: {count: '${N}', word: '${W}'}", N="3", W="null")).leaf
    assert (leaf.count, leaf.word) == (3, "null")
    with pytest.raises(DocumentError) as caught:
        validate(Tree, substituted("leaf: {word: '${W}', count: '${W}'}", W="12"))
    # 12 is no word of letters, and too large a number: neither message says what it was
    assert [problem.path for problem in caught.value.problems] == ["leaf.word", "leaf.count"]
    assert "12" not in str(caught.value).replace("x.yaml:1:", "")


def test_substitution_is_for_values_only():
    problems = substituted("${A}: 1", A="x").problems
    assert [problem.wrong for problem in problems] == ["${...} in a key"]


def test_a_substitution_that_yaml_takes_for_a_mapping_is_explained():
    with pytest.raises(DocumentError, match=r'x.yaml:1:8: not YAML: .*; accepted: quotes around a "\$\{...\}"'):
        substituted("a: {b: ${A}}", A="x")


def test_a_failed_substitution_is_one_problem_with_its_place():
    with pytest.raises(DocumentError) as caught:
        validate(Tree, substituted("leaf:\n  word: ${NO}\n  count: x"))
    assert [str(problem) for problem in caught.value.problems] == [
        "x.yaml:2:9: leaf.word: not set",
        "x.yaml:3:10: leaf.count: text is given; accepted: an integer; found: 'x'",
    ]


def test_policies_are_not_substituted():
    assert parse("x.yaml", "a: ${HOME}").value == {"a": "${HOME}"}


def test_messages_contain_no_substituted_value():
    with pytest.raises(DocumentError) as caught:
        validate(Tree, substituted("leaf: '${A}'\nmode: ${A}\ncolour: ${A}\nratio: ${A}\nmaybe: ${A}x", A="hunter2"))
    assert len(caught.value.problems) == 5
    assert "hunter2" not in str(caught.value)


def test_a_document_does_not_show_substituted_values():
    assert "hunter2" not in repr(substituted("a: ${A}\nb: x${A}", A="hunter2"))


def test_no_part_of_a_header_or_of_an_alias_of_a_reference_is_shown():
    class Config(Model):
        headers: dict[str, str]
        mode: Literal["hunter", "b"]

    with pytest.raises(DocumentError) as caught:
        validate(Config, substituted("x: &x {y: '${A}'}\nmode: *x\nheaders: hunter2:secret", A="hunter2"))
    assert "hunter2" not in str(caught.value)
    with pytest.raises(DocumentError) as caught:
        validate(Config, substituted("mode: '${A}'\nheaders: {}", A="hunters"))
    assert "hunters" not in str(caught.value)
    assert "did you mean" not in str(caught.value)
