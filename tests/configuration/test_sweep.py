"""Sweeps: the grammar beside Hydra's own parser, the runs, and the command."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings

from modelkeep.cli.sweep import sweep
from modelkeep.configuration.overrides import Override, parse
from modelkeep.configuration.scalars import scalar
from modelkeep.configuration.source import open_sources
from modelkeep.configuration.sweep import Base, argument, runs
from modelkeep.configuration.tree import Mark
from modelkeep.core.errors import BadInput
from tests.peers import program

READ: list[tuple[str, list[object]]] = [
    ("a=1", [1]),
    ("a=1,2", [1, 2]),
    ("a=range(1,5)", [1, 2, 3, 4]),
    ("a=range(3)", [0, 1, 2]),
    ("a=range(1,10,3)", [1, 4, 7]),
    ("a=range(5,1,-2)", [5, 3]),
    ("a=range(start=1,stop=4)", [1, 2, 3]),
    ("a=range(1.0,2.0,0.25)", [1.0, 1.25, 1.5, 1.75]),
    ("a=range(0,1,0.1)", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7000000000000001, 0.8, 0.9]),
    ("a=choice(x,y)", ["x", "y"]),
    ("a=[1,2],[3,4]", [[1, 2], [3, 4]]),
    ("a={a:1,b:[x,y]}", [{"a": 1, "b": ["x", "y"]}]),
    ("a='x,y',z", ["x,y", "z"]),
    (r"a='it\'s'", ["it's"]),
    ('a="it\'s"', ["it's"]),
    (r"a='a\\'", ["a\\"]),
    (r"a='a\\b'", [r"a\\b"]),
    (r"a=x\,y", ["x,y"]),
    (r"a=\(x\)", ["(x)"]),
    ("a=a b c", ["a b c"]),
    ("a= x , y ", ["x", "y"]),
    ("a=", [""]),
    ("a=NULL,true,FALSE,Yes", [None, True, False, "Yes"]),
    ("a=1_000,01,-1,1e3,.5,1.2.3,0x1f", [1000, "01", -1, 1000.0, 0.5, "1.2.3", "0x1f"]),
    ("a=${b},x${c.d}y", ["${b}", "x${c.d}y"]),
    ("a=sort(3,1,2)", [1, 2, 3]),
    ("a=sort([3,1,2],reverse=true)", [[3, 2, 1]]),
    ("a=int(3.7),str(1),bool('false'),float(2)", [3, "1", False, 2.0]),
    ("a=str([1,{a: 2}])", [["1", {"a": "2"}]]),
    ("a=tag(t,choice(a,b))", ["a", "b"]),
    ("++a.b=1", [1]),
    ("~a", [None]),
    ("~a=1", [1]),
]
REFUSED = (
    *("+a", "a", "=1", "a=(1)", "a=[1", "a={a:1", "a='x", "a=x]", "a=f(1)", "a=choice()", "a=choice(a,", "a=range()"),
    *("a=range(a,b)", "a=1,", "a=,1", "a=[1,]", "a='x' y", "a=1'", "a=range(1,3),5", "a=glob(*)", "a=interval(1)"),
    *("a=interval(2,1)", "a=interval(1,2),3", "a=[interval(1,2)]", "a=str(interval(1,2))", "a=tag(log,interval(0,1))"),
    *(
        "a=int(interval(0.1,0.9))",
        "~a=interval(1,2)",
        "a=choice(interval(1,2))",
        "a=interval(x,y)",
        "a=interval(1,inf)",
    ),
    *("a=range(1,2,0)", "a=range(0,inf)", "a=range(0,1e9)", "a@b=1", "a/b=x", "1a=1", "a=${b", "~a=1,2", "a=sort(a,1)"),
)


@pytest.mark.parametrize(("text", "values"), READ)
def test_what_an_override_says(text: str, values: list[object]) -> None:
    found = parse(text)
    assert repr(list(found.values)) == repr(values)
    assert found.key == text.lstrip("+~").partition("=")[0]


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_override(text: str) -> None:
    with pytest.raises(BadInput, match="override"):
        parse(text)


PARSER = """
import json, sys, warnings
warnings.simplefilter("ignore")
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString

def plain(value):
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(plain(name)): plain(item) for name, item in value.items()}
    return value

parser, out = OverridesParser.create(), []
for text in json.load(sys.stdin):
    try:
        assert 'range(' not in text or len(text) < 30
        found = parser.parse_override(text)
        values = [plain(one) for one in found.sweep_iterator()] if found.is_sweep_override() else [plain(found.value())]
        out.append([found.type.name, found.key_or_group, repr(values)])
    except Exception:
        out.append(None)
json.dump(out, sys.stdout)
"""


@pytest.mark.needs("hydra")
def test_whatever_hydra_reads_is_read_alike() -> None:
    pieces = [
        "1",
        "2",
        ",",
        "x",
        "y",
        " ",
        "'",
        '"',
        "\\",
        "[",
        "]",
        "{",
        "}",
        ":",
        ".",
        "-",
        "e",
        "null",
        "true",
        "(",
        ")",
    ]
    pieces += ["${b}", "/", "choice(", "range(", "_", "+", "sort(", "str(", "=", "%"]
    dice = random.Random(7)
    texts = [text for text, _ in READ]
    texts += ["a=" + "".join(dice.choices(pieces, k=dice.randint(1, 9))) for _ in range(1000)]
    done = subprocess.run(
        [program("hydra"), "-c", PARSER], input=json.dumps(texts), capture_output=True, text=True, check=True
    )
    kinds = {"CHANGE": "set", "ADD": "add", "FORCE_ADD": "force", "DEL": "delete"}
    read = 0
    for text, theirs in zip(texts, json.loads(done.stdout), strict=True):
        if theirs is None or text.endswith(" "):
            continue  # we read some that it does not: other alphabets, =, #, ;
        if "RangeSweep" in theirs[2] or "ChoiceSweep" in theirs[2]:
            continue  # a sweep inside of a value: it takes it and fails later
        found = parse(text)
        if "sort(" not in text and "str(" not in text:
            assert [found.kind, found.key, repr(list(found.values))] == [kinds[theirs[0]], *theirs[1:]], text
        read += 1
    assert read > 100


words = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
texts = st.text(st.sampled_from("ab1 ,:'\"[]{}()=.-#$%\\"), max_size=6).filter(
    lambda text: "${" not in text and "???" not in text
)
plain_texts = st.text(st.sampled_from("ab1 ,:'[]{}()=.-#%"), max_size=6)


@settings(max_examples=300, deadline=None)
@given(st.one_of(words, plain_texts, st.lists(st.one_of(words, plain_texts), max_size=3)))
def test_a_value_written_as_an_argument_is_read_back(value: object) -> None:
    text = argument(Override("a", value))  # type: ignore[arg-type]
    assert repr(parse(text).values) == repr((value,))
    if value != "":
        assert repr(scalar(text.removeprefix("a="), Mark("cli"))) == repr(value)


@settings(max_examples=200, deadline=None)
@given(texts)
def test_any_text_written_as_an_argument_is_read_back_as_yaml(value: str) -> None:
    text = argument(Override("a", value))
    if value:
        assert scalar(text.removeprefix("a="), Mark("cli")) == value


def test_the_last_argument_changes_fastest() -> None:
    found = runs(["db=mysql,postgresql", "schema=warehouse,support,school", "x=1"])
    assert [" ".join(map(argument, run)) for run in found] == [
        f"db={db} schema={schema} x=1"
        for db in ("mysql", "postgresql")
        for schema in ("warehouse", "support", "school")
    ]
    assert runs([]) == [()]
    with pytest.raises(BadInput, match="1,000,000 runs"):
        runs(["a=range(1000)", "b=range(1000)"])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(
        "lr: 0.5\ndepth: ???\nname: run-${lr}\nopt: {kind: sgd, momentum: 0.9}\n"
        "hosts: [a, b]\ndb: {password: hunter2hunter2}\n"
    )
    return tmp_path


def test_each_run_has_its_resolved_configuration(folder: Path) -> None:
    base = Base(open_sources("base.yaml"))
    found = base.runs(
        ["lr=0.1,0.01", "depth=range(1,3)", "opt={kind: adam}", "+new.key=[1,2]", "~opt.momentum", "hosts[1]=c"]
    )
    trees = [run.snapshot.masked for run in found]
    assert [(tree["name"], tree["depth"]) for tree in trees] == [
        ("run-0.1", 1),
        ("run-0.1", 2),
        ("run-0.01", 1),
        ("run-0.01", 2),
    ]
    assert trees[0]["opt"] == {"kind": "adam"}
    assert trees[0]["hosts"] == ["a", "c"]
    assert len({run.hash for run in found}) == 4
    assert (
        found[0].hash
        == base.runs(["depth=1", "lr=0.1", "opt={kind: adam}", "+new.key=[1,2]", "~opt.momentum", "hosts[1]=c"])[0].hash
    )
    assert {one.key: (one.before, one.after) for one in found[1].diff(found[0])} == {"depth": (1, 2)}
    assert found[0].snapshot.explain("lr").history == (("base.yaml:1", 0.5), ("sweep", 0.1))
    path = found[0].save(folder / "out")
    assert yaml.safe_load(path.read_text())["name"] == "run-0.1"
    assert "hunter2" not in path.read_text()


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("lrr=1", r"^lrr=1: there is no key lrr$"),
        ("+lr=1", r"^\+lr=1: lr is there already$"),
        ("~nothing", r"^~nothing: there is no key nothing$"),
        ("~lr=7", r"^~lr=7: the key has another value$"),
        ("lr=1", r"^base\.yaml:2 depth: a value is missing"),
        ("name='${nope}'", r"name: Interpolation key 'nope' not found"),
    ],
)
def test_overrides_that_do_not_fit_are_told(override: str, told: str, folder: Path) -> None:
    with pytest.raises(BadInput, match=told):
        Base(open_sources("base.yaml")).runs([override, *([] if override == "lr=1" else ["depth=1"])])


SCRIPT = """
import json, sys
print("{not json")
if "depth=3" in sys.argv:
    sys.exit("no")
print(json.dumps({"loss": len(sys.argv), "argv": sys.argv[1:]}))
"""


def invoke(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(sweep, list(words), catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.stdout


def test_the_command_runs_every_variant_and_shows_the_results(folder: Path) -> None:
    Path("train.py").write_text(SCRIPT)
    command = f"{sys.executable} train.py {{overrides}} --config={{config}} 'a b' --depth={{depth}}"
    answer = json.loads(
        invoke(
            "base.yaml",
            "--run",
            command,
            "-j",
            "2",
            "--json",
            "--",
            "lr=0.1",
            "depth=range(1,4)",
            "+s='$(x) y'",
            code=1,
        )
    )
    rows = answer["runs"]
    assert [row["exit_code"] for row in rows] == [0, 0, 1]
    assert [row["overrides"]["depth"] for row in rows] == ["1", "2", "3"]
    argv = rows[0]["metrics"]["argv"]
    assert argv == ["lr=0.1", "depth=1", "+s='$(x) y'", f"--config={rows[0]['config']}", "a b", "--depth=1"]
    assert yaml.safe_load(Path(rows[1]["config"]).read_text())["depth"] == 2
    assert json.loads((Path(answer["folder"]) / "results.json").read_text()) == rows
    errors = [path.read_text() for path in sorted(Path(answer["folder"]).glob("*.err"))]
    assert errors == ["", "", "no\n"]
    shown = invoke("base.yaml", "depth=1,2", "--run", f"{sys.executable} train.py {{overrides}}", "--folder", "out")
    head, first, _ = shown.splitlines()
    assert head.split() == ["run", "depth", "hash", "exit", "seconds", "loss", "argv"]
    assert first.split()[0:2] == ["0", "1"]
    assert "hunter2" not in "".join(path.read_text() for path in Path("out").iterdir())


def test_a_shell_only_when_asked_and_then_quoted(folder: Path) -> None:
    invoke("base.yaml", "depth='1; touch pwned'", "--run", "echo {depth} ; touch pwned", "--folder", "one")
    assert not Path("pwned").exists()
    invoke(
        "base.yaml",
        "depth='1; touch pwned'",
        "--shell",
        "--run",
        "echo {depth} {overrides} > told; echo hi",
        "--folder",
        "two",
    )
    assert not Path("pwned").exists()
    assert Path("told").read_text() == "1; touch pwned depth='1; touch pwned'\n"


def test_templates_and_words_that_are_wrong(folder: Path) -> None:
    for words, told in [
        (["depth=1"], "no source to vary"),
        (["base.yaml", "depth=1", "--run", "x {nothing}"], "there is no {nothing}"),
        (["base.yaml", "depth=1", "--run", "x 'y"], "No closing quotation"),
        (["base.yaml", "depth=1", "--run", ""], "--run is empty"),
    ]:
        with pytest.raises(BadInput) as caught:
            CliRunner().invoke(sweep, words, catch_exceptions=False)
        assert told in caught.value.message
    answer = json.loads(invoke("base.yaml", "depth=1,1", "--run", "no-such-program", "--stop", "--json", code=1))
    assert answer["runs"][0]["exit_code"] == 127
    shown = invoke("base.yaml", "depth=1", "db.password='canary123'", "--json")
    assert "canary123" not in shown
    assert json.loads(shown)["runs"][0]["overrides"]["db.password"] == "'***'"
