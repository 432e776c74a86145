"""Headless Chromium: two pages of examples/chat talk, one is killed, the other sees it leave."""

import struct

import pytest

from harness.browser import DESKTOP, PHONE
from harness.server import EXAMPLES, Server

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def chat():
    server = Server(str(EXAMPLES / "chat"), shards=2).wait_ready()
    yield "http://%s:%d/" % server.addresses["app:gateway"]
    server.stop()


def enter(browser, address, name, room, size=DESKTOP):
    page = browser.page(address, size)
    page.type("#name", name)
    page.type("#room", room)
    page.click("#join button[type=submit]")
    page.wait("!document.getElementById('chat').hidden")
    # Not what is seen of it: a phone shows the list when it is asked for.
    page.wait(f"document.getElementById('people-list').textContent.includes({name!r})")
    return page


def say(page, text):
    page.type("#text", text)
    page.click("#composer button[type=submit]")


def png_size(path):
    return struct.unpack("!II", path.read_bytes()[16:24])


def test_two_pages_talk_one_is_killed_and_the_other_sees_it_leave(browser, chat, results):
    ann = enter(browser, chat, "Ann", "browser-tea")
    bob = enter(browser, chat, "Bob", "browser-tea")
    ann.wait_text("Bob", "#people-list")
    say(ann, "Hello Bob, this is Ann")
    bob.wait_text("Hello Bob, this is Ann", "#log")
    say(bob, "Hello Ann, grüße ☃")
    ann.wait_text("Hello Ann, grüße ☃", "#log")
    assert ann.screenshot(results / "chat-desktop.png", DESKTOP).stat().st_size > 5000
    bob.kill()
    ann.wait("!document.getElementById('people-list').innerText.includes('Bob')")
    ann.wait_text("Bob", "#log")
    ann.screenshot(results / "chat-desktop-after-leave.png", DESKTOP)
    assert ann.errors() == []
    ann.close()


def test_a_phone_shows_the_same_without_scrolling_sideways(browser, chat, results):
    desktop = enter(browser, chat, "Ann", "browser-phone")
    phone = enter(browser, chat, "Bob", "browser-phone", PHONE)
    say(desktop, "A longer line that has to wrap on a phone, with a verylongwordthatdoesnotwrapbyitselfatall")
    phone.wait_text("has to wrap on a phone", "#log")
    say(phone, "It does")
    desktop.wait_text("It does", "#log")
    assert phone.fits()
    assert png_size(phone.screenshot(results / "chat-phone.png", PHONE)) == PHONE
    assert png_size(desktop.screenshot(results / "chat-desktop-with-phone.png", DESKTOP)) == DESKTOP
    phone.close()
    desktop.wait("!document.getElementById('people-list').innerText.includes('Bob')")
    desktop.close()


def test_the_door_fits_both_widths(browser, chat, results):
    page = browser.page(chat, DESKTOP)
    page.wait_text("Come in")
    page.screenshot(results / "door-desktop.png", DESKTOP)
    assert page.fits()
    page.screenshot(results / "door-phone.png", PHONE)
    assert page.fits()
    page.close()


def test_what_a_person_writes_is_never_markup(browser, chat):
    ann = enter(browser, chat, "Ann", "browser-markup")
    say(ann, "<img src=x onerror=\"document.title='broken in'\"><b>bold</b>")
    ann.wait_text("<b>bold</b>", "#log")
    assert ann.run("document.querySelectorAll('#log img, #log b').length") == 0
    assert ann.run("document.title") != "broken in"
    ann.close()


@pytest.fixture
def served():
    """`served(addr)`: the chat at that address, killed at the end if the test did not stop it."""
    servers = []

    def start(addr):
        servers.append(
            Server(str(EXAMPLES / "chat"), shards=2, services=(), sets=[f"app:gateway:addr={addr}"])
        )
        return servers[-1].wait_ready()

    yield start
    for server in servers:
        server.kill()


def test_a_page_comes_back_by_itself_after_the_server_was_away(browser, served, results):
    """The server stops (1012), another starts at the same address, the page is there again."""
    first = served("127.0.0.1:0")
    address = "%s:%d" % first.addresses["app:gateway"]
    page = enter(browser, f"http://{address}/", "Ann", "browser-back")
    first.stop()
    page.wait("document.getElementById('status').dataset.state !== 'open'")
    page.screenshot(results / "chat-desktop-away.png", DESKTOP)
    again = served(address)
    page.click("#try-now")
    page.wait("document.getElementById('status').dataset.state === 'open'")
    say(page, "I am back")
    page.wait(
        "!document.querySelector('#log .pending') && document.getElementById('log').innerText.includes('back')"
    )
    page.close()
    again.stop()
