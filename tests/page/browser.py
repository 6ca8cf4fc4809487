"""What the tests of the page share: a Chromium, the program, and how long anything may take.

Nothing is slept for: whatever is expected is waited for, and what never comes is told with what the
page shows instead.
"""

import base64
import contextlib
import json
import os
import pathlib
import subprocess

import openpyxl
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

# On a busy machine a step takes its time; none fails for that.
PATIENCE = 120
HERE = pathlib.Path(__file__).parent
SHOTS = pathlib.Path(os.environ["PAGE_SHOTS"])
ROWMILL = os.environ["PAGE_ROWMILL"]
# What HTML in a name, in a cell and in an error looks like; none of it may become any.
EVIL_NAME = "<b>orders<b>.xlsx"
EVIL_COLUMN = "<i>customer</i>"
EVIL_CELL = "<img src=x onerror=alert(1)>"
EVIL_ERROR = "<script>alert(2)</script> no such customer"
# Rows that the handler rejects, by their numbers in the sheet.
BAD_ROWS = [8, 20, 34]
ROWS = 60


def workbook(path, rows=ROWS):
    """A workbook with three bad rows, a cell of HTML, and one with an error."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Orders"
    sheet.append(["id", EVIL_COLUMN, "amount", "fit"])
    for row in range(2, rows + 2):
        fit = "no" if row in BAD_ROWS else "yes"
        sheet.append([row - 1, EVIL_CELL if row == 6 else f"Customer {row - 1}", row * 10, fit])
    sheet["C12"] = "#DIV/0!"
    sheet["C12"].data_type = "e"
    book.save(path)
    return path


def work(url, key=None, more=()):
    """Works until the queue is empty; rejects the bad rows."""
    with worker(url, key, ["--until-empty", *more]) as process:
        assert process.wait(PATIENCE) == 0


@contextlib.contextmanager
def worker(url, key=None, more=(), error=EVIL_ERROR):
    """A worker that goes when this is left."""
    handler = ["--exec", str(HERE / "handler.sh"), "{fit}", error]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    if key:
        environment["ROWMILL_API_KEY"] = key
    command = [ROWMILL, "work", "--api-url", url, "--queue", "rows", *more, *handler]
    process = subprocess.Popen(command, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)


class Browser:
    """A Chromium, in a theme and of a size. """

    def __init__(self, theme="light", size=(1200, 900)):
        chromium, driver, axe = os.environ["PAGE_BROWSER"].split("\n")
        self.axe_core = pathlib.Path(axe).read_text()
        self.theme = theme
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        # Root has no sandbox; a container's /dev/shm is small.
        for argument in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-proxy-server",
                         "--hide-scrollbars", "--force-device-scale-factor=1"]:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        # A prompt that nobody expects fails the test; that a page is left during an upload is no such.
        options.set_capability("unhandledPromptBehavior", "ignore")
        self.driver = webdriver.Chrome(options=options, service=Service(driver))
        self.driver.set_script_timeout(PATIENCE)
        media = [{"name": "prefers-color-scheme", "value": theme}, {"name": "prefers-reduced-motion", "value": "reduce"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        self.resize(*size)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.is_content()
            else:
                self.shot("failed")
        finally:
            self.driver.quit()

    def resize(self, width, height):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def go(self, url):
        self.driver.get(url)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def until(self, what, condition):
        """Waits until a condition holds, and answers what it was."""
        def holds(_):
            try:
                return condition()
            except (StaleElementReferenceException, IndexError):
                return False
        try:
            return WebDriverWait(self.driver, PATIENCE, poll_frequency=0.05).until(holds)
        except WebDriverException as error:
            raise AssertionError(f"never: {what}; the page shows:\n{self.text('body')}") from error

    def all(self, css):
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def seen(self, css):
        """The first that is shown."""
        return self.until(f"`{css}`", lambda: [one for one in self.all(css) if one.is_displayed()][0])

    def text(self, css):
        return "\n".join(one.text for one in self.all(css))

    def says(self, css, text):
        self.until(f"`{text}` in `{css}`", lambda: text in self.text(css))

    def buttons(self, css="main"):
        return [one.text for one in self.all(f"{css} button") if one.is_displayed()]

    def press(self, text, css="body"):
        find = lambda: [one for one in self.all(f"{css} button, {css} a") if one.is_displayed() and one.text == text][0]
        self.until(f"a button `{text}`", find).click()

    def choose(self, *paths):
        """Chooses files, as a person does by the button."""
        self.seen("#give-h")
        self.all("#files")[0].send_keys("\n".join(str(path) for path in paths))

    def drop(self, path, name):
        """Drops a file onto the page."""
        data = base64.b64encode(pathlib.Path(path).read_bytes()).decode()
        self.seen("#give-h")
        self.run("""
            const [data, name] = arguments;
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
            const files = new DataTransfer();
            files.items.add(new File([bytes], name));
            const zone = document.querySelector('[data-part="drop"]');
            for (const kind of ["dragover", "drop"]) {
              zone.dispatchEvent(new DragEvent(kind, { dataTransfer: files, bubbles: true, cancelable: true }));
            }
        """, data, name)

    def send(self, path, name, anew=False):
        """Drops a file, and sends it once it was looked at; `anew` although it was sent before."""
        self.drop_options(anew)
        self.drop(path, name)
        self.press("Upload", ".tray")

    def drop_options(self, anew):
        self.seen("#give-h")
        self.run("document.querySelector('#o-dedupe').checked = !arguments[0]", anew)

    def shot(self, name):
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(SHOTS / f"{name}-{self.theme}.png"))

    def whole_shot(self, name):
        """A picture of the whole page, however long."""
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        SHOTS.mkdir(parents=True, exist_ok=True)
        (SHOTS / f"{name}-{self.theme}.png").write_bytes(base64.b64decode(shot["data"]))

    def look_at(self, state):
        """A picture of a state; what axe-core finds in it; whether it fits."""
        self.whole_shot(state)
        found = self.driver.execute_async_script(self.axe_core + """;
            const done = arguments[arguments.length - 1];
            axe.run(document, { resultTypes: ["violations"] }).then(
              ({ violations, passes }) => done({ violations, passes: passes.length }),
              (error) => done({ violations: [{ impact: "critical", id: String(error), nodes: [] }], passes: 0 }));
        """)
        # It would be as content with an empty page.
        assert found["passes"] > 10, f"{state}: axe-core looked at {found['passes']} rules"
        serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
        told = [f"{one['id']}: {node['html']} {node.get('failureSummary')}" for one in serious for node in one["nodes"] or [{"html": ""}]]
        assert not serious, f"{state}, {self.theme}:\n" + "\n".join(told)

    def fits(self, state):
        """Nothing of the page sticks out to the side."""
        wide, room = self.run("return [document.documentElement.scrollWidth, innerWidth]")
        assert wide <= room, f"{state} is {wide} wide, in {room}"

    def is_content(self):
        """No script failed, and the policy stopped nothing."""
        bad = [line for line in self.driver.get_log("browser") if line["source"] in ("javascript", "security", "console-api")]
        assert not bad, json.dumps(bad, indent=1)
