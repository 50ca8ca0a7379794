"""Put generated rules to dolma's mixer and to dolma-data, and compare which documents each of them selects.

    python tools/parity_dolma_rules.py --dolma PATH/TO/dolma --work DIR [--rules 500] [--seed 0]

Rules of both languages are drawn from a grammar, documents from a generator of nested values; every rule is an include
rule of one stream and an exclude rule of another. dolma-data answers twice. As under ``--compat dolma`` it has to
select what dolma does; every rule that selects other documents is printed. By default every answer that is another one
has to be explained by differences of docs/dolma-differences.md. Rules that dolma refuses or fails on are counted apart:
dolma-data may take them. The exit status says whether anything is left.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from dolma_data.errors import UserError
from dolma_data.mix.rules import compile_rule
from parity import mix_model, path_model
from parity.attribution import Account, attribute, report

KEYS = ["a", "b", "c", "n", "tags", "url"]
OPERATORS = ["==", "!=", "<", ">", "<=", ">="] * 2 + ["in", "nin", "size", "anyOf", "noneOf", "subsetOf", "~="]
ARRAYS = ["[1,2]", "[1]", "['x']", "[0.5,1.0]", "[2019,0]"]
PLACES = ["$.attributes", "$.metadata", "$@.attributes", "$"]


def draw_value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(9 if depth < 3 else 6)
    if kind == 0:
        return rng.choice([0, 1, 2, 3, -1, 2019])
    if kind == 1:
        return rng.choice([0.0, 0.5, 1.0, 2.5, -1.0])
    if kind == 2:
        return rng.choice(["", "x", "y", "http://a.b", "abc", "été"])
    if kind == 3:
        return rng.choice([True, False, None])
    if kind in (4, 5, 6):
        return [[rng.randrange(3), rng.randrange(9), rng.choice([0, 1, 0.5, 1.0])] for _ in range(rng.randrange(4))]
    if kind == 7:
        return [draw_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return draw_object(rng, depth + 1)


def draw_object(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    return {key: draw_value(rng, depth) for key in KEYS if rng.random() < 0.6}


def draw_documents(rng: random.Random, number: int) -> list[dict[str, Any]]:
    documents = []
    for k in range(number):
        document = {
            "id": str(k),
            "text": rng.choice(["", "abc", "été"]),
            "source": rng.choice("st"),
            "n": rng.randrange(4),
        }
        for name in ("attributes", "metadata"):
            if rng.random() < 0.9:
                document[name] = draw_value(rng) if rng.random() < 0.1 else draw_object(rng)
        documents.append(document)
    return documents


class JsonPath:
    """Rules of Dolma's JSONPath dialect."""

    syntax = "jsonpath"

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def rule(self) -> str:
        place = self.rng.choice(PLACES)
        if self.rng.random() < 0.7:
            return f"{place}{self.steps(self.rng.randrange(2))}[?({self.test(2)})]"
        return place + self.steps(self.rng.randrange(1, 4))

    def steps(self, number: int) -> str:
        return "".join(self.step() for _ in range(number))

    def step(self) -> str:
        rng = self.rng
        key, other = rng.choice(KEYS), rng.choice(KEYS)
        return rng.choice(
            [f".{key}"] * 6
            + [f"['{key}']", f"['{key}','{other}']", "[*]", ".*", f"..{key}", f"[{rng.randrange(4)}]", "[0]", "[0][2]"]
            + [f"[{rng.randrange(3)}:{rng.randrange(4)}]", f"[{-rng.randrange(1, 3)}:]", "[0,2]", "[::2]"]
        )

    def test(self, depth: int) -> str:
        kind = self.rng.randrange(8) if depth else 0
        if kind == 1:
            return f"{self.test(depth - 1)} && {self.test(depth - 1)}"
        if kind == 2:
            return f"{self.test(depth - 1)} || {self.test(depth - 1)}"
        if kind == 3:
            return f"!({self.test(depth - 1)})"
        if kind == 4:
            return f"!@{self.steps(1)}"
        if kind == 5:
            return f"@{self.steps(self.rng.randrange(1, 4))}"
        return self.comparison()

    def comparison(self) -> str:
        rng = self.rng
        path = ("@" if rng.random() < 0.9 else "$.metadata") + self.steps(rng.randrange(1, 4))
        operator = rng.choice(
            ["==", "!=", "<", ">", "<=", ">="] * 2 + ["in", "nin", "size", "anyOf", "noneOf", "subsetOf", "~="]
        )
        if operator == "~=":
            return f"{path} ~= '{rng.choice(['a', '^x$', 'http.*', '[0-9]+'])}'"
        if operator in ("in", "nin", "anyOf", "noneOf", "subsetOf"):
            return f"{path} {operator} {rng.choice(ARRAYS)}"
        if operator == "size":
            return f"{path} size {rng.randrange(4)}"
        literal = rng.choice(
            ["0", "1", "1.0", "0.5", "2019", "'x'", "''", "true", "false", "null", "@" + self.steps(1)]
        )
        return f"{path} {operator} {literal}"


class Jq:
    """jq programs as rules."""

    syntax = "jq"

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def rule(self) -> str:
        return self.boolean(2)

    def path(self) -> str:
        rng = self.rng
        start = rng.choice([".attributes?", ".metadata?", ".attributes", "."])
        steps = "".join(
            rng.choice([f".{rng.choice(KEYS)}?", f'."{rng.choice(KEYS)}"?', "[0]?", "[-1]?", "[]?", "[1:]?", ".n"])
            for _ in range(rng.randrange(1, 4))
        )
        return "." + steps.lstrip(".") if start == "." else start + steps

    def value(self, depth: int) -> str:
        rng = self.rng
        kind = rng.randrange(12) if depth else rng.randrange(2)
        if kind == 0:
            return rng.choice(["0", "1", "1.0", "0.5", '"x"', '""', "null", "true", "[]", "{}", "2019"])
        if kind in (1, 2, 3):
            return f"({self.path()})"
        if kind == 4:
            function = rng.choice(["length", "add", "first", "last", "sort", "unique", "reverse"])
            return f"([{self.value(depth - 1)}] | {function})"
        if kind == 5:
            return f"({self.value(depth - 1)} // {self.value(depth - 1)})"
        if kind == 6:
            function = rng.choice(["length", "type", "tostring", "keys", "not", "tojson", "tojson | fromjson"])
            if rng.random() < 0.3:
                return f"(try ({self.path()} | {function}) catch {self.value(0)})"
            return f"(({self.value(depth - 1)} | {function})? // 0)"
        if kind == 7:
            return f"(({self.value(depth - 1)} {rng.choice('+-*/%')} {self.value(depth - 1)})? // 1)"
        if kind == 8:
            return f"(if {self.boolean(depth - 1)} then {self.value(depth - 1)} else {self.value(depth - 1)} end)"
        if kind == 9:
            return f"([{self.path()} | select(. != null)] | map({self.value(0)}))"
        if kind == 10:
            return f"({self.value(depth - 1)} as $x | [$x, {self.value(depth - 1)}])"
        return f"(reduce {self.path()} as $x (0; . + 1))"

    def boolean(self, depth: int) -> str:
        rng = self.rng
        kind = rng.randrange(6) if depth else 0
        if kind == 1:
            return f"({self.boolean(depth - 1)} and {self.boolean(depth - 1)})"
        if kind == 2:
            return f"({self.boolean(depth - 1)} or {self.boolean(depth - 1)})"
        if kind == 3:
            return f"({self.boolean(depth - 1)} | not)"
        if kind == 4:
            return self.value(depth)
        return f"{self.value(depth)} {rng.choice(['==', '!=', '<', '<=', '>', '>='])} {self.value(depth)}"


Answers = list[list[str] | None]  # ids that are left, by include and by exclude; None: refused or failed


def ask_dolma(dolma: str, rules: list[str], syntax: str, documents: list[dict[str, Any]], work: Path) -> list[Answers]:
    shutil.rmtree(work, ignore_errors=True)
    (work / "documents").mkdir(parents=True)
    (work / "out").mkdir()
    with gzip.open(work / "documents/a.jsonl.gz", "wt", encoding="utf-8") as stream:
        stream.writelines(json.dumps(document) + "\n" for document in documents)
    streams = [
        {
            "name": f"{kind}{k}",
            "documents": [str(work / "documents/*.gz")],
            "output": {"path": str(work / "out")},
            "filter": {kind: [rule], "syntax": syntax},
            "compression": {"output": ""},
        }
        for k, rule in enumerate(rules)
        for kind in ("include", "exclude")
    ]
    (work / "mix.json").write_text(json.dumps({"streams": streams}))
    # fails where any rule does; the outputs of the others are there
    subprocess.run([dolma, "-c", str(work / "mix.json"), "mix"], capture_output=True, check=False)
    answers: list[Answers] = []
    for k in range(len(rules)):
        paths = [work / "out" / f"{kind}{k}-0000.json" for kind in ("include", "exclude")]
        answers.append(
            [[json.loads(line)["id"] for line in open(path, "rb")] if path.exists() else None for path in paths]
        )
    return answers


def ask_ours(rule: str, syntax: Any, documents: list[dict[str, Any]], dolma: bool) -> Answers:
    try:
        compiled = compile_rule(rule, syntax, dolma)
    except UserError:
        return [None, None]
    answers: Answers = []
    for keeps in (compiled.matches, lambda document: not compiled.excludes(document)):
        try:
            answers.append([document["id"] for document in documents if keeps(document)])
        except ValueError:
            answers.append(None)
    return answers


def explain(rule: str, syntax: Any, documents: list[dict[str, Any]], wanted: Answers, under_compat: Answers) -> Account:
    """Account for our answers by default, document by document, wherever dolma has one."""
    by_default = ask_ours(rule, syntax, documents, dolma=False)
    possible = path_model.concerned(rule) if syntax == "jsonpath" else {mix_model.ZERO, mix_model.TRY}
    account = Account()
    for kind, of_several, theirs, ours, compat in zip(
        ("include", "exclude"), (all, any), wanted, by_default, under_compat, strict=True
    ):
        if theirs is None or compat is None:
            continue

        def keeps(ways: frozenset[str], of_several: Any = of_several, kind: str = kind) -> list[bool]:
            found = [mix_model.matches(rule, syntax, document, ways, of_several) for document in documents]
            return [each == (kind == "include") for each in found]

        rows = [[document["id"] in (answer or ()) for document in documents] for answer in (theirs, ours, compat)]
        names = [f"{rule} on {document['id']}" for document in documents]
        account.add(attribute(names, *rows, keeps, dict.fromkeys(possible, lambda k: True)))
    return account


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dolma", required=True, help="the dolma command")
    parser.add_argument("--work", required=True, type=Path, help="folder to work in; its content is replaced")
    parser.add_argument("--rules", type=int, default=500, help="rules of each language")
    parser.add_argument("--documents", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    documents = draw_documents(rng, arguments.documents)
    differing = 0
    for language in (JsonPath(rng), Jq(rng)):
        rules = list(dict.fromkeys(language.rule() for _ in range(arguments.rules)))
        theirs = ask_dolma(arguments.dolma, rules, language.syntax, documents, arguments.work)
        counts: Counter[str] = Counter()
        by_default = Account()
        for rule, wanted in zip(rules, theirs, strict=True):
            given = ask_ours(rule, language.syntax, documents, dolma=True)
            if wanted != [None, None]:
                by_default.add(explain(rule, language.syntax, documents, wanted, given))
            if given == wanted:
                counts["refused by both" if wanted == [None, None] else "equal"] += 1
            elif wanted == [None, None]:
                counts["dolma refuses or fails, dolma-data answers"] += 1
            else:
                counts["different"] += 1
                print(f"{language.syntax}: {rule}\n    dolma      {wanted}\n    dolma-data {given}")
        print(f"{language.syntax}: {len(rules)} rules on {len(documents)} documents: {dict(counts)}")
        differing += counts["different"] + report(f"{language.syntax} by default", by_default, show=5)
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main())
