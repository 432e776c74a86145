-- 텍스트 메시지 전송
process.send(client_pid, "ws.send", {
    type = "text",
    data = json.encode({event = "update", value = 42})
})

-- 바이너리 전송
process.send(client_pid, "ws.send", {
    type = "binary",
    data = binary_content
})

-- 연결 종료
process.send(client_pid, "ws.close", {
    code = 1000,
    reason = "Session ended"
})
