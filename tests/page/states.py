"""Every state of the page, light and dark, as axe-core sees it; and none of them sticks out of a
window of 360 pixels.

    states.py URL HOME THEME KEY READER

KEY may do everything, READER may only look.
"""

import pathlib
import sys

from browser import EVIL_NAME, Browser, work, worker, workbook

url, home, theme, key, reader = sys.argv[1], pathlib.Path(sys.argv[2]), *sys.argv[3:6]
NARROW, WIDE = (360, 800), (1200, 900)


def state(page, name):
    page.look_at(name)
    page.resize(*NARROW)
    page.fits(name)
    page.whole_shot(f"{name}-narrow")
    page.resize(*WIDE)


def sign_in(page, key):
    page.seen("#key").send_keys(key)
    page.press("Sign in")
    page.seen("#who")


def begin(page):
    page.go(f"{url}/")
    page.says("h1", "Sign in")
    state(page, "key")
    page.seen("#key").send_keys("rmk_no")
    page.press("Sign in")
    page.says("#key-error", "That key")
    state(page, "key-refused")
    page.seen("#key").clear()
    sign_in(page, key)


def lists(page):
    page.says("main", "No uploads yet")
    state(page, "uploads-empty")
    page.press("Queues", ".top")
    page.says(".card", "Idle")
    state(page, "queues-idle")
    page.press("Uploads", ".top")
    page.seen(".options summary").click()
    page.seen("#o-topic")
    state(page, "uploads-options")
    page.seen(".options summary").click()
    page.drop(workbook(home / "orders.xlsx"), EVIL_NAME)
    page.says(".preview", "to be published")
    state(page, "uploads-looked")
    page.press("Upload", ".tray")
    (home / "broken.xlsx").write_bytes(b"PK\x03\x04 and nothing more")
    page.choose(home / "broken.xlsx")
    page.until("both", lambda: page.all(".file[data-state=refused]") and page.all(".file[data-state=taken]"))
    page.says(".cards", EVIL_NAME)
    state(page, "uploads-sent")
    # A name that does not break where it should must not make the page wide.
    page.send(home / "orders.xlsx", "w" * 120 + ".xlsx", anew=True)
    page.says(".cards", "wwww")
    state(page, "uploads-long-name")


def upload(page):
    page.press(EVIL_NAME, ".cards")
    page.says(".head .pill", "Waiting for workers")
    page.says('[data-part="rows"]', "Customer 1")
    state(page, "upload-waiting")
    page.press("Cancel", ".head")
    page.seen("dialog[open]")
    state(page, "upload-cancel")
    page.press("Keep as it is", "dialog")
    # One by one and slowly, so that it is seen on its way.
    with worker(url, key, ["--one-by-one", "--rate", "5"]):
        page.until("some, not all", lambda: page.all('[aria-label="Processed"] [data-kind=done]'))
        page.until("a rate", lambda: "now" in page.text('[data-say="rate"]'))
        state(page, "upload-running")
    work(url, key)
    page.says(".head .pill", "Done, with failures")
    page.says('[data-part="dead"]', "Orders!34")
    page.seen('[data-part="dead"] summary').click()
    state(page, "upload-failures")
    page.go(f"{url}/#/uploads/00000000-0000-4000-8000-000000000000")
    page.seen(".problem")
    state(page, "upload-missing")


def queue(page):
    page.go(f"{url}/#/")
    page.send(home / "orders.xlsx", "again.xlsx", anew=True)
    page.says(".cards", "again.xlsx")
    page.go(f"{url}/#/queues")
    page.says(".card", "Nobody takes")
    state(page, "queues-waiting")
    page.press("rows", ".cards")
    page.says(".messages", "again.xlsx")
    state(page, "queue")
    page.press("Purge")
    page.seen("#typed")
    state(page, "queue-purge")
    page.press("Keep as it is", "dialog")


def only_looks(page):
    page.press("Sign out")
    sign_in(page, reader)
    page.says(".messages", "again.xlsx")
    assert "Purge" not in page.buttons(), page.buttons()
    page.press("Uploads", ".top")
    page.says(".cards", "again.xlsx")
    assert not page.seen("main").find_elements("id", "files")[0].is_displayed()
    assert not [one for one in page.all(".give") if one.is_displayed()]
    page.press(EVIL_NAME, ".cards")
    page.says(".head .pill", "Done, with failures")
    assert page.buttons(".head") == [], page.buttons(".head")
    state(page, "reader")


def keyboard(page):
    """The first stop leads past what is on every page; each stop shows that it is one."""
    from selenium.webdriver.common.keys import Keys
    page.go(f"{url}/#/queues")
    page.driver.refresh()
    page.says("h1", "Queues")
    stops = []
    for _ in range(6):
        page.driver.switch_to.active_element.send_keys(Keys.TAB)
        stop = page.driver.switch_to.active_element
        outline = page.run("const it = getComputedStyle(arguments[0].closest('.card') ?? arguments[0]); return it.outlineStyle", stop)
        assert outline != "none", stop.get_attribute("outerHTML")
        stops.append(stop.text)
    assert stops[0] == "Skip to the content" and stops[2:5] == ["Uploads", "Queues", "API"], stops


with Browser(theme) as page:
    begin(page)
    lists(page)
    upload(page)
    queue(page)
    only_looks(page)
    keyboard(page)
