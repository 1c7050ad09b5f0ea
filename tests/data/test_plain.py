"""The plain form of YAML: what is taken means what ruamel.yaml reads, what is written is what it writes."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelkeep.data.formats import plain

lines = st.sampled_from(
    [
        "a: b",
        "- a: 1",
        "- b",
        "  c: x y",
        "  - d: 'q'",
        "    e:",
        "f:",
        "  g: 0.5",
        "- ",
        "",
        "# c",
        "  k: a:b #c",
        "  m",
        "    more --x",
        "x: true",
        "  n: 1e5",
        "y: - z",
        "  'q': 1",
    ]
)


@given(st.lists(lines, max_size=8).map("\n".join))
@settings(max_examples=300)
@example("a: b\n\n  m")
def test_the_plain_reader_agrees_with_ruamel(text: str) -> None:
    from ruamel.yaml import YAML

    found = plain.read(text)
    if found is not None:
        assert found == YAML(typ="safe", pure=True).load(text)


@given(st.text(st.sampled_from("ab1 .-:#'\"/[]{}&*!|>%@`,?~=_\\"), max_size=12))
@settings(max_examples=300)
def test_a_plain_value_means_what_ruamel_reads(value: str) -> None:
    from ruamel.yaml import YAML, YAMLError

    text = f"a:\n- path: {value}\n"
    found = plain.read(text)
    if found is not None:
        assert found == YAML(typ="safe", pure=True).load(text)
    written = plain.write({"a": [{"path": value}]})
    if written is not None:
        try:
            assert YAML(typ="safe", pure=True).load(written) == {"a": [{"path": value}]}
        except YAMLError as error:  # pragma: no cover
            raise AssertionError(written) from error
        from modelkeep.data.formats.roundtrip import dumped

        assert dumped({"a": [{"path": value}]}) == written
