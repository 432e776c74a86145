"""HTTP/2 over TLS, agreed on by ALPN (RFC 7301), with the clients that people use."""

import subprocess

import pytest

from harness import tls
from harness.browser import Browser
from harness.http2 import Http2, node_talks, trusting
from harness.lease import relay_steps, script
from harness.puppet import Driver
from harness.waiting import until
from harness.wire import Wire
from test_http2_websocket import OverHttp2

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(tls.EVERYWHERE, reason="the settings are these")]


@pytest.fixture
def secure(server):
    services = ("app:gateway", "app:proxied", "app:hasty")
    return server("relay", shards=2, services=services, sets=tuple(tls.settings()))


@pytest.fixture
def connect(secure):
    def connect(**options):
        client = Http2(secure.address(), context=trusting(), **options)
        secure.opened.callback(client.close)
        return client

    return connect


def of_http2(lease, what):
    lines = lease.server.metrics().splitlines()
    return next(int(float(line.split()[-1])) for line in lines if f'http2_{what}_total{{service="app:gateway"' in line)


def test_requests_and_websockets_go_over_one_connection(secure, connect):
    client = connect()
    assert client.ask("ws", ["write", "a page"]).body == b"a page"
    driver = Driver(OverHttp2(client.websocket("/control/driver", {"origin": f"https://{client.authority}"})))
    child = driver.spawn()
    socket = client.websocket(script("ws", relay_steps(child.pid)))
    pid = child.joined()
    socket.send_text("x" * 300_000)
    assert child.message("ws.message")["data"]["data"] == {"$len": 300_000}
    child.ws_send(pid, "there")
    assert socket.receive_message().text == "there"
    client.websocket("/control/driver", {"origin": f"http://{client.authority}"}, expect=403)


def test_a_client_that_offers_only_http_1_gets_it(secure):
    context = tls.authority().context()
    context.set_alpn_protocols(["http/1.1"])
    wire = Wire(secure.address(), tls=context)
    secure.opened.callback(wire.close)
    assert wire.sock.selected_alpn_protocol() == "http/1.1"
    assert wire.request("GET", script("ws", [["write", "one"]])).body == b"one"


def test_a_preface_within_tls_without_alpn_is_no_http2(secure):
    # RFC 9113 section 3.2: over TLS the protocol is agreed on.
    wire = Wire(secure.address(), tls=tls.authority().context())
    secure.opened.callback(wire.close)
    wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
    assert wire.until_end()[:9] in (b"HTTP/1.1 ", b"")


def test_curl_agrees_on_http2(secure):
    url = "https://localhost:%d%s" % (secure.address()[1], script("ws", [["write", "from curl"]]))
    done = subprocess.run(
        ["curl", "-s", "-m", "20", "-g", "--cacert", str(tls.authority().path), "-w", " %{http_version}", url],
        capture_output=True,
        text=True,
    )
    assert done.stdout == "from curl 2", done


def test_nodes_client_opens_a_websocket(secure, connect):
    driver = Driver(OverHttp2(connect().websocket("/control/driver")))
    path = script("ws", relay_steps(driver.pid))
    node_talks(secure, driver, "https://localhost:%d" % secure.address()[1], path)


def test_chromium_opens_its_websockets_over_the_connection_of_the_page(own_server):
    lease = own_server("relay", shards=2, services=("app:gateway", "app:proxied", "app:hasty"), sets=tls.settings())
    browser = Browser("--ignore-certificate-errors")
    lease.opened.callback(browser.close)
    page = browser.page("https://localhost:%d%s" % (lease.address()[1], script("ws", [["write", "a page"]])))
    assert page.text() == "a page"
    page.run(
        """
        window.heard = [];
        window.sockets = [1, 2, 3].map(() => {
            const socket = new WebSocket(`wss://${location.host}/control/driver`);
            socket.onmessage = (event) => heard.push(JSON.parse(event.data).ev);
            socket.onclose = (event) => heard.push(`closed ${event.code}`);
            return socket;
        });
        0
        """
    )
    page.wait("heard.filter((ev) => ev === 'hello').length === 3")
    page.run("sockets.forEach((socket, i) => socket.send(JSON.stringify({ op: 'ping', id: i, report: 'x' }))); 0")
    assert of_http2(lease, "connections") == 1
    assert of_http2(lease, "websockets") == 3
    page.run("sockets.forEach((socket) => socket.close(4000, 'done')); 0")
    page.wait("heard.filter((ev) => ev === 'closed 4000').length === 3")
    browser.close()
    until(lambda: lease.server.counters()["sockets"] == 0, "the browser's connections end")
