-- Отправка текстового сообщения
process.send(client_pid, "ws.send", {
    type = "text",
    data = json.encode({event = "update", value = 42})
})

-- Отправка бинарных данных
process.send(client_pid, "ws.send", {
    type = "binary",
    data = binary_content
})

-- Закрытие соединения
process.send(client_pid, "ws.close", {
    code = 1000,
    reason = "Session ended"
})
