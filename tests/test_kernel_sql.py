"""`%%sql` in a kernel: tables, names of datasets and frames, completion, errors."""

from __future__ import annotations

from kernels import Kernel, only, stream


def test_a_sql_cell_shows_a_table(with_pbmc):
    reply, outputs = with_pbmc.run(
        "%%sql\nSELECT louvain, COUNT(*) AS n FROM cells GROUP BY louvain ORDER BY n DESC LIMIT 2"
    )
    data = only(outputs, "execute_result")["data"]
    assert data["text/plain"].startswith(
        "louvain    n\n0        130\n1        123\n2 rows × 2 columns · polars"
    )
    assert "<table>" in data["text/html"]


def test_a_sql_answer_is_a_polars_frame_and_a_frame_is_a_table(with_pbmc):
    with_pbmc.run(
        "%%sql top <<\nSELECT cell_id, n_counts FROM cells ORDER BY n_counts DESC LIMIT 5"
    )
    assert with_pbmc.value("type(top).__module__.split('.')[0], top.shape") == "('polars', (5, 2))"
    with_pbmc.run("%%sql again <<\nSELECT COUNT(*) AS n FROM top JOIN cells USING (cell_id)")
    assert with_pbmc.value("again.item()") == "5"
    assert with_pbmc.value("pbmc[top].shape") == "(5, 765)"


def test_a_slice_is_a_dataset_by_its_name(with_pbmc):
    with_pbmc.run("part = pbmc[[5, 3, 3, 100], ::2]")
    with_pbmc.run(
        "%%sql counted <<\nSELECT (SELECT COUNT(*) FROM part.cells) AS c, (SELECT COUNT(*) FROM part.genes) AS g, COUNT(*) AS n FROM part.expression"
    )
    assert (
        with_pbmc.value("counted.row(0) == (3, 383, pbmc[[5, 3, 100], ::2].X.compute().nnz)")
        == "True"
    )
    with_pbmc.run("del part")


def test_a_sql_cell_completes_and_is_inspected(with_pbmc):
    def asked(kind: str, code: str) -> dict:
        cursor = code.index("|")
        request = getattr(with_pbmc.client, kind)(code.replace("|", ""), cursor)
        reply = with_pbmc.reply(request)
        with_pbmc.outputs(request)
        return reply

    reply = asked("complete", "%%sql\nSELECT 1 FROM cells WHERE louvain = '1|")
    code = "%%sql\nSELECT 1 FROM cells WHERE louvain = '"
    assert reply["cursor_start"] == len(code) and reply["matches"][:2] == ["1'", "10'"]
    assert asked("complete", "%%sql\nSELECT n_cou| FROM cells")["matches"] == ["n_counts"]
    told = asked("inspect", "%%sql\nSELECT lou|vain FROM cells")["data"]["text/plain"]
    assert told.startswith("column louvain of cells: VARCHAR\n  700 rows, 0 missing, 11 distinct")
    assert asked("inspect", "pb|mc")["found"]


def test_wrong_sql_is_one_sentence(with_pbmc):
    reply, outputs = with_pbmc.run("%%sql\nSELECT n_cuonts FROM cells")
    assert reply["status"] == "error"
    assert (
        stream(outputs, "stderr").strip()
        == "UsageError: There is no column `n_cuonts`. Did you mean `n_counts`? "
        "(line 1, column 8)\n  SELECT n_cuonts FROM cells\n         ^"
    )


def test_two_datasets_want_a_prefix(with_pbmc, convert, counts):
    with_pbmc.run(f"other = read_slaf({str(convert(counts))!r})")
    reply, _ = with_pbmc.run("%%sql\nSELECT COUNT(*) FROM cells")
    assert "`pbmc.cells` or `other.cells`" in reply["evalue"]
    _, outputs = with_pbmc.run(
        "%%sql\nSELECT (SELECT COUNT(*) FROM pbmc.cells) AS a, (SELECT COUNT(*) FROM other.cells) AS b"
    )
    assert "700  60" in only(outputs, "execute_result")["data"]["text/plain"]
    _, outputs = with_pbmc.run("%%sql --on other\nSELECT COUNT(*) AS n FROM cells")
    assert "60" in only(outputs, "execute_result")["data"]["text/plain"]
    with_pbmc.run("del other")


def test_the_same_magic_in_a_plain_ipykernel(private_ipython, pbmc_slaf):
    kernel = Kernel("python3")
    try:
        kernel.run(
            f"%load_ext slaf\nfrom slaf import SLAFArray\npbmc = SLAFArray({str(pbmc_slaf)!r})"
        )
        _, outputs = kernel.run("%%sql\nSELECT COUNT(*) AS n FROM cells")
        assert "700" in only(outputs, "execute_result")["data"]["text/plain"]
    finally:
        kernel.stop()
