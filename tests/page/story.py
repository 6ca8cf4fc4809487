"""The whole story, as one person lives it: a workbook with three bad rows is dropped, worked off,
looked at and taken back; its failures are mended and sent, until all is done; it is deleted; then its
queue is purged.

    story.py URL HOME [KEY]
"""

import json
import pathlib
import sys
import urllib.request

import openpyxl

from browser import BAD_ROWS, EVIL_CELL, EVIL_COLUMN, EVIL_ERROR, EVIL_NAME, ROWS, Browser, work, workbook

url, home, key = sys.argv[1], pathlib.Path(sys.argv[2]), (sys.argv[3:] or [None])[0]


def described():
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/openapi.json") as answer:
        return json.load(answer)["paths"]


def sign_in(page):
    page.seen("#key").send_keys("rmk_none-of-this-servers")
    page.press("Sign in")
    page.says("#key-error", "That key is none of this server's")
    page.seen("#key").clear()
    page.seen("#key").send_keys(key)
    page.press("Sign in")
    page.says("#who", "operator")


def tile(page, name):
    tiles = dict(one.text.split("\n") for one in page.all("main .tiles > div") if one.is_displayed())
    return tiles.get(name)


def harmless(page):
    """What stood in names, cells and errors has become text, and nothing else."""
    assert page.run("return document.querySelectorAll('main b, main img, main script, main i').length") == 0


with Browser() as page:
    page.go(f"{url}/")
    if key:
        sign_in(page)
    page.says("h1", "Uploads")
    page.says("main", "No uploads yet")
    page.says("#link", "Live")

    # It is dropped, received, and stands in the list.
    page.drop(workbook(home / "orders.xlsx"), EVIL_NAME)
    page.says(".preview", f"{ROWS} rows to be published")
    page.says(".preview", "Row 1 of Orders names the columns")
    page.says(".preview", EVIL_CELL)
    page.says(".preview", EVIL_COLUMN)
    page.says(".preview", "Orders!C12")
    harmless(page)
    page.says("main", "No uploads yet")
    page.press("Upload", ".tray")
    page.says(".tray", "Taken")
    page.says(".tray", EVIL_NAME)
    page.says(".cards", EVIL_NAME)
    page.says(".cards", f"0 of {ROWS} rows done")
    harmless(page)

    # A file that is none is refused, with the reason.
    (home / "broken.xlsx").write_bytes(b"PK\x03\x04 and nothing more")
    page.choose(home / "broken.xlsx")
    page.until("the refusal", lambda: page.all(".file[data-state=refused] .bad")[0].text)

    # It is watched, from the waiting to the end.
    page.press("Watch", ".tray")
    page.says("h1", EVIL_NAME)
    assert page.driver.title.startswith(EVIL_NAME), page.driver.title
    page.says(".head .pill", "Waiting for workers")
    page.until("the rows that wait", lambda: tile(page, "Waiting") == str(ROWS))
    work(url, key)
    page.says(".head .pill", "Done, with failures")
    done = ROWS - len(BAD_ROWS)
    page.until("all that is done", lambda: (tile(page, "Done"), tile(page, "Dead")) == (str(done), str(len(BAD_ROWS))))
    for bar in ["Read from the file", "Processed"]:
        assert page.seen(f'[role=progressbar][aria-label="{bar}"]').get_attribute("aria-valuenow") == "100"
    page.says("figcaption", "Messages that ended in a second")

    # What failed is told by its address, with the error as it was said.
    for row in BAD_ROWS:
        page.says('[data-part="dead"]', f"Orders!{row}")
    assert page.text('[data-part="dead"]').count(EVIL_ERROR) == len(BAD_ROWS)
    page.says('[data-part="rejects"]', "Orders!C12")
    page.says('[data-part="rejects"]', "#DIV/0!")
    page.seen('[data-part="dead"] summary').click()
    page.says('[data-part="dead"] details', "Customer 7")
    page.says('[data-part="dead"] details', EVIL_COLUMN)
    page.says('[data-part="rows"]', EVIL_CELL)
    page.until("the states of the rows", lambda: page.text('[data-part="rows"]').count("Failed") == 2)
    harmless(page)

    # It is all there again after a reload.
    page.driver.refresh()
    page.until("the counts", lambda: tile(page, "Dead") == str(len(BAD_ROWS)))
    page.says('[data-part="dead"]', f"Orders!{BAD_ROWS[0]}")

    # What the server can do is offered, and nothing else.
    paths = described()
    offered = page.buttons()
    for path, text in {
        "/uploads/{id}/results.xlsx": "Results as xlsx",
        "/uploads/{id}/results.csv": "Results as csv",
        "/uploads/{id}/results.ndjson": "Results as ndjson",
        "/uploads/{id}/failures.xlsx": "Failures as xlsx",
        "/uploads/{id}/retry": "Retry the failed",
    }.items():
        assert (path in paths) == (text in offered), f"{text}: {offered}"
    assert "Pause" not in offered and "Cancel" not in offered, offered

    # What is taken back is a workbook with every row, and one with those that failed.
    page.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(home)})

    def taken_back(text, rows):
        there = {*home.glob("*.xlsx")}
        page.press(text)
        page.until("the download", lambda: {*home.glob("*.xlsx")} - there)
        [path] = {*home.glob("*.xlsx")} - there
        book = openpyxl.load_workbook(path)
        assert book.active.max_row == rows + 1, path
        texts = [cell for row in book.active.iter_rows() for cell in row if isinstance(cell.value, str)]
        assert all(cell.data_type != "f" for cell in texts), path
        return path, book

    _, results = taken_back("Results as xlsx", ROWS)
    names = [cell.value for cell in results.active[1]]
    bad = dict(zip(names, [cell.value for cell in results.active[BAD_ROWS[0]]]))
    assert bad["status"] == "dead" and bad["error"].endswith(EVIL_ERROR), bad
    assert results.active["B6"].value == EVIL_CELL
    path, failures = taken_back("Failures as xlsx", len(BAD_ROWS))
    assert [row[0].value for row in failures.active.iter_rows(min_row=2)] == BAD_ROWS
    page.whole_shot("story-failures")

    # They are mended where they stand, and dropped like any file: it is seen what they are.
    fit = [cell.value for cell in failures.active[1]].index("fit") + 1
    for row in range(2, len(BAD_ROWS) + 2):
        failures.active.cell(row, fit).value = "yes"
    failures.save(home / "mended.xlsx")
    upload = page.driver.current_url.rsplit("/", 1)[1]
    page.press("All uploads")
    page.drop(home / "mended.xlsx", "mended.xlsx")
    page.says(".preview", f"{len(BAD_ROWS)} rows to be published")
    page.says(".preview", "corrects an upload")
    page.whole_shot("story-mended-preview")
    page.press("Upload", ".tray")
    page.says(".tray", "Taken")
    page.press("Clear finished", ".tray")
    page.press("mended.xlsx", ".cards")
    page.says("h1", "mended.xlsx")
    page.until("the rows that wait", lambda: tile(page, "Waiting") == str(len(BAD_ROWS)))
    work(url, key)
    page.until("all done", lambda: page.text(".head .pill") == "Done")
    page.until("the counts", lambda: (tile(page, "Done"), tile(page, "Dead")) == (str(len(BAD_ROWS)), "0"))
    assert page.seen('[role=progressbar][aria-label="Processed"]').get_attribute("aria-valuenow") == "100"
    for row in BAD_ROWS:
        page.says('[data-part="rows"]', str(row))
    page.whole_shot("story-mended-done")

    # Each leads to the other.
    page.says("main", "Corrects an upload")
    page.press("an upload", "main")
    page.says("h1", EVIL_NAME)
    assert page.driver.current_url.rsplit("/", 1)[1] == upload
    page.says("main", "Corrected by")
    harmless(page)

    # Sent once more, nothing of it is done twice.
    page.press("All uploads")
    page.drop_options(True)
    page.drop(home / "mended.xlsx", "again.xlsx")
    page.press("Upload", ".tray")
    page.press("again.xlsx", ".cards")
    page.until("the duplicates", lambda: tile(page, "Duplicates") == str(len(BAD_ROWS)))
    page.says(".head .pill", "Done")
    page.whole_shot("story-again")
    for name in ["again.xlsx", "mended.xlsx"]:
        if name != "again.xlsx":
            page.press(name, ".cards")
            page.says("h1", name)
        page.press("Delete")
        page.press("Delete the upload", "dialog")
        page.says("h1", "Uploads")
    page.press(EVIL_NAME, ".cards")
    page.says("h1", EVIL_NAME)

    # It is deleted, which is asked for once more.
    page.press("Delete")
    page.says("dialog", "Delete")
    page.press("Keep as it is", "dialog")
    page.until("no dialog", lambda: not page.all("dialog"))
    page.press("Delete")
    page.press("Delete the upload", "dialog")
    page.says("h1", "Uploads")
    page.says("main", "No uploads yet")

    # Another waits in its queue, is looked at there, and is purged, which is asked twice.
    page.choose(home / "orders.xlsx")
    page.press("Upload", ".tray")
    page.says(".cards", f"0 of {ROWS} rows done")
    page.press("Queues", ".top")
    page.says(".card", "Nobody takes")
    page.press("rows", ".cards")
    page.until("the depth", lambda: tile(page, "Waiting") == str(ROWS))
    page.says(".messages", "orders.xlsx, Orders!2")
    page.says(".messages", EVIL_CELL)
    harmless(page)
    page.press("Purge")
    assert not page.seen("dialog .danger").is_enabled()
    page.seen("#typed").send_keys("row")
    assert not page.seen("dialog .danger").is_enabled()
    page.seen("#typed").send_keys("s")
    page.press("Purge the queue", "dialog")
    page.until("an empty queue", lambda: tile(page, "Waiting") == "0")
    page.says("#spoken", "cancelled")
    page.press("Look again")
    page.says('[data-part="peek"]', "Nothing waits")

    if key:
        page.press("Sign out")
        page.says("h1", "Sign in")
        page.driver.refresh()
        page.says("h1", "Sign in")
