"""Random statements from a grammar, some of them broken, some of them huge."""

from __future__ import annotations

import random

COLUMNS = ["a", "k", "s", "t.a", "t.k", '"s"', "t.s"]
LITERALS = ["1", "0", "-1", "2.5", "1e300", "'x'", "''", "NULL", "TRUE", "'2024-01-01'", "[1, 2]"]
OPERATORS = ["+", "-", "*", "/", "%", "//", "||", "=", "<>", "<", ">=", "AND", "OR", "^", "&", "<<"]
FUNCTIONS = [
    "abs", "length", "upper", "coalesce", "sum", "count", "avg", "min", "max", "median", "list",
    "substr", "concat", "round", "ln", "sqrt", "regexp_matches", "string_split", "row_number",
    "rank", "lag", "first", "array_agg", "unnest", "generate_series", "nothing", "cast", "struct",
]  # fmt: skip
JOINS = [
    "JOIN",
    "LEFT JOIN",
    "RIGHT JOIN",
    "FULL JOIN",
    "NATURAL JOIN",
    "CROSS JOIN",
    ",",
    "SEMI JOIN",
]
TYPES = ["INT", "VARCHAR", "DOUBLE", "DATE", "BOOLEAN", "INT[]", "STRUCT(a INT)", "TIMESTAMP"]
SIGNS = list("()[]{},.;:$'\"\\*/-+=<>|&!~^%#@?`\n\0") + [
    "--",
    "/*",
    "*/",
    "::",
    "$$",
    "{{",
    "}}",
    "é",
    "𝄞",
]


class Grammar:
    """Statements of at most about `size` words."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.left = 0

    def statement(self) -> str:
        self.left = self.random.choice([6, 6, 10, 10, 40, 150, 600, 3000])
        kind = self.random.random()
        if kind < 0.1:
            text = self.chain()
        else:
            text = self.random.choice(["", "", "", "", "EXPLAIN ", "SUMMARIZE "]) + self.query()
        return self.broken(text) if self.random.random() < 0.25 else text

    def chain(self) -> str:
        n = self.random.choice([10, 100, 900, 1100, 5000])
        one, sign = self.random.choice(
            [
                ("SELECT a = 1", " OR a = 1"), ("SELECT 1", " + 1"), ("SELECT 'x'", " || 'x'"),
                ("SELECT 1", " UNION ALL SELECT 1"), ("SELECT 1", " EXCEPT SELECT 1"),
                ("SELECT a", "::INT"), ("SELECT a", " IS NULL"), ("SELECT l", "[1]"),
                ("SELECT 1", ", a"), ("SELECT * FROM t", ", u"), ("SELECT * FROM t", " JOIN u USING (k)"),
                ("SELECT a IN (1", ", 1"), ("VALUES (1)", ", (1)"), ("SELECT 1", " -- c\n"),
            ]
        )  # fmt: skip
        n = min(n, 60) if "JOIN" in sign or sign == ", u" else n
        nest = self.random.choice(
            ["(", "NOT ", "- ", "CASE WHEN ", "f(", "(SELECT ", "[", "{'a': ", "ARRAY<"]
        )
        if self.random.random() < 0.5:
            return f"SELECT {nest * n}1{')' * n if '(' in nest else ''} FROM t"
        return one + sign * n

    def query(self) -> str:
        r = self.random
        self.left -= 5
        text = (
            f"SELECT {r.choice(['', '', 'DISTINCT '])}{self.some(self.item)} FROM {self.source()}"
        )
        for clause, make in (
            (" WHERE ", self.expr),
            (" GROUP BY ", lambda: r.choice(["1", "ALL", self.some(self.expr), "ROLLUP (k)"])),
            (" HAVING ", self.expr),
            (" ORDER BY ", lambda: r.choice(["1", "ALL", self.expr() + " DESC NULLS FIRST"])),
            (" LIMIT ", lambda: r.choice(["1", "0", "1 OFFSET 2", "999999999999", "-1"])),
        ):
            if self.left > 0 and r.random() < 0.3:
                text += clause + make()
        if self.left > 0 and r.random() < 0.1:
            text += f" {r.choice(['UNION', 'UNION ALL', 'EXCEPT', 'INTERSECT'])} {self.query()}"
        if self.left > 0 and r.random() < 0.1:
            text = f"WITH {r.choice(['', 'RECURSIVE '])}c AS ({self.query()}) {text}"
        return text

    def some(self, make) -> str:
        return ", ".join(make() for _ in range(self.random.randint(1, 3)))

    def item(self) -> str:
        kinds = ["*", "t.*", "* EXCLUDE (k)", "* REPLACE (1 AS k)", "COUNT(*)"]
        if self.random.random() < 0.2:
            return self.random.choice(kinds)
        return self.expr() + self.random.choice(["", "", " AS k", ' AS "q"'])

    def source(self) -> str:
        r = self.random
        self.left -= 2
        tables = [
            "t",
            "u",
            "t",
            "u",
            "c",
            "nowhere",
            "generate_series(1, 3)",
            "(VALUES (1, 2)) AS v(k, a)",
        ]
        text = r.choice(tables)
        if self.left > 0 and r.random() < 0.2:
            text = f"({self.query()}) AS t"
        while self.left > 0 and r.random() < 0.3:
            self.left -= 2
            join = r.choice(JOINS)
            text += f" {join} {r.choice(tables)}"
            if "NATURAL" not in join and "CROSS" not in join and join != ",":
                text += r.choice([" USING (k)", f" ON {self.expr()}", " USING (k, a)", ""])
        return text

    def expr(self) -> str:
        r = self.random
        self.left -= 1
        if self.left < 0 or r.random() < 0.3:
            # Sometimes the name of a table that does not exist.
            return (
                r.choice(COLUMNS + LITERALS) if r.random() < 0.98 else r.choice(["nothing", "u.x"])
            )
        kind = r.randint(0, 12)
        if kind < 4:
            return f"{self.expr()} {r.choice(OPERATORS)} {self.expr()}"
        if kind == 4:
            return f"({self.expr()})"
        if kind == 5:
            over = r.choice(
                ["", "", "", f" OVER (PARTITION BY {self.expr()})", " OVER (ORDER BY k)"]
            )
            return f"{r.choice(FUNCTIONS)}({r.choice(['', 'DISTINCT ', ''])}{self.some(self.expr)}){over}"
        if kind == 6:
            return f"CASE WHEN {self.expr()} THEN {self.expr()} ELSE {self.expr()} END"
        if kind == 7:
            return f"{self.expr()} {r.choice(['IN', 'NOT IN'])} ({r.choice([self.some(self.expr), self.query()])})"
        if kind == 8:
            return f"CAST({self.expr()} AS {r.choice(TYPES)})"
        if kind == 9:
            return f"{r.choice(['NOT', '-', 'EXISTS'])} ({r.choice([self.expr(), self.query()])})"
        if kind == 10:
            return f"{self.expr()} {r.choice(['LIKE', 'ILIKE', 'SIMILAR TO', '~'])} {self.expr()}"
        if kind == 11:
            return f"({self.query()})"
        return self.expr() + r.choice(
            ["[1]", "[1:2]", ".k", " IS NULL", "::INT", " BETWEEN 0 AND 1"]
        )

    def broken(self, text: str) -> str:
        """The statement with some words removed, doubled, or replaced by others."""
        r = self.random
        words = text.split(" ")
        for _ in range(r.randint(1, 4)):
            at = r.randrange(len(words))
            change = r.randint(0, 3)
            if change == 0:
                del words[at]
            elif change == 1:
                words.insert(at, r.choice(SIGNS))
            elif change == 2:
                words[at] = words[r.randrange(len(words))]
            else:
                words[at] = words[at][: r.randint(0, len(words[at]))]
            if not words:
                return ""
        return " ".join(words)
