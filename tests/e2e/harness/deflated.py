"""A raw WebSocket client that compresses what it says (RFC 7692), with contexts of its own, kept or not as the answer says."""

import zlib

from .wire import TEXT, Frame, RawSocket, handshake_headers

OFFER = "permessage-deflate; client_max_window_bits"
TAIL = b"\0\0\xff\xff"


class DeflatedSocket(RawSocket):
    out = into = None
    agreed = ""

    def open(self, path, headers=None, host=None):
        headers = {**(headers or handshake_headers()), "Sec-WebSocket-Extensions": OFFER}
        answer = super().open(path, headers, host)
        self.agreed = answer.header("sec-websocket-extensions") or ""
        return answer

    def send_text(self, text):
        if self.out is None or "client_no_context_takeover" in self.agreed:
            self.out = zlib.compressobj(6, zlib.DEFLATED, -12)
        data = self.out.compress(text.encode()) + self.out.flush(zlib.Z_SYNC_FLUSH)
        self.send_frame(TEXT, data[:-4] or b"\0", rsv=4)

    def receive(self):
        frame = super().receive()
        if frame.rsv == 0:
            return frame
        if self.into is None or "server_no_context_takeover" in self.agreed:
            self.into = zlib.decompressobj(-15)
        return Frame(frame.opcode, self.into.decompress(frame.data + TAIL), frame.fin, 0)
