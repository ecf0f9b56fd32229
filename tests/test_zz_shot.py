from test_kernel_lab import *  # noqa
from test_kernel_lab import private_ipython, browser, lab, opened, is_connected, expect
from slaf.datasets import synthetic
from slaf.data import SLAFConverter
def test_shot(browser, lab, tmp_path):
    a = synthetic(4000, 300); a.obs["pct_mt"] = a.obs["pct_mt"].round(4); a.write_h5ad(tmp_path/"c.h5ad"); SLAFConverter().convert(tmp_path/"c.h5ad", tmp_path/"c.slaf")
    nb = opened(browser, lab, "lab/tree/shot.ipynb?reset")
    page = nb.page
    is_connected(lab[0], "shot.ipynb")
    page.set_viewport_size({"width": 1500, "height": 900})
    page.keyboard.press("Control+b")
    nb.run(f"import slaf\nadata = slaf.read_slaf({str(tmp_path/'c.slaf')!r})")
    out = nb.run("t = slaf.table(adata.obs)\nt")
    expect(out.locator(".slaf-rows")).to_have_text("4,000 rows", timeout=60_000)
    expect(out.locator(".slaf-plot")).to_have_count(3)
    head = lambda name: out.locator(f"th[data-column='{name}']")
    head("cell_type").locator(".slaf-value").nth(1).click()
    plot = head("n_genes").locator(".slaf-plot"); box = plot.bounding_box()
    page.mouse.move(box["x"]+box["width"]*.22, box["y"]+20); page.mouse.down(); page.mouse.move(box["x"]+box["width"]*.55, box["y"]+20, steps=3); page.mouse.up()
    head("total_counts").locator(".slaf-sort").click(); head("total_counts").locator(".slaf-sort").click()
    out.get_by_text("SQL", exact=True).click()
    out.get_by_label("Select row 2", exact=True).check(); out.get_by_label("Select row 4", exact=True).check()
    page.wait_for_timeout(3000)
    page.mouse.move(5, 5)
    out.locator(".slaf-table").screenshot(path="/tmp/ttry/light.png")
    page.evaluate("document.body.dataset")
    page.get_by_text("Settings", exact=True).click(); page.get_by_text("Theme", exact=True).hover(); page.get_by_text("JupyterLab Dark", exact=True).click()
    page.wait_for_timeout(3000)
    out.locator(".slaf-table").screenshot(path="/tmp/ttry/dark.png")
