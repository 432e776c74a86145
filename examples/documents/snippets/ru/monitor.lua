-- Мониторинг WebSocket-соединения из другого процесса
process.monitor(websocket_pid)

-- Отправка сообщения WebSocket-клиенту из любого процесса
process.send(websocket_pid, "ws.send", {type = "text", data = "hello"})
