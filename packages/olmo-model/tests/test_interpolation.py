"""What stands in ``${...}``."""

from __future__ import annotations

import pytest

from olmo_model.errors import UserError
from olmo_model.official.interpolation import resolve, value_of


def one(text: object, **others: object) -> object:
    return resolve({"key": text, **others}, "f.yaml")["key"]


def test_references_keep_their_type_alone_and_are_text_among_text():
    assert one("${n}", n=1000) == 1000
    assert one("a-${n}-${flag}-${nothing}", n=1, flag=True, nothing=None) == "a-1-True-None"
    assert one("${a.b.1}", a={"b": [1, 2]}) == one("${a.b[1]}", a={"b": [1, 2]}) == 2
    assert one("${a}", a="${b}", b="${c}", c=[1]) == [1]
    assert resolve({"s": {"x": "${.y}", "y": 3, "t": {"z": "${..y}"}}}, "f")["s"] == {"x": 3, "y": 3, "t": {"z": 3}}


def test_an_escaped_reference_is_text():
    assert one("\\${n}") == "${n}"
    assert one("\\\\${n}-\\${n}", n=1) == "\\1-${n}"


def test_the_environment_and_its_default(monkeypatch):
    monkeypatch.setenv("A_NAME", "7")
    monkeypatch.delenv("ANOTHER_NAME", raising=False)
    assert one("${oc.env:A_NAME}") == "7"
    assert one("${oc.decode:${oc.env:A_NAME}}") == 7
    assert one("${oc.env:ANOTHER_NAME,x y}/z") == "x y/z"
    assert one("${oc.env:ANOTHER_NAME,${n}}", n="run") == "run"
    assert one("${oc.env:ANOTHER_NAME,null}") is None
    with pytest.raises(UserError, match="key: the environment has no variable ANOTHER_NAME"):
        one("${oc.env:ANOTHER_NAME}")


def test_paths(tmp_path):
    for name in ("b.npy", "a.npy"):
        (tmp_path / name).write_bytes(b"")
    assert one(f"${{path.glob:{tmp_path}/*.npy}}") == [str(tmp_path / "a.npy"), str(tmp_path / "b.npy")]
    assert one(f"${{path.choose:{tmp_path}/none,{tmp_path}/a.npy}}") == str(tmp_path / "a.npy")
    assert one(f"${{path.choose:${{oc.env:NOWHERE_AT_ALL,no}}/x,'{tmp_path}'}}/y") == f"{tmp_path}/y"
    assert one("${path.join:a,b/c,d}") == "a/b/c/d"
    for name in ("step5", "step10-unsharded", "step10", "step9", "latest"):
        (tmp_path / name).mkdir()
    assert one(f"${{path.last_checkpoint:{tmp_path}}}") == str(tmp_path / "step10")
    with pytest.raises(UserError, match="matches no file"):
        one(f"${{path.glob:{tmp_path}/*.txt}}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${nowhere}", r"key: \$\{nowhere\} names no key"),
        ("${key}", "refers to itself"),
        ("x ${n", "without its }"),
        ("${some.thing:1}", "no resolver 'some.thing'"),
    ],
)
def test_what_cannot_be_resolved_is_one_line(text, message):
    with pytest.raises(UserError, match=message):
        one(text, n=1)


def test_circles_are_found():
    with pytest.raises(UserError, match="refers to itself"):
        resolve({"a": "${b}", "b": "${a}"}, "f.yaml")


def test_values_on_the_line_are_read_as_omegaconf_reads_them():
    assert value_of("1e-4") == 1e-4
    assert value_of("739_328") == 739_328
    assert value_of("2e12T") == "2e12T"
    assert value_of("null") is None
    assert value_of("[a, 'b c']") == ["a", "b c"]
    assert value_of("2024-01-02") == "2024-01-02"
    assert value_of("{") == "{"
