local json = require("json")

local function handler()
    local inbox = process.inbox()

    while true do
        local msg, ok = inbox:receive()
        if not ok then break end

        local topic = msg:topic()
        local data = msg:payload():data()

        if topic == "ws.join" then
            -- Клиент подключился
            local client_pid = data.client_pid

        elseif topic == "ws.message" then
            -- Обрабатываем сообщение клиента
            local content = json.decode(data.data)
            handle_message(data.client_pid, content)

        elseif topic == "ws.leave" then
            -- Клиент отключился
            cleanup(data.client_pid)
        end
    end
end
