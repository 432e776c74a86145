"""Headless Chromium over its DevTools protocol: pages that the test types into and looks at."""

import base64
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time

from websockets.sync.client import connect

from .waiting import until

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars --lang=en-US "
    "--remote-debugging-port=0"
).split()
DESKTOP, PHONE = (1280, 800), (390, 844)


def chromium():
    """The browser's path: `CHROMIUM`, or the first one installed."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


class Browser:
    def __init__(self, *flags):
        program = chromium()
        assert program, "no chromium: apt-get install chromium, or set CHROMIUM"
        self.profile = tempfile.mkdtemp(prefix="moonwire-chromium-")
        self.child = subprocess.Popen(
            [program, *FLAGS, *flags, f"--user-data-dir={self.profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        address = until(self._address, "chromium's DevTools address", 30)
        self.socket = connect(
            address, proxy=None, legacy=True, max_size=None, ping_interval=None, compression=None
        )
        self.numbers = itertools.count(1)
        self.answers = {}
        self.events = []

    def _read(self):
        for line in self.child.stderr:
            self.said.append(line)

    def _address(self):
        if self.child.poll() is not None:
            raise RuntimeError("chromium ended:\n" + "".join(self.said))
        found = re.search(r"DevTools listening on (ws://\S+)", "".join(list(self.said)))
        return found and found.group(1)

    def start(self, method, session=None, **params):
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        self.socket.send(json.dumps(message))
        return number

    def call(self, method, session=None, deadline=20.0, **params):
        number = self.start(method, session, **params)
        end = time.monotonic() + deadline
        while number not in self.answers:
            message = json.loads(self.socket.recv(max(0.001, end - time.monotonic())))
            if "id" in message:
                self.answers[message["id"]] = message
            else:
                self.events.append(message)
        answer = self.answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def page(self, url, size=DESKTOP):
        """A page in a context of its own: no storage is shared with another."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, target, session)
        page.resize(*size)
        page.call("Runtime.enable")
        page.call("Page.enable")
        page.call("Page.navigate", url=url)
        page.wait("document.readyState === 'complete' && location.href !== 'about:blank'")
        return page

    def close(self):
        try:
            self.socket.close()
        finally:
            self.child.terminate()
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
            shutil.rmtree(self.profile, ignore_errors=True)


class Page:
    def __init__(self, browser, target, session):
        self.browser = browser
        self.target = target
        self.session = session

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def run(self, expression):
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait(self, expression, deadline=15):
        return until(lambda: self.run(expression), f"in the page: {expression}", deadline)

    def type(self, selector, text):
        """What a person does: into the field, old text marked, new text typed."""
        self.run(f"(e => {{ e.focus(); e.select?.(); }})(document.querySelector({json.dumps(selector)}))")
        self.call("Input.insertText", text=text)

    def click(self, selector):
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def text(self, selector="body"):
        return self.run(f"document.querySelector({json.dumps(selector)}).innerText")

    def wait_text(self, text, selector="body"):
        inside = f"document.querySelector({json.dumps(selector)}).innerText.includes({json.dumps(text)})"
        self.wait(inside)

    def resize(self, width, height):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def fits(self):
        """Whether nothing has to be scrolled sideways."""
        return self.run("document.documentElement.scrollWidth <= innerWidth")

    def screenshot(self, path, size):
        self.resize(*size)
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
        return path

    def errors(self):
        """What the page threw, and what it wrote to the console as an error."""
        return [
            event["params"]
            for event in self.browser.events
            if event.get("sessionId") == self.session
            and (
                event["method"] == "Runtime.exceptionThrown"
                or (event["method"] == "Runtime.consoleAPICalled" and event["params"]["type"] == "error")
            )
        ]

    def kill(self):
        """Ends the page's process at once, as a crash does; nobody says goodbye."""
        self.browser.start("Page.crash", self.session)

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)
