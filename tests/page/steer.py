"""An upload is paused and resumed by hand, pauses by itself when too much of it fails, and its dead are
tried again; who works on it is seen.

    steer.py URL HOME
"""

import pathlib
import sys

from browser import BAD_ROWS, EVIL_ERROR, ROWS, Browser, work, worker, workbook

url, home = sys.argv[1], pathlib.Path(sys.argv[2])


def tile(page, name):
    tiles = dict(one.text.split("\n") for one in page.all("main .tiles > div") if one.is_displayed())
    return tiles.get(name)


with Browser() as page:
    page.go(f"{url}/")
    page.send(workbook(home / "orders.xlsx"), "orders.xlsx")
    page.says(".cards", f"0 of {ROWS} rows done")
    page.press("orders.xlsx", ".cards")
    page.says(".head .pill", "Waiting for workers")

    # By hand: nothing is handed out, whoever asks.
    assert "Resume" not in page.buttons(".head"), page.buttons(".head")
    page.press("Pause", ".head")
    page.says(".head .pill", "Paused")
    page.says(".notice", "Paused")
    page.says('[data-say="workSoft"]', "Paused: nothing is handed out")
    page.look_at("upload-paused")
    work(url)
    assert tile(page, "Waiting") == str(ROWS), tile(page, "Waiting")
    page.driver.refresh()
    page.says(".head .pill", "Paused")
    assert "Pause" not in page.buttons(".head"), page.buttons(".head")
    page.go(f"{url}/#/")
    page.says(".card .pill", "Paused")
    page.press("orders.xlsx", ".cards")
    page.press("Resume", ".head")
    page.says(".head .pill", "Waiting for workers")
    page.until("no notice", lambda: not [one for one in page.all(".notice") if one.is_displayed()])
    page.press("Cancel", ".head")
    page.press("Cancel the upload", "dialog")
    page.says(".head .pill", "Cancelled")

    # By itself, at the third failure: the reason is told, and what is left waits for a person.
    page.go(f"{url}/#/")
    page.seen(".options summary").click()
    page.seen("#o-stop").send_keys("3")
    page.send(home / "orders.xlsx", "again.xlsx", anew=True)
    page.press("Watch", ".tray")
    page.says("h1", "again.xlsx")
    with worker(url, None, ["--one-by-one", "--rate", "6", "--name", "mill-7"]):
        page.says(".notice", "3 of")
        page.says(".notice", "it stops after 3")
        page.says(".head .pill", "Paused")
        assert tile(page, "Dead") == str(len(BAD_ROWS))
        assert int(tile(page, "Waiting")) > 0
        page.look_at("upload-stopped")
        page.go(f"{url}/#/queues")
        page.says('[data-part="workers"]', "mill-7")
        page.look_at("workers")
        page.resize(360, 800)
        page.fits("workers")
        page.resize(1200, 900)
        page.press("rows", ".cards")
        page.says('[data-part="workers"]', "mill-7")
    page.go(f"{url}/#/")
    page.press("again.xlsx", ".cards")
    page.press("Resume", ".head")
    work(url)
    page.says(".head .pill", "Done, with failures")
    page.until("all but the bad", lambda: tile(page, "Done") == str(ROWS - len(BAD_ROWS)))

    # What died is tried once more, and dies once more.
    page.press("Retry the failed", ".head")
    page.until("the retried", lambda: tile(page, "Waiting") == str(len(BAD_ROWS)))
    work(url)
    page.until("the dead", lambda: tile(page, "Dead") == str(len(BAD_ROWS)))
    page.says('[data-part="dead"]', EVIL_ERROR)
